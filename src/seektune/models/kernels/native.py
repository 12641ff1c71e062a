"""Compiled pieces: those that memory bounds (native.c) and attention within documents (attend.c). They are built once, by the
C compiler of this machine, and kept in the cache folder. On a CUDA GPU they are gpu.py's, by Triton; attention is torch's there.

Never required: without a compiler, and for tensors of another kind, the callers take torch's own operations, several passes
for each of ours. SEEKTUNE_NATIVE=0 asks for that. What was compiled is taken only if its gates and its attention come out right.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...runtime import cache_folder, cpu_features, cpu_name

SOURCES = tuple(Path(__file__).with_name(name) for name in ("native.c", "attend.c"))
HEADER = Path(__file__).with_name("numbers.h")
TYPES = {torch.float32: (), torch.bfloat16: ("-DHALF",)}
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
WIDE = "-mprefer-vector-width=512"  # where the processor has them; compilers take half of that by themselves
SECONDS = 60  # for a build, which takes one or two
OWN = (torch.Tensor, torch.nn.Parameter)
DRAWN = "FakeTensor"  # passes for such a tensor and has a shape only (models/blueprint.py): it is given shapes, too
SWITCH = "SEEKTUNE_NATIVE"
GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def ready(*tensors: torch.Tensor) -> bool:
    """Whether the compiled pieces take these: on one device, of one type, a row behind the other. int8 has none on a GPU."""
    return all(x.is_contiguous() for x in tensors) and _are_ours(*tensors)


def attends(*tensors: torch.Tensor) -> bool:
    """Whether compiled attention takes these: on a CPU, of one type, the numbers of a row behind each other."""
    return tensors[0].device.type == "cpu" and all(x.stride(-1) == 1 for x in tensors) and _are_ours(*tensors)


def _are_ours(*tensors: torch.Tensor) -> bool:
    dtype, device = tensors[0].dtype, tensors[0].device
    for x in tensors:
        if x.dtype != dtype or x.device != device:
            return False
        if type(x) not in OWN and (type(x).__name__ != DRAWN or device.type != "cpu"):
            return False
    return takes(device.type, dtype)


def takes(device: str, dtype: torch.dtype) -> bool:
    """Whether there are compiled pieces for this kind of device and type."""
    if device == "cuda":
        return dtype in GPU_TYPES and _on_gpu()[0] is not None
    return device == "cpu" and dtype in TYPES and library(dtype) is not None


def gated(gate: torch.Tensor, up: torch.Tensor, act: str) -> torch.Tensor:
    """act(gate) * up."""
    if gate.is_cuda:
        return gpu().gated(gate, up, act)
    out = torch.empty_like(gate)
    _call("gated_ahead", gate, gate.numel(), gate, up, out, act != "silu")
    return out


def gated_back(
    grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, act: str, grad_gate: torch.Tensor, grad_up: torch.Tensor
) -> None:
    """Fills the gradients of `gate` and `up`; `grad_gate` may be `grad` itself."""
    if gate.is_cuda:
        gpu().gated_back(grad, gate, up, act, grad_gate, grad_up)
    else:
        _call("gated_back", gate, gate.numel(), gate, up, grad, grad_gate, grad_up, act != "silu")


def norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(RMSNorm of rows (tokens, width), what each was multiplied with (tokens, 1) float32)."""
    if rows.is_cuda:
        return gpu().norm(rows, weight, eps)
    y, inverse = torch.empty_like(rows), torch.empty(len(rows), 1, dtype=torch.float32)
    _call("norm_ahead", rows, *rows.shape, rows, weight, float(eps), y, inverse)
    return y, inverse


def norm_back(
    rows: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor, wants_weight: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of `rows` and, where it is wanted, which only a GPU has, of `weight`."""
    if rows.is_cuda:
        return gpu().norm_back(rows, grad, weight, inverse, wants_weight)
    assert not wants_weight
    found = torch.empty_like(rows)
    _call("norm_back", rows, *rows.shape, rows, grad, weight, inverse, found)
    return found, None


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, wanted: bool) -> torch.Tensor:
    """-log p (tokens,) float32; where its gradient is wanted, logits (tokens, vocabulary) become that. Targets: int64.

    A target outside of the vocabulary raises IndexError; on a GPU, which nothing here waits for, its loss is no number.
    """
    if logits.is_cuda:
        return gpu().cross_entropy(logits, targets, wanted)
    if type(logits) in OWN and len(targets):
        least, most = map(int, targets.aminmax())
        if least < 0 or most >= logits.shape[1]:
            raise IndexError(
                f"a target, {least if least < 0 else most}, is outside of the vocabulary of {logits.shape[1]}"
            )
    losses, targets = torch.empty(len(logits), dtype=torch.float32), targets.long().contiguous()
    _call("cross_entropy", logits, *logits.shape, logits, targets, losses, wanted)
    return losses


def rotate(rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, reverse: bool) -> torch.Tensor:
    """rows (tokens, heads, width) turned by the angles of each token, cos and sin of (tokens, width) numbers; or back (`reverse`)."""
    if rows.is_cuda:
        return gpu().rotate(rows, cos, sin, reverse)
    out = torch.empty_like(rows)
    _call("rotate", rows, *rows.shape, rows, cos, sin, out, reverse)
    return out


def quantise(rows: torch.Tensor, columns: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """(int8 (tokens, width), scale of each token (tokens, 1) float32) of rows, or of rows * columns (float32)."""
    columns = columns.float().contiguous() if columns is not None else None
    small, scales = torch.empty(rows.shape, dtype=torch.int8), torch.empty(len(rows), 1, dtype=torch.float32)
    _call("quantise", rows, *rows.shape, rows, columns, small, scales)
    return small, scales


def rescale(sums: torch.Tensor, factors: torch.Tensor, columns: torch.Tensor | None, into: torch.Tensor) -> None:
    """into (tokens, out) = sums (tokens, out) int32 * factors (tokens, 1) * columns (out,), both float32."""
    columns = columns.float().contiguous() if columns is not None else None
    _call("rescale", into, *sums.shape, sums, factors, columns, into, into.stride(0))


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: Sequence[int], scaling: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """q (time, heads, dim), k and v (time, heads of keys, dim or dim of values) -> (out (time, heads, dim of values), the
    logarithm of each row's sum of exponentials (time, heads, 1) float32). Documents of `lengths` do not see each other.
    """
    out = q.new_empty(*q.shape[:2], v.shape[-1])
    sums = torch.empty(*q.shape[:2], 1, dtype=torch.float32)
    _call("attend", q, *_documents(q, k, v, lengths, scaling, causal), out, sums, *_scratch(k, v, lengths, False))
    return out, sums


def attend_back(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, sums: torch.Tensor,
    lengths: Sequence[int], scaling: float, causal: bool,
) -> list[torch.Tensor]:  # fmt: skip
    """The gradients of q, k and v, a row behind the other."""
    found = [torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v)]
    given = _documents(q, k, v, lengths, scaling, causal)
    _call("attend_back", q, *given, *_strided(grad), out, sums, *found, *_scratch(k, v, lengths, True))
    return found


def _documents(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: Sequence[int], scaling: float, causal: bool
) -> tuple[Any, ...]:
    heads = k.shape[1]
    sizes = heads, q.shape[1] // heads, q.shape[2], v.shape[2]
    many = len(lengths), torch.tensor(lengths, dtype=torch.int64)
    return *many, *sizes, float(scaling), causal, *_strided(q), *_strided(k), *_strided(v)


def _strided(x: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    return x, x.stride(0), x.stride(1)


def _scratch(k: torch.Tensor, v: torch.Tensor, lengths: Sequence[int], reverse: bool) -> tuple[np.ndarray, int]:
    """(room for every thread, float32; how many numbers each has). In numpy: the plan would take it for what layers keep."""
    return _room(library(k.dtype), max(lengths), k.shape[2], v.shape[2], reverse)


def _room(made: Any, longest: int, dim: int, values: int, reverse: bool) -> tuple[np.ndarray, int]:
    made.attend_scratch.restype = ctypes.c_int64
    each = int(made.attend_scratch(*map(_given, (longest, dim, values, reverse))))
    return np.empty(torch.get_num_threads() * each, np.float32), each


def _call(name: str, like: torch.Tensor, *given: Any) -> None:
    if type(like) not in OWN:
        return
    function = getattr(library(like.dtype), name)
    function(*map(_given, given), torch.get_num_threads())


def _given(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, bool) or value is None:
        return value
    return ctypes.c_double(value) if isinstance(value, float) else ctypes.c_int64(value)


# Building


def why_not(device: str = "cpu") -> str:
    """ "" where the compiled pieces are in use on this kind of device; else the reason."""
    if device == "cuda":
        return _on_gpu()[1]
    return next((reason for _, reason in map(_open, TYPES) if reason), "")


def told(device: str = "cpu") -> str:
    """For people, and for `environment.json`: results differ in the last bits."""
    reason = why_not(device)
    return f"torch's operations ({reason})" if reason else "compiled"


def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    return _open(dtype)[0]


def gpu() -> Any:
    """gpu.py, where `takes` says so."""
    return _on_gpu()[0]


@functools.cache
def _on_gpu() -> tuple[Any, str]:
    """(gpu.py, "") or (None, the reason)."""
    if os.environ.get(SWITCH) == "0":
        return None, f"{SWITCH}=0"
    if not torch.cuda.is_available():
        return None, "there is no CUDA GPU"
    try:
        from . import gpu as made

        gate, up = (torch.linspace(-9, 9, 300, device="cuda").roll(by) for by in (0, 7))
        same = torch.allclose(made.gated(gate, up, "silu"), torch.nn.functional.silu(gate) * up, rtol=1e-4, atol=1e-5)
    except ImportError:
        return None, "Triton is not installed; it would make them faster"
    except Exception as error:  # of Triton, of the compiler that it calls, of the driver
        return None, f"Triton does not work here ({type(error).__name__})"
    return (made, "") if same else (None, "Triton gives other numbers than torch")


@functools.cache
def _open(dtype: torch.dtype) -> tuple[ctypes.CDLL | None, str]:
    """(the library for numbers of a type, "") or (None, the reason)."""
    if os.environ.get(SWITCH) == "0":
        return None, f"{SWITCH}=0"
    before = _openmp() if sys.platform == "linux" else set()
    if not any(name.startswith("libgomp.so.1") for name in before):
        return None, "torch's threads are not those of GNU OpenMP"
    compiler = next((found for found in map(shutil.which, ("gcc", "cc")) if found), None)
    if compiler is None:
        return None, "no C compiler is there; gcc would make them faster"
    try:
        made = ctypes.CDLL(str(_built(compiler, TYPES[dtype])))
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"they cannot be built ({type(error).__name__})"
    if _openmp() - before:
        return None, f"{compiler} takes another OpenMP than torch"
    same = _gates_alike(made, dtype) and _attends_alike(made, dtype)
    return (made, "") if same else (None, f"what {compiler} makes gives other numbers than torch")


def _openmp() -> set[str]:
    """The OpenMP libraries of this process."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    names = {Path(line.split(maxsplit=5)[-1]).name for line in lines if "omp" in line and "/" in line}
    return {name for name in names if name.startswith(("libgomp", "libomp", "libiomp"))}


def _built(compiler: str, types: tuple[str, ...]) -> Path:
    """The library, from the cache folder where it lies there whole: its name tells what it was made of and its own sum."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=SECONDS).stdout
    features = cpu_features()
    flags = [*FLAGS, *types, *([WIDE] if "avx512f" in features else [])]
    texts = [path.read_text(encoding="utf-8") for path in (HEADER, *SOURCES)]
    made_of = [*texts, *flags, repr(version), platform.machine(), cpu_name(), *features]
    name, folder = _sum("\n".join(made_of).encode()), cache_folder() / "native"
    for path in folder.glob(f"{name}-*.so"):
        mine = path.stat().st_uid == os.getuid()  # of a cache that others write into, nothing of theirs is loaded
        if mine and path.stem == f"{name}-{_sum(path.read_bytes())}":
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        fresh = Path(aside) / "fresh.so"
        command = [compiler, *flags, *map(str, SOURCES), "-o", str(fresh), "-lm"]
        subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)
        path = folder / f"{name}-{_sum(fresh.read_bytes())}.so"
        fresh.replace(path)
    return path


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# In numpy: the trials may be the first calls of all, and come while only shapes are computed, when a tensor would have no numbers.


def _gates_alike(made: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Whether the gates come out as they should, with every thread at work."""
    values = np.linspace(-90, 90, 1 << 15, dtype=np.float32)
    given = [_put(one, dtype) for one in (values, np.roll(values, 7))]
    gate, up = (_got(one, dtype) for one in given)
    out = np.empty_like(given[0])
    made.gated_ahead(*map(_given, (len(out), *given, out, False)), torch.get_num_threads())
    expected = gate / (1 + np.exp(-gate)) * up
    return bool(np.allclose(_got(out, dtype), expected, rtol=1e-6 if dtype == torch.float32 else 1e-2, atol=1e-30))


def _attends_alike(made: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Whether attention and its gradients come out as they should: two documents, more keys than a block has, odd widths."""
    lengths, dim, values, scale = (7, 530), 20, 17, 20**-0.5
    random, time = np.random.default_rng(0), sum(lengths)
    given = [_put(random.standard_normal((time, 1, w), np.float32), dtype) for w in (dim, dim, values, values)]
    exact, expected = (
        [_got(one, dtype)[:, 0] for one in given],
        [np.zeros((time, w)) for w in (values, dim, dim, values)],
    )
    for rows in (slice(0, lengths[0]), slice(lengths[0], time)):
        q, k, v, grad = (one[rows] for one in exact)
        weights = np.exp(scale * q @ k.T) * np.tri(len(q))
        weights /= weights.sum(1, keepdims=True)
        slopes = weights * (grad @ v.T - (grad * (weights @ v)).sum(1, keepdims=True)) * scale
        for into, one in zip(expected, (weights @ v, slopes @ k, slopes.T @ q, weights.T @ grad), strict=True):
            into[rows] = one
    out, sums, threads = np.empty_like(given[2]), np.empty(time, np.float32), torch.get_num_threads()
    found = [out, *(np.empty_like(one) for one in given[:3])]
    strided = [part for one in given for part in (one, one.shape[2], one.shape[2])]
    call = (2, np.array(lengths, np.int64), 1, 1, dim, values, float(scale), True)
    ahead = (*call, *strided[:9], out, sums, *_room(made, max(lengths), dim, values, False))
    back = (*call, *strided, out, sums, *found[1:], *_room(made, max(lengths), dim, values, True))
    made.attend(*map(_given, ahead), threads)
    made.attend_back(*map(_given, back), threads)
    bar = 1e-5 if dtype == torch.float32 else 2e-2
    pairs = zip((_got(one, dtype)[:, 0] for one in found), expected, strict=True)
    return all(float(np.linalg.norm(one - other)) <= bar * float(np.linalg.norm(other)) for one, other in pairs)


def _put(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """float32 as the library takes numbers of a type: bfloat16 is the upper half of its bits."""
    return values if dtype == torch.float32 else (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def _got(numbers: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The reverse of `_put`, in float64."""
    whole = numbers if dtype == torch.float32 else (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return whole.astype(np.float64)
