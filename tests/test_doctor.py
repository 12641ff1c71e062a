from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkup import Setting, assistant, conversations, the, user

from seektune import console, doctor
from seektune.data.chat import Renderer
from seektune.data.options import Input
from seektune.errors import InputError
from seektune.findings import Finding
from seektune.objectives.classify import Classify
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


@pytest.fixture
def setting(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path, tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def stdout_again() -> Iterator[None]:
    yield
    console.use_stderr(False)


# ---- a clean run ----


def test_a_clean_run_has_no_findings(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = setting.recipe(valid=[{"messages": [user("Where is Eve?"), assistant("At home.")]}])
    diagnosis = setting.check(recipe)
    assert diagnosis.findings == []
    capsys.readouterr()  # transformers' own bar while the folder was made
    assert doctor.show(diagnosis) == 0
    captured = capsys.readouterr()
    assert "no findings" in captured.out
    assert captured.err == ""


def test_facts_equal_what_the_records_hold(setting: Setting) -> None:
    recipe = setting.recipe(valid=[{"messages": [user("Where is Eve?"), assistant("At home.")]}])
    ready = setting.ready(recipe)
    facts = doctor.check(ready, root=setting.path).facts
    documents = list(ready.data.train_tokens)
    lengths = sorted(len(d) for d in documents)
    learnt = sum(int((d.weights != 0).sum()) for d in documents)
    assert facts["data"]["records"] == {"train": 24, "held out": 1}
    assert facts["data"]["tokens"]["train"] == sum(lengths)
    assert facts["data"]["lengths"] == {
        "median": (lengths[11] + lengths[12]) // 2,
        "95 %": int(np.quantile(lengths, 0.95)),
        "longest": lengths[-1],
    }
    (source,) = facts["data"]["sources"]
    assert (source["path"], source["records"], source["tokens"]) == (recipe.data.train[0].path, 24, sum(lengths))
    assert source["learnt"] == pytest.approx(learnt / sum(lengths))
    assert 0 < facts["data"]["languages"]["Chinese"] < 0.5


def test_model_facts_list_what_is_adapted_and_what_not(setting: Setting) -> None:
    facts = setting.check(setting.recipe(tuner=LoRA(rank=4, target_modules=["q_proj", "v_proj"]))).facts["model"]
    assert facts["adapted"] == {"self_attn.q_proj": 3, "self_attn.v_proj": 3}
    assert facts["unadapted"]["mlp.up_proj (not named)"] == 3
    assert facts["trained"] == 3 * (4 * (32 + 32) + 4 * (32 + 16))  # q: 32 -> 32, v: 32 -> 16 (two heads of 8)
    assert facts["dead"] == []
    assert facts["embedding_rows_without_token"] == 16  # the zoo leaves so many unused


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("abc 公司 где 12!", {"Chinese": 2 / 8, "Latin": 3 / 8, "other": 3 / 8}),
        ("Zoë naïve Łódź", {"Chinese": 0, "Latin": 1, "other": 0}),
        ("三百万美元。", {"Chinese": 1, "Latin": 0, "other": 0}),
        ("123 !?_", {}),
    ],
)
def test_languages(text: str, shares: dict[str, float]) -> None:
    assert doctor.languages(text) == pytest.approx(shares)


def test_where_an_error_is_known_the_model_is_not_tried(setting: Setting) -> None:
    """A step with more tokens than positions would fail in the middle of the model."""
    records = [{"text": f"text {i} and more " * 20, "label": "ab"[i % 2]} for i in range(12)]
    folder = setting.folder("bert", max_position_embeddings=128)
    diagnosis = setting.check(setting.recipe(records, folder=folder, objective=Classify(), tuner=Full(), rate=1e-4))
    assert the(diagnosis.findings, "positions").severity == "error"
    assert "dead" not in diagnosis.facts["model"]
    assert "seconds" not in diagnosis.plan


# ---- no trace ----


@pytest.mark.parametrize("tuner", [LoRA(dropout=0.3), Full()])
def test_check_leaves_no_trace(setting: Setting, tuner: Any) -> None:
    ready = setting.ready(setting.recipe(tuner=tuner, rate=1e-4))
    trained = next(p for p in ready.model.parameters() if p.requires_grad)
    trained.grad = marked = torch.ones_like(trained)
    ready.model.get_input_embeddings().train()

    def state() -> list[Any]:
        weights = {name: value.clone() for name, value in ready.model.state_dict().items()}
        gradients = [p.grad for p in ready.model.parameters()]
        flags = [module.training for module in ready.model.modules()]
        randoms = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]
        return [weights, gradients, flags, randoms]

    before = state()
    first = doctor.check(ready, root=setting.path)
    after = state()
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert [g is marked for g in after[1]] == [g is marked for g in before[1]]
    assert sum(g is not None for g in after[1]) == 1
    assert before[2:] == after[2:]
    assert doctor.check(ready, root=setting.path) == first  # the plan has its time now, and keeps it


# ---- records as the model sees them ----


def test_coloured_tokens_are_the_document(setting: Setting) -> None:
    data = setting.data(setting.recipe())
    for document in data.train_tokens:
        parts = doctor.coloured(data, document)
        assert "".join(text for text, _ in parts) == data.renderer.decode(document.ids, skip_special=False)
        kinds = [kind for _, kind in parts]
        assert kinds.count("not learnt") == int((document.weights == 0).sum())
        assert kinds[-1] == "end"
        assert set(kinds) == {"not learnt", "learnt", "end"}


def test_coloured_tokens_show_what_was_cut(setting: Setting) -> None:
    answer = "三百万美元 three million " * 20
    records = [*conversations(), {"messages": [user("Count!"), assistant(answer)]}]
    data = setting.data(setting.recipe(records, max_length=100))
    typical, cut = doctor.examples(data)
    assert "cut" not in {kind for _, kind in typical}
    kinds = [kind for _, kind in cut]
    assert kinds[:100].count("cut") == 0
    assert set(kinds[100:]) == {"cut"}
    assert "".join(text for text, _ in cut) == f"<user>Count!<assistant>{answer}<eos>"


@pytest.mark.parametrize("train_on", ["all_answers", "last_answer", "everything"])
def test_what_was_cut_is_found_for_every_way_to_learn(setting: Setting, train_on: str) -> None:
    turns = [user("Count!"), assistant("one two three"), user("Go on!"), assistant("four five six " * 20)]
    data = setting.data(setting.recipe([*conversations(), {"messages": turns}], train_on=train_on, max_length=100))
    _, cut = doctor.examples(data)
    assert "".join(text for text, _ in cut).endswith("five six <eos>")


def test_two_sources_give_an_example_each(setting: Setting) -> None:
    recipe = setting.recipe()
    other = setting.write("other.jsonl", [{"text": "A story about a river."}])
    recipe.data.train.append(Input(other, "auto", {}))
    shown = ["".join(text for text, _ in parts) for parts in doctor.examples(setting.data(recipe))]
    assert shown[0].startswith("<user>")
    assert shown[1] == "A story about a river.<eos>"


def test_pieces_of_a_decoder_that_tidies_up() -> None:
    """WordPiece takes the space before a full stop away, which no single token can know."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["[UNK]", "the", "river", "##s", ".", "'", "t", "don", ","]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    renderer = Renderer(tokenizer, None, {})
    ids = renderer.encode("the rivers. don't, the river .")
    pieces = doctor.pieces(renderer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == renderer.decode(ids, skip_special=False)


def test_shortened_keeps_both_ends() -> None:
    parts = [[f"{i} ", "learnt"] for i in range(1000)]
    shown = doctor.shortened(parts)
    assert len(shown) == 601
    assert shown[0] == ("0 ", "learnt")
    assert shown[-1] == ("999 ", "learnt")
    assert "400 tokens" in shown[300][0]
    assert doctor.shortened(parts[:600]) == [tuple(part) for part in parts[:600]]


def test_examples_of_a_classifier_have_a_label(setting: Setting) -> None:
    records = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(12)]
    recipe = setting.recipe(records, folder=setting.folder("bert"), objective=Classify(), tuner=Full(), rate=1e-4)
    diagnosis = setting.check(recipe)
    assert diagnosis.findings == []
    for example in diagnosis.examples:
        text = "".join(part for part, _ in example["parts"])
        number = int(re.search(r"text (\d+)", text)[1])  # type: ignore[index]
        assert example["label"] == "ab"[number % 2]


# ---- showing ----


def sick(setting: Setting) -> doctor.Diagnosis:
    diagnosis = setting.check(setting.recipe([*conversations(), {"messages": [user("<script>"), assistant("<b>")]}]))
    diagnosis.plan |= {"seconds": 75.0, "memory_bytes": {"weights": 3 << 20}}
    diagnosis.findings = [Finding("warning", "one", "a: <i>warning</i>"), Finding("error", "two", "b: error")]
    return diagnosis


def test_errors_stop_and_warnings_do_not(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis = sick(setting)
    capsys.readouterr()
    with pytest.raises(InputError) as raised:
        doctor.show(diagnosis)
    assert raised.value.problems == ["b: error"]
    assert raised.value.exit_code == 2
    captured = capsys.readouterr()
    assert captured.err == "warning: a: <i>warning</i>\n"
    assert "no findings" not in captured.out
    diagnosis.findings.pop()
    assert doctor.show(diagnosis) == 0


def test_json_is_one_object(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis = sick(setting)
    with pytest.raises(InputError):
        doctor.show(diagnosis, as_json=True)
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["findings"][1] == {"severity": "error", "check": "two", "line": "b: error"}
    assert found["facts"]["data"]["records"] == {"train": 25}
    assert found["plan"]["seconds"] == 75.0
    assert found["plan"]["steps"] == 6
    assert "Data" in captured.err


def test_page(setting: Setting) -> None:
    path = setting.path / "pages" / "check.html"
    with pytest.raises(InputError, match="b: error"):
        doctor.show(sick(setting), html=str(path))
    page = path.read_text(encoding="utf-8")
    assert "a: &lt;i&gt;warning&lt;/i&gt;" in page
    assert "<i>" not in page
    assert "3.0 MiB" in page
    assert "1 min 15 s" in page
    assert not re.search(r"(src|href)=\"http", page)
    body = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "Where does" in body
    assert "train.jsonl" in body


def test_a_page_that_cannot_be_written(setting: Setting) -> None:
    (setting.path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        doctor.show(sick(setting), html=str(setting.path / "file" / "check.html"))
