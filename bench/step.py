"""How fast a training step is: tokens a second of our loop beside TRL's and Hugging Face's trainers, on the same records, in one run.

    python bench/step.py                                        # every shape on its own records: an hour and more
    python bench/step.py --shape tiny --records headlines       # the quickstart's records, with base:tiny's tokenizer
    python bench/step.py --shape qwen2-0.5b --records alpaca.jsonl --tokenizer FOLDER --json out.json
    python bench/step.py --profile --shape qwen2-0.5b           # where our step's time goes
    python bench/step.py --device cuda --shape qwen2-1.5b       # on a GPU (without --shape: every shape that is meant for one)

Every contender is a process of its own (bench/_peers.py); the rounds go through all of them in turn, so that a busy
neighbour meets all alike. The median of the rounds counts; where a machine is busy, the best round and the processor time
tell more. Tokens are those of the records; padding is not counted. Shapes stand in bench/_shapes.py.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from _records import MADE_UP, records  # noqa: E402
from _shapes import HF_GROUPED, HF_PADDED, OURS, OURS_INT8, SHAPES, TRL, TRL_LIGER, Shape, has_int8  # noqa: E402
from tables import markdown, profile_markdown  # noqa: E402

from seektune import runtime  # noqa: E402
from seektune.errors import InputError  # noqa: E402

PEERS = {"lm": (*TRL, HF_GROUPED), "classify": (HF_PADDED, HF_GROUPED)}
PACKAGES = ("trl", "transformers", "peft", "accelerate", "torch")
GPU_PACKAGES = ("triton", "liger_kernel")
PEAKS = {"H100 80GB HBM3": 989.0, "H200": 989.0}  # TFLOP/s of dense bf16 products, as the vendor says
Job = dict[str, Any]


def main() -> int:
    options = arguments().parse_args()
    known = {OURS, OURS_INT8, *TRL_LIGER, *(name for names in PEERS.values() for name in names)}
    if unknown := set(options.contenders or ()) - known:
        print(f"error: --contenders: unknown {sorted(unknown)[0]!r}; {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    if importlib.util.find_spec("trl") is None:
        print("TRL is not installed here, so there is nothing to compare with: make bench installs it.\n")
    if options.in_one_process and mixed(options):
        print(
            "error: --in-one-process: Liger changes transformers for all that come after it: one round, one table",
            file=sys.stderr,
        )
        return 2
    if options.in_one_process:
        os.environ |= environment_of(OURS, options.threads, True)
        importlib.import_module("_peers")  # and with it torch, only now
        if options.device == "cuda" and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.init()
    found: list[dict[str, Any]] = []
    try:
        gpu_of(options.device)  # says at once where there is none
        for name, *which in tables(options):
            found.append((profiled if options.profile else measure)(options, name, *which))
            if options.json:
                write(options, found)
    except (ValueError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def mixed(options: argparse.Namespace) -> bool:
    """Whether a contender would run behind one that changes transformers' classes."""
    several = options.rounds > 1 or len(tables(options)) > 1
    return several and any(
        name in TRL_LIGER for one, *_ in tables(options) for name in contenders_of(options, SHAPES[one])
    )


def write(options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """After each table, so that what was measured stays if a later one breaks off."""
    facts = {
        "command": "python bench/step.py " + " ".join(map(shlex.quote, sys.argv[1:])),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(options),
        "tables": found,
    }
    Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument(
        "--shape",
        action="append",
        choices=list(SHAPES),
        help="may be repeated (default: all that are meant for the device)",
    )
    parser.add_argument(
        "--records", help=f"{', '.join(MADE_UP)}, or a file or folder of records (default: the shape's)"
    )
    parser.add_argument(
        "--tokenizer", default="base:tiny", help="folder of a tokenizer with a chat template, for headlines and files"
    )
    parser.add_argument("--count", type=int, help="records (default: the shape's, for about a minute a round)")
    parser.add_argument("--batch-size", type=int, help="records an optimizer step (default: the shape's)")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="default: the shape's; tiny takes what a timed GEMM says",
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes a contender, taken in turn (default 3)")
    parser.add_argument("--threads", type=int, default=runtime.usable_cores())
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="default: ours and all peers of the task")
    parser.add_argument(
        "--same-environment", action="store_true", help="give the peers our OpenMP and allocator variables too"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="records that peers begin with in a micro-batch (default: all of a step)",
    )
    parser.add_argument(
        "--in-one-process",
        action="store_true",
        help="all contenders one after the other in this process and in our environment: saves their starts",
    )
    parser.add_argument("--profile", action="store_true", help="where our step's time goes, instead of a comparison")
    parser.add_argument(
        "--peak-tflops",
        type=float,
        help="of a GPU's bf16 products, for the share of it that is reached (default: known cards')",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    return parser


def tables(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(shape, precision, records) of each table."""
    return [
        (name, precision, source)
        for name in options.shape or [name for name, shape in SHAPES.items() if shape.device == options.device]
        for precision in ([options.precision] if options.precision else SHAPES[name].precisions or [fast_precision(options.device)])
        for source in ([options.records] if options.records else SHAPES[name].records)
    ]  # fmt: skip


def fast_precision(device: str) -> str:
    return runtime.fast_precision() if device == "cpu" else "bfloat16"


def job_of(options: argparse.Namespace, name: str, precision: str, source: str) -> Job:
    """What every contender is told."""
    shape = SHAPES[name]
    count = options.count or shape.count.get(source, min(shape.count.values()))
    made = records(source, count, shape.config["vocab_size"], options.tokenizer, shape.labels)
    batch_size = options.batch_size or shape.batch_size
    return {"shape": name, "device": options.device, "precision": precision, "threads": options.threads, "batch_size": batch_size,
            "at_once": options.at_once, "in_one_process": options.in_one_process, "sequences": made.sequences, "labels": made.labels, "packed_length": packed_length(made.sequences, batch_size)}  # fmt: skip


def contenders_of(options: argparse.Namespace, shape: Shape) -> list[str]:
    cpu = options.device == "cpu"
    ours = [OURS, *([OURS_INT8] if cpu and shape.rank and has_int8() else [])]
    peers = PEERS[shape.task] if importlib.util.find_spec("trl") else ()
    if peers and not cpu and shape.task == "lm" and importlib.util.find_spec("liger_kernel"):
        peers = (*peers, *TRL_LIGER)
    return [name for name in (*ours, *peers) if not options.contenders or name in options.contenders]


def measure(options: argparse.Namespace, name: str, precision: str, source: str) -> dict[str, Any]:
    """One table: every contender `rounds` times on one shape."""
    shape, job = SHAPES[name], job_of(options, name, precision, source)
    rounds: dict[str, list[dict[str, Any]]] = {contender: [] for contender in contenders_of(options, shape)}
    failed: dict[str, str] = {}
    floor = floor_process(job | {"floor": "work and rates"})
    rates: dict[str, float] = floor.pop("rates")
    for number in range(options.rounds):
        if number and options.device == "cpu":  # a neighbour only slows down; a GPU has none
            now = floor_process(job | {"floor": "rates", "sequences": []})["rates"]
            rates |= {key: max(rate, rates.get(key, 0.0)) for key, rate in now.items()}
        for contender in (one for one in rounds if one not in failed):
            result = contend(job | {"contender": contender}, options.same_environment)
            if isinstance(result, str):
                failed[contender] = result
                continue
            rounds[contender].append(result)
            speed = f"{result['tokens'] / result['seconds']:,.0f} tokens/s"
            print(f"{name} round {number + 1} of {options.rounds}: {contender} {speed}", file=sys.stderr, flush=True)
    lengths = [len(ids) for ids, _ in job["sequences"]]
    contenders = {one: summary(found) for one, found in rounds.items() if found}
    peak = peak_of(options)
    for one, found in contenders.items():
        found |= beside_floor(found, floor_seconds(floor, rates, precision, one == OURS_INT8), options.threads)
        found |= beside_peak(found, floor, peak) if peak else {}
    table: dict[str, Any] = {
        "shape": name, "device": options.device, "model": shape.about, "tuner": shape.tuner, "task": shape.task, "precision": precision,
        "batch_size": job["batch_size"], "rounds": options.rounds,
        "same_environment": options.same_environment or options.in_one_process,
        "records": {"source": Path(source).name, "count": len(lengths), "tokens": sum(lengths), "longest": max(lengths),
                    "packed_length": job["packed_length"]},
        "floor": floor | {"rates": rates}, "contenders": contenders, "failed": failed, "ratios": ratios(contenders),
    }  # fmt: skip
    if OURS_INT8 in contenders:
        table["ratios_int8"] = ratios(contenders, OURS_INT8)
    print("\n".join(markdown(table, machine(options))) + "\n", flush=True)
    return table


def floor_process(job: Job) -> dict[str, Any]:
    """What bench/_floor.py finds, in our environment."""
    found = contend(job | {"contender": OURS}, False)
    if isinstance(found, str):
        raise ValueError(f"the floor of {job['shape']} could not be found: {found}")
    return {key: value for key, value in found.items() if key in ("frozen", "other", "rates")}


def floor_seconds(floor: dict[str, float], rates: dict[str, float], precision: str, int8: bool) -> float:
    return floor["frozen"] / rates["int8" if int8 else precision] + floor["other"] / rates[precision]


def beside_floor(found: dict[str, Any], seconds: float, threads: int) -> dict[str, float]:
    """Tokens a second at the floor, and the share of them that was reached, by wall clock and by processor time."""
    least = found["tokens"] / seconds
    return {"floor_tokens_per_second": least, "share_of_floor": found["tokens_per_second"] / least,
            "best_share_of_floor": found["best_tokens_per_second"] / least,
            "processor_share_of_floor": found["tokens_per_processor_second"] * threads / least}  # fmt: skip


def beside_peak(found: dict[str, Any], floor: dict[str, float], peak: float) -> dict[str, float]:
    """The operations of the floor that were done in a second, over the GPU's own figure."""
    operations = (floor["frozen"] + floor["other"]) / found["tokens"]  # a token
    return {"share_of_peak": operations * found["tokens_per_second"] / peak}


def peak_of(options: argparse.Namespace) -> float | None:
    """Operations a second that the GPU could do, where they are known."""
    if options.device == "cpu":
        return None
    name = gpu_of(options.device)["name"]
    known = options.peak_tflops or next((peak for card, peak in PEAKS.items() if card in name), None)
    return known and known * 1e12


@functools.cache
def gpu_of(device: str) -> dict[str, Any]:
    """Name and memory, asked for in another process: this one would hold memory of the GPU for itself. {} of a CPU."""
    if device == "cpu":
        return {}
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():  # it does that already
        return importlib.import_module("_floor").gpu()
    found = contend({"contender": OURS, "device": device, "threads": 1, "floor": "gpu"}, False)
    if isinstance(found, str):
        raise ValueError(f"--device {device}: {found}")
    return found["gpu"]


def profiled(options: argparse.Namespace, name: str, precision: str, source: str) -> dict[str, Any]:
    """Where the time of our step goes, of one process."""
    contender = (options.contenders or [OURS])[0]
    job = job_of(options, name, precision, source) | {"contender": contender, "profile": True}
    found = contend(job, options.same_environment)
    if isinstance(found, str):
        raise ValueError(f"{contender} did not run: {found}")
    tokens = sum(len(ids) for ids, _ in job["sequences"])
    title = (
        f"{contender}, {name}, {SHAPES[name].tuner}, {precision}, {len(job['sequences'])} records ({Path(source).name})"
    )
    found = {"shape": name, "precision": precision, "contender": contender, "tokens": tokens} | found
    print("\n".join(profile_markdown(found, title, machine(options))) + "\n", flush=True)
    return found


def packed_length(made: list[Any], batch_size: int) -> int:
    """Of TRL's packed rows: a row a step that holds what a batch of records holds, and no record is cut."""
    total = sum(len(ids) for ids, _ in made)
    return max(max(len(ids) for ids, _ in made), round(total / len(made) * batch_size))


def contend(job: dict[str, Any], same_environment: bool) -> dict[str, Any] | str:
    """The result of one process, or the last line that it said."""
    if job.get("in_one_process"):
        return in_this_process(job)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "job.json"), Path(folder, "result.json")
        asked.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, str(HERE / "_peers.py"), str(asked), str(answered)]
        environment = environment_of(job["contender"], job["threads"], same_environment)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if answered.exists():
            return json.loads(answered.read_text(encoding="utf-8"))
        return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]


def in_this_process(job: Job) -> dict[str, Any] | str:
    peers = importlib.import_module("_peers")
    try:
        return peers.answered(job)
    except Exception as error:  # of one contender: the others are measured all the same
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        peers.free_memory()


def environment_of(contender: str, threads: int, same: bool) -> dict[str, str]:
    """The same threads for all. Ours also gets what `seektune train` sets for itself: runtime.LIBRARIES and runtime.ALLOCATOR."""
    own = {**runtime.LIBRARIES, **runtime.ALLOCATOR, "GOMP_SPINCOUNT": runtime.spin_count()}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[
        0
    ]  # the peers take all
    return environment | (own if contender in (OURS, OURS_INT8) or same else {})


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and the best round."""
    seconds, processor = ([one[key] for one in found] for key in ("seconds", "processor_seconds"))
    tokens, learnt = found[0]["tokens"], found[0]["learnt_tokens"]
    middle = statistics.median(seconds)
    on_gpu = [one["peak_allocated_bytes"] for one in found if "peak_allocated_bytes" in one]
    cut = min(found, key=lambda one: one.get("microbatch", 0))
    return {
        "tokens": tokens,
        "seconds": seconds,
        "processor_seconds": processor,
        "tokens_per_second": tokens / middle,
        "learnt_tokens_per_second": learnt / middle,
        "best_tokens_per_second": tokens / min(seconds),
        "tokens_per_processor_second": tokens / statistics.median(processor),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in found),
        "steps": found[0]["steps"],
        "loss": found[0]["loss"],
        "step_seconds": [one.get("step_seconds") for one in found],
        **({"peak_allocated_bytes": max(on_gpu)} if on_gpu else {}),
        **{key: cut[key] for key in ("microbatch", "microbatch_unit") if key in cut},
    }


def ratios(contenders: dict[str, Any], name: str = OURS) -> dict[str, Any]:
    """Ours over each peer, and over the best peer of each figure (of memory: the one that needs least)."""
    peers = {peer: one for peer, one in contenders.items() if peer not in (OURS, OURS_INT8)}
    if name not in contenders or not peers:
        return {}
    ours = contenders[name]
    keys = ("tokens_per_second", "best_tokens_per_second", "tokens_per_processor_second", "peak_memory_bytes")
    found: dict[str, Any] = {peer: {key: ours[key] / one[key] for key in keys} for peer, one in peers.items()}
    best = {key: max(peers, key=lambda peer: peers[peer][key]) for key in keys[:-1]}
    best[keys[-1]] = min(peers, key=lambda peer: peers[peer][keys[-1]])
    return found | {"best peer": {key: found[best[key]][key] for key in keys} | {"who": best}}


def machine(options: argparse.Namespace) -> dict[str, Any]:
    packages = PACKAGES + (GPU_PACKAGES if options.device != "cpu" else ())
    versions = {name: importlib.metadata.version(name) for name in packages if importlib.util.find_spec(name)}
    gpu = gpu_of(options.device)
    return {**({"gpu": gpu} if gpu else {}), "cpu": runtime.cpu_name(), "features": runtime.cpu_features(), "cores": runtime.usable_cores(), "threads": options.threads,
            "memory_bytes": runtime.memory_bytes(), "load": os.getloadavg()[0], "versions": versions,
            "git": runtime.git_state(HERE)}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
