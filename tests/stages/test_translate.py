"""Translators: models of both kinds and a real endpoint; what is asked, what is kept, what goes on after a failure."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from seektune.errors import ModelError, RecipeError, RunFailedError
from seektune.stages._translate import Seq2Seq, check_prompt, filled, translator
from seektune.stages._work import Work

TEXTS = ["What is the name of the town?", "公司的利润是多少？", "river"]


class Words(http.server.BaseHTTPRequestHandler):
    """An endpoint that translates word by word, from a table; while it is `ill`, it refuses texts with numbers from 64 on."""

    table: dict[str, str]
    asked: list[dict[str, Any]]
    ill = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"].rpartition("\n")[2]
        if self.ill and int(text.split()[-1]) >= 64:
            self.send_error(400, "gone")
            return
        self.asked.append(body)
        said = " ".join(self.table.get(word, word) for word in text.split())
        raw = json.dumps({"choices": [{"message": {"content": f"<think>hm</think> {said} "}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[type[Words]]:
    handler = type("Here", (Words,), {"table": {"mto": "river", "mji": "town"}, "asked": [], "ill": False})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}/v1#tiny"
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def causal(folder: Path, seed: int = 0) -> Path:
    model = zoo.tiny("qwen2", seed)
    with torch.no_grad():
        model.get_input_embeddings().weight[zoo.EOS] *= 2
    model.save_pretrained(folder)
    zoo.tokenizer().save_pretrained(folder)
    return folder


def sequence(folder: Path, kind: str = "t5") -> Path:
    """A small random encoder and decoder with a tokenizer that ends each text."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    sizes: dict[str, Any] = {"vocab_size": zoo.VOCAB, "d_model": 32, "pad_token_id": zoo.PAD, "eos_token_id": zoo.EOS,
                             "decoder_start_token_id": zoo.PAD}  # fmt: skip
    t5 = {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    marian = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
              "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "forced_eos_token_id": zoo.EOS}  # fmt: skip
    config = AutoConfig.for_model(kind, **sizes, **(t5 if kind == "t5" else marian))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSeq2SeqLM.from_config(config)
        zoo.randomise(model, 0)
    model.eval().save_pretrained(folder)
    zoo.tokenizer(encoder=True).save_pretrained(folder)
    return folder


def test_a_causal_model_says_what_plain_transformers_says(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = causal(tmp_path / "model")
    found = translator(str(folder), Work(), prompt="{source} > {target}: {text}", source="English", target="Swahili",
                       max_new_tokens=12).translate(TEXTS)  # fmt: skip
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for text, said in zip(TEXTS, found, strict=True):
        ids = tokenizer.encode(
            f"<user>English > Swahili: {text}<assistant>", add_special_tokens=False, return_tensors="pt"
        )
        made = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=zoo.EOS)[0, ids.shape[1] :].tolist()
        assert said == tokenizer.decode(made[: made.index(zoo.EOS)] if zoo.EOS in made else made).strip()


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_an_encoder_and_decoder_one_by_one_and_together(kind: str, tmp_path: Path) -> None:
    """Padding and order change nothing, and each text is what plain greedy decoding makes of it."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = sequence(tmp_path / kind, kind)
    found = translator(str(folder), Work(), max_new_tokens=9).translate(TEXTS)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    for text, said in zip(TEXTS, found, strict=True):
        asked = tokenizer(text, return_tensors="pt")
        ids = torch.tensor([[zoo.PAD]])
        while ids.shape[1] < 10 and (ids.shape[1] == 1 or ids[0, -1] != zoo.EOS):
            logits = model(input_ids=asked["input_ids"], decoder_input_ids=ids).logits[0, -1]
            ids = torch.cat([ids, logits.argmax().view(1, 1)], 1)
        said_by_hand = tokenizer.decode(ids[0], skip_special_tokens=True)
        forced = kind == "marian"  # its last token is always the end
        assert said == said_by_hand.strip() or (forced and said_by_hand.strip().startswith(said))
        assert said


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    folder, work = causal(tmp_path / "model"), Work(answers=tmp_path / "answers")
    first = translator(str(folder), work, max_new_tokens=6)
    made = first.translate(TEXTS)
    assert first.answers.asked == 3
    again = translator(str(folder), work, max_new_tokens=6)
    assert again.translate([*TEXTS, TEXTS[0]]) == [*made, made[0]]
    assert again.answers.asked == 0
    causal(folder, seed=1)  # the same folder, other weights
    anew = translator(str(folder), work, max_new_tokens=6)
    assert anew.translate(TEXTS) != made
    assert anew.answers.asked == 3


def test_a_text_longer_than_the_model_takes_has_no_translation(tmp_path: Path) -> None:
    for folder in (causal(tmp_path / "causal"), sequence(tmp_path / "marian", "marian")):
        found = translator(str(folder), Work(), max_new_tokens=4).translate(["river", "river " * 400, "town"])
        assert found[1] is None
        assert isinstance(found[0], str)
        assert isinstance(found[2], str)


def test_an_endpoint_goes_on_from_what_it_answered(endpoint: type[Words], tmp_path: Path) -> None:
    work = Work(answers=tmp_path)
    endpoint.ill = True
    texts = [f"mto {i}" for i in range(70)]
    with pytest.raises((ModelError, RunFailedError)):
        translator(endpoint.url, work, source="Swahili", target="English").translate(texts)  # type: ignore[attr-defined]
    endpoint.ill = False
    before = len(endpoint.asked)
    assert translator(endpoint.url, work, source="Swahili", target="English").translate(texts) == [  # type: ignore[attr-defined]
        f"river {i}" for i in range(70)
    ]
    assert before == 64
    assert len(endpoint.asked) == 70
    assert endpoint.asked[0]["model"] == "tiny"
    assert endpoint.asked[0]["messages"][0]["content"].startswith("Translate from Swahili to English:\nmto ")


def test_templates() -> None:
    assert filled("{source}: {text}", text="{a} {{b}}", source="en", target="") == "en: {a} {{b}}"
    assert filled("{% if target %}{{ target }}{% endif %}|{{ text }}", text="<b>", source="", target="sw") == "sw|<b>"
    with pytest.raises(RecipeError, match="did you mean 'text'"):
        filled("{texd}", text="", source="", target="")
    assert check_prompt(None) is check_prompt("{text}") is check_prompt("{{ text }}") is None
    for wrong in ("no text", "{0}", "{text", "{text.upper}", "{{ text.x.y }} {{ text }}", "{{ words }}", "{% if %}"):
        assert "{text}" in str(check_prompt(wrong)), wrong


def test_languages_that_a_model_does_not_know_are_told(tmp_path: Path) -> None:
    from transformers import NllbTokenizer

    codes = ["eng_Latn", "swh_Latn"]
    tokenizer = NllbTokenizer(vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "▁": 4, "a": 5}, merges=[],
                              extra_special_tokens=codes)  # fmt: skip
    inner = Seq2Seq("nllb", "eng_Latn", "swh_Latn")
    assert inner._forced(tokenizer) == {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("swh_Latn")}
    with pytest.raises(ModelError, match="knows no language 'swa_Latn'; did you mean 'swh_Latn'"):
        Seq2Seq("nllb", "eng_Latn", "swa_Latn")._forced(tokenizer)


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        translator(str(tmp_path), Work())
    folder = sequence(tmp_path / "t5")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        translator(str(folder), Work()).translate(["a"])
