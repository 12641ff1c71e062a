"""A plan against what really happens: the trainer's own cutting, files on disk, a training process that is measured."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo

from seektune import fitting, plan
from seektune.contracts import Document, Loss
from seektune.data import pack
from seektune.data.tokens import Tokens
from seektune.models import isolation
from seektune.objectives.sft import SFT
from seektune.optimizers._groups import parameter_groups
from seektune.optimizers.adamw import AdamW
from seektune.sources.loader import Loader
from seektune.train import checkpoint
from seektune.train.options import Train
from seektune.train.precision import Precision, prepare_dtypes  # noqa: F401  (Precision: for MEASURED)
from seektune.train.trainer import Layout
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


def tokens_of(lengths, learnt=0.5):
    generator, made = np.random.default_rng(0), []
    for index, length in enumerate(lengths):
        weights = np.zeros(length, np.float32)
        weights[length - int(length * learnt) :] = 1.0
        weights[0] = 0.0
        made.append(Document(generator.integers(10, 300, length).astype(np.int32), weights, index))
    return Tokens.of(made)


def lengths_of(count, seed=0, longest=200):
    return np.clip(np.random.default_rng(seed).lognormal(4, 0.6, count).astype(int), 4, longest).tolist()


def model_of(architecture="qwen2", tuner=None, precision="float32", **sizes):
    model = (tuner or LoRA(rank=4)).apply(zoo.tiny(architecture, **sizes))
    isolation.isolate(model)
    prepare_dtypes(model, precision)
    return model


def plan_of(model, tokens, *, steps=20, rows="packed", tokens_each=512, records=None, unit=1, **options):
    given = Train(batch_size=options.pop("batch_size", 8), **options)
    return plan.predict(model, given, tokens, Layout(rows, 0, records, tokens_each), "float32", steps, unit)


# ---- sizes and counts


def test_counts_are_those_of_the_data():
    lengths = lengths_of(50)
    tokens = tokens_of(lengths)
    found = plan_of(model_of(), tokens, steps=14, batch_size=8)  # 7 steps an epoch: two epochs
    assert found.tokens == 2 * sum(lengths)
    assert found.supervised_tokens == pytest.approx(2 * tokens.supervised.sum(), abs=1)
    assert found.steps == 14
    assert found.trainable_parameters < found.parameters


def test_parts_add_up_to_the_peak_and_the_plan_is_json():
    found = plan_of(model_of(), tokens_of(lengths_of(40)))
    assert sum(found.memory_bytes.values()) == found.peak_memory_bytes
    assert min(found.memory_bytes.values()) >= 0
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored["disk_bytes"] == found.checkpoints_bytes + found.model_bytes
    assert stored["fits"] is True
    assert "seconds" not in stored  # nothing was timed


@pytest.mark.parametrize("tuner", [LoRA(rank=4), Full()], ids=["lora", "full"])
def test_checkpoint_and_model_take_the_disk_that_was_planned(tuner, tmp_path):
    model = model_of(tuner=tuner, hidden_size=64, intermediate_size=256)
    found = plan_of(model, tokens_of(lengths_of(20)))
    optimizer = AdamW().build(parameter_groups(model, 0.01))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    checkpoint.save(tmp_path, model, optimizer, {"step": 1})
    tuner.save(model, tmp_path / "model")
    # names and random states take some tens of kilobytes besides
    assert size_of(tmp_path / "step-000001") == pytest.approx(found.checkpoint_bytes, rel=0.05, abs=90_000)
    assert size_of(tmp_path / "model") == pytest.approx(found.model_bytes, rel=0.05, abs=30_000)


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_checkpoints_that_lie_there_at_once_are_counted():
    model, tokens = model_of(), tokens_of(lengths_of(20))
    many = plan_of(model, tokens, steps=100, save_every=10, keep=3)
    assert many.checkpoints_bytes == 5 * many.checkpoint_bytes  # three, the best one, and the one being written
    few = plan_of(model, tokens, steps=10, save_every=10, keep=3)
    assert few.checkpoints_bytes == 2 * few.checkpoint_bytes  # one, and perhaps a better one before it


@pytest.mark.parametrize(("rows", "records"), [("packed", None), ("packed", 3), ("padded", None), ("equal", None)])
def test_no_micro_batch_of_an_epoch_needs_more_than_the_plan_says(rows, records):
    model, tokens = model_of(), tokens_of(lengths_of(64))
    found = plan_of(model, tokens, rows=rows, records=records)
    source = Loader()
    source.open(tokens, batch_size=8, unit=1, seed=5)
    needs, count, worst = found.setup.needs, 0, 0
    for _, batch in zip(range(source.batches_per_epoch()), source, strict=False):
        micros = pack.cut(batch.documents, records=records, tokens=None if records else 512, rows=rows)
        count += len(micros)
        several = any(len(step) > 1 for step in found.setup.draws())
        worst = max(
            worst, *(needs.peak(plan.Micro(m.lengths, int(m.weights.count_nonzero())), False, several) for m in micros)
        )
    fixed = needs.peak(plan.Micro((), 0), False, True)
    assert worst - fixed <= 1.15 * (found.peak_memory_bytes - fixed)  # another shuffle than the one that was drawn
    assert count == pytest.approx(found.microbatches * source.batches_per_epoch() / found.steps, rel=0.2)


def test_the_longest_document_counts_however_seldom_it_is():
    model = model_of()
    without = plan_of(model, tokens_of([20] * 4000), batch_size=2, tokens_each=64)
    with_one = plan_of(model, tokens_of([20] * 4000 + [900]), batch_size=2, tokens_each=64)
    assert with_one.memory_bytes["activations"] > 10 * without.memory_bytes["activations"]


# ---- what would fit


def test_every_setting_needs_what_it_says_and_the_cheapest_comes_first():
    model, tokens = model_of(num_hidden_layers=9), tokens_of(lengths_of(64))
    now = plan_of(model, tokens, tokens_each=2048)
    fixed = now.peak_memory_bytes - sum(now.memory_bytes[name] for name in ("activations", "logits", "allocator"))
    limit = now.peak_memory_bytes - (now.peak_memory_bytes - fixed) // 20  # recomputing leaves holes on a CPU
    settings = now.smaller(limit)
    assert [s.slowdown for s in settings] == sorted(s.slowdown for s in settings)
    assert all(s.peak_bytes <= limit for s in settings)
    names = [str(s) for s in settings]
    assert names[0].startswith("train.microbatch=")
    assert "train.activation_checkpointing=true" in names
    assert names[-1].startswith("data.max_length=")
    halved = next(s for s in settings if set(s.changes) == {"train.microbatch"})
    told = plan_of(model, tokens, records=halved.changes["train.microbatch"])
    assert told.peak_memory_bytes - halved.peak_bytes == pytest.approx(0, abs=told.memory_bytes["process"] * 0.05)
    shorter = settings[-1].changes["data.max_length"]
    assert shorter < max(tokens.lengths)


def test_where_nothing_helps_nothing_is_offered():
    found = plan_of(model_of(), tokens_of(lengths_of(16)))
    assert found.smaller(1000) == []


def test_a_plan_beyond_the_limit_does_not_fit():
    found = plan_of(model_of(), tokens_of(lengths_of(16)))
    assert found.fits
    assert not replace(found, limit_bytes=found.peak_memory_bytes).fits  # some room must be left


def test_automatic_micro_batches_follow_the_memory():
    model, device = model_of(hidden_size=128, intermediate_size=352), torch.device("cpu")
    low, high = plan.TOKENS["cpu"]
    assert plan.choose_tokens(model, Train(), device=device, limit=1 << 40) == high
    assert plan.choose_tokens(model, Train(), device=device, limit=1 << 20) == low
    gpu, (low, high) = torch.device("cuda"), plan.TOKENS["cuda"]
    needs = plan.needs_of(model, "float32", True, "cuda")
    fixed = needs.peak(plan.Micro((), 0), False, True)
    chosen = [plan.choose_tokens(model, Train(), device=gpu, limit=limit) for limit in (1 << 40, fixed << 1, 1 << 20)]
    assert chosen[0] == high and chosen[2] == low and low < chosen[1] < high and chosen[1] % plan.SMALLEST == 0
    filled = needs.peak(plan.Micro((512,) * (chosen[1] // 512), chosen[1] // 2), False, True)
    assert 0.55 * fixed < filled - fixed <= 0.8 * fixed and filled <= plan.ROOM * 2 * fixed


def test_the_limit_is_between_what_is_held_and_what_the_machine_has():
    limit = plan.memory_limit(torch.device("cpu"))
    assert plan.rss() < limit <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# ---- time


def test_time_is_a_line_through_two_micro_steps():
    found = plan_of(model_of(), tokens_of(lengths_of(64)), steps=30)
    rate, each = 2e-9, 0.003
    timed = plan.with_speed(found, [(f, each + rate * f) for f in (4e9, 1e9)])
    assert timed.seconds == pytest.approx(rate * found.flops + each * found.microbatches, rel=1e-3)
    assert timed.tokens_per_second == pytest.approx(found.tokens / timed.seconds)


def test_padding_is_computed_as_well():
    """Rows of one batch are as long as its longest; packed rows and those of one length pay for what they hold only."""
    lengths = lengths_of(48)
    model, tokens = model_of(), tokens_of(lengths)
    packed = plan_of(model, tokens, steps=6, records=4)
    padded = plan_of(model, tokens, steps=6, records=4, rows="padded")
    assert padded.setup is not None and packed.setup is not None
    micros = [micro.lengths for step in padded.setup.draws() for micro in step]
    assert sorted(n for lengths in micros for n in lengths) == sorted(lengths)  # every record once
    whole = [max(some) for some in micros for _ in some]
    assert padded.setup.epoch() == pytest.approx((sum(whole), sum(n * n for n in whole)))
    assert packed.setup.epoch() == pytest.approx((sum(lengths), sum(n * n for n in lengths)))
    work, learnt = padded.setup.needs.work, float(tokens.supervised.sum())
    assert padded.flops == pytest.approx(work.training(whole, learnt))
    assert padded.flops > 1.2 * packed.flops
    assert padded.tokens == packed.tokens
    assert plan._flops_of(padded.setup, [0, 1]) == pytest.approx(
        work.training([max(lengths[:2])] * 2, float(tokens.supervised[:2].sum()))
    )


@pytest.mark.parametrize("rows", ["packed", "padded"])
def test_the_prefix_cache_spares_the_lower_layers_but_for_one_pass_over_each_document(rows):
    lengths = lengths_of(48)
    model = model_of()
    found = plan_of(model, tokens_of(lengths), steps=36, records=4, rows=rows)  # six steps an epoch
    cached = plan.with_prefix_cache(found, 1000, 2)
    assert (cached.cache_bytes, cached.disk_bytes) == (1000, found.disk_bytes + 1000)
    matrices = sum(p.numel() for name, p in model.named_parameters() if ".layers.0." in name and p.ndim == 2)
    tokens, squares = found.setup.epoch()
    layer = 2 * matrices * tokens + found.setup.needs.work.pair / 3 * squares
    once = 2 * matrices * sum(lengths) + found.setup.needs.work.pair / 3 * sum(n * n for n in lengths)
    assert found.flops - cached.flops == pytest.approx(2 * (6 * layer - once), rel=0.01)


@pytest.mark.parametrize("rows", ["packed", "padded"])
def test_recomputed_layers_are_computed_once_more_with_their_padding(rows):
    model = model_of()
    found = plan_of(model, tokens_of(lengths_of(48)), steps=12, records=4, rows=rows)
    again = fitting.under(found, model, fitting.Saving(recomputed=3), "float32")
    assert again.flops - found.flops == pytest.approx(2 * found.setup.forward_flops())  # two epochs


@pytest.mark.parametrize("second", [(3.9e9, 7.0), (1e9, 9.0), (1e9, 0.1)], ids=["too near", "slower", "too fast"])
def test_a_second_point_that_tells_nothing_is_left_out(second):
    found = plan_of(model_of(), tokens_of(lengths_of(64)))
    timed = plan.with_speed(found, [(4e9, 8.0), second])
    assert timed.seconds == pytest.approx(2e-9 * found.flops, rel=1e-3)


def test_the_fastest_of_two_counts():
    naps = iter([0.05, 0.001])
    assert plan.fastest(lambda: time.sleep(next(naps))) < 0.04


@pytest.mark.parametrize(
    ("rows", "records", "unit"), [("packed", None, 1), ("packed", 3, 1), ("padded", None, 1), ("packed", None, 2)]
)
def test_the_longest_micro_batch_is_one_that_the_trainer_would_make(rows, records, unit):
    lengths = lengths_of(64)
    setup = plan_of(model_of(), tokens_of(lengths), rows=rows, records=records, unit=unit).setup
    chosen = plan.longest_micro(setup)
    assert int(np.argmax(lengths)) in chosen
    assert len(chosen) % unit == 0
    assert all(
        chosen[i] % unit == 0 and chosen[i + 1] == chosen[i] + 1 for i in range(0, len(chosen), unit) if unit > 1
    )
    assert len(setup.cut(sorted(chosen))) == 1  # within the budget
    if records:
        assert len(chosen) == records


class Noticing:
    """An objective that draws from every random state, and writes on the documents that it is given."""

    unit, head = 1, "lm"

    def __init__(self):
        self.seen, self.modes = [], []

    def annotate(self, model, batch):
        for document in batch.documents:
            document.extra["noted"] = random.random() + np.random.random()

    def loss(self, model, batch) -> Loss:
        self.seen.append(batch.tokens)
        self.modes.append(model.training)
        found = SFT().loss(model, batch)
        return Loss(found.total * (1 + torch.rand(())), found.weight)


def test_timing_leaves_no_trace():
    torch.manual_seed(0)
    model = model_of(tuner=LoRA(rank=4, dropout=0.5)).eval()
    tokens = [tokens_of(lengths_of(32))[i] for i in range(32)]
    held = Tokens.of(tokens)
    found = plan_of(model, held)
    trained = [p for p in model.parameters() if p.requires_grad]
    trained[0].grad = torch.ones_like(trained[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    objective = Noticing()
    timed = plan.timed(found, model, objective, tokens, "float32")
    assert timed.seconds > 0
    assert timed.memory_bytes == found.memory_bytes
    assert len(objective.seen) == 3
    assert all(objective.modes)  # as in training
    assert objective.seen[0] == objective.seen[1] == sum(len(tokens[i]) for i in plan.longest_micro(found.setup))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(trained[0].grad, torch.ones_like(trained[0]))
    assert all(p.grad is None for p in trained[1:])
    assert not any(document.extra for document in tokens)
    assert not model.training


def test_no_trace_is_left_where_the_trial_fails():
    model = model_of().eval()
    state = torch.get_rng_state()

    def fail():
        with plan.untouched(model):
            raise ValueError(str(torch.rand(3)))

    with pytest.raises(ValueError, match="tensor"):
        fail()
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training


# ---- measured

MEASURED = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_plan as t, torch
from seektune import plan, runtime
from seektune.run import Run
from seektune.schedules.constant import Constant
from seektune.train.trainer import Trainer
model = t.model_of(tuner=t.Full(), hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=8)
tokens = t.tokens_of(t.lengths_of(24, longest=120))
options, layout = t.Train(steps=3, batch_size=24), t.Layout("packed", 0, None, 4096)
predicted = plan.predict(model, options, tokens, layout, "float32", 3)
source = t.Loader()
source.open(tokens, batch_size=24, unit=1, seed=0)
optimizer = t.AdamW().build(t.parameter_groups(model, 0.01))
runtime.reset_peak_rss()
with tempfile.TemporaryDirectory() as place:
    run = Run.create(Path(place), "run")
    with run.lock():
        Trainer(model, t.Full(), t.SFT(), optimizer, Constant(), source, run, options, layout,
                t.Precision("float32", "cpu"), 3, torch.device("cpu")).fit()
print(predicted.peak_memory_bytes, runtime.peak_rss())
"""


def test_memory_of_a_real_training_process_is_near_the_plan():
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    predicted, measured = map(int, done.stdout.split())
    assert predicted == pytest.approx(measured, rel=0.3)


def test_a_precision_with_loss_scaling_has_a_plan():
    model = model_of(precision="float16")
    found = plan.predict(model, Train(batch_size=4), tokens_of([20] * 8), Layout("packed"), "float16", 2)
    assert found.memory_bytes["frozen weights"] == sum(2 * p.numel() for p in model.parameters() if not p.requires_grad)
