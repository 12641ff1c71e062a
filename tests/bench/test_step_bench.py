"""The benches stand on their feet: records, environment, ratios, and our own contender on a few records."""

import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _ours
import _peers
import _records
import _shapes
import step
from _shapes import SHAPES

from seektune.models.kernels import int8


def test_made_up_records_have_alpacas_lengths():
    made = _records.drawn("alpaca-like", 2000, 4096, seed=1)
    lengths = np.array([len(ids) for ids, _ in made])
    prompts = np.array([prompt for _, prompt in made])
    assert (prompts < lengths).all()
    assert 36 <= prompts.min() <= prompts.mean() <= 60
    # the real ones: mean 194, quartiles 76, 157 and 293, longest 682
    assert 160 < lengths.mean() < 230
    assert np.percentile(lengths, 25) < 0.75 * np.median(lengths) < np.percentile(lengths, 75)
    assert made == _records.drawn("alpaca-like", 2000, 4096, seed=1)
    assert made != _records.drawn("alpaca-like", 2000, 4096, seed=2)


def test_packed_rows_cut_no_record_and_hold_a_batch():
    made = [([0] * 10, 1)] * 7 + [([0] * 90, 1)]
    assert step.packed_length(made, batch_size=2) == 90
    assert step.packed_length(made, batch_size=8) == 160


def test_only_ours_gets_the_variables_that_we_set_for_ourselves(monkeypatch):
    monkeypatch.setitem(os.environ, "GOMP_SPINCOUNT", "7")
    monkeypatch.setattr(step.runtime, "spin_count", lambda: "500")
    ours, int8, peer, same = (
        step.environment_of(name, 3, same)
        for name, same in (("seektune", False), ("seektune int8", False), ("trl padded", False), ("trl padded", True))
    )
    assert ours["GOMP_SPINCOUNT"] == int8["GOMP_SPINCOUNT"] == same["GOMP_SPINCOUNT"] == "500"
    assert "GOMP_SPINCOUNT" not in peer
    assert ours["OMP_NUM_THREADS"] == peer["OMP_NUM_THREADS"] == "3"


def test_ratios_are_over_each_peer_and_the_best():
    def result(seconds, processor, memory):
        both = {"seconds": seconds, "processor_seconds": processor, "tokens": 100, "learnt_tokens": 50, "steps": 3}
        return both | {"peak_memory_bytes": memory, "loss": 1.0}

    slow, fast, ours = (
        step.summary([result(s, 2 * s, m), result(3 * s, 2 * s, 1), result(2 * s, 2 * s, 1)])
        for s, m in ((4, 10), (2, 20), (1, 5))
    )
    assert ours["tokens_per_second"] == pytest.approx(50)
    assert ours["best_tokens_per_second"] == pytest.approx(100)
    found = step.ratios({"seektune": ours, "slow": slow, "fast": fast})
    assert found["slow"]["tokens_per_second"] == pytest.approx(4)
    assert found["best peer"]["who"] == dict.fromkeys(ours.keys() & found["fast"].keys(), "fast") | {
        "peak_memory_bytes": "slow"
    }
    assert found["best peer"]["peak_memory_bytes"] == pytest.approx(0.5)
    assert found["best peer"]["tokens_per_processor_second"] == pytest.approx(2)
    assert step.ratios({"seektune": ours}) == {}
    assert step.ratios({"seektune": slow, "seektune int8": ours, "fast": fast}, "seektune int8")["best peer"] == found[
        "fast"
    ] | {"who": dict.fromkeys(found["fast"], "fast")}


SEQUENCES = [([5, 6, 7, 8 + i], 1 + i) for i in range(3)]
JOB = {
    "shape": "tiny",
    "precision": "float32",
    "threads": 1,
    "batch_size": 2,
    "sequences": SEQUENCES,
    "contender": "seektune",
}


def test_our_contender_trains_every_record_once_after_the_warm_up(tmp_path):
    found = _peers.contend(JOB, tmp_path)
    assert found["tokens"] == 12
    assert found["learnt_tokens"] == 6
    assert found["steps"] == 2
    assert found["seconds"] > 0
    assert found["loss"] == pytest.approx(np.log(4096), rel=0.05)  # random weights know nothing


def test_a_profile_splits_all_of_the_time_and_names_operators(tmp_path):
    found = _peers.contend(JOB | {"profile": True}, tmp_path)
    assert found["steps"] == 2
    assert set(found["phases"]) == {"forward", "backward", "optimizer", "waiting for records", "log and rest"}
    assert all(wall >= 0 for wall, _ in found["phases"].values())
    assert sum(wall for wall, _ in found["phases"].values()) == pytest.approx(found["seconds"])
    assert found["phases"]["forward"][0] > 0 < found["phases"]["backward"][0]
    names = [row["name"] for row in found["operators"]]
    assert "aten::mm" in names
    assert sum(row["share"] for row in found["operators"]) == pytest.approx(1)
    assert any(row["shapes"] == "n×256 256×704" for row in found["products"])


def test_phases_add_up_and_do_not_overlap():
    seen = {"forward and backward": [10.0, 20.0], "forward": [3.0, 6.0], "optimizer": [2.0, 2.0]}
    parts = _ours.split(seen, wall=15.0, processor=25.0)
    assert parts["backward"] == [7.0, 14.0]
    assert parts["log and rest"] == [3.0, 3.0]


def test_each_shape_has_records_that_it_can_read_and_contenders():
    options = step.arguments().parse_args([])
    found = step.tables(options)
    assert {name for name, _, _ in found} == {name for name, shape in SHAPES.items() if shape.device == "cpu"}
    assert [(p, s) for name, p, s in found if name == "llama-15m"] == [
        (p, s) for p in ("float32", "bfloat16") for s in ("alpaca-like", "dense-text")
    ]
    for name, shape in SHAPES.items():
        source = shape.records[0]
        made = _records.records(source, 4, shape.config["vocab_size"], classes=shape.labels)
        assert len(made.sequences) == 4
        assert max(max(ids) for ids, _ in made.sequences) < shape.config["vocab_size"], name
        assert (made.labels is not None) == (shape.task == "classify")
        assert set(shape.count) >= set(shape.records)


def test_int8_is_a_contender_where_there_are_frozen_weights_and_the_package_can(monkeypatch):
    options = step.arguments().parse_args([])
    for can in (True, False):
        monkeypatch.setattr(step, "has_int8", lambda can=can: can)
        assert (step.OURS_INT8 in step.contenders_of(options, SHAPES["tiny"])) == can
        assert step.OURS_INT8 not in step.contenders_of(options, SHAPES["llama-15m"])
    assert step.HF_PADDED in step.contenders_of(options, SHAPES["bert-base"]) or not importlib.util.find_spec("trl")


def of_gpu(*words):
    return step.arguments().parse_args(["--device", "cuda", *words])


GPU_SHAPES = ["qwen2-0.5b-gpu", "qwen2-1.5b", "qwen2-7b", "deepseek-lite"]


def test_a_gpu_runs_its_own_shapes_unless_others_are_named():
    records = ("alpaca-like", "dense-text")
    assert step.tables(of_gpu()) == [(name, "bfloat16", source) for name in GPU_SHAPES for source in records]
    assert step.tables(of_gpu("--shape", "tiny", "--records", "alpaca-like")) == [("tiny", "bfloat16", "alpaca-like")]
    for name in GPU_SHAPES:
        assert SHAPES[name].count["dense-text"] * 2 == SHAPES[name].count["alpaca-like"] >= 256


@pytest.mark.parametrize("liger", [True, False])
def test_ligers_kernels_are_contenders_on_a_gpu_and_int8_is_none(liger, monkeypatch):
    monkeypatch.setattr(step, "has_int8", lambda: True)
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: liger or name != "liger_kernel" or None)
    more = step.TRL_LIGER if liger else ()
    assert step.contenders_of(of_gpu(), SHAPES["qwen2-7b"]) == ["seektune", *step.PEERS["lm"], *more]
    assert step.contenders_of(of_gpu(), SHAPES["bert-base"]) == ["seektune", *step.PEERS["classify"]]
    cpu = step.contenders_of(step.arguments().parse_args([]), SHAPES["tiny"])
    assert cpu == ["seektune", "seektune int8", *step.PEERS["lm"]]


@pytest.mark.parametrize("name", GPU_SHAPES)
def test_shapes_of_gpus_can_be_built_and_trained(name, tmp_path, monkeypatch):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "vocab_size": 160}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "n_routed_experts": 16}
    config = {key: sizes.get(key, value) for key, value in SHAPES[name].config.items()}
    config["num_key_value_heads"] = 4 if name == "deepseek-lite" else 2
    monkeypatch.setitem(SHAPES, name, dataclasses.replace(SHAPES[name], config=config))
    found = _peers.contend(JOB | {"shape": name, "device": "cpu"}, tmp_path)
    assert found["steps"] == 2
    assert found["loss"] == pytest.approx(np.log(160), rel=0.1)
    assert found["microbatch"] > 0
    assert found["microbatch_unit"] == "tokens"


def test_the_mixture_of_experts_takes_about_14_gb():
    model = _shapes.bare_model(SHAPES["deepseek-lite"], "bfloat16", "meta")
    assert sum(p.nbytes for p in model.parameters()) == pytest.approx(14e9, rel=0.02)


def test_micro_batches_are_halved_and_a_step_stays_what_it_is():
    job = {"batch_size": 8, "packed_length": 100, "sequences": [([0] * 30, 1), ([0] * 20, 1)]}
    assert list(_peers.cuts_of_records(job)) == [(8, 1), (4, 2), (2, 4), (1, 8)]
    assert list(_peers.cuts_of_records(job | {"batch_size": 6})) == [(6, 1), (3, 2), (1, 6)]
    assert list(_peers.cuts_of_rows(job)) == [(100, 1), (50, 2), (30, 3)]
    assert list(_peers.cuts_of_rows(job | {"packed_length": 30})) == [(30, 1)]


def trying(fits, error=torch.OutOfMemoryError):
    """A made-up training that has memory for so much, and draws a number."""
    tried = []

    def train(cut):
        tried.append(cut)
        if cut[0] > fits:
            raise error("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return torch.rand(1).item()

    return train, tried


def test_a_peer_without_memory_begins_anew_with_half():
    cuts = [(8, 1), (4, 2), (2, 4), (1, 8)]
    whole, _ = _peers.that_fits(trying(8)[0], cuts)
    train, tried = trying(2)
    assert _peers.that_fits(train, cuts) == (whole, (2, 4))  # from the same random state
    assert tried == cuts[:3]
    with pytest.raises(MemoryError, match=r"CUDA out of memory. Tried to allocate 2 GiB. \(at 1 "):
        _peers.that_fits(trying(0)[0], cuts)
    train, tried = trying(2, ValueError)
    with pytest.raises(ValueError, match="out of memory"):
        _peers.that_fits(train, cuts)
    assert tried == cuts[:1]


def test_the_peak_is_that_of_known_cards_or_what_is_said(monkeypatch):
    for name, words, peak in (("NVIDIA H100 80GB HBM3", [], 989e12), ("NVIDIA H200", [], 989e12), ("Other", [], None),
                              ("Other", ["--peak-tflops", "312"], 312e12)):  # fmt: skip
        monkeypatch.setattr(step, "gpu_of", lambda device, name=name: {"name": name})
        assert step.peak_of(of_gpu(*words)) == peak
    assert step.peak_of(step.arguments().parse_args(["--peak-tflops", "312"])) is None
    found = step.beside_peak({"tokens": 100, "tokens_per_second": 50.0}, {"frozen": 3e12, "other": 1e12}, 4e12)
    assert found == {"share_of_peak": 0.5}


def test_a_gpus_figures_are_summed_up():
    one = {"seconds": 2.0, "processor_seconds": 1.0, "tokens": 100, "learnt_tokens": 50, "steps": 3, "loss": 1.0}
    of = [one | {"peak_memory_bytes": 9 - n, "peak_allocated_bytes": 5 + n, "microbatch": 8 >> n, "microbatch_unit": "records"}
          for n in (0, 1)]  # fmt: skip
    found = step.summary(of)
    assert (found["peak_memory_bytes"], found["peak_allocated_bytes"], found["microbatch"]) == (9, 6, 4)
    assert "peak_allocated_bytes" not in step.summary([one | {"peak_memory_bytes": 9}])


def event(key, device, kernels, named=False):
    kind = getattr(torch.autograd.DeviceType, device)
    return SimpleNamespace(
        key=key, device_type=kind, is_user_annotation=named, self_device_time_total=kernels, count=2,
        self_cpu_time_total=1e6, input_shapes=[[7, 4], [4, 5]],
    )  # fmt: skip


def test_a_profile_of_a_gpu_counts_kernels_once():
    events = [event("aten::mm", "CPU", 3e6), event("gemm", "CUDA", 3e6), event("triton_norm", "CUDA", 1e6),
              event("Optimizer.step", "CUDA", 4e6, named=True)]  # fmt: skip
    kernels = _ours.operators([one for one in events if _ours.is_kernel(one)], _ours.on_gpu)
    assert [(row["name"], row["seconds"], row["share"]) for row in kernels] == [
        ("gemm", 3.0, 0.75),
        ("triton_norm", 1.0, 0.25),
    ]
    (product,) = _ours.products(
        [one for one in events if not _ours.is_on_gpu(one)], torch.nn.Linear(4, 5), _ours.on_gpu
    )
    assert product["shapes"] == "n×4 4×5"
    assert product["flops_per_second"] == pytest.approx(2 * 2 * 7 * 4 * 5 / 3.0)


def test_dense_text_is_learnt_whole():
    made = _records.records("dense-text", 50, 4096).sequences
    assert {prompt for _, prompt in made} == {0}
    assert 300 < np.mean([len(ids) for ids, _ in made]) < 800


@pytest.mark.parametrize("name", ["instruct_en_alpaca", "text_wiki_en"])
def test_real_files_may_be_named(shared_data, name):
    qwen = SHAPES["qwen2-0.5b"]
    made = _records.records(
        str(shared_data / name), 8, qwen.config["vocab_size"], str(shared_data / "tokenizer_qwen2_5")
    )
    lengths = [len(ids) for ids, _ in made.sequences]
    prompts = [prompt for _, prompt in made.sequences]
    assert len(lengths) == 8
    assert max(lengths) <= _records.MAX_LENGTH
    assert all(prompt < length for prompt, length in zip(prompts, lengths, strict=True))
    assert (max(prompts) <= 1) == (name == "text_wiki_en")  # a text is learnt whole
    with pytest.raises(ValueError, match="beyond this shape's vocabulary of 4096"):
        _records.records(str(shared_data / name), 8, 4096, str(shared_data / "tokenizer_qwen2_5"))


def test_real_labels_may_be_named(shared_data):
    bert = SHAPES["bert-base"]
    made = _records.records(
        str(shared_data / "cls_agnews" / "ag_news.csv"), 40, bert.config["vocab_size"], classes=bert.labels
    )
    assert set(made.labels) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="4 labels, and this shape has 2 classes"):
        _records.records(str(shared_data / "cls_agnews" / "ag_news.csv"), 40, bert.config["vocab_size"], classes=2)


PEERS = [("tiny", name) for name in step.PEERS["lm"]] + [("bert-base", name) for name in step.PEERS["classify"]]


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
@pytest.mark.parametrize(("name", "contender"), PEERS, ids=lambda value: value.replace(" ", "-"))
def test_every_peer_sees_the_same_records_and_begins_with_our_loss(name, contender, tmp_path, monkeypatch):
    monkeypatch.setitem(
        SHAPES, name, dataclasses.replace(SHAPES[name], config=SHAPES[name].config | {"num_hidden_layers": 1})
    )
    labels = {"labels": [0, 1, 2, 3]} if name == "bert-base" else {}
    sequences = [(list(range(10, 16 + i)), 2) for i in range(4)]
    job = JOB | {"shape": name, "sequences": sequences, "packed_length": 20, **labels}
    found = []
    for number, one in enumerate((contender, "seektune")):
        torch.manual_seed(0)
        (tmp_path / str(number)).mkdir()
        found.append(_peers.contend(job | {"contender": one}, tmp_path / str(number)))
    theirs, ours = found
    assert [theirs[key] for key in ("tokens", "learnt_tokens", "steps")] == [
        ours[key] for key in ("tokens", "learnt_tokens", "steps")
    ]
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=0.2 if labels else 0.01)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
@pytest.mark.parametrize("contender", step.PEERS["lm"], ids=lambda value: value.replace(" ", "-"))
def test_half_the_micro_batch_takes_the_same_steps(contender, tmp_path, monkeypatch):
    config = SHAPES["tiny"].config | {"num_hidden_layers": 1}
    monkeypatch.setitem(SHAPES, "tiny", dataclasses.replace(SHAPES["tiny"], config=config))
    job = JOB | {"contender": contender, "sequences": [(list(range(10, 18)), 2)] * 8, "packed_length": 16}
    whole = _peers.contend(job, tmp_path)
    clocked, tries = _peers.clocked, []

    def narrow(trainer):
        tries.append(trainer)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return clocked(trainer)

    monkeypatch.setattr(_peers, "clocked", narrow)
    halved = _peers.contend(job, tmp_path)
    assert halved["microbatch"] * 2 == whole["microbatch"]
    assert halved["steps"] == whole["steps"] == 4
    assert halved["loss"] == pytest.approx(whole["loss"], rel=1e-4)


SMALL_RUN = [
    "--shape",
    "tiny",
    "--records",
    "alpaca-like",
    "--count",
    "4",
    "--batch-size",
    "2",
    "--rounds",
    "1",
    "--threads",
    "1",
]


def test_a_whole_run_prints_its_table_and_keeps_the_figures(tmp_path, monkeypatch, capsys):
    path = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["step.py", *SMALL_RUN, "--contenders", "seektune", "--json", str(path)])
    assert step.main() == 0
    (table,) = json.loads(path.read_text())["tables"]
    assert 0 < table["contenders"]["seektune"]["processor_share_of_floor"] < 1
    assert set(table["floor"]) == {"frozen", "other", "rates"}
    assert "| seektune |" in capsys.readouterr().out


def test_a_profile_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step.py", *SMALL_RUN, "--profile"])
    assert step.main() == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("| forward |", "| waiting for records |", "| aten::mm |", "×256 256×704"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(monkeypatch, capsys):
    step.gpu_of.cache_clear()
    monkeypatch.setattr(sys, "argv", ["step.py", "--device", "cuda", "--shape", "tiny"])
    assert step.main() == 2
    assert "error: --device cuda: " in capsys.readouterr().err


def test_an_unknown_contender_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step.py", *SMALL_RUN, "--contenders", "nobody"])
    assert step.main() == 2
    assert "unknown 'nobody'" in capsys.readouterr().err


@pytest.mark.skipif(bool(int8.why_not()), reason=f"no fast int8 here: {int8.why_not()}")
def test_int8_trains_the_same_records(tmp_path):
    found = _peers.contend(JOB | {"contender": step.OURS_INT8, "precision": "bfloat16"}, tmp_path)
    assert found["steps"] == 2
    assert found["loss"] == pytest.approx(np.log(4096), rel=0.05)


def test_one_process_refuses_what_would_run_on_anothers_classes(monkeypatch, capsys):
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: object())
    call = ["step.py", "--device", "cuda", "--in-one-process", "--shape", "qwen2-7b", "--rounds", "2"]
    monkeypatch.setattr(step.sys, "argv", call)
    assert step.main() == 2
    assert "--in-one-process: Liger changes transformers" in capsys.readouterr().err
