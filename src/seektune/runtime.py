"""This machine: threads, allocator, device, how fast it computes, and the facts that environment.json keeps.

torch is imported inside functions only: `prepare` has to run before it, as OpenMP and the C library read the environment
once, when they start.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__, files
from .errors import RecipeError, problem

if TYPE_CHECKING:
    import torch

COMPUTING_VERBS = frozenset({"check", "train", "evaluate", "chat"})
STARTED = "SEEKTUNE_STARTED"  # set once the process has been started again
SPIN, SPIN_ALONE = "500", "5000"  # how often a waiting OpenMP thread looks before it sleeps, see `spin_count`
LIBRARIES = {  # what OpenMP and oneDNN read when they are loaded
    "GOMP_SPINCOUNT": SPIN,  # with a busy neighbour, spinning threads were up to 84 times slower
    # compiled products stay for every shape ever seen, and rows have a new length at each step: with the default of 1,024
    # a run grew from 1.4 to 5.1 GB, its heap full of holes around them. A step has fewer shapes than 64, one with experts some 200.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "LRU_CACHE_CAPACITY": "128",  # torch's own cache in front of it
    # of a GPU: rows have a new length at each step, and what is given back in one size does not serve for a larger one
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",
}
ON_GPU, ON_GPU_BEFORE = "PYTORCH_ALLOC_CONF", ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")  # older names
ALLOCATOR = {  # keep large tensors: by default glibc gives each back to the kernel and gets it again, page by page
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "jinja2", "pyarrow")
DEVICES = ("auto", "cpu", "cuda", "mps")
SIZES = (768, 8192)  # of a square product that keeps a CPU, or a GPU, busy
BFLOAT16_WORTH = 1.2  # bf16 must be this much faster than fp32: casting costs something too
CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
)

# Before torch


def prepare(
    environ: MutableMapping[str, str],
    argv: Sequence[str],
    execute: Callable[[str, list[str], Mapping[str, str]], Any] = os.execve,
) -> None:
    """Set what OpenMP, oneDNN and the allocator read at their start; `argv` is what follows the program's name, as the process got it.

    The libraries' variables are read when torch is loaded, so setting them is enough. The allocator's were read when this process
    began: a verb that computes starts once more with them, in the same process id. What the user has set stands.
    """
    verb = next((word for word in argv if not word.startswith("-")), "")
    set_libraries(environ, computes=verb in COMPUTING_VERBS)
    wanted = {name: value for name, value in ALLOCATOR.items() if name not in environ}
    called_from_python = list(argv) != sys.argv[1:]  # whoever calls us as a library keeps the process
    if verb not in COMPUTING_VERBS or STARTED in environ or not wanted or called_from_python or not has_glibc():
        return
    environ.update(wanted)
    environ[STARTED] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    execute(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def set_libraries(environ: MutableMapping[str, str], computes: bool = True) -> None:
    """The part of `prepare` that is enough before torch is loaded; what is set stands."""
    environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    if computes and "GOMP_SPINCOUNT" not in environ:
        environ["GOMP_SPINCOUNT"] = spin_count()
    for name, value in LIBRARIES.items():
        if name != ON_GPU or not any(other in environ for other in ON_GPU_BEFORE):
            environ.setdefault(name, value)


def spin_count(root: Path = Path("/"), looks: int = 10) -> str:
    """Of OpenMP's threads: more where nobody else computes now and no quota limits the cores.

    A step of a small model goes from one parallel piece to the next in less time than waking a thread takes: with 5,000 it was
    26 % faster than with 500 on two idle cores, and half as fast with a busy neighbour. Looks for 50 ms.
    """
    if _quotas(root):
        return SPIN
    others = 0
    try:
        for _ in range(looks):
            running = (root / "proc/loadavg").read_text().split()[3].split("/")[0]
            others += int(running) - 1  # without this process
            time.sleep(0.005)
    except (OSError, ValueError, IndexError):
        return SPIN
    return SPIN_ALONE if others < 0.3 * looks else SPIN


def has_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError, AttributeError):
        return False


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: the affinity mask, and the quota of its control groups rounded down; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> list[float]:
    """CPU quotas, in cores, of the control groups around this process (version 2, then version 1)."""
    found = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            group = mount / path.lstrip("/")
            while True:
                found += [quota for quota in (_quota(group),) if quota]
                if group == mount or mount not in group.parents:
                    break
                group = group.parent
    return found


def _quota(group: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        limit, period = (group / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        limit = (group / "cpu.cfs_quota_us").read_text()
        return int(limit) / int((group / "cpu.cfs_period_us").read_text()) if int(limit) > 0 else None
    return None


# Device and speed


def resolve_device(name: str, where: str = "train.device") -> torch.device:
    """`auto` is the first of cuda, mps and cpu that is there. RecipeError where a named one is not."""
    import torch

    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    kind = name.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        build = "is a build without CUDA" if torch.version.cuda is None else "sees no GPU"
        raise RecipeError(_no_device(where, name, f"torch {torch.__version__} {build}"))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise RecipeError(_no_device(where, name, "this machine or this torch has no Metal"))
    if kind not in DEVICES:
        raise RecipeError(problem(where, f"found {name!r}", "one of " + ", ".join(DEVICES)))
    return torch.device(name)


def _no_device(where: str, name: str, reason: str) -> str:
    return problem(where, f"{name!r} is not there ({reason})", "a device of this machine", "take `auto` or `cpu`")


class Speed(NamedTuple):
    """How fast this machine was when it was measured. Operations and bytes a second."""

    float32: float  # matrix products in fp32
    bfloat16: float  # matrix products in bf16
    int8: float  # matrix products of int8, summed in int32; 0 where there are none
    memory: float  # bytes read

    @property
    def precision(self) -> str:
        return "bfloat16" if self.bfloat16 >= BFLOAT16_WORTH * self.float32 else "float32"


def measure(device: str = "cpu", cache: Path | None = None) -> Speed:
    """The speed of this machine, timed in less than a second the first time and then read from the cache folder."""
    import torch

    machine = ["4", cpu_name(), *cpu_features(), str(torch.get_num_threads()), torch.__version__, device]
    key = files.sha256_text("|".join([*machine, _device_name(device) or ""]))
    path = (cache or cache_folder()) / f"speed-{key[:16]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Speed(**files.read_json(path))
    single, half = (_product_speed(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    speed = Speed(single, half, _int8_speed(device), _read_speed(device))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs that time again
        files.write_json(path, speed._asdict())
    return speed


def fast_precision(device: str = "cpu") -> str:
    """`bfloat16` where a timed matrix product says that it pays, else `float32`. Not every CPU is good at bf16."""
    return measure(device).precision


def _product_speed(dtype: torch.dtype, device: str, seconds: float = 0.12) -> float:
    import torch

    size = SIZES[device.partition(":")[0] == "cuda"]
    own = torch.Generator(device).manual_seed(0)  # what a run draws must not depend on whether this was timed before
    a, b = (torch.randn(size, size, device=device, generator=own).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_time(lambda: a @ b, device, seconds)


def _int8_speed(device: str, seconds: float = 0.06) -> float:
    """The faster one of torch's plain int8 product and oneDNN's, which also scales what it has summed."""
    import torch

    size = SIZES[device.partition(":")[0] == "cuda"]
    own = torch.Generator(device).manual_seed(0)
    a, b = (torch.randint(-127, 128, (size, size), dtype=torch.int8, device=device, generator=own) for _ in range(2))
    ways: list[Callable[[], Any]] = [lambda: torch._int_mm(a, b)]
    with contextlib.suppress(RuntimeError, AttributeError, NotImplementedError):  # a build without oneDNN
        held = torch.ops.onednn.qlinear_prepack(b, [size, size])
        scales, zeros = torch.ones(size), torch.zeros(size, dtype=torch.int64)
        rest: Any = (None, 1.0, 0, torch.float32, "none", [], "")
        x = (a.to(torch.int16) + 128).to(torch.uint8)
        ways.append(lambda: torch.ops.onednn.qlinear_pointwise(x, 0.01, 128, held, scales, zeros, *rest))
    found = [0.0]
    for way in ways:
        with contextlib.suppress(RuntimeError, NotImplementedError):
            found.append(2 * size**3 / _best_time(way, device, seconds))
    return max(found)


def _read_speed(device: str, seconds: float = 0.12) -> float:
    """Reading more than the caches hold, as decoding reads its weights."""
    import torch

    megabytes = 1024 if device.partition(":")[0] == "cuda" else 128
    block = torch.ones(megabytes << 18, device=device)
    return 4 * block.numel() / _best_time(lambda: block.sum(), device, seconds)


def _best_time(work: Callable[[], Any], device: str, seconds: float) -> float:
    """Seconds of the fastest call: what the machine can do, whatever else runs on it now.

    On a CPU the time that the process was given, by core, counts where that is less: a product may take longer than a busy
    machine ever leaves it alone. That time is the mean over all calls: of another thread that runs, the kernel counts it
    every few milliseconds only, so of one call it may be half.
    """
    import torch

    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.partition(":")[0], lambda: None)
    cores = min(torch.get_num_threads(), usable_cores())
    work()
    best, calls, given, end = math.inf, 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        wait()
        began = time.perf_counter()
        work()
        wait()
        best, calls = min(best, time.perf_counter() - began), calls + 1
    given = (time.process_time() - given) / cores / calls if device == "cpu" else math.inf
    return min(best, given) if given > 0 else best


def cache_folder() -> Path:
    """Where things are kept that can be made again: SEEKTUNE_CACHE, or `seektune` in the user's cache folder."""
    if own := os.environ.get("SEEKTUNE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seektune"


# Memory


def peak_rss() -> int:
    """The most bytes of memory that this process has held, or has held since `reset_peak_rss`."""
    with contextlib.suppress(
        OSError, StopIteration
    ):  # getrusage counts what stood before an exec, the kernel's own line does not
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def reset_peak_rss() -> bool:
    """Begin anew with what is held now; False where the system cannot (then `peak_rss` counts from the start)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process may use: what the machine has, or the limit of its control group."""
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [held]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((root / name).read_text()))
    return min(limits)


def release_memory() -> None:
    """Hand freed memory back to the system: the C library keeps it, and it would count as held from here on."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def free_bytes() -> int:
    """Memory that the machine can still give."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return memory_bytes()


def rss() -> int:
    """Bytes of memory that this process holds now."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])
    return peak_rss()


# Facts for environment.json


def environment(
    seeds: Mapping[str, int] | None = None, device: str = "cpu", threads: int | None = None, pieces: str | None = None
) -> dict[str, Any]:
    """What a number may depend on besides recipe and data. `threads`: of torch, None where it is not loaded.

    `pieces`: how those are computed that are compiled where they can be (models/kernels/native.py).
    """
    return {
        "seektune": __version__,
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpu_features": cpu_features(),
        "cores": usable_cores(),
        "threads": threads,
        "pieces": pieces,
        "memory_bytes": memory_bytes(),
        "device": device,
        "device_name": _device_name(device),
        "variables": {
            name: os.environ[name]
            for name in sorted(os.environ)
            if name.startswith(("OMP_", "GOMP_", "MALLOC_", "ONEDNN_", "LRU_", "PYTORCH_"))
        },
        "git": git_state(Path.cwd()),
        "command": sys.argv,
        "seeds": dict(seeds or {}),
        "time": time.time(),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed between two environments that may change the bits of a result, one line each."""
    lines = []
    for name in ("seektune", "python", "cpu", "cpu_features", "threads", "pieces", "device", "device_name", "packages"):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [
                f"{key}: {old.get(key)} then, {new.get(key)} now"
                for key in sorted({*old, *new})
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            lines.append(f"{name}: {old} then, {new} now")
    return lines


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and branch of a folder, and whether files were changed since; None where it is in no repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"), "changed": bool(changed)}


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The instruction sets that decide which kernels torch takes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split(":", 1)[1].split())
                return [feature for feature in CPU_FEATURES if feature in flags]
    return []


def _version(package: str) -> str | None:
    """From the package itself where it is loaded (`2.13.0+cpu`), else from what pip has written."""
    import importlib.metadata

    loaded = getattr(sys.modules.get(package), "__version__", None)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return str(loaded or importlib.metadata.version(package))
    return None


def _device_name(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device)


def _git(folder: Path, *words: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
