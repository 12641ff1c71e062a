"""Estimates of time against arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_plan import lengths_of, model_of, plan_of, tokens_of

from seektune import devices, pace, plan
from seektune.runtime import Speed


@pytest.fixture(scope="module")
def found():
    return plan_of(model_of(), tokens_of(lengths_of(32)), steps=10)


def test_an_estimate_is_operations_over_a_share_and_bytes_over_bandwidth(found):
    machine = devices.Device("one", 1 << 34, bfloat16=1e12, float32=1e11, bandwidth=1e10)
    made = pace.pace_of(found, machine, "float32")
    needs = found.setup.needs
    assert made.products == pytest.approx(found.flops / (0.5 * 1e11))
    assert made.activations == pytest.approx(4 * needs.footprint.token * found.tokens / 1e10)
    held = needs.weights.frozen_bytes + needs.weights.trained_bytes
    assert made.weights == pytest.approx(2 * held * found.microbatches / 1e10)
    assert made.updates == pytest.approx(28 * needs.weights.trained * 10 / 1e10)
    assert made.launching == pytest.approx(5e-3 * 3 * found.microbatches)
    assert made.seconds == made.launching  # of such a small model
    assert pace.pace_of(found, replace(machine, kind="cpu"), "float32").launching == 0
    slow = replace(machine, float32=1e9)
    made, told = pace.pace_of(found, slow, "float32"), pace.estimated(found, slow, "float32")
    assert told.seconds == pytest.approx(made.products + made.activations + made.weights + made.updates)
    assert told.tokens_per_second == pytest.approx(found.tokens / told.seconds)
    assert told.time_from == "estimated for one: 50% of 0.001 TFLOP/s, 10 GB/s"
    assert told.setup.step_seconds == pytest.approx(told.seconds / 10)


def test_half_precision_and_several_devices_are_faster(found):
    machine = replace(devices.find("h100"), bfloat16=2e9, float32=1e9)
    one = pace.estimated(found, machine, "bfloat16").seconds
    assert pace.estimated(found, machine, "float32").seconds > one
    several = pace.estimated(found, machine, "bfloat16", 4)
    assert several.seconds == pytest.approx(one / 4)
    assert "left out" in several.time_from


def test_recomputing_costs_products_and_reads(found):
    machine = devices.find("h100")
    again = replace(found, setup=replace(found.setup, checkpointing=True))
    assert pace.pace_of(again, machine, "bfloat16").weights == pytest.approx(
        1.5 * pace.pace_of(found, machine, "bfloat16").weights
    )


def test_where_no_speed_is_known_no_time_is_told(found):
    assert pace.estimated(found, devices.find("16g"), "bfloat16") is found


def test_this_machine_has_the_speeds_of_its_calibration():
    machine = pace.measured(devices.Device(plan.HERE, 1, kind="cpu"), Speed(2e11, 3e11, 0.0, 1e10))
    assert (machine.speed("float32"), machine.speed("bfloat16"), machine.bandwidth) == (2e11, 3e11, 1e10)
