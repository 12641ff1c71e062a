"""The longest real batch is run before anything else: it leaves no trace, and what does not fit is found there."""

import json

import pytest
import torch
import zoo

from seektune import assembly, doctor, plan, recipe
from seektune.errors import InputError, StoppedError
from seektune.run import Run

RECIPE = """
model: {path: model, dtype: float32}
data: {train: train.jsonl}
tuner: {kind: lora, dropout: 0.1}
objective: sft
train: {batch_size: 6, steps: 4, precision: float32, device: cpu, save_every: 2}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    zoo.tiny_folder(tmp_path / "model", "llama")
    rows = [{"instruction": f"say {i}", "output": "river " * (1 + i % 7)} for i in range(24)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "one.yaml").write_text(RECIPE)
    return tmp_path


def read(name="one", *settings):
    return recipe.load("one.yaml", [f"name={name}", *settings])


class Device:
    """Holds no more than so many tokens in a forward that keeps its activations: raises what an allocator raises. Counts the forwards."""

    def __init__(self, most):
        self.most, self.forwards = most, []

    def __call__(self, module, arguments, named):
        tokens = named["input_ids"].numel()
        self.forwards.append(tokens)
        if tokens > self.most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError(f"out of memory: {tokens} tokens")

    def on(self, ready):
        base = ready.model.get_base_model()
        getattr(base, base.base_model_prefix).register_forward_pre_hook(self, with_kwargs=True)
        return self


def on_device_of(tokens):
    """`assembly.prepare` of a machine that holds no more than so many tokens."""
    prepare = assembly.prepare

    def small(*given):
        ready = prepare(*given)
        Device(tokens).on(ready)
        return ready

    return small


def trained(ready, name):
    run = Run.create(assembly.RUNS, name)
    assembly._describe(ready, run)
    assembly._train(ready, run)
    rows = [{k: v for k, v in row.items() if k in ("step", "loss", "grad_norm")} for row in run.metrics("train")]
    return rows, {n: p.detach().clone() for n, p in ready.model.named_parameters() if p.requires_grad}


def test_a_run_has_the_same_bits_with_and_without_the_trial(here):
    plain = trained(assembly.prepare(read("plain")), "plain")
    ready = assembly.prepare(read("tried"))
    doctor.check(ready, begins=True)
    assert ready.plan.seconds is not None
    tried = trained(ready, "tried")
    assert plain[0] == tried[0]
    assert all(torch.equal(value, tried[1][name]) for name, value in plain[1].items())


def test_it_is_the_first_forward_and_there_is_one_trial_only(here):
    ready = assembly.prepare(read())
    device = Device(10**9).on(ready)
    doctor.check(ready, begins=True)
    lengths = ready.data.train_tokens.lengths
    longest = lengths[plan.longest_micro(ready.plan.setup)].sum()
    count = len(device.forwards)
    assert next(tokens for tokens in device.forwards if tokens > 3) == longest  # three: how the head is proved
    doctor.check(ready, begins=True)
    assert longest not in device.forwards[count:]  # dead modules are looked for, nothing is timed again


def test_what_does_not_fit_is_halved_before_the_first_step_and_told_once(here):
    ready = assembly.prepare(read())
    lengths = ready.data.train_tokens.lengths
    whole = int(lengths[plan.longest_micro(ready.plan.setup)].sum())
    Device(whole - 1).on(ready)
    state = torch.get_rng_state()
    diagnosis = doctor.check(ready, begins=True)
    told = [f for f in diagnosis.findings if f.check == "longest_batch"]
    assert [f.severity for f in told] == ["warning"]
    assert f"(6 documents, {whole} tokens) is out of memory" in told[0].line
    assert "3 at once in this run, with the same gradient" in told[0].line
    assert ready.layout.records == ready.decisions["microbatch_records"] == 3
    assert ready.plan.microbatches == 8  # two in each of four steps: the plan follows
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in ready.model.parameters())
    rows, _ = trained(ready, "one")
    assert len(rows) == 4
    assert not Run.open("runs/one").events("out_of_memory")


def test_one_record_that_does_not_fit_stops_the_run_before_it_begins(here, monkeypatch):
    small = on_device_of(20)
    monkeypatch.setattr(assembly, "prepare", small)
    with pytest.raises(InputError, match=r"out of memory with one record of \d+ tokens.*the plan said"):
        assembly.run(read())
    assert not (here / "runs" / "one").exists()


def test_a_run_begins_with_it_even_where_the_plan_says_that_it_will_not_fit(here, monkeypatch):
    tight = int(0.95 * assembly.prepare(read()).plan.peak_memory_bytes)
    monkeypatch.setattr(plan, "memory_limit", lambda device: tight)
    ready = assembly.prepare(read("one", "train.activation_checkpointing=false"))
    assert not ready.plan.fits
    device = Device(10**9).on(ready)
    doctor.check(ready)
    assert device.forwards == []  # `check` does not try what the plan says will fail
    doctor.check(ready, begins=True)
    assert device.forwards


def described_without_observers(ready, run, describe=assembly._describe):
    """An observer of a test is no kind, so no recipe can name it."""
    seen = list(ready.recipe.observers)
    ready.recipe.observers.clear()
    describe(ready, run)
    ready.recipe.observers.extend(seen)


def test_a_resumed_run_takes_the_cut_that_was_stored(here, monkeypatch):
    small = on_device_of(60)

    class Stop:
        def observe(self, event):
            return "signal SIGINT" if event.name == "step" and event.step == 2 else None

    def stopping(*given):
        ready = small(*given)
        ready.recipe.observers.append(Stop())
        return ready

    with monkeypatch.context() as patch:
        patch.setattr(assembly, "prepare", small)
        whole = assembly.run(read("whole"))
        patch.setattr(assembly, "prepare", stopping)
        patch.setattr(assembly, "_describe", described_without_observers)
        with pytest.raises(StoppedError):
            assembly.run(read("parts"))
    parts = recipe.resume(Run.open("runs/parts"))  # where there is memory enough
    assert parts.read("plan.json")["decisions"]["microbatch_records"] is not None
    assert [row["loss"] for row in parts.metrics("train")] == [row["loss"] for row in whole.metrics("train")]
