"""The frozen-prefix cache: the same bits however states are come by, and nothing wrong is ever read."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from harness import documents, trainer, weights

from seektune import files
from seektune.contracts import Batch, Document
from seektune.data.pack import collate
from seektune.data.tokens import Tokens
from seektune.errors import RecipeError, StoppedError
from seektune.models import boundary, isolation
from seektune.objectives.classify import Classify
from seektune.train import checkpoint, prefix_cache, prefix_store
from seektune.train.options import Train
from seektune.train.precision import Precision
from seektune.train.trainer import Layout
from seektune.tuners.freeze import Freeze
from seektune.tuners.lora import LoRA

THREE_EPOCHS = Train(steps=9, batch_size=8, save_every=4)
UPPER = LoRA(target_modules=r".*layers\.2\..*_proj")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The weights of a run with the cache that nothing disturbs, and its folder of states."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEKTUNE_CACHE", str(folder / "cache"))
        patch.setattr(prefix_store, "BLOCK", 20_000)
        made = cached(folder)
        made.fit()
    return weights(made.model), folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prefix_store, "BLOCK", 20_000)  # several files in an epoch
    return tmp_path


def cached(folder, *, asked=True, epochs=3.0, given=None, **more):
    """A trainer over three epochs of 24 documents whose lower two of three layers are frozen, with its cache."""
    given = given or documents()
    made = trainer(folder, **{"options": THREE_EPOCHS, "tuner": Freeze(layers=2), "documents": given} | more)
    decision = prefix_cache.decide(asked, made.model, Tokens.of(given), made.layout, made.precision.name, epochs)
    made.prefix = decision.cache
    return made


def computed(made):
    """Which documents are run through the lower layers, in the order in which they are."""
    seen, own = [], made.prefix._computed
    made.prefix._computed = lambda model, document: seen.append(document.record) or own(model, document)
    return seen


def said(made):
    return [event["said"] for event in made.run.events("prefix_cache") if "said" in event]


def states(folder):
    return sorted((folder / "cache" / "prefix").glob("*/*.states"))


class DiskFull:
    """Refuses every write of states."""

    def __init__(self, number=errno.ENOSPC, after=0):
        self.number, self.left = number, after

    def __call__(self, operation, path):
        if operation == "write" and path.suffix == ".states":
            self.left -= 1
            if self.left < 0:
                raise OSError(self.number, os.strerror(self.number))


class StopAfter:
    def __init__(self, step):
        self.step = step

    def observe(self, event):
        return "signal SIGINT" if event.name == "step" and event.step == self.step else None


# ---- the same numbers ----


@pytest.mark.parametrize("tuner", [Freeze(layers=2), UPPER], ids=["freeze", "lora"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_document_goes_through_the_lower_layers_once_and_the_bits_are_those_of_computing(
    place, monkeypatch, tuner, precision
):
    first = cached(place, name="first", tuner=tuner, precision=precision)
    ran = computed(first)
    first.fit()
    assert sorted(ran) == list(range(24))
    assert len(states(place)) > 2
    again = cached(place, name="again", tuner=tuner, precision=precision)
    ran = computed(again)
    again.fit()
    assert ran == []  # a second run reads
    monkeypatch.setenv("SEEKTUNE_CACHE", str(place / "full"))
    monkeypatch.setattr(files, "before", DiskFull())
    without = cached(place, name="without", tuner=tuner, precision=precision)
    ran = computed(without)
    without.fit()
    assert len(ran) > 24  # what waited in memory was found there until the disk refused it
    for other in (again, without):
        assert torch.equal(weights(first.model), weights(other.model))
        assert [m["loss"] for m in first.run.metrics("train")] == [m["loss"] for m in other.run.metrics("train")]


def test_the_ordinary_path_comes_to_the_same_numbers_up_to_rounding(place):
    ours, plain = cached(place, name="ours"), trainer(place, options=THREE_EPOCHS, tuner=Freeze(layers=2))
    ours.fit()
    plain.fit()
    assert float((weights(ours.model) - weights(plain.model)).norm() / weights(plain.model).norm()) < 1e-5


def test_activations_that_are_computed_again_change_nothing(place, expected):
    model = zoo.tiny("qwen2")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()
    made = cached(place, model=model)
    made.fit()
    assert torch.equal(expected[0], weights(made.model))


@pytest.mark.parametrize("rows", ["packed", "padded", "equal"])
def test_with_one_document_a_row_the_ordinary_path_has_the_same_bits(place, rows):
    layout = Layout(rows, records=1)
    ours, plain = (
        cached(place, name="ours", layout=layout),
        trainer(place, options=THREE_EPOCHS, tuner=Freeze(layers=2), layout=dataclasses.replace(layout)),
    )
    ours.fit()
    plain.fit()
    assert torch.equal(weights(ours.model), weights(plain.model))


@pytest.mark.parametrize("rows", ["padded", "equal"])
def test_padded_rows_come_to_the_same_numbers(place, rows):
    ours = cached(place, name="ours", layout=Layout(rows))
    plain = trainer(place, options=THREE_EPOCHS, tuner=Freeze(layers=2), layout=Layout(rows))
    ours.fit()
    plain.fit()
    assert float((weights(ours.model) - weights(plain.model)).norm() / weights(plain.model).norm()) < 1e-5


@pytest.mark.parametrize("architecture", ["qwen3_5", "deepseek_v32", "deepseek_v4"])
def test_models_that_are_not_packed(place, architecture):
    """Streams beside each other, sparse indices and linear attention: cached, read again, and as without the cache."""
    made = {}
    for name in ("first", "again", "plain"):
        model = zoo.tiny(architecture)
        layout = Layout(isolation.isolate(model).rows)
        options = Train(steps=4, batch_size=6)
        given = documents(12)
        if name == "plain":
            model.set_attn_implementation = lambda *_: None  # it does not take ours
            made[name] = trainer(place, name=name, model=model, tuner=Freeze(layers=2), layout=layout, options=options, documents=given)  # fmt: skip
        else:
            model.set_attn_implementation = lambda *_: None
            made[name] = cached(place, name=name, model=model, layout=layout, options=options, given=given)
            ran = computed(made[name])
        made[name].fit()
        if name != "plain":
            assert len(ran) == (12 if name == "first" else 0)
    assert torch.equal(weights(made["first"].model), weights(made["again"].model))
    plain = weights(made["plain"].model)
    assert float((weights(made["first"].model) - plain).norm() / plain.norm()) < 1e-4


@pytest.mark.parametrize("stop", [2, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(place, expected, stop):
    first = cached(place, name="parts", observers=[StopAfter(stop)])
    with pytest.raises(StoppedError):
        first.fit()
    second = cached(place, name="parts")
    ran = computed(second)
    second.resume(checkpoint.latest(second.run.checkpoints_folder))
    second.fit()
    assert len(ran) == max(0, 24 - 8 * stop)  # what the first part computed was there
    assert torch.equal(expected[0], weights(second.model))


KILLED = """
import os, signal, sys
import test_prefix_cache as tests

class Kill:
    def observe(self, event):
        if event.name == "step" and event.step == 6:
            os.kill(os.getpid(), signal.SIGKILL)

tests.torch.set_num_threads(1)
tests.prefix_store.BLOCK = 30_000
tests.cached(tests.Path(sys.argv[1]), name="parts", observers=[Kill()]).fit()
"""


def test_a_killed_run_goes_on_to_the_same_bits(place, expected):
    here = Path(__file__).resolve().parent
    search = os.pathsep.join([str(here), str(here.parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], env=os.environ | {"PYTHONPATH": search})
    assert done.returncode == -signal.SIGKILL
    second = cached(place, name="parts")
    ran = computed(second)
    second.resume(checkpoint.latest(second.run.checkpoints_folder))
    second.fit()
    assert 0 < len(ran) < 24  # only what had not come to the disk
    assert torch.equal(expected[0], weights(second.model))


def labelled(count=24):
    return [dataclasses.replace(d, weights=np.zeros(len(d), np.float32), label=i % 3) for i, d in enumerate(documents(count))]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "rows"), [("qwen2", "packed"), ("llama", "padded"), ("bert", "padded"), ("modernbert", "padded")]
)
def test_classification(place, architecture, rows):
    """Decoders are read at their last token, encoders by their own pooling; both from recorded states."""

    def start(make, name, **more):
        model = zoo.tiny(architecture, head="classifier")
        isolation.isolate(model)
        if architecture == "modernbert":
            model.set_attn_implementation = lambda *_: None
        return make(place, name=name, model=model, objective=Classify(), layout=Layout(rows), **more)

    first, again = (start(cached, name, given=labelled()) for name in ("first", "again"))
    plain = start(trainer, "plain", documents=labelled(), options=THREE_EPOCHS, tuner=Freeze(layers=2))
    first.fit()
    ran = computed(again)
    again.fit()
    plain.fit()
    assert ran == []
    assert torch.equal(weights(first.model), weights(again.model))
    ours, theirs = ([m["loss"] for m in made.run.metrics("train")] for made in (first, plain))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_prefix_that_stands_in_the_row_once(place):
    """Two documents that begin alike, laid out as prefix, rest, rest: each token gets the state of its document and position."""
    made = cached(place)
    made.prefix.open(made.model)
    ids = np.arange(20, 32, dtype=np.int32)
    one, two = (
        Document(np.append(ids[:6], rest), np.ones(6 + len(rest), np.float32)) for rest in (ids[6:8], ids[8:12])
    )
    segments, positions = [0] * 8 + [1] * 4, [*range(8), *range(6, 10)]
    row = [torch.tensor([list(values)]) for values in (np.append(one.ids, two.ids[6:]), positions, segments)]
    micro = Batch([one, two], *row, None, (8, 10))
    made.model.train()
    made.prefix.attach(made.model, micro)
    made.prefix.close()
    alone = [boundary.record(made.model, collate([document]), made.prefix.below)[0][0][0] for document in (one, two)]
    assert torch.equal(micro.boundary.leaves[0][0], torch.cat([alone[0], alone[1][6:]]))


# ---- damage ----


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # in the states of its last document
    path.write_bytes(data)


def flip_index(path: Path):
    data = bytearray(path.read_bytes())
    data[prefix_store.HEADER.size + 3] ^= 1
    path.write_bytes(data)


def cut(path: Path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path):
    os.truncate(path, 0)


@pytest.mark.parametrize(("damage", "lost"), [(flip, 1), (flip_index, 2), (cut, 2), (empty, 2)], ids=lambda d: getattr(d, "__name__", d))  # fmt: skip
def test_a_damaged_file_is_noticed_and_made_anew(place, expected, damage, lost):
    shutil.copytree(expected[1] / "cache", place / "cache")
    damage(states(place)[0])
    second = cached(place, name="second")
    ran = computed(second)
    second.fit()
    assert lost <= len(ran) < 24
    assert (damage is not flip) or len(ran) == 1
    assert torch.equal(expected[0], weights(second.model))
    assert len(said(second)) == 1
    assert "damaged" in said(second)[0]
    third = cached(place, name="third")
    ran = computed(third)
    third.fit()
    assert ran == []  # it was made anew
    assert torch.equal(expected[0], weights(third.model))


def test_states_of_another_base_are_not_used(place, expected):
    shutil.copytree(expected[1] / "cache", place / "cache")
    other = cached(place, name="other", model=zoo.tiny("qwen2", seed=1))
    ran = computed(other)
    other.fit()
    assert len(ran) == 24
    assert len(list((place / "cache" / "prefix").iterdir())) == 2


def test_one_bit_of_one_frozen_weight_is_another_base(place):
    made = cached(place)
    before = prefix_cache.weights_digest(made.model, 2)
    weight = made.model.model.layers[1].mlp.down_proj.weight
    bits = weight.data.view(torch.int32)
    bits[-1, -1] ^= 1
    assert prefix_cache.weights_digest(made.model, 2) != before
    bits[-1, -1] ^= 1
    with torch.no_grad():
        made.model.model.layers[2].mlp.down_proj.weight.add_(1)  # above the boundary
    assert prefix_cache.weights_digest(made.model, 2) == before


def test_all_that_bits_depend_on_is_in_the_key(place, monkeypatch):
    model = cached(place).model

    def name(layer=2, precision="float32", rows="packed"):
        return prefix_store.name_of(prefix_cache.key_facts(model, layer, Precision(precision, "cpu"), rows))

    plain = name()
    assert name() == plain
    others = {name(layer=1), name(precision="bfloat16"), name(rows="padded")}
    model.config.rms_norm_eps *= 2
    others.add(name())
    model.config.rms_norm_eps /= 2
    monkeypatch.setattr(torch, "__version__", "0")
    others.add(name())
    assert len(others | {plain}) == 6


def test_other_ids_are_other_documents(place, expected):
    shutil.copytree(expected[1] / "cache", place / "cache")
    given = documents()
    given[5].ids = given[5].ids.copy()
    given[5].ids[0] += 1
    second = cached(place, name="second", given=given)
    ran = computed(second)
    second.fit()
    assert ran == [5]


# ---- the disk ----


@pytest.mark.parametrize(
    ("number", "after"), [(errno.ENOSPC, 0), (errno.ENOSPC, 2), (errno.EDQUOT, 1), (errno.EROFS, 0)]
)
def test_a_disk_that_fills_costs_the_cache_and_not_the_run(place, expected, monkeypatch, number, after):
    monkeypatch.setattr(files, "before", DiskFull(number, after))
    made = cached(place, name="full")
    tally = made.fit()
    assert tally.step == 9
    assert torch.equal(expected[0], weights(made.model))
    assert len(said(made)) == 1
    assert os.strerror(number) in said(made)[0]
    assert not list((place / "cache" / "prefix").glob("*/*.states"))  # its room is for checkpoints


def test_a_folder_that_cannot_be_made(place, expected, monkeypatch):
    (place / "file").write_text("no folder")
    monkeypatch.setenv("SEEKTUNE_CACHE", str(place / "file"))
    made = cached(place, name="other")
    made.fit()
    assert len(said(made)) == 1
    assert torch.equal(expected[0], weights(made.model))


def test_no_more_is_kept_than_the_limit(place, expected, monkeypatch):
    total = sum(path.stat().st_size for path in states(expected[1]))
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", str(total // 2))
    made = cached(place, name="small")
    ran = computed(made)
    made.fit()
    kept = sum(path.stat().st_size for path in states(place))
    assert total // 4 < kept <= total // 2
    assert 24 < len(ran) < 72
    assert len(said(made)) == 1
    assert torch.equal(expected[0], weights(made.model))


def used(name, bytes_, at):
    """A folder of an earlier run."""
    folder = prefix_store.root() / name
    folder.mkdir(parents=True)
    (folder / "1.states").write_bytes(bytes(bytes_))
    (folder / prefix_store.KEY).write_text("{}")
    os.utime(folder / prefix_store.KEY, (at, at))
    return folder


def test_the_folder_used_longest_ago_gives_way(place, monkeypatch):
    now = time.time()
    old, older, new = used("old", 40_000, now - 20), used("older", 40_000, now - 30), used("new", 40_000, now - 10)
    need = cached(place, name="ask").prefix.bytes_needed
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", str(need + 50_000))
    made = cached(place)
    made.fit()
    assert (old.exists(), older.exists(), new.exists()) == (False, False, True)
    assert [line.split()[3] for line in said(made)] == ["older", "old"]
    assert states(place)


def test_a_folder_that_another_run_uses_stays(place, monkeypatch):
    busy = used("busy", 40_000, 1)
    need = cached(place, name="ask").prefix.bytes_needed
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", str(need + 10_000))
    lock = prefix_store._shared(busy)
    cached(place).fit()
    assert busy.exists()
    lock.close()


def test_states_of_other_data_give_way_where_both_have_no_room(place, expected, monkeypatch):
    shutil.copytree(expected[1] / "cache", place / "cache")
    first = states(place)
    given = documents(16, seed=5)
    need = cached(place, name="ask", given=given).prefix.bytes_needed
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", str(need + 10_000))
    made = cached(place, name="second", given=given)
    made.fit()
    assert not any(path.exists() for path in first)
    assert "states of other data" in said(made)[0]
    assert states(place)


# ---- the decision ----


def decision(made, asked, epochs=3.0):
    return prefix_cache.decide(asked, made.model, Tokens.of(documents()), made.layout, "float32", epochs)


def test_it_is_on_where_it_pays_and_says_so(place):
    made = trainer(place, tuner=Freeze(layers=2))
    before = torch.get_rng_state()
    found = decision(made, "auto")
    assert found.on
    assert found.cache.layer == 2
    assert "through layer 3 only" in found.reason
    assert found.cache.proof.bytes_per_token == 32 * 4
    tokens = sum(map(len, documents()))
    assert found.bytes == tokens * 128 + 24 * prefix_store.ENTRY.itemsize
    assert torch.equal(torch.get_rng_state(), before)
    assert found.as_dict() == {"on": True, "reason": found.reason, "layer": 2}


def test_what_was_predicted_lies_on_the_disk(place, expected):
    found = sum(path.stat().st_size for path in states(expected[1]))
    headers = prefix_store.HEADER.size * len(states(expected[1]))
    assert found == cached(place).prefix.bytes_needed + headers


@pytest.mark.parametrize(
    ("tuner", "dropout", "why"),
    [
        (Freeze(layers=2), 0.1, "random while training"),
        (Freeze(layers=0), 0.0, "the lowest layer is trained"),
        (Freeze(layers=2, embeddings=False), 0.0, "the embeddings are trained"),
        (LoRA(), 0.0, "the lowest layer is trained"),
    ],
    ids=["dropout", "lowest", "embeddings", "lora"],
)
def test_where_it_would_be_wrong_it_is_off_and_asking_for_it_is_an_error(place, tuner, dropout, why):
    made = trainer(place, tuner=tuner, dropout=dropout)
    found = decision(made, "auto")
    assert not found.on
    assert why in found.reason
    with pytest.raises(RecipeError, match=f"train.prefix_cache: it would be wrong here: .*{why}"):
        decision(made, True)


def test_auto_is_off_where_it_does_not_pay(place, monkeypatch):
    made = trainer(place, tuner=Freeze(layers=2))
    assert decision(made, "auto", epochs=1.0).reason == "off: the data are read once"
    assert decision(made, True, epochs=1.0).on
    assert not decision(made, False).on
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", "1000")
    assert "may take 1000 B" in decision(made, "auto").reason
    assert decision(made, True).on


def test_what_was_decided_stands_when_a_run_goes_on(place, monkeypatch):
    made = trainer(place, tuner=Freeze(layers=2))
    arguments = (made.model, Tokens.of(documents()), made.layout, "float32", 3.0)
    was_on, was_off = decision(made, "auto").as_dict(), {"on": False, "reason": "off: as before"}
    monkeypatch.setenv("SEEKTUNE_PREFIX_LIMIT", "1000")
    assert prefix_cache.decide("auto", *arguments, was_on).on
    assert prefix_cache.decide("auto", *arguments, was_off).reason == "off: as before"


def test_a_layer_that_is_thawed_on_the_way_ends_it(place):
    class Thawing(Freeze):
        def advance(self, model, progress):
            if progress > 0.5:
                model.model.layers[1].requires_grad_(True)

    made = cached(place, tuner=Thawing(layers=2))
    made.fit()
    assert len(said(made)) == 1
    assert "trained from here on" in said(made)[0]
    assert made.model.model.layers[1].mlp.up_proj.weight.grad is not None


def test_validation_runs_the_whole_model(place):
    made = cached(place, valid=documents(6, seed=9))
    plain = trainer(place, name="plain", tuner=Freeze(layers=2), valid=documents(6, seed=9))
    assert made.validate() == plain.validate()


def test_documents_of_one_token(place):
    given = [Document(np.array([20 + i], np.int32), np.zeros(1, np.float32), i) for i in range(3)] + documents(8)
    made = cached(place, given=given)
    made.fit()
    assert made.prefix.documents == 11


# ---- from a recipe ----


def test_a_recipe_with_frozen_layers_uses_it_and_its_plan_tells(tmp_path, monkeypatch):
    from seektune import assembly, recipe

    monkeypatch.setattr(assembly, "RUNS", tmp_path / "runs")
    zoo.tiny_folder(tmp_path / "model")
    rows = [{"instruction": f"say {i}", "output": "river town " * (1 + i % 3)} for i in range(12)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        f"name: top\nmodel: {{path: {tmp_path / 'model'}}}\ndata: {{train: [{{path: {tmp_path / 'train.jsonl'}}}]}}\n"
        "tuner: {kind: freeze, layers: 2}\nobjective: {kind: sft}\noptimizer: {kind: adamw}\nschedule: {kind: constant}\n"
        "train: {epochs: 3, batch_size: 4, device: cpu, precision: float32}\n"
    )
    run = assembly.run(recipe.load(tmp_path / "recipe.yaml", []))
    held = run.read("plan.json")
    assert held["decisions"]["prefix_cache"]["on"]
    assert held["decisions"]["prefix_cache"]["layer"] == 2
    assert held["cache_bytes"] > 0
    assert held["disk_bytes"] == held["cache_bytes"] + held["checkpoints_bytes"] + held["model_bytes"]
    [opened] = run.events("prefix_cache")
    assert (opened["layer"], opened["documents"]) == (2, 0)
    with pytest.raises(RecipeError, match=r"prefix_cache: it would be wrong here: the embeddings are trained"):
        assembly.prepare(recipe.load(tmp_path / "recipe.yaml", ["tuner=full", "train.prefix_cache=true"]))
