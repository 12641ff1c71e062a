from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seektune import runtime
from seektune.errors import RecipeError

WITHOUT = {"PATH": "/bin"}


class Execution:
    """Stands for os.execve: notes the call instead of becoming another program."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str], dict[str, str]]] = []

    def __call__(self, path: str, words: list[str], environ: Any) -> None:
        self.calls.append((path, words, dict(environ)))


def prepare(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], *argv: str) -> Execution:
    monkeypatch.setattr(sys, "argv", ["seektune", *argv])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "seektune", *argv])
    execution = Execution()
    runtime.prepare(environ, argv, execution)
    return execution


glibc = pytest.mark.skipif(not runtime.has_glibc(), reason="the allocator's variables are glibc's")


@glibc
def test_a_computing_verb_starts_once_more_with_the_allocator_set(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = dict(WITHOUT)
    (path, words, given), *more = prepare(monkeypatch, environ, "train", "recipe.yaml").calls
    assert not more
    assert (path, words) == (sys.executable, [sys.executable, "-m", "seektune", "train", "recipe.yaml"])
    assert all(given[name] == value for name, value in runtime.ALLOCATOR.items())
    assert prepare(monkeypatch, given, "train", "recipe.yaml").calls == []  # the second start goes on


@pytest.mark.parametrize("verb", ["runs", "kinds", "--help", "new", "compare"])
def test_other_verbs_go_on_at_once(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    assert prepare(monkeypatch, dict(WITHOUT), verb).calls == []


def test_openmp_and_onednn_are_set_and_the_users_own_word_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OMP_NUM_THREADS": "7", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"} | runtime.ALLOCATOR
    assert prepare(monkeypatch, environ, "train").calls == []
    assert environ["OMP_NUM_THREADS"] == "7"
    assert environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "9"
    assert environ["GOMP_SPINCOUNT"] in (runtime.SPIN, runtime.SPIN_ALONE)
    assert environ["LRU_CACHE_CAPACITY"] == runtime.LIBRARIES["LRU_CACHE_CAPACITY"]
    held = {"GOMP_SPINCOUNT": "3"} | runtime.ALLOCATOR
    prepare(monkeypatch, held, "train")
    assert held["GOMP_SPINCOUNT"] == "3"
    fresh: dict[str, str] = {}
    prepare(monkeypatch, fresh, "runs")
    assert fresh["GOMP_SPINCOUNT"] == runtime.SPIN  # a verb that computes nothing does not look
    assert fresh["OMP_NUM_THREADS"] == str(runtime.usable_cores())


@pytest.mark.parametrize(
    ("running", "expected"), [("1/90", runtime.SPIN_ALONE), ("2/90", runtime.SPIN), ("", runtime.SPIN)]
)
def test_threads_spin_longer_where_nobody_else_computes(tmp_path: Path, running: str, expected: str) -> None:
    groups(tmp_path, "0::/a\n")
    (tmp_path / "proc/loadavg").write_text(f"0.10 0.20 0.30 {running} 4711\n")
    assert runtime.spin_count(tmp_path, looks=2) == expected


def test_threads_under_a_quota_sleep_soon(tmp_path: Path) -> None:
    groups(tmp_path, "0::/a\n", a__cpu_max="200000 100000")
    (tmp_path / "proc/loadavg").write_text("0.10 0.20 0.30 1/90 4711\n")
    assert runtime.spin_count(tmp_path, looks=2) == runtime.SPIN


def test_whoever_calls_us_from_python_keeps_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "-q"])
    execution = Execution()
    runtime.prepare(dict(WITHOUT), ["train", "recipe.yaml"], execution)
    assert execution.calls == []


@glibc
def test_a_real_process_is_started_again_in_the_same_pid(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nprint(os.getpid(), flush=True)\nfrom seektune import runtime\n"
        "runtime.prepare(os.environ, sys.argv[1:])\n"
        "print(os.environ['MALLOC_MMAP_THRESHOLD_'], os.environ['GOMP_SPINCOUNT'], sys.argv[1:], 'torch' in sys.modules)\n"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GOMP_", "SEEKTUNE_"))}
    done = subprocess.run(
        [sys.executable, str(program), "train", "a b"], env=environ, capture_output=True, text=True, check=True
    )
    first, second, last = done.stdout.splitlines()
    assert first == second
    assert last.split(" ", 2)[::2] == [str(4 << 30), "['train', 'a b'] False"]
    assert last.split(" ")[1] in (runtime.SPIN, runtime.SPIN_ALONE)


def groups(root: Path, lines: str, **written: str) -> Path:
    """A made-up machine: /proc/self/cgroup and the files of its control groups ("__" stands for "/")."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, content in written.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def many_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 16), ("250000 100000", 2), ("50000 100000", 1), ("3200000 100000", 16)]
)
def test_a_quota_of_the_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    many_cores(monkeypatch, 16)
    assert runtime.usable_cores(groups(tmp_path, "0::/\n", cpu_max=quota)) == cores


def test_the_quota_of_a_group_above_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many_cores(monkeypatch, 16)
    root = groups(tmp_path, "0::/pod/box\n", pod__cpu_max="400000 100000", pod__box__cpu_max="max 100000")
    assert runtime.usable_cores(root) == 4


def test_version_1_of_the_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many_cores(monkeypatch, 16)
    lines = "5:memory:/x\n4:cpu,cpuacct:/x\n"
    root = groups(tmp_path, lines, cpu__x__cpu_cfs_quota_us="300000", cpu__x__cpu_cfs_period_us="100000")
    assert runtime.usable_cores(root) == 3


def test_without_control_groups_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many_cores(monkeypatch, 3)
    assert runtime.usable_cores(tmp_path) == 3


def test_memory_has_the_limit_of_the_container(tmp_path: Path) -> None:
    machine = runtime.memory_bytes(tmp_path)
    assert machine > 1 << 28
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    assert runtime.memory_bytes(tmp_path) == machine
    limit.write_text("134217728\n")
    assert runtime.memory_bytes(tmp_path) == 1 << 27


def test_devices() -> None:
    import torch

    assert runtime.resolve_device("cpu") == torch.device("cpu")
    assert runtime.resolve_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(RecipeError, match=r"train\.device: found 'tpu'; expected one of auto, cpu, cuda, mps"):
        runtime.resolve_device("tpu")


def test_a_gpu_that_is_not_there_is_told_with_the_reason() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RecipeError, match=r"'cuda' is not there \(torch .*\); expected .*; take `auto` or `cpu`"):
        runtime.resolve_device("cuda")


def test_timing_the_machine_moves_no_random_state(tmp_path: Path) -> None:
    """Else the first run on a machine would draw other adapters than every later one with the same seed."""
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    runtime.measure(cache=tmp_path)
    assert torch.equal(torch.randn(4), expected)


def test_speed_is_measured_once_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = runtime.measure(cache=tmp_path)
    assert 1e8 < speed.float32 < 1e14
    assert 1e8 < speed.bfloat16 < 1e15
    assert 1e8 < speed.int8 < 1e15
    assert 1e8 < speed.memory < 1e13
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(runtime, "_best_time", None)  # measuring again would fail
    assert runtime.measure(cache=tmp_path) == speed
    monkeypatch.undo()
    path.write_text(json.dumps({"float32": 1.0, "bfloat16": 1.0, "memory": 1.0}))
    assert runtime.measure(cache=tmp_path).int8 > 1  # one that an older version wrote is made again
    path.write_text("{")
    assert runtime.measure(cache=tmp_path).float32 > 0  # a damaged cache is made again
    assert json.loads(path.read_text())["float32"] > 0


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert runtime.measure(cache=tmp_path / "file").float32 > 0


@pytest.mark.parametrize(("bfloat16", "precision"), [(3.0, "bfloat16"), (1.1, "float32"), (0.2, "float32")])
def test_bfloat16_is_taken_where_it_pays(monkeypatch: pytest.MonkeyPatch, bfloat16: float, precision: str) -> None:
    monkeypatch.setattr(runtime, "measure", lambda device: runtime.Speed(1.0, bfloat16, 0.0, 1.0))
    assert runtime.fast_precision() == precision


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("SEEKTUNE_CACHE", raising=False)
    assert runtime.cache_folder() == Path("/x/seektune")
    monkeypatch.setenv("SEEKTUNE_CACHE", "/y")
    assert runtime.cache_folder() == Path("/y")


def test_peak_memory_sees_what_was_held_and_can_begin_anew() -> None:
    script = """
import numpy as np
from seektune import runtime
before = runtime.peak_rss()
block = np.ones(1 << 27, dtype=np.uint8)
held = runtime.peak_rss()
assert held - before > (1 << 27) * 0.8, (before, held)
del block
if runtime.reset_peak_rss():
    assert runtime.peak_rss() < held - (1 << 26), runtime.peak_rss()
"""
    # in a process of its own: one that has held more before sees no new peak
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_run_from_python_bounds_the_spinning_where_torch_is_not_loaded_yet(tmp_path, loaded):
    """The data are missing, so the run ends where it would begin."""
    script = f"""
import os, sys
{"import torch" if loaded else ""}
from seektune.data.options import Data, Input
from seektune.errors import RecipeError
from seektune.models.load import Model
from seektune.objectives.sft import SFT
from seektune.recipe import Recipe
from seektune.tuners.lora import LoRA
try:
    Recipe(model=Model("base:tiny"), data=Data([Input("none.jsonl")]), tuner=LoRA(rank=8), objective=SFT()).run()
except RecipeError:
    print(sorted(set(os.environ) & {{"GOMP_SPINCOUNT", "OMP_NUM_THREADS", "LRU_CACHE_CAPACITY"}}))
"""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP", "LRU", "ONEDNN"))}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=bare, capture_output=True, text=True)
    expected = [] if loaded else ["GOMP_SPINCOUNT", "LRU_CACHE_CAPACITY", "OMP_NUM_THREADS"]
    assert done.stdout.strip() == str(expected), done.stderr


def test_facts_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    facts = runtime.environment({"recipe": 17}, threads=2)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["seeds"] == {"recipe": 17}
    assert facts["threads"] == 2
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"
    assert re.match(r"\d+\.\d+", facts["packages"]["torch"])
    assert facts["git"] is None or "commit" in facts["git"]


def test_git_state(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "trunk")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "one")
    state = runtime.git_state(tmp_path)
    assert state is not None
    assert re.fullmatch(r"[0-9a-f]{40}", state["commit"])
    assert (state["branch"], state["changed"]) == ("trunk", False)
    (tmp_path / "a").write_text("2")
    assert (runtime.git_state(tmp_path) or {})["changed"] is True
    assert runtime.git_state(tmp_path / "none") is None


def test_what_may_change_the_bits_is_named() -> None:
    facts = runtime.environment(threads=2)
    assert runtime.differences(facts, facts | {"time": 0, "seeds": {"a": 1}, "command": []}) == []
    other = facts | {"threads": 4, "packages": facts["packages"] | {"torch": "9.9"}}
    assert runtime.differences(facts, other) == [
        "threads: 2 then, 4 now",
        f"torch: {facts['packages']['torch']} then, 9.9 now",
    ]


@pytest.mark.parametrize("name", runtime.ON_GPU_BEFORE)
def test_an_older_name_of_the_gpus_allocator_stands(name):
    environ = {name: "max_split_size_mb:128", "GOMP_SPINCOUNT": "1"}
    runtime.set_libraries(environ)
    assert runtime.ON_GPU not in environ
    environ = {"GOMP_SPINCOUNT": "1"}
    runtime.set_libraries(environ)
    assert environ[runtime.ON_GPU] == runtime.LIBRARIES[runtime.ON_GPU]
