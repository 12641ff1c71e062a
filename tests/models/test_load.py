"""Opening models, and every way in which it must fail: one line, nothing printed, nothing downloaded."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from seektune.errors import ModelError
from seektune.models import load
from seektune.models.load import Model, facts_of, folder_of, open_model, open_tokenizer


def problems(call: Any, *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(ModelError) as caught:
        call(*arguments, **options)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.tiny_folder(tmp_path_factory.mktemp("load") / "llama", "llama")


def copy(folder: Path, to: Path, **changed: Any) -> Path:
    """The folder again, with other values in its config."""
    import shutil

    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text()) | changed
    (to / "config.json").write_text(json.dumps(config))
    return to


@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_opens_every_architecture_silently(
    architecture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = zoo.tiny_folder(tmp_path / "m", architecture)
    capfd.readouterr()
    model = open_model(Model(str(folder)))
    assert capfd.readouterr() == ("", "")
    assert not model.training
    with torch.no_grad():
        assert torch.equal(model(input_ids=zoo.ids()).logits, zoo.tiny(architecture)(input_ids=zoo.ids()).logits)


def test_dtype(llama: Path, tmp_path: Path) -> None:
    def of(**options: Any) -> torch.dtype:
        return next(open_model(Model(str(folder), **options.pop("recipe", {})), **options).parameters()).dtype

    folder = llama
    assert of() == torch.float32
    assert of(recipe={"dtype": "bfloat16"}) == torch.bfloat16
    assert of(recipe={"dtype": "bfloat16"}, dtype=torch.float16) == torch.float16
    zoo.tiny("llama").bfloat16().save_pretrained(tmp_path / "half")
    folder = tmp_path / "half"
    assert of() == torch.bfloat16
    assert of(recipe={"dtype": "float32"}) == torch.float32


def test_attention_is_passed_on(llama: Path) -> None:
    assert open_model(Model(str(llama)), attention="eager").config._attn_implementation == "eager"


def test_a_soft_cap_is_never_left_out(tmp_path: Path) -> None:
    model = open_model(Model(str(zoo.tiny_folder(tmp_path, "gemma2"))))
    assert "attn_implementation" not in (tmp_path / "config.json").read_text()
    ids, loose = zoo.ids(1, 24), zoo.tiny("gemma2", attn_logit_softcapping=None)
    with torch.no_grad():
        found, capped, uncapped = (m(input_ids=ids).logits for m in (model, zoo.tiny("gemma2"), loose))
    assert torch.equal(found, capped)
    assert not torch.allclose(found, uncapped, atol=1e-2)


def test_origin(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(llama.parent)
    origin = open_model(Model("llama")).seektune_origin
    assert origin.path == origin.folder == origin.plain == str(llama)
    assert origin.new == ()
    assert origin.fingerprint == load.weights.fingerprint(llama)


def test_facts(llama: Path, tmp_path: Path) -> None:
    facts = facts_of(llama)
    assert facts.architecture == "LlamaForCausalLM"
    assert facts.model_type == "llama"
    assert facts.parameters == sum(p.numel() for p in zoo.tiny("llama").parameters())
    assert (facts.layers, facts.hidden, facts.vocab, facts.dtype) == (3, 32, zoo.VOCAB, "float32")
    assert facts.files == ("model.safetensors",)
    assert facts.bytes == (llama / "model.safetensors").stat().st_size
    assert facts.adapter is None
    from seektune.tuners.lora import LoRA

    tuner = LoRA(rank=2)
    tuner.save(tuner.apply(open_model(Model(str(llama)))), tmp_path / "adapter")
    assert facts_of(tmp_path / "adapter").parameters == facts.parameters
    assert facts_of(tmp_path / "adapter").adapter == str(tmp_path / "adapter")


@pytest.mark.parametrize("architecture", zoo.CLASSIFIERS)
def test_classifier_from_a_base(architecture: str, tmp_path: Path) -> None:
    """Only the head is new, drawn from the seed; classes and kind of loss stand in the config; decoders get a padding id."""
    head = "mlm" if architecture in zoo.ENCODERS else "lm"
    folder = zoo.tiny_folder(tmp_path / "m", architecture, head=head)
    config = json.loads((folder / "config.json").read_text())
    config["pad_token_id"] = None
    if architecture not in zoo.ENCODERS:
        (folder / "config.json").write_text(json.dumps(config))

    def opened(seed: int, several: bool = False) -> Any:
        torch.manual_seed(seed)
        return open_model(Model(str(folder)), head="classifier", labels=["no", "是", "maybe"], several=several)

    model, same, other = opened(3), opened(3), opened(4, several=True)
    assert model.config.id2label == {0: "no", 1: "是", 2: "maybe"}
    assert model.config.problem_type == "single_label_classification"
    assert other.config.problem_type == "multi_label_classification"
    assert model.config.get_text_config().pad_token_id == zoo.PAD
    new = set(model.seektune_origin.new)
    assert new
    assert all(name.startswith(("score", "classifier", "bert.pooler")) for name in new)
    values, again, different = (dict(m.named_parameters()) for m in (model, same, other))
    assert all(torch.equal(values[name], again[name]) for name in values)
    assert any(not torch.equal(values[name], different[name]) for name in new)
    stored = dict(zoo.tiny(architecture, head=head).named_parameters())
    assert all(torch.equal(values[name], stored[name]) for name in values if name not in new and name in stored)
    assert model(input_ids=zoo.ids(2, 24)).logits.shape == (2, 3)


def test_a_classifier_keeps_its_head_where_classes_agree(tmp_path: Path) -> None:
    folder = zoo.tiny_folder(tmp_path / "m", "bert")
    same = open_model(Model(str(folder)), head="classifier", labels=["a", "b", "c"])
    assert same.seektune_origin.new == ()
    assert torch.equal(same.classifier.weight, zoo.tiny("bert").classifier.weight)
    other = open_model(Model(str(folder)), head="classifier", labels=["a", "b"])
    assert other.seektune_origin.new == ("classifier.bias", "classifier.weight")
    as_it_is = open_model(Model(str(folder)), head="classifier")
    assert as_it_is.config.num_labels == 3


def test_wrong_kind_of_head(tmp_path: Path, llama: Path) -> None:
    classifier = zoo.tiny_folder(tmp_path / "c", "llama", head="classifier")
    lines = problems(open_model, Model(str(classifier)))
    assert f"{classifier}: lm_head.weight: missing in the files" in lines
    v4 = zoo.tiny_folder(tmp_path / "v4", "deepseek_v4")
    lines = problems(open_model, Model(str(v4)), head="classifier", labels=["a", "b"])
    assert lines == [f"{v4}: transformers has no classifier of the architecture 'deepseek_v4'"]
    t5 = tmp_path / "t5"
    t5.mkdir()
    (t5 / "config.json").write_text(json.dumps({"model_type": "t5"}))
    (t5 / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes())
    assert problems(open_model, Model(str(t5))) == [
        f"{t5}: transformers has no language model of the architecture 't5'"
    ]


def test_folders_that_are_none(tmp_path: Path, llama: Path) -> None:
    assert problems(folder_of, Model("")) == ["model.path: missing; expected a hub id, a folder, or base:tiny"]
    assert problems(folder_of, Model("base:small")) == [
        "model.path: unknown embedded model 'base:small'; known: base:tiny"
    ]
    near = llama.parent / "lama"
    assert problems(folder_of, Model(str(near))) == [f"model.path {near}: no such folder; did you mean 'llama'?"]
    file = llama / "config.json"
    assert problems(folder_of, Model(str(file))) == [f"model.path {file}: is a file; expected the folder that holds it"]
    (tmp_path / "notes.txt").write_text("x")
    expected = "no config.json; the folder holds notes.txt; expected a Hugging Face model folder"
    assert problems(folder_of, Model(str(tmp_path))) == [f"{tmp_path}: {expected}"]
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    assert problems(folder_of, Model(str(run)))[0].endswith(
        f"expected a Hugging Face model folder; give {run / 'model'}"
    )


def test_weights_that_do_not_fit(llama: Path, tmp_path: Path) -> None:
    wide = copy(llama, tmp_path / "wide", intermediate_size=40)
    lines = problems(open_model, Model(str(wide)))
    assert len(lines) == 9
    assert lines[0] == (
        f"{wide}: model.layers.0.mlp.down_proj.weight: shape [32, 48] in the file; expected [32, 40] by config.json"
    )
    deep = copy(llama, tmp_path / "deep", num_hidden_layers=4)
    lines = problems(open_model, Model(str(deep)))
    assert len(lines) == 9
    assert all("model.layers.3." in line and line.endswith("missing in the files") for line in lines)
    flat = copy(llama, tmp_path / "flat", num_hidden_layers=1)
    lines = problems(open_model, Model(str(flat)))
    assert len(lines) == 13  # twelve and the number of the others
    assert (
        lines[0] == f"{flat}: model.layers.1.input_layernorm.weight: in the files, but config.json has no place for it"
    )
    assert lines[-1] == f"{flat}: and 6 more tensors that do not fit config.json"


def test_broken_missing_and_pickled_weights(llama: Path, tmp_path: Path) -> None:
    cut = copy(llama, tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert problems(open_model, Model(str(cut)))[0].startswith(
        f"{cut / 'model.safetensors'}: corrupt safetensors file: "
    )
    (cut / "model.safetensors").unlink()
    assert problems(open_model, Model(str(cut))) == [
        f"{cut}: no weights; expected model.safetensors, or model-*.safetensors with their index"
    ]
    torch.save(zoo.tiny("llama").state_dict(), cut / "pytorch_model.bin")
    assert problems(open_model, Model(str(cut))) == [
        f"{cut}: pytorch_model.bin is a pickle, which can run code while it is read; expected safetensors; "
        "where you trust its source: model.allow_pickle: true"
    ]
    model = open_model(Model(str(cut), allow_pickle=True))
    assert torch.equal(model(input_ids=zoo.ids()).logits, zoo.tiny("llama")(input_ids=zoo.ids()).logits)


def test_broken_config(llama: Path, tmp_path: Path) -> None:
    broken = copy(llama, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    assert problems(open_model, Model(str(broken)))[0].startswith(f"{broken / 'config.json'}: cannot be read as JSON")
    unknown = copy(llama, tmp_path / "unknown", model_type="nothing_like_it")
    assert "nothing_like_it" in problems(open_model, Model(str(unknown)))[0]


def test_remote_code_runs_only_when_asked(llama: Path, tmp_path: Path) -> None:
    folder = copy(
        llama,
        tmp_path / "own",
        model_type="own",
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"},
    )
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    assert problems(open_model, Model(str(folder))) == [
        f"{folder}: own brings Python code of its own; read it, then set model.trust_remote_code: true"
    ]
    assert not (tmp_path / "ran").exists()
    model = open_model(Model(str(folder), trust_remote_code=True))
    assert (tmp_path / "ran").exists()
    assert torch.equal(model(input_ids=zoo.ids()).logits, zoo.tiny("llama")(input_ids=zoo.ids()).logits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_device_that_is_not_there(llama: Path) -> None:
    expected = ["device: cuda asked for, but there is none here; expected cpu, or auto to take what there is"]
    assert problems(open_model, Model(str(llama)), device="cuda") == expected


def test_tokenizer(llama: Path, tmp_path: Path) -> None:
    assert len(open_tokenizer(llama)) == zoo.VOCAB - 16
    zoo.tiny("llama").save_pretrained(tmp_path)
    assert problems(open_tokenizer, tmp_path)[0].startswith(f"{tmp_path}: no tokenizer can be opened")


def test_continue_names_a_run(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = copy(llama, tmp_path / "runs" / "first" / "model")
    for name in ("first", "runs/first", str(tmp_path / "runs" / "first"), str(result)):
        assert folder_of(Model(continue_=name)).resolve() == result
    lines = problems(folder_of, Model(str(llama), continue_="first"))
    assert lines == ["model.path and model.continue: both given, and the run holds a whole model; leave model.path out"]
    assert problems(folder_of, Model(continue_="second")) == [
        "model.continue second: no result of a run found there; expected a run folder that holds model/"
    ]


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that answers as the real one does for a gated, a missing and a revision-less repository."""

    def do_GET(self) -> None:
        kind = next((k for k in ("gated", "missing", "old") if k in self.path), "missing")
        status, code = {
            "gated": (403, "GatedRepo"),
            "missing": (404, "RepoNotFound"),
            "old": (404, "RevisionNotFound"),
        }[kind]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "as told")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(path: str, home: Path, **environment: str) -> str:
    """What a process of its own says about a hub id."""
    script = (
        "from seektune.models.load import Model, folder_of\n"
        "from seektune.errors import ModelError\n"
        f"try: folder_of(Model({path!r}))\n"
        "except ModelError as error: print(error)\n"
    )
    variables = {"HF_HOME": str(home), "HF_TOKEN": "none", "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=variables, timeout=120)
    assert done.stderr == ""
    return done.stdout.strip()


def test_hub_ids_that_cannot_be_had(hub: str, tmp_path: Path) -> None:
    assert asked("some/gated", tmp_path, HF_ENDPOINT=hub) == (
        "model.path some/gated: access is restricted on the hub, and this account has none; "
        f"ask for access at {hub}/some/gated, then `hf auth login` or set HF_TOKEN"
    )
    assert asked("some/missing", tmp_path, HF_ENDPOINT=hub) == (
        "model.path some/missing: neither a folder here nor a model on the hub; "
        "check the spelling; where it is private, `hf auth login` or set HF_TOKEN"
    )
    assert asked("some/old", tmp_path, HF_ENDPOINT=hub) == (
        f"model.path some/old: no revision 'main' on the hub; see {hub}/some/old/tree/main"
    )


def test_offline_and_unreachable(tmp_path: Path) -> None:
    fix = "run `hf download some/model --revision main` where there is a network, or give a folder"
    assert asked("some/model", tmp_path, HF_HUB_OFFLINE="1") == (
        f"model.path some/model: not on this machine, and HF_HUB_OFFLINE is set; {fix}"
    )
    assert asked("some/model", tmp_path, HF_ENDPOINT="http://127.0.0.1:9") == (
        f"model.path some/model: not on this machine, and the hub cannot be reached; {fix}"
    )
    assert asked("not a name", tmp_path, HF_HUB_OFFLINE="1") == (
        "model.path not a name: neither a folder here nor a hub id; expected owner/name, a folder, or base:tiny"
    )


def test_a_cached_hub_id_needs_no_network(llama: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--some--model"
    copy(llama, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    script = (
        "from seektune.models.load import Model, open_model\n"
        "model = open_model(Model('some/model'))\n"
        "print(model.seektune_origin.path, model.seektune_origin.plain)\n"
    )
    variables = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=variables, timeout=120)
    assert (done.stdout, done.stderr) == ("some/model some/model\n", "")
