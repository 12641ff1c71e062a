"""The loop: the cut never matters, a resume is exact, trouble is named."""

import json
import math
import time

import numpy as np
import pytest
import torch
from harness import documents, trainer, weights

from seektune import runtime
from seektune.contracts import Batch, Document
from seektune.errors import RunFailedError, StoppedError
from seektune.models import forward
from seektune.objectives.sft import SFT
from seektune.observers.early_stopping import EarlyStopping
from seektune.train import checkpoint
from seektune.train.options import Train
from seektune.train.trainer import Layout


def gradient(tmp_path, name, layout):
    made = trainer(tmp_path, name=name, layout=layout, options=Train(steps=1, clip=None))
    made._rates = [0.0] * 2
    made._update(*made._backward(Batch(documents())))
    return torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None])


CUTS = [Layout("packed", tokens=60), Layout("packed", records=1), Layout("packed", records=8), Layout("padded", records=32),
        Layout("padded", records=5), Layout("equal", tokens=100)]  # fmt: skip


@pytest.mark.parametrize("layout", CUTS, ids=lambda c: f"{c.rows}-{c.records or c.tokens}")
def test_the_cut_never_changes_a_gradient(tmp_path, layout):
    whole = gradient(tmp_path, "whole", Layout("packed", records=100))
    cut = gradient(tmp_path, "cut", layout)
    assert float((cut - whole).norm() / whole.norm()) < 1e-5


def test_the_gradient_is_that_of_the_plain_formula(tmp_path):
    made = trainer(tmp_path)
    losses, given = forward.reference_losses(made.model, Batch(documents()))
    made.model.zero_grad()
    ((losses * given).sum() / given.sum()).backward()
    plain = torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None])
    ours = gradient(tmp_path, "ours", Layout("packed", tokens=64))
    assert float((ours - plain).norm() / plain.norm()) < 1e-5


def test_losses_fall_and_lines_are_complete(tmp_path):
    made = trainer(tmp_path, options=Train(steps=20, batch_size=24))
    tally = made.fit()
    lines = made.run.metrics("train")
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert tally.tokens == lines[-1]["tokens"] == 20 * sum(map(len, documents()))
    assert set(lines[0]) >= {
        "step",
        "progress",
        "tokens",
        "supervised_tokens",
        "split",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
        "time",
    }


def test_clipping_bounds_the_step_and_the_rate_follows_the_schedule(tmp_path):
    made = trainer(tmp_path, options=Train(steps=4, batch_size=8, clip=1e-3))
    made.fit()
    rates = [line["learning_rate"] for line in made.run.metrics("train")]
    assert rates == pytest.approx([1e-2 * min(1.0, (k + 0.5) / 4 / 0.3) for k in range(4)])
    grads = torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None])
    assert float(grads.norm()) == pytest.approx(1e-3, rel=1e-3)


class StopAfter:
    def __init__(self, step):
        self.step = step

    def observe(self, event):
        return "signal SIGINT" if event.name == "step" and event.step == self.step else None


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_has_the_same_bits(tmp_path, stop):
    options = Train(steps=7, batch_size=8, save_every=100)
    whole = trainer(tmp_path, name="whole", options=options, dropout=0.1)
    whole.fit()
    first = trainer(tmp_path, name="parts", options=options, dropout=0.1, observers=[StopAfter(stop)])
    with pytest.raises(StoppedError, match="seektune train --resume"):
        first.fit()
    second = trainer(tmp_path, name="parts", options=options, dropout=0.1)
    torch.manual_seed(999)  # the checkpoint's random state counts, not this
    second.resume(checkpoint.latest(second.run.checkpoints_folder))
    second.fit()
    assert torch.equal(weights(whole.model), weights(second.model))
    for name in ("loss", "learning_rate", "grad_norm", "tokens"):
        assert [m[name] for m in whole.run.metrics("train")] == [m[name] for m in second.run.metrics("train")]


def test_lines_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    options = Train(steps=6, batch_size=8, save_every=2)
    whole = trainer(tmp_path, options=options)
    whole.fit()
    again = trainer(tmp_path, options=options)
    again.resume(again.run.checkpoint_folder(4))
    assert [line["step"] for line in again.run.metrics("train")] == [1, 2, 3, 4]


def test_checkpoints_rotate_and_the_best_stays(tmp_path):
    options = Train(steps=8, batch_size=8, save_every=1, keep=2, validate_every=1)
    made = trainer(tmp_path, options=options, valid=documents(6, seed=9))
    tally = made.fit()
    names = [p.name for p in checkpoint.every(made.run.checkpoints_folder)]
    assert names[-2:] == ["step-000007", "step-000008"]
    assert f"step-{tally.best_step:06d}" in names
    assert len(names) <= 3


def test_validation_equals_the_plain_loss(tmp_path):
    held_out = documents(7, seed=5)
    made = trainer(tmp_path, valid=held_out)
    with torch.no_grad():
        losses, given = forward.reference_losses(made.model.eval(), Batch(held_out))
    assert made.validate() == pytest.approx(float((losses * given).sum() / given.sum()), rel=1e-5)


class Poison(SFT):
    """Gives a non-finite loss in chosen steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.calls = steps, 0

    def loss(self, model, batch):
        self.calls += 1
        loss = super().loss(model, batch)
        if self.calls in self.steps:
            loss.total = loss.total * math.nan
        return loss


def test_a_non_finite_step_is_skipped_counted_and_kept_in_a_file(tmp_path):
    made = trainer(tmp_path, objective=Poison({2}), options=Train(steps=4, batch_size=8))
    tally = made.fit()
    assert (tally.skipped, tally.skipped_in_a_row) == (1, 0)
    assert torch.isfinite(weights(made.model)).all()
    [event] = made.run.events("non_finite")
    assert event["module"]
    assert event["records"]
    kept = json.loads((made.run.path / "non_finite" / "step-000002.json").read_text())
    assert len(kept["documents"]) == 8
    assert made.run.metrics("train")[1]["loss"] is None


def test_non_finite_steps_in_a_row_stop_the_run_with_advice(tmp_path):
    made = trainer(
        tmp_path, objective=Poison({3, 4, 5}), options=Train(steps=9, batch_size=8, save_every=1, max_non_finite=3)
    )
    with pytest.raises(
        RunFailedError, match=r"3 steps in a row.*last good checkpoint is step-00000\d.*learning rate ten times smaller"
    ):
        made.fit()


class OutOfMemory(SFT):
    """Cannot take more than some documents at once, as a small device."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def loss(self, model, batch):
        if len(batch.documents) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().loss(model, batch)


def test_out_of_memory_goes_on_with_half_the_micro_batch_and_the_same_numbers(tmp_path):
    whole = trainer(tmp_path, name="whole")
    whole.fit()
    small = trainer(tmp_path, name="small", objective=OutOfMemory(3))
    small.fit()
    assert [e["microbatch"] for e in small.run.events("out_of_memory")] == [4, 2]
    difference = weights(small.model) - weights(whole.model)
    assert float(difference.norm() / weights(whole.model).norm()) < 1e-4


def test_out_of_memory_with_one_record_says_what_would_help(tmp_path):
    made = trainer(tmp_path, objective=OutOfMemory(0))
    with pytest.raises(RunFailedError, match=r"activation_checkpointing=true, or a smaller data.max_length"):
        made.fit()


def test_early_stopping_stops(tmp_path):
    options = Train(steps=60, batch_size=24, validate_every=1)
    stopper = EarlyStopping(patience=2, min_delta=0.0)
    made = trainer(tmp_path, options=options, valid=documents(8, seed=77), observers=[stopper])
    tally = made.fit()
    assert tally.step < 60
    [event] = made.run.events("stop")
    assert event["reason"].startswith("early stopping: 2 validations")


def test_half_precision_scales_the_loss_and_recovers_from_an_overflow(tmp_path):
    made = trainer(tmp_path, precision="float16", options=Train(steps=5, batch_size=8))
    made.precision.scaler._init_scale = 2.0**40
    tally = made.fit()
    assert tally.skipped > 0
    assert made.precision.scaler.get_scale() < 2.0**40


def test_a_batch_in_which_nothing_is_learnt_is_an_error(tmp_path):
    empty = [Document(np.arange(10, 20, dtype=np.int32), np.zeros(10, np.float32), i) for i in range(8)]
    made = trainer(tmp_path, documents=empty)
    with pytest.raises(RunFailedError, match=r"no token of the batch is learnt"):
        made.fit()


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    from seektune import files

    made = trainer(tmp_path, options=Train(steps=6, batch_size=8, save_every=2))

    def full(operation, path):
        if operation == "write" and "step-000004" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "before", full)
    with pytest.raises(RunFailedError, match=r"No space left on device.*step-000002; make room"):
        made.fit()
    assert [p.name for p in checkpoint.every(made.run.checkpoints_folder)] == ["step-000002"]


def test_a_damaged_checkpoint_is_refused(tmp_path):
    from seektune.errors import InputError

    made = trainer(tmp_path)
    made.fit()
    path = checkpoint.latest(made.run.checkpoints_folder)
    data = bytearray((path / "trainable.safetensors").read_bytes())
    data[-3] ^= 1
    (path / "trainable.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="the file is damaged"):
        trainer(tmp_path).resume(path)


def test_unused_memory_is_given_back_only_when_the_process_has_grown(tmp_path, monkeypatch):
    made = trainer(tmp_path)
    held, released, clock = [0], [], [100.0]
    monkeypatch.setattr(runtime, "rss", lambda: held[0])
    monkeypatch.setattr(runtime, "release_memory", lambda: released.append(held[0]))
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    # needed by the first micro-batch; the same; grown; needed after that; no more than the first; grown, but it is too early; late enough
    for held[0], seconds in ((1000, 3), (1040, 3), (1100, 3), (900, 1), (1040, 0.5), (1100, 0.1), (1110, 3)):
        clock[0] += seconds
        made._release()
    assert released == [1100, 1110]
