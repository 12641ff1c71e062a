"""The compiled pieces against torch's operations; and what happens where nothing can be compiled, or something else comes out."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seektune.models.kernels import int8, native
from seektune.models.kernels import norm as norms
from seektune.models.kernels.mlp import activated, gated_back

TYPES = [torch.float32, torch.bfloat16]
WIDE = 20_000  # numbers that several threads share
compiled = pytest.mark.skipif(bool(native.why_not()), reason=native.why_not())


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Each number within a rounding or two of its type, and far below the largest of them within less than that."""
    step, least = (2**-7, 1e-5) if found.dtype == torch.bfloat16 else (1e-5, 1e-7)
    most = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), rtol=step, atol=least * max(most, 1.0))


@compiled
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("act", ["silu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("count", [1, 15, 4097, WIDE])
def test_gates(dtype: torch.dtype, act: str, count: int) -> None:
    torch.manual_seed(0)
    gate, up, grad = (3 * torch.randn(count, dtype=torch.float64).to(dtype) for _ in range(3))
    exact = [x.double().requires_grad_() for x in (gate, up)]
    expected = activated(exact[0], act) * exact[1]  # type: ignore[arg-type]
    near(native.gated(gate, up, act), expected.detach())
    grads = torch.autograd.grad(expected, exact, grad.double())
    for found, one in zip(gated_back(grad, gate, up, act), grads, strict=True):  # type: ignore[arg-type]
        near(found, one)
    given = grad.clone()
    into = torch.empty_like(up)
    native.gated_back(given, gate, up, act, given, into)
    near(given, grads[0])


@compiled
@pytest.mark.parametrize("dtype", TYPES)
def test_gates_far_from_zero(dtype: torch.dtype) -> None:
    gate = torch.tensor([-1e30, -200.0, -88.5, -87.0, -0.0, 0.0, 87.0, 200.0, 1e30, math.nan]).to(dtype)
    found = native.gated(gate, torch.ones_like(gate), "silu")
    torch.testing.assert_close(found.double(), F.silu(gate.double()), rtol=1e-2, atol=1e-30, equal_nan=True)
    assert found.isnan().sum() == 1


@compiled
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 8), (7, 33), (50, 896)])
def test_norms(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows, grad, weight = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), torch.rand(shape[1]).to(dtype)
    assert native.ready(rows, weight)
    y, inverse = native.norm(rows, weight, 1e-6)
    expected, factors = norms._norm(rows, weight, 1e-6)
    near(y, expected)
    near(inverse, factors)
    exact = rows.double().requires_grad_()
    plain = exact * (exact.square().mean(1, keepdim=True) + 1e-6).rsqrt() * weight.double()
    (wanted,) = torch.autograd.grad(plain, exact, grad.double())
    bar = 2e-2 if dtype == torch.bfloat16 else 1e-5
    assert float((native.norm_back(rows, grad, weight, inverse)[0] - wanted).norm()) < bar * float(wanted.norm())


@compiled
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1, 2), (7, 3, 24), (300, 4, 64)])
def test_turns(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    """Rotary embedding with angles that are alike in no two places, and back."""
    torch.manual_seed(0)
    half = shape[2] // 2
    rows, grad = (torch.randn(shape).to(dtype) for _ in range(2))
    cos, sin = (torch.randn(shape[0], shape[2]).to(dtype) for _ in range(2))
    exact = rows.double().requires_grad_()
    other = torch.cat([-exact[..., half:], exact[..., :half]], -1)
    expected = exact * cos.double()[:, None] + other * sin.double()[:, None]
    near(native.rotate(rows, cos, sin, False), expected.detach())
    near(native.rotate(grad, cos, sin, True), torch.autograd.grad(expected, exact, grad.double())[0])


@compiled
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("vocabulary", [2, 50, 4099])
def test_cross_entropy(dtype: torch.dtype, vocabulary: int) -> None:
    torch.manual_seed(0)
    logits, targets = (5 * torch.randn(9, vocabulary)).to(dtype), torch.randint(vocabulary, (9,))
    logits[3] = -60.0
    logits[3, 0] = 60.0  # a target whose probability float32 holds with fewer digits
    exact = logits.double().requires_grad_()
    losses = F.cross_entropy(exact, targets, reduction="none")
    (wanted,) = torch.autograd.grad(losses.sum(), exact)
    kept = logits.clone()
    torch.testing.assert_close(native.cross_entropy(kept, targets, False), losses.detach().float())
    assert torch.equal(kept, logits)
    torch.testing.assert_close(native.cross_entropy(logits, targets, True), losses.detach().float())
    near(logits, wanted)


@compiled
def test_logits_that_are_no_numbers_and_targets_that_are_no_tokens() -> None:
    logits = torch.zeros(2, 4)
    logits[0, 1], logits[1, 2] = -math.inf, math.nan
    losses = native.cross_entropy(logits, torch.tensor([0, 0]), True)
    torch.testing.assert_close(losses[0], torch.tensor(math.log(3)))
    assert losses[1].isnan() and logits[0, 1] == 0
    for target in (-1, 4):
        with pytest.raises(IndexError, match=f"a target, {target}, is outside"):
            native.cross_entropy(torch.zeros(2, 4), torch.tensor([0, target]), True)


@compiled
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scaled", [True, False])
def test_whole_numbers_are_those_of_torch(dtype: torch.dtype, scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    rows, columns = torch.randn(37, 800).to(dtype), torch.rand(800) if scaled else None
    rows[5] = 0
    found = native.quantise(rows, columns)
    monkeypatch.setattr(native, "library", lambda dtype: None)
    for one, other in zip(found, int8.quantise_rows(rows, columns), strict=True):
        assert torch.equal(one, other)


@compiled
def test_any_number_of_threads_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    rows, weight = torch.randn(64, 512), torch.rand(512)
    held, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, inverse = native.norm(rows, weight, 1e-6)
            logits = rows.clone()
            losses = native.cross_entropy(logits, torch.arange(64), True)
            found.append([y, inverse, logits, losses, native.gated(rows, y, "silu"), *native.quantise(rows, None)])
    finally:
        torch.set_num_threads(held)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@compiled
def test_other_tensors_are_left_to_torch() -> None:
    x = torch.randn(4, 6)
    assert native.ready(x)
    for other in (x.t(), x.half(), x.double(), x.to("meta"), x[:, :3]):
        assert not native.ready(other)
    assert not native.ready(x, x.bfloat16())


# Building


@pytest.fixture
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, in which nothing is compiled yet."""
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    native._open.cache_clear()
    yield tmp_path
    native._open.cache_clear()


@compiled
def test_it_is_built_once_and_again_where_the_file_was_damaged(afresh: Path) -> None:
    assert not native.why_not()
    first = sorted((afresh / "cache/native").iterdir())
    assert len(first) == len(native.TYPES) and all(path.suffix == ".so" for path in first)
    times = [path.stat().st_mtime_ns for path in first]
    native._open.cache_clear()
    assert not native.why_not()
    assert [path.stat().st_mtime_ns for path in first] == times
    damaged = bytearray(first[0].read_bytes())
    damaged[-1] ^= 1
    first[0].unlink()  # a library that is in use is not written over
    first[0].write_bytes(damaged)
    native._open.cache_clear()
    assert not native.why_not()
    assert first[0].read_bytes() != bytes(damaged)


@compiled
def test_it_can_be_opened_first_while_only_shapes_are_computed(afresh: Path) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        drawn = torch.empty(3, 8)
        assert native.ready(drawn)
        assert native.norm(drawn, torch.empty(8), 1e-6)[0].shape == drawn.shape
    with torch.device("meta"):
        assert native.library(torch.bfloat16) is not None


def test_without_a_compiler_torch_serves(afresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(afresh))
    assert native.why_not()
    assert native.library(torch.float32) is None and not native.ready(torch.zeros(3))
    assert torch.equal(norms.rms_norm(torch.ones(2, 4), torch.ones(4), 0.0), torch.ones(2, 4))


def test_it_can_be_switched_off(afresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "0")
    assert native.why_not() == "SEEKTUNE_NATIVE=0"
    assert not (afresh / "cache").exists()


@compiled
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-Dfloorf=ceilf", "gives other numbers than torch"),
        ("-Dlogf=expf", "gives other numbers than torch"),
        ("-DKERNELS=1 -fno-such-flag", "cannot be built"),
    ],
)
def test_a_compiler_that_makes_something_else_is_not_used(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, line: str, reason: str
) -> None:
    compiler = afresh / "gcc"
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {shutil.which("gcc")} "$@"\nexec {shutil.which("gcc")} {line} "$@"\n')  # fmt: skip
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{afresh}:/usr/bin:/bin")
    assert reason in native.why_not()
    assert native.library(torch.float32) is None
