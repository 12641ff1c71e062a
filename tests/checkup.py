"""Recipes over a few records and a tiny model, prepared as an assembly does: what the tests of the doctor share."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import zoo

from seektune import doctor, findings, plan
from seektune.contracts import Record
from seektune.data.chat import Renderer
from seektune.data.options import Data, Input, Valid
from seektune.data.prepare import Prepared, prepare
from seektune.findings import Finding, Look
from seektune.models import isolation, load
from seektune.objectives.sft import SFT
from seektune.optimizers.adamw import AdamW
from seektune.recipe import Recipe
from seektune.train import prefix_cache
from seektune.train.options import Train
from seektune.train.precision import prepare_dtypes
from seektune.train.trainer import Layout
from seektune.tuners.lora import LoRA

PEOPLE = ["Ann", "Bob", "Ines", "Omar", "Li Wei", "王芳", "Zoë", "Ida"]
TOWNS = ["the town", "the river", "a company", "三百万", "小镇"]


def conversations(count: int = 24) -> list[Record]:
    """Different from each other, in English and Chinese."""
    names = [f"{person} {number}" for number, person in zip(range(count), itertools.cycle(PEOPLE), strict=False)]
    towns = itertools.cycle(TOWNS)
    return [
        {"messages": [user(f"Where does {name} live?"), assistant(f"{name} lives near {town}.")]}
        for name, town in zip(names, towns, strict=False)
    ]


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


class Setting:
    """Makes recipes of records in `path`, and prepares them; model folders are made once, below `shared`."""

    def __init__(self, path: Path, shared: Path):
        self.path, self.shared = path, shared

    def folder(self, architecture: str = "qwen2", **overrides: Any) -> Path:
        names = [architecture, *(f"{key}-{value}" for key, value in overrides.items())]
        path = self.shared / "-".join(names)
        return path if path.is_dir() else zoo.tiny_folder(path, architecture, **overrides)

    def write(self, name: str, records: list[Record]) -> str:
        path = self.path / name
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
        return str(path)

    def recipe(
        self,
        records: list[Record] | None = None,
        valid: list[Record] | None = None,
        *,
        folder: Path | None = None,
        tuner: Any = None,
        objective: Any = None,
        rate: float = 2e-4,
        train: Train | None = None,
        **data: Any,
    ) -> Recipe:
        inputs = [Input(self.write("train.jsonl", conversations() if records is None else records), "auto", {})]
        if valid is not None:
            data["valid"] = Valid(path=self.write("valid.jsonl", valid))
        return Recipe(
            name="towns-2",
            model=load.Model(str(folder or self.folder())),
            data=Data(train=inputs, **data),
            tuner=tuner or LoRA(),
            objective=objective or SFT(),
            optimizer=AdamW(learning_rate=rate),
            train=train or Train(batch_size=4),
        )

    def data(self, recipe: Recipe) -> Prepared:
        renderer = Renderer.from_folder(recipe.model.path, recipe.data.template)
        return prepare(recipe.data, renderer, head=recipe.objective.head, seed=recipe.seed, cache=self.path / "cache")

    def ready(self, recipe: Recipe) -> Any:
        """What `assembly.prepare` gives, as far as the doctor looks at it."""
        data = self.data(recipe)
        heads: dict[str, Any] = {"head": recipe.objective.head, "labels": data.labels, "several": data.several}
        model = load.open_model(recipe.model, **heads)
        model = recipe.tuner.apply(model)
        prepare_dtypes(model, "float32")
        proved = isolation.isolate(model)
        layout = Layout(proved.rows, data.renderer.pad_id)
        predicted = plan.predict(model, recipe.train, data.train_tokens, layout, "float32", steps=6)
        return SimpleNamespace(
            recipe=recipe, data=data, model=model, isolation=proved, layout=layout, precision="float32",
            device=torch.device("cpu"), plan=predicted, prefix=prefix_cache.Decision("off: the data are read once"),
        )  # fmt: skip

    def check(self, recipe: Recipe) -> doctor.Diagnosis:
        return doctor.check(self.ready(recipe), root=self.path / "runs")

    def found(self, recipe: Recipe) -> list[Finding]:
        """Findings about the data alone."""
        return list(findings.of_data(Look(recipe, self.data(recipe))))

    def template(self, text: str) -> str:
        path = self.path / "template.jinja"
        path.write_text(text, encoding="utf-8")
        return str(path)


def the(found: list[Finding], check: str) -> Finding:
    """The one finding; there is no other."""
    assert [finding.check for finding in found] == [check]
    return found[0]
