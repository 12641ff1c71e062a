"""Products in other sizes: the same numbers, and only where that is worth it."""

from __future__ import annotations

import pytest
import torch

from seektune.models.kernels import products
from seektune.models.kernels.lora import Update, lora_linear


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 200])
def test_rows_are_filled_up_with_zeros(count: int) -> None:
    rows = torch.randn(count, 8).bfloat16()
    found = products.filled(rows, 100)
    assert len(found) == (count if count < products.FILL else -(-count // products.FILL) * products.FILL)
    assert torch.equal(found[:count], rows) and not found[count:].any()
    assert products.filled(rows, products.SMALL + 1) is rows
    assert products.filled(exact := rows.float(), 100) is exact


def test_a_layer_gives_the_same_with_rows_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make = lambda *shape: torch.randn(*shape).bfloat16()  # noqa: E731
    a, b = make(4, 16).float().requires_grad_(), make(24, 4).float().requires_grad_()
    update, x, grad = Update(make(24, 16), make(24), a, b, 0.5), make(3, 33, 16).requires_grad_(), make(3, 33, 24)

    def both() -> list[torch.Tensor]:
        y = lora_linear(x, update)
        return [y.detach(), *torch.autograd.grad(y, (x, a, b), grad)]

    found = both()
    monkeypatch.setattr(products, "SMALL", 0)
    for one, other in zip(found, both(), strict=True):
        assert one.shape == other.shape
        assert float((one - other).float().norm()) <= 1e-2 * float(other.float().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_halves_are_the_whole(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    a, b, onto = (torch.randn(shape).to(dtype) for shape in ((21, 32), (32, 8), (21, 8)))
    whole, added = a @ b, onto.clone().addmm_(a, b)
    monkeypatch.setattr(products, "_is_slow", lambda a: True)
    torch.testing.assert_close(products.times(a, b), whole)
    torch.testing.assert_close(products.add_times(onto, a, b), added)


def test_only_long_products_of_that_many_rows_are_halved_and_only_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "has_tiles", lambda: True)
    slow = torch.empty(1200, products.LONG, dtype=torch.bfloat16)
    assert products._is_slow(slow)
    for other in (slow[:900], slow[:, :900], slow.float()):
        assert not products._is_slow(other)
    monkeypatch.setattr(products, "has_tiles", lambda: False)
    assert not products._is_slow(slow)
