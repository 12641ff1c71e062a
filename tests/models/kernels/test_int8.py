"""int8 matrices: what rounding may do to a product, exact integer sums, and what is held."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo

from seektune.models import quantise
from seektune.models.kernels import int8
from seektune.tuners.lora import LoRA

pytestmark = pytest.mark.usefixtures("both_ways")


def near(found: torch.Tensor, expected: torch.Tensor, bar: float) -> bool:
    return float((found - expected).norm()) < bar * float(expected.norm())


def test_a_matrix_is_rounded_to_the_nearest_of_255_values() -> None:
    weight = torch.randn(30, 40)
    matrix = int8.quantise(weight)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((matrix.restored(torch.float32) - weight).abs() <= 0.501 * step).all()
    assert (matrix.values.abs().amax(1) == 127).all()
    zeros = int8.quantise(torch.zeros(3, 4))
    assert not zeros.restored(torch.float32).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_equal_those_of_the_rounded_numbers(dtype: torch.dtype) -> None:
    """Against float64 over the same rounded numbers, forward and backward: only the last rounding may differ."""
    torch.manual_seed(0)
    matrix = int8.quantise(torch.randn(48, 64))
    rows, grad = torch.randn(37, 64).to(dtype), torch.randn(37, 48).to(dtype)
    small, scale = int8.quantise_rows(rows)
    exact = (small.double() * scale) @ matrix.restored(torch.float32).double().t()
    bar = 1e-6 if dtype == torch.float32 else 4e-3
    assert near(matrix.times(rows).double(), exact, bar)
    small, scale = int8.quantise_rows(grad, matrix.scales)
    assert near(matrix.back(grad).double(), (small.double() * scale) @ matrix.values.double(), bar)


@pytest.mark.parametrize("integer", [True, False])
def test_products_are_near_those_of_the_weight_itself(integer: bool) -> None:
    torch.manual_seed(0)
    weight, rows, grad = torch.randn(48, 64), torch.randn(37, 64), torch.randn(37, 48)
    matrix = int8.quantise(weight)
    matrix.integer = integer
    bar = 0.02 if integer else 0.01
    assert near(matrix.times(rows), rows @ weight.t(), bar)
    assert near(matrix.back(grad), grad @ weight, bar)
    assert not near(matrix.times(rows), rows @ weight.t(), 1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_rounded_to_one(value: float) -> None:
    matrix, rows = int8.quantise(torch.randn(48, 64)), torch.randn(5, 64)
    rows[2, 7] = value
    for found in (matrix.times(rows), matrix.back(torch.cat([rows[:, :48]]))):
        assert not found[2].isfinite().any() and found[[0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("sums", [1, 700, 1 << 21])
def test_the_same_bits_however_many_sums_exist_at_once(sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, rows = int8.quantise(torch.randn(100, 64)), torch.randn(37, 64)
    whole = matrix.times(rows), matrix.back(rows @ torch.randn(64, 100))
    monkeypatch.setattr(int8, "SUMS", sums)
    assert torch.equal(matrix.times(rows), whole[0])
    assert matrix.back(torch.zeros(37, 100)).shape == whole[1].shape


def test_the_same_bits_at_every_number_of_tokens() -> None:
    matrix, rows = int8.quantise(torch.randn(48, 64)), torch.randn(600, 64)
    whole = matrix.times(rows)
    assert torch.equal(torch.cat([matrix.times(part) for part in rows.split(7)]), whole)


@pytest.mark.parametrize("architecture", ["llama", "deepseek_v3"])
def test_a_base_is_held_in_a_byte_a_weight_and_comes_back_as_it_was(architecture: str) -> None:
    torch.manual_seed(0)
    model = LoRA(rank=2).apply(zoo.tiny(architecture).to(torch.bfloat16))
    fresh = copy.deepcopy(model)
    linears = {n: m for n, m in model.named_modules() if type(m) is torch.nn.Linear and not m.weight.requires_grad}
    by_itself = [
        n for n, m in model.named_modules() if type(m).__name__ == "ParamWrapper"
    ]  # PEFT changes these weights
    inside = [n for n in linears if ".layers." in n and n.rpartition(".")[0] not in by_itself]
    count = quantise.quantise_base(model)
    held = quantise.quantised(model)
    assert count == len(held) == len(inside) > 10
    assert all(m.weight.dtype == torch.int8 and not m.weight.requires_grad for m in held.values())
    assert not any("lm_head" in name or "lora" in name for name in held)
    ids = zoo.ids(2, 24)
    with torch.no_grad():
        before, rounded = fresh(input_ids=ids).logits, model(input_ids=ids).logits
        quantise.restore_base(model, fresh)
        after = model(input_ids=ids).logits
    assert torch.equal(after, before)
    assert not quantise.quantised(model)
    assert not torch.equal(rounded, before)


def test_why_not_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "cpu_features", lambda: ["avx2"])
    monkeypatch.setattr(int8, "_reason", None)
    assert "AVX512-VNNI" in int8.why_not()
