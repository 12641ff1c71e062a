from __future__ import annotations

import pytest

from seektune import devices
from seektune.errors import RecipeError


def test_every_device_of_the_table_has_all_that_a_plan_asks():
    for name, device in devices.TABLE.items():
        assert device.name == name
        assert device.bfloat16 > device.float32 > 0
        assert device.bandwidth > 0 < device.link
        assert devices.find(name.upper()) is device


@pytest.mark.parametrize(("name", "gigabytes"), [("16g", 16), ("24GB", 24), ("7.5 GiB", 7.5)])
def test_an_amount_of_memory_is_a_device_without_a_speed(name, gigabytes):
    device = devices.find(name)
    assert device.memory_bytes == gigabytes * 2**30
    assert device.speed("bfloat16") == device.speed("float32") == device.link == 0


@pytest.mark.parametrize("name", ["h10", "0g", "16", "-4g", ""])
def test_what_is_neither_is_refused_in_a_line(name):
    with pytest.raises(RecipeError, match=r"--device: found .*a100-80g.*16g") as raised:
        devices.find(name)
    assert len(raised.value.problems) == 1


def test_the_nearest_name_is_offered():
    with pytest.raises(RecipeError, match="did you mean 'rtx4090'"):
        devices.find("rtx4900")
