"""Streamed blocks: the same numbers as without, weights twice a step whatever the micro-batch, and memory that stays bounded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import zoo
from safetensors.torch import load_file, save_file

from seektune import recipe_checks
from seektune.contracts import Document
from seektune.data import pack
from seektune.errors import ModelError
from seektune.models import (
    adapters,
    attention,
    chunks,
    fuse,
    heads,
    isolation,
    layers,
    load,
    mapped,
    streaming,
    weights,
)
from seektune.objectives.sft import SFT
from seektune.train.precision import Precision, prepare_dtypes
from seektune.tuners.lora import LoRA

TESTS = Path(__file__).resolve().parent.parent
STREAMED = [name for name in zoo.DECODERS if name not in ("deepseek_v32", "deepseek_v4")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    at = tmp_path_factory.mktemp("models")
    return lambda name, **more: at / name if (at / name).exists() else zoo.tiny_folder(at / name, name, **more)


def documents(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 40, (count,), generator=generator).tolist()
    rows = [torch.randint(10, 300, (n,), generator=generator).int().numpy() for n in lengths]
    learnt = [torch.cat([torch.zeros(n // 2), torch.ones(n - n // 2)]).numpy() for n in lengths]
    return [Document(ids, w, i) for i, (ids, w) in enumerate(zip(rows, learnt, strict=True))]


def opened(folder, stream, precision="float32", **tuner):
    """With an adapter that changes the output, as one that has been trained for a while."""
    torch.manual_seed(3)
    model = LoRA(**tuner).apply(load.open_model(load.Model(str(folder)), stream=stream))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    prepare_dtypes(model, precision)
    return model, isolation.isolate(model).rows


def step(folder, stream, precision="float32", records=None, tokens=60, docs=None, rows=None, fused=False, **tuner):
    """(sum of losses, gradients, model) of one optimizer step."""
    model, proved = opened(folder, stream, precision, **tuner)
    layout = SimpleNamespace(rows=rows or proved, records=records, tokens=tokens)
    if fused:
        assert fuse.fuse(model)
    if stream:
        streaming.cut_by(model, layout, 1)
        records = tokens = None
    model.train()
    torch.manual_seed(5)
    total = 0.0
    for micro in pack.cut(docs or documents(), records=records, tokens=tokens, rows=layout.rows):
        with Precision(precision, "cpu").autocast():
            loss = SFT().loss(model, micro)
        loss.total.backward()
        total += float(loss.total.detach())
    return total, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, model


def assert_equal(plain, streamed, bar=1e-5):
    assert streamed[0] == pytest.approx(plain[0], rel=bar)
    assert plain[1].keys() == streamed[1].keys()
    for name, expected in plain[1].items():
        found = streamed[1][name]
        assert (expected is None) == (found is None), name
        if expected is not None:
            assert float((found - expected).abs().max()) <= bar * float(expected.abs().max()) + 1e-12, name


@pytest.mark.parametrize("architecture", STREAMED)
def test_losses_and_gradients_are_those_of_a_model_that_is_not_streamed(folders, architecture):
    folder = folders(architecture)
    assert_equal(step(folder, False), step(folder, True))


def test_rows_that_hold_one_document_each_are_cut_by_rows_and_trimmed(folders, monkeypatch):
    seen = []
    inner = chunks.Chunk.of
    monkeypatch.setattr(chunks.Chunk, "of", lambda self, x: seen.append(inner(self, x).shape[:2]) or inner(self, x))
    docs = documents()
    plain, streamed = step(folders("llama"), False, rows="padded"), step(folders("llama"), True, rows="padded")
    assert_equal(plain, streamed)
    assert {tuple(shape) for shape in seen} == {m.ids.shape for m in pack.cut(docs, tokens=60, rows="padded")}


def test_records_of_a_micro_batch_limit_the_chunks_too(folders):
    assert_equal(step(folders("qwen2"), False, records=3), step(folders("qwen2"), True, records=3))


def test_bfloat16_arithmetic_differs_by_no_more_than_another_cut_does(folders):
    folder = folders("qwen3")
    plain, other, streamed = (
        step(folder, s, "bfloat16", tokens=tokens) for s, tokens in ((False, 60), (False, 25), (True, 60))
    )
    spread = {n: float((plain[1][n] - other[1][n]).norm()) for n in plain[1]}
    worst = max(float((plain[1][n] - streamed[1][n]).norm()) / max(spread[n], 1e-9) for n in spread)
    assert worst < 3


def test_dropout_is_drawn_alike_when_a_block_is_computed_again(folders):
    """In one chunk, draws come in the order in which they come without streaming."""
    plain, streamed = (step(folders("llama"), s, tokens=None, dropout=0.4) for s in (False, True))
    assert_equal(plain, streamed)
    with_none = step(folders("llama"), False, tokens=None)
    assert abs(with_none[0] - plain[0]) > 1e-3 * plain[0]


def test_backward_leaves_the_random_state_as_it_is_without_streaming(folders):
    after = []
    for stream in (False, True):
        step(folders("llama"), stream, tokens=None, dropout=0.4)
        after.append(torch.rand(1))
    assert torch.equal(*after)


def test_only_blocks_that_must_are_taken_back_through(folders):
    """Adapters in the last block alone: the blocks below are visited once, and keep nothing."""
    targets = {"target_modules": ["layers.2.self_attn.q_proj", "layers.2.mlp.down_proj"]}
    plain, streamed = (step(folders("llama"), s, **targets) for s in (False, True))
    assert_equal(plain, streamed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pieces_are_fused_as_without_streaming(folders, precision):
    """In bfloat16 the files hold another type, so that nothing but a shape is there between visits."""
    plain, streamed = (fuse.fuse(opened(folders("llama"), s, precision)[0]) for s in (False, True))
    assert plain == streamed
    assert {"Linear", "LlamaMLP", "LlamaRMSNorm"} <= set(plain)


def test_fused_pieces_give_the_same_numbers_where_weights_come_and_go(folders):
    folder = folders("llama")
    assert_equal(step(folder, False), step(folder, True, fused=True))


@pytest.mark.parametrize("tokens", [None, 60, 20])
def test_weights_travel_at_most_twice_a_step_however_it_is_cut(tmp_path, tokens):
    folder = zoo.tiny_folder(tmp_path / "deep", "llama", num_hidden_layers=7)
    model, _ = opened(folder, True)
    streaming.cut_by(model, SimpleNamespace(rows="packed", records=None, tokens=tokens), 1)
    stream, counted = streaming.of(model), []
    for seed in range(3):
        before = stream.loads
        (micro,) = pack.cut(documents(seed=seed))
        SFT().loss(model, micro).total.backward()
        counted.append(stream.loads - before)
    # forward brings all but those two that are there already, backward all but the two that forward ended with
    assert counted[1:] == [2 * (7 - streaming.SLOTS)] * 2
    assert stream.bytes_loaded == stream.loads * stream.block_bytes[0]


@pytest.mark.parametrize(("architecture", "kinds"), [("llama", 2), ("gpt_oss", 2), ("deepseek_v3", 2)])
def test_proofs_read_the_lowest_layers_only(tmp_path, architecture, kinds):
    """Of a 70B model the proof of packing would read its 140 GB some dozen times."""
    more = {"layer_types": ["full_attention", "sliding_attention"] * 3} if architecture == "gpt_oss" else {}
    folder = zoo.tiny_folder(tmp_path / "deep", architecture, num_hidden_layers=6, **more)
    plain, streamed = (opened(folder, s) for s in (False, True))
    assert streamed[1] == plain[1] == "packed"
    stream, held = streaming.of(streamed[0]), layers.blocks(streamed[0])
    assert heads.tail_of(streamed[0]) is not None
    assert stream.loads <= kinds
    assert isinstance(held[1][5].forward, streaming.Streamed) and stream.depth == len(held[1]) == 6


def test_a_model_of_one_layer_can_be_proved(tmp_path):
    folder = zoo.tiny_folder(tmp_path / "flat", "llama", num_hidden_layers=1)
    streamed, rows = opened(folder, True)
    assert rows == "packed"
    assert heads.tail_of(streamed) is not None


def test_few_layers_have_every_kind(tmp_path):
    """SmolLM3 leaves rotary embedding out of each fourth layer, which only a list of its config tells."""
    folder = zoo.tiny_folder(tmp_path / "lists", "llama", num_hidden_layers=6)
    streamed, _ = opened(folder, True)
    streamed.get_base_model().config.no_rope_layers = [1, 1, 1, 0, 1, 1]
    with layers.few(streamed):
        assert len(layers.blocks(streamed)[1]) == streaming.of(streamed).depth == 4
    with pytest.raises(ValueError, match="inside"), layers.few(streamed):
        raise ValueError("inside")
    assert len(layers.blocks(streamed)[1]) == streaming.of(streamed).depth == 6


@pytest.mark.parametrize("architecture", ["llama", "qwen3_moe", "deepseek_v3", "gpt_oss"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_block_computes_with_the_weights_that_an_ordinary_model_holds(folders, tmp_path, architecture, precision):
    """Also where experts lie one by one in the files, and where the type of the file is another."""
    folder = folders(architecture)
    plain, streamed = (opened(folder, s, precision)[0] for s in (False, True))
    expected, stream = dict(plain.named_parameters()), streaming.of(streamed)
    compared = 0
    for index in range(len(layers.blocks(streamed)[1])):
        with stream.present(index, index + 1):
            for name, parameter in streamed.named_parameters():
                if streaming.travels(parameter) and f".layers.{index}." in name:
                    assert parameter.dtype == expected[name].dtype
                    assert torch.equal(parameter, expected[name]), name
                    compared += 1
    assert compared == sum(streaming.travels(p) for p in streamed.parameters()) > 20


def test_experts_that_are_stored_one_by_one_are_pieces_of_one_parameter(folders):
    stored = weights.tensors_of(folders("qwen3_moe"))
    assert any(".experts.3.up_proj.weight" in name for name in stored)
    with torch.device("meta"):
        from transformers import AutoModelForCausalLM

        skeleton = AutoModelForCausalLM.from_config(zoo.config_of("qwen3_moe"))
    pieces = mapped.pieces_of(skeleton, stored)["model.layers.1.mlp.experts.gate_up_proj"]
    assert pieces[5].name.endswith("experts.1.up_proj.weight") and pieces[5].at == (1, slice(24, 48))
    assert len(pieces) == 8


def test_weights_between_visits_take_no_memory_and_are_pages_of_the_file(folders):
    model, _ = opened(folders("llama"), True)
    files = mapped.Files(folders("llama"))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(files.view(name), load_file(folders("llama") / "model.safetensors")[name])
    held = [w.at_rest().untyped_storage().nbytes() for b in streaming.of(model).weights for w in b if not w.is_view]
    assert held == []
    prepare_dtypes(model, "bfloat16")
    kept = [w.at_rest() for b in streaming.of(model).weights for w in b]
    assert all(value.untyped_storage().nbytes() == 2 and bool(value.isnan().all()) for value in kept)


def test_a_new_classifier_head_starts_as_without_streaming(folders):
    found = []
    for stream in (False, True):
        torch.manual_seed(11)
        model = load.open_model(load.Model(str(folders("llama"))), head="classifier", labels=["a", "b"], stream=stream)
        found.append(model.score.weight)
    assert torch.equal(*found)


def test_answers_with_a_cache_are_those_of_a_model_that_is_not_streamed(folders):
    ids, found = zoo.ids(1, 9), []
    for stream in (False, True):
        model, _ = opened(folders("llama"), stream)
        attention.clear()
        found.append(model.generate(input_ids=ids, max_new_tokens=6, do_sample=False, pad_token_id=0))
    assert torch.equal(*found)


def test_the_adapter_is_saved_and_attached_as_ever(folders, tmp_path):
    model, _ = opened(folders("llama"), True)
    adapters.save(model, tmp_path)
    again = load.open_model(load.Model(str(tmp_path)), stream=True)
    assert streaming.of(again) is not None
    ids = zoo.ids(1, 12)
    attention.clear()
    with torch.no_grad():
        assert torch.allclose(again(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-5)


# ---- what cannot be streamed ----


@pytest.mark.parametrize("architecture", ["deepseek_v32", "deepseek_v4"])
def test_documents_that_share_no_batch_are_refused_before_a_weight_is_read(folders, architecture, monkeypatch):
    monkeypatch.setattr(mapped.Files, "view", lambda *_: pytest.fail("a weight was read"))
    with pytest.raises(ModelError, match=r"train\.stream: not with this model: its sparse index"):
        load.open_model(load.Model(str(folders(architecture))), stream=True)


def test_rows_of_equal_length_are_refused(folders):
    model, _ = opened(folders("llama"), True)
    with pytest.raises(ModelError, match="batches of one length"):
        streaming.cut_by(model, SimpleNamespace(rows="equal", records=1, tokens=None), 1)


def test_a_trained_weight_of_a_layer_is_refused(folders):
    model = load.open_model(load.Model(str(folders("llama"))), stream=True)
    with pytest.raises(ModelError, match=r"layers.0.self_attn.q_proj.weight is trained.*expected tuner lora"):
        prepare_dtypes(model, "float32")


def test_a_tensor_that_does_not_fit_is_named(folders, tmp_path):
    folder = zoo.tiny_folder(tmp_path / "broken", "llama")
    state = load_file(folder / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"] = state["model.layers.1.mlp.up_proj.weight"][:7].clone()
    del state["model.layers.2.self_attn.k_proj.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load.open_model(load.Model(str(folder)), stream=True)
    assert "layers.1.mlp.up_proj" in str(caught.value) and "layers.2.self_attn.k_proj" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"tuner": {"kind": "full"}}, "train.stream"),
        ({"tuner": {"kind": "freeze"}}, "train.stream"),
        ({"tuner": {"kind": "lora", "merged": True}}, "tuner.merged"),
        ({"train": {"activation_checkpointing": False}}, "train.activation_checkpointing"),
        ({"train": {"activation_checkpointing": True}}, "train.activation_checkpointing"),
    ],
)
def test_settings_that_streaming_rules_out_are_told_with_the_recipe(settings, key):
    values = {"tuner": {"kind": "lora"}} | settings
    values["train"] = {"stream": True} | values.get("train", {})
    assert [where for where, _ in recipe_checks.contradictions(values)] == [key]
    values["train"]["stream"] = False
    assert list(recipe_checks.contradictions(values)) == []


# ---- memory ----

DEPTH, ALLOWANCE = 32, 8  # layers; the weights of all are so many times what the process may take


def wide(folder):
    """A model whose weights are nearly all in wide MLPs, so that there is much to hold and little to compute; 300 MB."""
    shapes = {"hidden_size": 256, "intermediate_size": 6144, "num_hidden_layers": DEPTH, "max_position_embeddings": 64}
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(zoo.config_of("llama", **shapes), dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(value.shape, generator=generator).mul_(value.shape[-1] ** -0.5).bfloat16()
        for name, value in model.state_dict().items()
    }
    model.config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(value.numel() for name, value in state.items() if ".layers." in name)


def trained(folder, small, how, precision, limit=0):
    """What `streamed_training.py` prints; with the libraries bounded as `seektune` does, and a heap that gives back."""
    environ = os.environ | {"OMP_NUM_THREADS": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
    environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS / "train"), *filter(None, sys.path)])
    command = [sys.executable, str(TESTS / "models" / "streamed_training.py"), str(folder), str(small), how, precision]
    done = subprocess.run([*command, str(limit)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-800:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    if found["limited"]:
        Path(found["limited"]).rmdir()  # a group that no process is in any more
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_a_base_of_eight_times_the_allowance_trains_to_the_same_numbers_within_it(folders, tmp_path):
    """The arithmetic is float32 and the files are bfloat16: held in memory, the layers would take 8 times the allowance."""
    small = folders("llama")
    inside = 4 * wide(tmp_path)
    allowance = inside // ALLOWANCE
    plain = trained(tmp_path, small, "plain", "float32")
    streamed = trained(tmp_path, small, "stream", "float32", limit=allowance + (32 << 20))  # and the heap of Python
    assert plain["anonymous"] > inside
    assert streamed["anonymous"] < allowance
    assert streamed["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    views = trained(tmp_path, small, "stream", "bfloat16")
    assert views["anonymous"] < allowance / 2  # pages of the file are used as they are
    assert views["file"] < plain["file"] + inside / 2 / DEPTH * (streaming.SLOTS + 1)
