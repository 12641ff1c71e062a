"""What is given up so that a run fits: as little as the plan says, foretold as autograd counts it, and to the same bits."""

import dataclasses
import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_longest_first import here, trained  # noqa: F401  (a fixture)
from test_plan import lengths_of, model_of, plan_of, tokens_of

from seektune import assembly, fitting, plan, recipe
from seektune.errors import InputError
from seektune.fitting import Saving
from seektune.models import cost, pieces, recompute
from seektune.train.options import Train
from seektune.train.precision import Precision
from seektune.tuners.full import Full


@given(most=st.integers(0, 40), enough=st.integers(0, 60))
def test_the_smallest_number_that_fits_is_found(most, enough):
    assert fitting._first(most, lambda n: n >= enough) == min(most, enough)


def deep(**sizes):
    return model_of("llama", tuner=Full(), num_hidden_layers=6, hidden_size=64, intermediate_size=256, **sizes)


def peak(model, predicted, saving):
    return fitting.under(predicted, model, saving, "float32").peak_memory_bytes


def test_each_saving_needs_less_than_the_one_before():
    model = deep()
    predicted = plan_of(model, tokens_of([6000, *lengths_of(20)]), tokens_each=512)
    savings = [Saving(n) for n in range(7)] + [Saving(6, chunk=1024), Saving(6, offload=True, chunk=1024)]
    peaks = [peak(model, predicted, saving) for saving in savings]
    assert peaks[0] == predicted.peak_memory_bytes
    assert all(later < sooner for sooner, later in itertools.pairwise(peaks))


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_what_is_kept_is_what_autograd_counts(count):
    model = deep()
    predicted = plan_of(model, tokens_of(lengths_of(8)))
    footprint = fitting.under(predicted, model, Saving(count), "float32").setup.needs.footprint
    recompute.recompute(model, count)
    with cost.untouched(model):
        counted = cost._kept(model, Precision("float32", "cpu"), 300, True).total
    told = footprint.kept((300,), count == 6)
    assert told == pytest.approx(counted, rel=0.05)


def test_pieces_spare_what_autograd_no_longer_counts():
    model = deep()
    with cost.untouched(model):
        whole = cost._kept(model, Precision("float32", "cpu"), 320, True).total
        pieces.chunk(model, 64)
        fewer = cost._kept(model, Precision("float32", "cpu"), 320, True).total
        pieces.chunk(model, None)
    assert sum(fitting.mlp_bytes(model, "float32")) * 320 == pytest.approx(whole - fewer, rel=0.1)


def test_as_few_blocks_recompute_as_are_needed():
    model, options = deep(), Train()
    predicted = plan_of(model, tokens_of(lengths_of(64, longest=900)), tokens_each=4096)
    assert fitting.choose(model, options, predicted, "float32") == Saving()
    between = (peak(model, predicted, Saving(2)) + peak(model, predicted, Saving(3))) // 2
    tight = dataclasses.replace(predicted, limit_bytes=int(between / plan.ROOM))
    assert fitting.choose(model, options, tight, "float32") == Saving(3)
    asked = Train(activation_checkpointing=2)
    assert fitting.choose(model, asked, predicted, "float32") == Saving(2)
    assert fitting.choose(model, Train(activation_checkpointing=99), predicted, "float32") == Saving(6)
    assert fitting.choose(model, Train(activation_offload=True), predicted, "float32") == Saving(6, True)


def test_mlps_go_in_pieces_only_where_recomputing_all_does_not_suffice():
    model = deep()
    predicted = plan_of(model, tokens_of([9000, *lengths_of(8)]))
    below = dataclasses.replace(predicted, limit_bytes=int((peak(model, predicted, Saving(6)) - 1) / plan.ROOM))
    assert fitting.choose(model, Train(), below, "float32") == Saving(6, False, pieces.TOKENS)
    assert fitting.choose(model, Train(activation_checkpointing=False), below, "float32") == Saving()


def test_a_saving_is_told_and_kept():
    saving = Saving(3, True, 2048)
    assert fitting.stored(json.loads(json.dumps({"saving": vars(saving)}))) == saving
    assert str(saving) == (
        "the 3 lowest layers recompute, what they keep lies outside of the device's memory; MLPs take 2,048 tokens at a time"
    )
    assert str(Saving()) == "nothing is recomputed"


def read(name, *settings):
    return recipe.load("one.yaml", [f"name={name}", *settings])


WAYS = {
    "all": ["train.activation_checkpointing=true"],
    "two": ["train.activation_checkpointing=2"],
    "offload": ["train.activation_offload=true"],
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_the_same_bits_however_it_saves(way):
    plain = trained(assembly.prepare(read("plain")), "plain")
    ready = assembly.prepare(read(way, *WAYS[way]))
    assert ready.saving == {"all": Saving(3), "two": Saving(2), "offload": Saving(3, True)}[way]
    assert recompute.recomputing(ready.model) == ready.saving.recomputed
    saved = trained(ready, way)
    assert plain[0] == saved[0]
    assert all(torch.equal(value, saved[1][name]) for name, value in plain[1].items())


@pytest.mark.usefixtures("here")
def test_a_resumed_run_saves_as_it_began(monkeypatch):
    ready = assembly.prepare(read("one", "train.activation_checkpointing=2"))
    decisions = json.loads(json.dumps(ready.decisions))
    tight = int(0.95 * ready.plan.peak_memory_bytes)
    monkeypatch.setattr(plan, "memory_limit", lambda device: tight)  # now `auto` would come to something else
    assert assembly.prepare(read("one"), decisions).saving == Saving(2)


@pytest.mark.usefixtures("here")
def test_offloading_what_nothing_recomputes_is_refused():
    with pytest.raises(InputError, match=r"train.activation_offload: true, but no layer recomputes its activations"):
        read("one", "train.activation_offload=true", "train.activation_checkpointing=false")
