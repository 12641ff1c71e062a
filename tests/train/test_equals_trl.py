"""Numbers equal the peers': the first 20 losses of TRL's SFTTrainer from the same weights on the same records.

The expectation was written by `python bench/trl_losses.py`, which trains with TRL; here TRL is not needed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trl_case as case

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
from seektune.tuners.lora import LoRA

TRL = json.loads(Path(__file__).with_name("trl_losses.json").read_text())
TOLERANCE = 2e-5  # seen: 1e-6, and as much between TRL's own cuts
LAYOUTS = {
    "packed": Layout("packed", tokens=10_000),
    "packed in small cuts": Layout("packed", tokens=60),
    "packed pairs": Layout("packed", records=2),
    "padded": Layout("padded", case.PAD, records=4),
}


def documents():
    made = []
    for i, (ids, prompt) in enumerate(case.sequences()):
        learnt = (np.arange(len(ids)) >= prompt).astype(np.float32)
        made.append(Document(np.array(ids, dtype=np.int32), learnt, i))
    return made


def losses_and_norms(folder, architecture, tuner, layout, rate=1.0, decay=case.DECAY, clip=1.0):
    attention.register()
    model = case.model(architecture)
    model.set_attn_implementation(attention.NAME)
    method = LoRA(**case.LORA) if tuner == "lora" else Full()
    model = method.apply(model)
    case.fill(model, only="lora_A")
    source = Loader(shuffle=False)
    source.open(documents(), batch_size=case.BATCH, unit=1, seed=0)
    optimizer = AdamW(rate * case.RATES[tuner], decay).build(parameter_groups(model, decay))
    options = Train(steps=case.STEPS, batch_size=case.BATCH, clip=clip, save_every=1000)
    run = Run.create(folder, "run")
    Trainer(
        model, method, SFT(), optimizer, Constant(), source, run, options, layout, Precision("float32", "cpu"),
        case.STEPS, torch.device("cpu"),
    ).fit()  # fmt: skip
    lines = run.metrics("train")
    return np.array([line["loss"] for line in lines]), np.array([line["grad_norm"] for line in lines])


def check(folder, architecture, tuner, layout):
    expected = TRL["series"][f"{architecture} {tuner}"]
    losses, norms = losses_and_norms(folder, architecture, tuner, LAYOUTS[layout])
    assert len(losses) == len(expected["losses"]) == 20
    assert np.abs(losses - expected["losses"]).max() < TOLERANCE
    assert np.abs(norms / expected["grad_norms"] - 1).max() < TOLERANCE


@pytest.mark.parametrize(("architecture", "tuner"), case.SERIES)
def test_the_first_losses_and_gradient_norms_are_those_of_trl(tmp_path, architecture, tuner):
    check(tmp_path, architecture, tuner, "packed")


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_they_are_in_every_cut(tmp_path, layout):
    check(tmp_path, "qwen2", "lora", layout)


def test_the_settings_are_those_that_trl_was_given():
    given = {"batch_size": case.BATCH, "steps": case.STEPS, "rates": case.RATES, "lora": case.LORA}
    given |= {"weight_decay": case.DECAY, "clip": 1.0, "schedule": "constant", "precision": "float32"}
    assert {key: TRL["settings"][key] for key in given} == given


@pytest.mark.parametrize("wrong", [{"rate": 1.001}, {"decay": 0.0}, {"clip": None}], ids=str)
def test_a_small_difference_would_be_seen(tmp_path, wrong):
    expected = TRL["series"]["qwen2 full"]["losses"]
    losses, _ = losses_and_norms(tmp_path, "qwen2", "full", LAYOUTS["packed"], **wrong)
    assert np.abs(losses - expected).max() > 1e-4
