"""What of the GPU's pieces can be tried without one: Triton's interpreter, and grouped products, which a CPU has as well."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seektune.models.kernels import experts, experts_gpu, native

SCRIPT = Path(__file__).with_name("triton_interpreted.py")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_triton_pieces_in_its_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}  # read when Triton is imported
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[-2:] == ["all near", ""], done.stderr[-2000:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_reason_is_told() -> None:
    assert native.why_not("cuda") == "there is no CUDA GPU"
    assert native.told("cuda") == "torch's operations (there is no CUDA GPU)"
    assert not native.takes("cuda", torch.bfloat16)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("trained", [True, False])
def test_grouped_experts_are_those_of_the_loop(dtype: torch.dtype, bar: float, trained: bool) -> None:
    torch.manual_seed(0)
    tokens, width, inner, count = 37, 32, 24, 6
    hidden = torch.randn(tokens, width).to(dtype).requires_grad_()
    gate_up = (0.2 * torch.randn(count, 2 * inner, width)).to(dtype).requires_grad_(trained)
    down = (0.2 * torch.randn(count, width, inner)).to(dtype).requires_grad_(trained)
    weights = torch.rand(tokens, 2, requires_grad=True)
    index = torch.rand(tokens, count - 1).topk(2).indices  # the last expert gets nothing
    assert not experts_gpu.takes(dtype, gate_up, down)  # a CPU keeps the loop: it fills rows up
    loop = experts.Experts.apply(hidden, gate_up, down, weights, index, "silu")
    grouped = experts_gpu.Grouped.apply(hidden, gate_up, down, weights, index, "silu", dtype)
    learnt = [hidden, weights, *([gate_up, down] if trained else [])]
    grad = torch.randn_like(loop)
    pairs = zip(*(torch.autograd.grad(y, learnt, grad) for y in (grouped, loop)), strict=True)
    for found, expected in [(grouped, loop), *pairs]:
        assert found.dtype == expected.dtype
        assert float((found - expected).detach().norm()) <= bar * float(expected.detach().norm())
