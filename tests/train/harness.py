"""A trainer over a tiny model and made-up documents, for tests of the loop itself."""

from pathlib import Path

import numpy as np
import torch
from zoo import tiny

from seektune.contracts import Document
from seektune.models import attention
from seektune.objectives.sft import SFT
from seektune.optimizers._groups import parameter_groups
from seektune.optimizers.adamw import AdamW
from seektune.run import Run
from seektune.schedules.constant import Constant
from seektune.sources.loader import Loader
from seektune.train.options import Train
from seektune.train.precision import Precision
from seektune.train.trainer import Layout, Trainer
from seektune.tuners.full import Full


def documents(count=24, seed=0, vocabulary=300) -> list[Document]:
    """Unequal lengths and unequal answers, as in real data."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        length = int(random.integers(4, 40))
        answer = int(random.integers(1, length))
        weights = np.r_[np.zeros(length - answer), np.ones(answer)].astype(np.float32)
        made.append(Document(random.integers(10, vocabulary, length).astype(np.int32), weights, i))
    return made


def trainer(
    folder: Path, *, name="run", options=None, layout=None, tuner=None, precision="float32", dropout=0.0, **more
) -> Trainer:
    """More keyword arguments replace those of `Trainer`. A run folder that exists is opened."""
    attention.register()
    torch.manual_seed(0)
    model = more.pop("model", None) or tiny("qwen2", attention_dropout=dropout)
    model.set_attn_implementation(attention.NAME)
    tuner = tuner or Full()
    model = tuner.apply(model)
    options = options or Train(steps=6, batch_size=8, save_every=2)
    source, objective = more.pop("source", Loader()), more.pop("objective", None) or SFT()
    source.open(more.pop("documents", documents()), batch_size=options.batch_size, unit=objective.unit, seed=3)
    run = Run.open(folder / name) if (folder / name).exists() else Run.create(folder, name)
    optimizer = AdamW(learning_rate=1e-2).build(parameter_groups(model, 0.01))
    torch.manual_seed(1)
    return Trainer(
        model, tuner, objective, optimizer, Constant(warmup=0.3), source, run, options,
        layout or Layout("packed"), Precision(precision, "cpu"), options.steps, torch.device("cpu"), **more,
    )  # fmt: skip


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])
