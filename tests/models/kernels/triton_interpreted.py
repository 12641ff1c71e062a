"""The pieces for a GPU, run by Triton's interpreter on a CPU: TRITON_INTERPRET=1 python triton_interpreted.py"""

from __future__ import annotations

import gpu_cases
import torch

from seektune.models.kernels import gpu

if __name__ == "__main__":
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        for act in ("silu", "gelu_pytorch_tanh"):
            gpu_cases.gates(gpu, "cpu", dtype, act)
        gpu_cases.norms(gpu, "cpu", dtype, 9, 300)
        gpu_cases.turns(gpu, "cpu", dtype, 7, 3, 24)
        for vocabulary in (50, 10_000):
            gpu_cases.losses(gpu, "cpu", dtype, vocabulary)
    gpu_cases.no_target(gpu, "cpu")
    print("all near")
