"""Layer streaming: the arithmetic of a 70B base on 16 GB, and a streamed run beside one that is not, on this machine.

    python bench/stream.py                                  # arithmetic, and a base of 300 MB streamed and not
    python bench/stream.py --device cuda --shape 70b        # the 70B shape on a GPU: peak memory, tokens a second
    python bench/stream.py --json docs/figures/stream.json

Each run is a process of its own. Weights are random; of the 70B shape they are holes of a file (zeros, which cost no disk and
travel like any others). Seconds are of the processor on a CPU, so that a busy neighbour does not count, and of the clock on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from seektune import console, runtime
from seektune.models.streaming_cost import GPU_16G, LLAMA_70B, Shape, streaming_arithmetic

DRAWN = 1 << 26  # random numbers of a matrix
SHAPES = {
    "wide": Shape(256, 24, 4, 2, 8192, 4096, 64),
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, 64),
    "8b": Shape(4096, 32, 32, 8, 14336, 128256, 128),
    "70b": LLAMA_70B,
}


def main() -> int:
    options = arguments().parse_args()
    options.precision = options.precision or ("float32" if options.device == "cpu" else "bfloat16")
    if options.worker:
        print(json.dumps(train(options)))
        return 0
    facts = {
        "command": "python bench/stream.py " + " ".join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{runtime.usable_cores()} × {runtime.cpu_name()}",
        "arithmetic": arithmetic(options.tokens),
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        make_folder(Path(folder), SHAPES[options.shape], holes=options.shape == "70b")
        facts["runs"] = [measured(options, folder, how) for how in options.how or default_runs(options)]
    show(facts)
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="wide")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", help="of the arithmetic (default float32; bfloat16 on a GPU)")
    parser.add_argument("--tokens", type=int, default=8192, help="of a step in the arithmetic and on a GPU (8192)")
    parser.add_argument("--chunk", type=int, default=None, help="tokens of a micro-batch (default an eighth of a step)")
    parser.add_argument("--steps", type=int, default=3, help="after the first (3); 0: the first is all")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--how", action="append", choices=["streamed", "plain"], help="default both; of 70b, streamed")
    parser.add_argument("--folder", help="where the weights are written for the while")
    parser.add_argument("--json", help="write the figures into this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def default_runs(options: Any) -> list[str]:
    return ["streamed"] if options.shape == "70b" else ["plain", "streamed"]


# ---- the arithmetic ----


def arithmetic(tokens: int) -> list[dict[str, Any]]:
    rows = []
    for rank in (8, 16):
        found = streaming_arithmetic(LLAMA_70B, GPU_16G, tokens=tokens, rank=rank)
        rows.append(
            {
                "rank": rank,
                "tokens": tokens,
                "layer_bytes": found.layer_bytes,
                "traffic_bytes": found.traffic_bytes,
                "transfer_seconds": found.transfer_seconds,
                "compute_seconds": found.compute_seconds,
                "memory": found.memory,
                "peak_bytes": found.peak_bytes,
                "host_bytes": found.host_bytes,
                "fits_16g": found.fits,
            }
        )
    return rows


# ---- a model of random weights ----


def make_folder(folder: Path, shape: Shape, holes: bool) -> None:
    """A Llama of this shape as a folder with one file a layer. `holes`: no value is written."""
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape.hidden, "dtype": "bfloat16",
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate, "vocab_size": shape.vocab, "head_dim": shape.head,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    parts = {"ends": {"model.embed_tokens.weight": (shape.vocab, shape.hidden), "model.norm.weight": (shape.hidden,)}}
    parts["ends"]["lm_head.weight"] = (shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        name = f"model.layers.{layer}."
        parts[f"layer{layer}"] = {f"{name}{_place(key)}.weight": size for key, size in shape.matrices.items()}
        norms = ("input_layernorm", "post_attention_layernorm")
        parts[f"layer{layer}"] |= {f"{name}{norm}.weight": (shape.hidden,) for norm in norms}
    where = {}
    for part, tensors in parts.items():
        write_part(folder / f"model-{part}.safetensors", tensors, holes and part != "ends")
        where |= dict.fromkeys(tensors, f"model-{part}.safetensors")
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _place(matrix: str) -> str:
    return ("self_attn." if matrix[0] in "qkvo" else "mlp.") + matrix


def write_part(file: Path, tensors: dict[str, tuple[int, ...]], holes: bool) -> None:
    import torch

    header, at = {}, 0
    for name, size in tensors.items():
        end = at + 2 * int(torch.Size(size).numel())
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    generator = torch.Generator().manual_seed(len(raw))
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw)
        if holes:
            out.truncate(8 + len(raw) + at)
            return
        for size in tensors.values():
            count = torch.Size(size).numel()
            some = torch.randn(min(count, DRAWN), generator=generator) * size[-1] ** -0.5
            some = (some if len(size) > 1 else torch.ones(count)).bfloat16().view(torch.int16).numpy().tobytes()
            for start in range(
                0, 2 * count, len(some)
            ):  # large ends repeat themselves: drawing them takes longer than a step
                out.write(some[: 2 * count - start])


# ---- one run ----


def measured(options: Any, folder: str, how: str) -> dict[str, Any]:
    settings = {
        "shape": options.shape,
        "device": options.device,
        "precision": options.precision,
        "steps": options.steps,
    }
    settings |= {"rank": options.rank, "tokens": options.tokens if options.device != "cpu" else 512}
    settings["chunk"] = options.chunk or settings["tokens"] // 8
    command = [sys.executable, __file__, "--worker", how, "--folder", folder]
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    environ = os.environ | runtime.LIBRARIES | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{how} failed:\n{done.stderr[-2000:]}")
    return {"how": how} | settings | json.loads(done.stdout.splitlines()[-1])


def train(options: Any) -> dict[str, Any]:
    """A few steps of LoRA on random documents of 64 to 128 tokens; the first step is left out of the time."""
    import torch

    from seektune.data import pack
    from seektune.models import attention, fuse, load, streaming
    from seektune.objectives.sft import SFT
    from seektune.optimizers._groups import parameter_groups
    from seektune.optimizers.adamw import AdamW
    from seektune.train.precision import Precision, prepare_dtypes
    from seektune.tuners.lora import LoRA

    device, stream = torch.device(options.device), options.worker == "streamed"
    memory = Anonymous()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    torch.manual_seed(0)
    model: Any = load.open_model(load.Model(options.folder), device=device, stream=stream)
    model = LoRA(rank=options.rank).apply(model)
    prepare_dtypes(model, options.precision)
    model.get_base_model().set_attn_implementation(attention.register())
    fuse.fuse(model)
    model.train()
    if stream:
        streaming.cut_by(model, SimpleNamespace(rows="packed", records=None, tokens=options.chunk), 1)
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    arithmetic, optimizer = (
        Precision(options.precision, device.type),
        AdamW(learning_rate=1e-4).build(parameter_groups(model, 0.0)),
    )
    seconds, losses, counted = [], [], []
    for step in range(options.steps + 1):
        documents, began = made_up(step, options.tokens, SHAPES[options.shape].vocab), clock()
        counted.append(sum(map(len, documents)))
        losses.append(0.0)
        for micro in pack.cut(documents, tokens=None if stream else options.chunk, device=device):
            with arithmetic.autocast():
                loss = SFT().loss(model, micro)
            loss.total.backward()
            losses[-1] += float(loss.total.detach())
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    first = min(1, options.steps)  # the first step reads what is not in memory yet; alone, it counts
    found: dict[str, Any] = {"losses": losses, "step_seconds": statistics.median(seconds[first:])}
    found["tokens_per_second"] = statistics.median(n / s for n, s in zip(counted[first:], seconds[first:], strict=True))
    found["anonymous_bytes"] = memory.end()
    if device.type == "cuda":
        found["device_peak_bytes"] = torch.cuda.max_memory_reserved(device)
        found["device_name"] = torch.cuda.get_device_name(device)
    if held := streaming.of(model):
        found["loads_per_step"] = held.loads / (options.steps + 1)
        found["layer_bytes"] = max(held.block_bytes)
    return found


def made_up(seed: int, tokens: int, vocabulary: int) -> list[Any]:
    import numpy as np

    from seektune.contracts import Document

    random, made, left = np.random.default_rng(seed), [], tokens
    while left > 0:
        length = min(left, int(random.integers(64, 129)))
        weights = (np.arange(length) >= 0.8 * length).astype(np.float32)  # one token in five is learnt
        made.append(Document(random.integers(10, vocabulary, length).astype(np.int32), weights, len(made)))
        left -= length
    return [document for document in made if len(document) > 4]


class Anonymous:
    """The most anonymous memory that the process holds beyond what it holds now, sampled every 5 ms."""

    def __init__(self) -> None:
        self.before, self.most, self.done = self.now(), 0, threading.Event()
        self.watching = threading.Thread(target=self.watch)
        self.watching.start()

    @staticmethod
    def now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])

    def watch(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, self.now())

    def end(self) -> int:
        self.done.set()
        self.watching.join()
        return self.most - self.before


# ---- showing ----


def show(facts: dict[str, Any]) -> None:
    for row in facts["arithmetic"]:
        print(f"\nLlama-3.3-70B, LoRA of rank {row['rank']} on all linear layers, {row['tokens']} tokens a step")
        print(f"  a layer {console.size(row['layer_bytes'])}, traffic a step {console.size(row['traffic_bytes'])}")
        seconds = [f"{name} {value:.1f} s" for name, value in row["transfer_seconds"].items()]
        print(f"  transfer a step: {', '.join(seconds)}; computation at 60 TFLOP/s {row['compute_seconds']:.1f} s")
        for name, value in row["memory"].items():
            print(f"    {name:<34}{console.size(value):>10}")
        fits = "fits into" if row["fits_16g"] else "does not fit into"
        print(f"    {'in all':<34}{console.size(row['peak_bytes']):>10}  {fits} 16 GiB")
        print(f"  of the CPU: {console.size(row['host_bytes'])} for pinned slots and inputs of layers")
    for run in facts["runs"]:
        print(f"\n{run['shape']}, {run['precision']}, {run['device']}, {run['tokens']} tokens a step: {run['how']}")
        unit = "of the clock" if run["device"] != "cpu" else "of the processor"
        print(f"  {run['step_seconds']:.2f} s {unit} a step, {run['tokens_per_second']:.1f} tokens a second")
        print(f"  anonymous memory {console.size(run['anonymous_bytes'])}, losses {run['losses']}")
        if "device_peak_bytes" in run:
            print(f"  device {run['device_name']}: peak {console.size(run['device_peak_bytes'])}")
        if "loads_per_step" in run:
            print(f"  {run['loads_per_step']:.1f} layers of {console.size(run['layer_bytes'])} come a step")


if __name__ == "__main__":
    sys.exit(main())
