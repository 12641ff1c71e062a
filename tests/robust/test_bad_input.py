"""Every bad input: its exact message, one line a problem, the exit code, and a folder in which nothing has changed."""

from __future__ import annotations

import errno
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from helpers import Server, picture

from seektune.run import Run

Make = Callable[[Path], list[str]]
CASES: dict[str, tuple[Make, str]] = {}


def bad(*lines: str) -> Callable[[Make], Make]:
    """The function spoils the input in a folder and returns settings; `lines` are what is told, {here} the folder."""

    def note(make: Make) -> Make:
        CASES[make.__name__] = (make, "".join(f"error: {line}\n" for line in lines))
        return make

    return note


def records(here: Path, count: int, **others: str) -> None:
    """train.jsonl with `count` good records; `line_7=text` puts another text into line 7."""
    lines = [json.dumps({"instruction": f"Which number? {i}", "output": f"It is {i}."}) for i in range(count)]
    for name, text in others.items():
        lines[int(name.removeprefix("line_")) - 1] = text
    (here / "train.jsonl").write_text("\n".join(lines) + "\n")


def own_model(here: Path) -> Path:
    """A copy of the model that may be spoilt, and the recipe with it."""
    text = (here / "numbers.yaml").read_text()
    [old] = re.findall(r"path: (.*?)}", text)
    shutil.copytree(old, here / "model")
    (here / "numbers.yaml").write_text(text.replace(old, "model", 1))
    return here / "model"


def edit(file: Path, /, **values: Any) -> None:
    """Replace values of a JSON object."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def rewrite(here: Path, *pairs: tuple[str, str]) -> None:
    """Replace words of the recipe."""
    text = (here / "numbers.yaml").read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (here / "numbers.yaml").write_text(text)


# ---- data ----

BROKEN = "broken JSON: Expecting value at column 17; expected one JSON object a line; correct or delete it"
NO_OUTPUT = "`output` is missing; expected instruction and output (and input, history, system); found instruction"
RAGGED = "expected 2 as in the header (instruction, output); put cells that hold the delimiter in quotes"
UNFIT = "expected at most 1 % (data.allow_dropped); correct them, or set data.allow_dropped"


@bad(f"{{here}}/train.jsonl:7312: {BROKEN}")
def broken_json_in_line_7312(here: Path) -> list[str]:
    records(here, 8000, line_7312='{"instruction": Which?}')
    return []


@bad(
    f"{{here}}/train.jsonl:5: {NO_OUTPUT}",
    f"{{here}}/train.jsonl:26: {NO_OUTPUT}",
    f"{{here}}/train.jsonl: 2 of 30 records are unfit (2 × `output` is missing); {UNFIT}: 0.07",
)
def a_missing_field_in_some_records(here: Path) -> list[str]:
    records(here, 30, line_5='{"instruction": "And now?"}', line_26='{"instruction": "And then?"}')
    return []


@bad("{here}/train.jsonl: empty file; expected at least one record")
def an_empty_file(here: Path) -> list[str]:
    (here / "train.jsonl").write_text("")
    return []


@bad(
    f"{{here}}/train.csv:3: ragged row: 3 cells; {RAGGED}",
    f"{{here}}/train.csv:4: ragged row: 1 cells; {RAGGED}",
    f"{{here}}/train.csv: 2 of 3 records are unfit (2 × ragged row); {UNFIT}: 0.67",
)
def a_csv_with_ragged_rows(here: Path) -> list[str]:
    (here / "train.csv").write_text("instruction,output\nWhich?,One\nWhich?,Two,three\nWhich?\n")
    return ["data.train=train.csv"]


@bad("argument 2: data.train.0.path: nothing at 'trian.jsonl'; did you mean 'train.jsonl'?")
def a_file_that_is_not_there(here: Path) -> list[str]:
    return ["data.train=trian.jsonl"]


# ---- model and tokenizer ----


@bad(
    "{here}/model: no config.json; the folder holds chat_template.jinja, generation_config.json, model.safetensors, "
    "tokenizer.json, tokenizer_config.json; expected a Hugging Face model folder"
)
def a_folder_without_config(here: Path) -> list[str]:
    (own_model(here) / "config.json").unlink()
    return []


@bad(
    *(
        f"{{here}}/model: model.layers.{layer}.self_attn.{name}: shape {[16, *more]} in the file; "
        f"expected {[8, *more]} by config.json"
        for layer in range(3)
        for name, more in (("k_proj.bias", []), ("k_proj.weight", [32]), ("v_proj.bias", []), ("v_proj.weight", [32]))
    )
)
def weights_that_do_not_fit_the_config(here: Path) -> list[str]:
    edit(own_model(here) / "config.json", num_key_value_heads=1)
    return []


@bad(
    "{here}/model/model.safetensors: corrupt safetensors file: 137616 bytes long, its header announces 138616 "
    "(cut off?); copy or download it again"
)
def a_corrupt_safetensors_file(here: Path) -> list[str]:
    path = own_model(here) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return []


@bad(
    "{here}/model: has no chat template, which records with messages need; expected chat_template in "
    "tokenizer_config.json, or chat_template.jinja; set `data.template` to the path of a Jinja file, or to `chatml` "
    "(<|im_start|>role … <|im_end|>)"
)
def a_tokenizer_without_a_chat_template(here: Path) -> list[str]:
    (own_model(here) / "chat_template.jinja").unlink()
    return []


@bad(
    "{here}/model: pytorch_model.bin is a pickle, which can run code while it is read; expected safetensors; "
    "where you trust its source: model.allow_pickle: true"
)
def pickle_weights(here: Path) -> list[str]:
    model = own_model(here)
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    return []


@bad(
    "model.path somebody/something: not on this machine, and HF_HUB_OFFLINE is set; run `hf download "
    "somebody/something --revision main` where there is a network, or give a folder"
)
def a_hub_id_while_offline(here: Path) -> list[str]:
    return ["model.path=somebody/something"]


# ---- recipe and machine ----


@bad(
    "numbers.yaml:3: tuner.rnk: unknown key; did you mean 'rank'?",
    "numbers.yaml:4: objective.kind: unknown kind 'stf'; did you mean 'sft'?",
    "numbers.yaml:5: optimizer.learning_rate: found 'fast'; expected number",
)
def a_recipe_with_three_mistakes(here: Path) -> list[str]:
    rewrite(here, ("rank: 4", "rnk: 4"), ("sft", "stf"), ("2e-3", "fast"))
    return []


@bad(
    "numbers.yaml:1: version: found 0; expected recipe format 1; write the recipe anew with `seektune new`, or leave "
    "`version` out where its keys are of today"
)
def a_recipe_of_an_older_format(here: Path) -> list[str]:
    rewrite(here, ("model:", "version: 0\nmodel:"))
    return []


@bad("numbers.yaml:1: version: found 2; expected recipe format 1; update seektune")
def a_recipe_of_a_newer_format(here: Path) -> list[str]:
    rewrite(here, ("model:", "version: 2\nmodel:"))
    return []


@bad(
    "runs/numbers: this run exists; expected a free name; go on with `--resume runs/numbers`, or take `name=numbers-1`"
)
def a_run_name_that_exists(here: Path) -> list[str]:
    Run.create(here / "runs", "numbers")
    return []


if not torch.cuda.is_available():
    REASON = "is a build without CUDA" if torch.version.cuda is None else "sees no GPU"

    @bad(
        f"train.device: 'cuda' is not there (torch {torch.__version__} {REASON}); expected a device of this machine; "
        "take `auto` or `cpu`"
    )
    def cuda_where_there_is_none(here: Path) -> list[str]:
        return ["train.device=cuda"]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_and_nothing_is_written(server: Server, here: Path, name: str) -> None:
    make, expected = CASES[name]
    settings = make(here)
    refused(server, here, ["train", "numbers.yaml", *settings], expected.replace("{here}", str(here)))


def refused(server: Server, here: Path, words: list[str], expected: str, **fault: Any) -> None:
    before = picture(here)
    child = server.seektune(*words, folder=here, fault=fault or None)
    code = child.wait()
    assert child.said == expected
    assert code == 2
    assert picture(here) == before


def test_a_disk_that_is_read_only(server: Server, here: Path) -> None:
    expected = (
        f"error: {here}/runs: cannot make the run 'numbers' (Read-only file system); expected a folder that can be "
        "written; start seektune in a folder of yours with room\n"
    )
    refused(server, here, ["train", "numbers.yaml"], expected, match="runs/numbers", at=1, act=errno.EROFS)


def test_a_disk_that_becomes_read_only_before_the_run_is_made(server: Server, here: Path) -> None:
    expected = (
        f"error: {here}/runs: cannot make the run 'numbers' (Read-only file system); expected a folder that can be "
        "written; start seektune in a folder of yours with room\n"
    )
    (here / "runs").mkdir()
    fault = {"only": ["write"], "match": "format.json", "at": 1, "act": errno.EROFS}
    refused(server, here, ["train", "numbers.yaml"], expected, **fault)


# ---- what earlier runs left ----


@pytest.fixture
def after(here: Path, finished: Path) -> Path:
    """The folder with a finished run in it."""
    shutil.copytree(finished.parent, here / "runs")
    return here


def test_an_adapter_on_the_wrong_base(server: Server, after: Path, model: Path) -> None:
    other = zoo.tiny_folder(after / "other", "qwen2", seed=1)
    shutil.copytree(after / "runs" / "numbers" / "model", after / "adapter")
    noted = json.loads((after / "adapter" / "base.json").read_text())
    edit(after / "adapter" / "base.json", path=str(other))
    before = picture(after)
    child = server.seektune("train", "numbers.yaml", "name=next", "model.path=adapter", folder=after)
    assert child.wait() == 2
    expected = (
        rf"error: adapter {after}/adapter: trained on {other} \(weights {noted['fingerprint'][:8]}\), but {other} "
        r"holds other weights \([0-9a-f]{8}\); expected the base that it was trained on\n"
    )
    assert re.fullmatch(expected, child.stderr), child.stderr
    assert picture(after) == before


def test_a_checkpoint_of_an_older_format(server: Server, after: Path) -> None:
    checkpoint = Path("runs/numbers/checkpoints/step-000040")
    edit(after / checkpoint / "checkpoint.json", format=0)
    expected = (
        f"error: {checkpoint}: checkpoint format 0; expected format 1; resume with the version of seektune that wrote "
        "it (environment.json names it)\n"
    )
    refused(server, after, ["train", "--resume", "runs/numbers"], expected)


def test_a_run_of_an_older_format(server: Server, after: Path) -> None:
    edit(after / "runs" / "numbers" / "format.json", format=0)
    expected = (
        "error: runs/numbers: written in an older format (0); expected format 1; read it with the seektune that wrote "
        "it, or train again under another name\n"
    )
    refused(server, after, ["train", "--resume", "runs/numbers"], expected)


def test_other_data_than_the_run_began_with(server: Server, after: Path) -> None:
    records(after, 30, line_3='{"instruction": "Which?", "output": "Another."}')
    expected = (
        "error: runs/numbers: the data files have changed since this run began; expected the same records in the same "
        "order; put the files back as they were, or start a new run with model.continue=runs/numbers\n"
    )
    (after / "runs" / "numbers" / "recipe.yaml").write_text(
        re.sub(r"path: .*train\.jsonl", f"path: {after}/train.jsonl", (after / "runs/numbers/recipe.yaml").read_text())
    )
    refused(server, after, ["train", "--resume", "runs/numbers"], expected)


# ---- a hub that refuses, memory that does not suffice ----


class Gated(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for a model whose licence has to be accepted."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gated) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_a_gated_model(server: Server, here: Path, hub: str) -> None:
    before = picture(here)
    words = [sys.executable, "-m", "seektune", "train", "numbers.yaml", "model.path=some/gated"]
    variables = server.environment | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "none"}
    done = subprocess.run(words, cwd=here, env=variables, capture_output=True, text=True, timeout=120)
    assert done.stderr == (
        "error: model.path some/gated: access is restricted on the hub, and this account has none; "
        f"ask for access at {hub}/some/gated, then `hf auth login` or set HF_TOKEN\n"
    )
    assert done.returncode == 2
    assert picture(here) == before


SMALL_MEMORY = '''
from dataclasses import dataclass
from pathlib import Path

import torch

from seektune.contracts import Probe, option
from seektune.objectives.sft import SFT


@dataclass
class Small(SFT):
    """Once the run has begun, more documents at once than `most` do not fit into the memory."""

    most: int = option(1, "documents", probe=Probe(2))

    def loss(self, model, batch):
        if Path("runs/numbers/metrics.jsonl").exists() and len(batch.documents) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().loss(model, batch)
'''


def test_out_of_memory_goes_on_with_half_the_micro_batch(server: Server, here: Path, expected: dict[str, Any]) -> None:
    (here / "small_memory.py").write_text(SMALL_MEMORY)
    rewrite(here, ("objective: sft", "objective: {kind: 'small_memory:Small', most: 2}"))
    child = server.seektune("train", "numbers.yaml", folder=here)
    assert child.wait() == 0, child.stderr
    assert child.said == (
        "warning: step 2: out of memory; half the micro-batch: 2 at once from here on, with the same gradient\n"
    )
    losses = [line["loss"] for line in Run(here / "runs" / "numbers").metrics("train")]
    assert losses == pytest.approx([line["loss"] for line in expected["metrics"] if line["split"] == "train"], rel=1e-3)


def test_out_of_memory_with_one_record_says_what_would_fit(server: Server, here: Path) -> None:
    (here / "small_memory.py").write_text(SMALL_MEMORY)
    long = {f"line_{n}": json.dumps({"instruction": "Which?", "output": f"{n} and " * 60}) for n in range(1, 31)}
    records(here, 30, **long)
    rewrite(here, ("objective: sft", "objective: {kind: 'small_memory:Small', most: 0}"))
    child = server.seektune("train", "numbers.yaml", folder=here)
    assert child.wait() == 4
    size, setting = r"\d+\.\d [KMG]iB", r"[a-z_.]+=\S+(, [a-z_.]+=\S+)* \(\d+\.\d [KMG]iB\)"
    last = child.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"error: step 2: out of memory with one record of \d+ tokens in the micro-batch; "
        rf"the plan said {size} of {size}; would fit: {setting} or {setting}",
        last,
    ), last
    assert Run.open(here / "runs" / "numbers").status == "failed"
