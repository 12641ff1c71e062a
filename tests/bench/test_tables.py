"""The tables of docs/performance.md are those of docs/figures, and say what the figures say."""

import copy
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import tables


def contender(speed, memory):
    return {"tokens": 100, "tokens_per_second": speed, "best_tokens_per_second": speed, "learnt_tokens_per_second": speed / 2,
            "tokens_per_processor_second": speed / 2, "floor_tokens_per_second": 200.0, "share_of_floor": speed / 200,
            "best_share_of_floor": speed / 200, "processor_share_of_floor": speed / 200, "peak_memory_bytes": memory << 20,
            "steps": 3, "loss": 1.5, "seconds": [1.0], "processor_seconds": [2.0]}  # fmt: skip


def ratio(speed, memory, who=None):
    keys = ("tokens_per_second", "best_tokens_per_second", "tokens_per_processor_second")
    return dict.fromkeys(keys, speed) | {"peak_memory_bytes": memory} | ({"who": who} if who else {})


WHO = dict.fromkeys(ratio(1, 1), "trl packing")
TABLE = {
    "shape": "tiny", "model": "a model", "tuner": "LoRA rank 16", "task": "lm", "precision": "float32", "batch_size": 8,
    "rounds": 3, "same_environment": False, "failed": {"trl padded": "no room"},
    "records": {"source": "alpaca-like", "count": 9, "tokens": 1000, "longest": 99, "packed_length": 1234},
    "floor": {"frozen": 2e9, "other": 1e9, "rates": {"float32": 1e11, "bfloat16": 2e11, "int8": 4e11}},
    "contenders": {"seektune": contender(120.0, 500), "trl packing": contender(40.0, 1000)},
    "ratios": {"trl packing": ratio(3.0, 0.5), "best peer": ratio(3.0, 0.5, WHO)},
}  # fmt: skip
FACTS = {
    "command": "python bench/step.py --shape tiny", "date": "2026-01-02", "tables": [TABLE],
    "machine": {"cpu": "A CPU", "threads": 2, "load": 0.5, "versions": {"torch": "2.13.0"}},
}  # fmt: skip


def test_the_page_shows_the_figures_that_are_kept() -> None:
    page = tables.PAGE.read_text(encoding="utf-8")
    assert page == tables.filled(page), "python bench/tables.py"
    shown = tables.BLOCK.findall(page)
    kept = {path.stem.removeprefix("step-") for path in tables.FIGURES.glob("step-*.json")}
    assert kept <= {name for _, name, _ in shown}, "a file that no page shows"


def test_a_figure_that_changes_makes_the_page_stale(tmp_path: Path) -> None:
    path = tmp_path / "step-tiny.json"
    path.write_text(json.dumps(FACTS))
    page = tables.filled(
        "a\n<!-- steps tiny -->\nof yesterday\n<!-- /steps -->\nb\n<!-- steps all -->\n<!-- /steps -->\n", tmp_path
    )
    assert "yesterday" not in page
    assert tables.filled(page, tmp_path) == page
    changed = copy.deepcopy(FACTS)
    changed["tables"][0]["contenders"]["seektune"]["tokens_per_second"] = 121.0
    path.write_text(json.dumps(changed))
    assert tables.filled(page, tmp_path) != page


def test_a_table_tells_what_has_to_be_known(tmp_path: Path) -> None:
    (tmp_path / "step-tiny.json").write_text(json.dumps(FACTS))
    text = tables.steps("tiny", tmp_path)
    for fact in ("`python bench/step.py --shape tiny`", "2026-01-02", "2 threads of A CPU", "torch 2.13.0", "3.0 MFLOP a token",
                 "100 in fp32, 200 in bf16, 400 in int8", "### tiny, LoRA rank 16, float32, alpaca-like"):  # fmt: skip
        assert fact in text
    assert "| seektune | 120 | 120 | 60 | 60 | 200 | 60% | 60% | 500 MiB | 3 | 1.500 |  |  |" in text
    assert "| trl packing | 40 | 40 | 20 | 20 | 200 | 20% | 20% | 1,000 MiB | 3 | 1.500 | 3.00 × | 0.50 × |" in text
    assert "| trl padded | did not run: no room |" in text
    assert "3.00 × by the medians (trl packing)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {tables.HEAD.count("|")}


MORE = {"peak_allocated_bytes": 300 << 20, "microbatch": 4096, "microbatch_unit": "tokens", "share_of_peak": 0.414}
GPU_FACTS = FACTS | {
    "tables": [TABLE | {"device": "cuda", "contenders": {k: one | MORE for k, one in TABLE["contenders"].items()}}],
    "machine": FACTS["machine"] | {"load": 9.0, "gpu": {"name": "A GPU", "memory_bytes": 80 << 30}},
}  # fmt: skip


def test_a_table_of_a_gpu_names_it_and_leaves_processor_time_out(tmp_path: Path) -> None:
    (tmp_path / "step-gpu.json").write_text(json.dumps(GPU_FACTS))
    text = tables.steps("gpu", tmp_path)
    assert "A GPU with 80 GiB, 2 threads of A CPU" in text
    assert "Products reached 0 in fp32, 0 in bf16 (TFLOP/s)" in text
    assert "processor" not in text
    assert "busy" not in text
    head = next(line for line in text.splitlines() if line.startswith("| contender"))
    assert head == (
        "| contender | tokens/s | best round | learnt tokens/s | floor | of the floor | of the peak | peak memory | of it in use "
        "| micro-batch | steps | mean loss | seektune is | and takes |"
    )
    assert (
        "| seektune | 120 | 120 | 60 | 200 | 60% | 41.4% | 500 MiB | 300 MiB | 4,096 tokens | 3 | 1.500 |  |  |" in text
    )
    assert {row.count("|") for row in text.splitlines() if row.startswith("|")} == {head.count("|")}


def test_without_a_known_peak_there_is_no_column_for_it() -> None:
    table = copy.deepcopy(GPU_FACTS["tables"][0])
    for one in table["contenders"].values():
        del one["share_of_peak"]
    assert "of the peak" not in "\n".join(tables.markdown(table, GPU_FACTS["machine"]))


def test_the_overview_of_gpus_has_no_processor_time(tmp_path: Path) -> None:
    (tmp_path / "gpu-h100.json").write_text(json.dumps(GPU_FACTS))
    head, line, row = tables.steps("gpus", tmp_path).splitlines()
    assert "processor" not in head
    assert head.count("|") == line.count("|") == row.count("|")
    assert "| seektune | 120 | trl packing | 40 | 3.00 × | 0.50 × | 60% |" in row


def test_a_profile_of_a_gpu_says_how_busy_it_was() -> None:
    row = {"name": "gemm", "seconds": 1.5, "share": 1.0, "calls": 3}
    product = row | {"shapes": "n×4 4×5", "flops_per_second": 2e12}
    found = {"tokens": 1000, "seconds": 2.0, "processor_seconds": 3.0, "steps": 2, "phases": {"forward": [1.0, 1.5]},
             "operators": [row], "products": [product]}  # fmt: skip
    gpu = "\n".join(tables.profile_markdown(found | {"kernels": [row]}, "seektune, tiny", GPU_FACTS["machine"]))
    assert "busy for 1.50 s, 75.0% of the first pass" in gpu
    assert "| kernel | self seconds" in gpu
    assert "| forward | 1.000 | 50.0% |" in gpu
    assert "processor" not in gpu
    cpu = "\n".join(tables.profile_markdown(found, "seektune, tiny", FACTS["machine"]))
    assert "| forward | 1.000 | 50.0% | 1.500 | 50.0% |" in cpu
    assert "kernel" not in cpu


def test_the_overview_has_a_row_for_each_of_ours(tmp_path: Path) -> None:
    assert "Not measured yet" in tables.overview(tmp_path)
    facts = copy.deepcopy(FACTS)
    facts["tables"][0]["contenders"]["seektune int8"] = contender(160.0, 300)
    facts["tables"][0]["ratios_int8"] = {"best peer": ratio(4.0, 0.3, WHO)}
    (tmp_path / "step-tiny.json").write_text(json.dumps(facts))
    first, second = tables.overview(tmp_path).splitlines()[2:]
    assert "| seektune | 120 | trl packing | 40 | 3.00 × | 3.00 × | 0.50 × | 60% |" in first
    assert "| seektune int8 | 160 | trl packing | 40 | 4.00 × | 4.00 × | 0.30 × | 80% |" in second


def test_a_busy_machine_is_said(tmp_path: Path) -> None:
    busy = FACTS | {"machine": FACTS["machine"] | {"load": 9.0}}
    (tmp_path / "step-tiny.json").write_text(json.dumps(busy))
    assert "The machine was busy** (load 9)" in tables.steps("tiny", tmp_path)
    (tmp_path / "step-tiny.json").write_text(json.dumps(FACTS))
    assert "busy" not in tables.steps("tiny", tmp_path)


def test_the_prefix_cache_is_shown_beside_the_fastest_peer(tmp_path: Path) -> None:
    assert "python bench/cache.py" in tables.cache(tmp_path)
    ours = {"first": 90.0, "later": 300.0, "frozen": 3, "layers": 4, "bound": 2.1}
    others = {"seektune-plain": {"later": 150.0}, "slow": {"later": 50.0}, "fast": {"later": 100.0}}
    table = {"shape": "mid", "tuner": "lora", "precision": "float32", "contenders": {"seektune-cached": ours} | others}
    alone = table | {
        "contenders": {"seektune-cached": ours, "seektune-plain": others["seektune-plain"], "fast": {"failed": "no"}}
    }
    facts = {
        "command": "python bench/cache.py",
        "date": "d",
        "threads": 2,
        "cpu": "c",
        "load": 1.0,
        "tables": [table, alone],
    }
    (tmp_path / "cache.json").write_text(json.dumps(facts))
    lines = tables.cache(tmp_path).splitlines()
    assert lines[2] == "| mid, float32 | LoRA | 3 of 4 | 90 | 300 | 150 | fast | 100 | 3.00 × | 2.00 × | 2.10 × |"
    assert lines[3:] == ["", "Made by `python bench/cache.py` on d; 2 threads of c, load 1.0."]


def test_missing_figures_are_said(tmp_path: Path) -> None:
    assert tables.steps("tiny", tmp_path) == tables.MISSING.format(name="tiny")


@pytest.mark.parametrize("path", sorted(tables.FIGURES.glob("step-*.json")), ids=lambda path: path.stem)
def test_figures_are_whole(path: Path) -> None:
    facts = json.loads(path.read_text(encoding="utf-8"))
    assert facts["command"].startswith("python bench/step.py ")
    for table in facts["tables"]:
        assert table["failed"] == {}
        assert len(table["contenders"]) >= 3
        assert all(one["tokens"] == table["records"]["tokens"] for one in table["contenders"].values())
