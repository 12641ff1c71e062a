"""What would fit: every way against arithmetic by hand, and what the recipe does not know is not proposed."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from test_plan import lengths_of, model_of, plan_of, tokens_of

from seektune import plan, proposals
from seektune.models import load
from seektune.train import options
from seektune.train.precision import prepare_dtypes
from seektune.tuners.full import Full


@pytest.fixture(scope="module")
def setup():
    """On a GPU, with weights that dwarf the rest, so that every way changes what is proposed."""
    model = model_of(hidden_size=64, intermediate_size=256)
    prepare_dtypes(model, "bfloat16")
    found = plan_of(model, tokens_of(lengths_of(64)), batch_size=8).setup
    needs = plan.needs_of(model, "bfloat16", True, "cuda")
    return replace(found, needs=replace(needs, process_bytes=0))


def keys(settings):
    return {key for setting in settings for key in setting.changes}


def test_frozen_matrices_in_int8_take_a_byte_and_a_scale_a_row(setup):
    weights, changed = setup.needs.weights, proposals.in_int8(setup.needs).weights
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 256  # q, o; k, v (two of four heads); gate, up, down
    rows = 64 + 64 + 32 + 32 + 256 + 256 + 64
    assert (weights.linear, weights.linear_rows) == (3 * layer, 3 * rows)
    assert weights.frozen_bytes - changed.frozen_bytes == 3 * (2 * layer - layer - 4 * rows)
    assert changed.trained_bytes == weights.trained_bytes
    assert proposals.in_int8(proposals.in_int8(setup.needs)).weights.frozen_bytes <= changed.frozen_bytes + 4 * 3 * rows


def test_streaming_holds_two_layers_and_what_goes_between_all(setup):
    needs = proposals.streamed(setup.needs)
    outside = setup.needs.weights.frozen_bytes - setup.needs.weights.layer_bytes
    assert needs.weights.frozen_bytes == pytest.approx(outside + setup.needs.weights.layer_bytes * 2 / 3, abs=2)
    whole = replace(setup, needs=needs, checkpointing=True)
    micro = whole.largest()[0]
    most = max(sum(sum(m.lengths) for m in step) for step in whole.draws())
    each = needs.footprint.border / 3  # of a layer's input, per token
    assert whole.block_inputs(micro) == int(plan.STREAMED_INPUTS * each * (most - sum(micro.lengths)))
    on_cpu = replace(whole, needs=replace(needs, on_cpu=True))
    assert on_cpu.block_inputs(micro) == int(3 * each * (most - sum(micro.lengths)))
    assert setup.block_inputs(micro) == 0


def test_a_slow_link_makes_streaming_slow(setup):
    timed = replace(
        setup, step_seconds=1.0, link=setup.needs.weights.layer_bytes / 2
    )  # half a second a layer set: 4 s a step
    assert proposals.stream_slowdown(timed) == pytest.approx(4)
    assert proposals.stream_slowdown(replace(timed, link=1e15)) == 1
    assert proposals.stream_slowdown(setup) == 2  # nothing is known


def test_sharding_spreads_the_weights_and_gathers_two_layers(setup):
    alone, spread = (
        needs.memory(plan.Micro((64,), 32), False, True) for needs in (setup.needs, proposals.sharded(setup.needs, 4))
    )
    for part in ("frozen weights", "trained weights", "gradients", "optimizer"):
        assert spread[part] == pytest.approx(alone[part] / 4, abs=1)
    assert spread["activations"] == alone["activations"]
    assert spread["gathered layers"] == pytest.approx(
        2 * (setup.needs.weights.layer_bytes + setup.needs.weights.cast_bytes) / 3, abs=1
    )


def test_what_excludes_each_other_is_not_proposed_together(setup):
    ways = [way.changes for way in proposals.ways(setup)]
    assert {"model.base": "int8_weights"} in ways  # a GPU multiplies no int8 here
    assert {"train.stream": True} in ways
    assert not any({"model.base", "train.stream"} <= changes.keys() for changes in ways)
    on_cpu = replace(setup, needs=replace(setup.needs, on_cpu=True))
    assert {"model.base": "int8"} in [way.changes for way in proposals.ways(on_cpu)]


@pytest.mark.parametrize("way", ["model.base", "train.stream"])
def test_what_is_proposed_is_a_setting_of_the_recipe(setup, way):
    known = {f"model.{f.name}" for f in fields(load.Model)} | {f"train.{f.name}" for f in fields(options.Train)}
    assert way in keys_of_ways(setup)
    assert keys_of_ways(setup) <= known


def test_a_full_tuning_has_nothing_frozen_to_hold_otherwise():
    full = plan_of(model_of(tuner=Full()), tokens_of(lengths_of(16))).setup
    assert keys_of_ways(full) == {"train.activation_checkpointing"}


def keys_of_ways(setup):
    return {key for way in proposals.ways(setup) for key in way.changes}


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6, 0.4])
def test_what_is_proposed_fits_and_no_change_is_idle(setup, share):
    limit = share * setup.peak()
    found = proposals.smaller(setup, limit)
    assert all(s.peak_bytes <= limit for s in found)
    ranked = [s.slowdown for s in found]
    assert ranked == sorted(ranked)
    for one in found:
        for other in found:
            if one.changes and one.changes.keys() < other.changes.keys():
                assert one.slowdown > other.slowdown  # more is changed only where that is faster


def test_devices_are_proposed_in_words_and_last(setup):
    heavy = replace(
        setup,
        needs=replace(setup.needs, weights=replace(setup.needs.weights, frozen_bytes=1 << 34, layer_bytes=1 << 30)),
    )
    *_, last = proposals.smaller(heavy, 4 << 30)
    assert last.changes == {}
    assert str(last).startswith("sharding over 8 devices")
    assert last.slowdown == math.inf
    on_cpu = replace(heavy, needs=replace(heavy.needs, on_cpu=True))
    assert proposals.smaller(on_cpu, 4 << 30) == []


def test_micro_batches_are_halved_no_further_than_needed(setup):
    many = replace(setup, layout=replace(setup.layout, tokens=1 << 20), lengths=np.full_like(setup.lengths, 100))
    settings = proposals.smaller(many, many.peak() - 1)
    assert {"train.microbatch": 4} in [s.changes for s in settings]  # of 8 records a step
