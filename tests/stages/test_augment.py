"""Augmentation: what may be changed and what never is, at which rates; and in recipes, anew in each epoch, exactly again on resume."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune import pipeline, recipe
from seektune.contracts import Document
from seektune.data.anew import Anew
from seektune.data.chat import Renderer
from seektune.data.store import Records
from seektune.data.tokens import Tokens, Work, tokenise
from seektune.errors import DataError, RecipeError
from seektune.sources.loader import Loader
from seektune.stages._edits import MARK, joined, pieces
from seektune.stages._synonyms import NEAR, embedding, neighbours, whole_words
from seektune.stages.augment import Augment

KEPT = [
    "Goldman Sachs", "Bank of China", "贵州茅台股份有限公司", "北京市", "$3.4", "15%", "1.2", "2024", "{name}", "{{user}}", "<tag>", "[MASK]",
    "https://example.com/a?b=c", "a@example.com", "`x = foo`", "my_var", "utf8", "camelCase", "www.example.com", "@someone", "%(word)s",
]  # fmt: skip
FREE = ["the", "profit", "rose", "and", "went", "they", "利润", "增长", "喜欢", "我们"]


def free(text: str, keep: list[str] | None = None) -> list[str]:
    return [piece.text for piece in pieces(text, keep or [])[0] if piece.free]


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.sampled_from(KEPT + FREE), min_size=1, max_size=14), seed=st.integers(0, 999))
def test_what_must_stay_stays_and_in_order(words: list[str], seed: int) -> None:
    text = "then " + " ".join(words)
    stage = Augment(synonyms=0.9, insert=0.5, swap=0.9, delete=0.5)
    made = stage.changed({"text": text, "label": "the"}, seed)
    assert made["label"] == "the"
    pattern = "|".join(re.escape(kept) for kept in sorted(KEPT, key=len, reverse=True))
    assert re.findall(pattern, made["text"]) == re.findall(pattern, text)


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60))
def test_pieces_joined_are_the_text(text: str) -> None:
    assert joined(*pieces(text)) == text


def test_names_are_seen_in_both_languages() -> None:
    assert free("Profit at Acme Holdings rose, said John Smith of NASA.") == ["Profit", "at", "rose", "said"]
    assert free("昨天贵州茅台股份有限公司和中国银行的利润都增长了") == ["昨天", "和", "的", "利润", "都", "增长", "了"]
    assert "widget" not in free("the widget fell", ["widget"])


def test_rates_are_held_on_the_mean(tmp_path: Path) -> None:
    words = [f"w{c}{d}" for c in "abcdefghij" for d in "abcdefghij"]
    (tmp_path / "t.tsv").write_text("".join(f"{w}\tsyn{w}\n" for w in words))
    given_ = {"table": str(tmp_path / "t.tsv"), "synonyms": 0.0, "insert": 0.0, "swap": 0.0, "delete": 0.0}
    text = " ".join(words)
    for name, asked in (("synonyms", 0.2), ("insert", 0.1), ("swap", 0.05), ("delete", 0.15)):
        found = []
        for seed in range(40):
            out = Augment(**{**given_, name: asked}).changed({"text": text}, seed)["text"].split()  # type: ignore[arg-type]
            counts = {
                "synonyms": sum(w.startswith("syn") for w in out),
                "insert": len(out) - 100,
                "swap": sum(a != b for a, b in zip(out, words, strict=False)) / 2,
                "delete": 100 - len(out),
            }
            found.append(counts[name])
        assert abs(np.mean(found) / 100 - asked) < 0.005, name


def test_answers_and_positions_are_left_alone() -> None:
    stage = Augment(synonyms=0, insert=0.9, swap=0, delete=0)
    asked = {"role": "user", "content": "what did the company say about this"}
    said = {"role": "assistant", "content": "it said nothing about this at all"}
    made = stage.changed({"messages": [asked, said]}, 1)["messages"]
    assert made[1] == said
    assert made[0] != asked
    for record in ({"text": "a b c d", "spans": [[0, 1]]}, {"text": "甲乙丙丁", "label": {"name": {"甲": [[0, 0]]}}}):
        assert stage.changed(record, 1) is record


def test_copies_are_marked_and_differ() -> None:
    record = {"text": "they went to the river and back again", "label": "good"}
    outcome = Augment(copies=3, insert=0.5).each(record)
    assert outcome.record is record
    assert [copy[MARK] for copy in outcome.more] == ["augment"] * 3
    assert len({copy["text"] for copy in outcome.more} | {record["text"]}) == 4
    assert {copy["label"] for copy in outcome.more} == {"good"}


def test_a_table_gives_the_words_in_their_case(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"word": "profit", "synonyms": ["gain"]}) + "\n")
    stage = Augment(table=str(tmp_path / "t.jsonl"), synonyms=1.0, insert=0, swap=0)
    assert stage.changed({"text": "Profit fell and profit rose"}, 1)["text"] == "Gain fell and gain rose"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"good,fine\nbad\n", r"t\.csv:2: no word with a synonym"),
        ("t.jsonl", b'{"word": "a"}\n', r"t\.jsonl:1: no word with a synonym"),
        ("t.csv", b"", "empty file"),
        ("t.csv", b"good,\xff\xfe\n", "not UTF-8"),
        ("gone.csv", None, "no such file"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        Augment(table=str(tmp_path / name)).changed({"text": "all good"}, 1)


def test_neighbours_are_the_nearest_in_the_embedding() -> None:
    """Against an independent search over the model that transformers opens."""
    from seektune.models import load

    found = neighbours("base:tiny")
    folder = load.folder_of(load.Model("base:tiny"))
    table = load.open_model(load.Model("base:tiny")).get_input_embeddings().weight.detach().float().numpy()  # type: ignore[operator]
    assert np.array_equal(table, embedding(folder))
    tokenizer = load.open_tokenizer(folder)
    ids = [tokenizer.encode(word)[-1] for word in found.words]
    mean = table[ids].mean(axis=0)
    own = table[ids[found.words.index("great")]] - mean
    near = {}
    for word, i in zip(found.words, ids, strict=True):
        other = table[i] - mean
        near[word] = float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))
    expected = [
        word for word, value in sorted(near.items(), key=lambda kv: -kv[1]) if value >= NEAR and word.lower() != "great"
    ]
    assert found.of("great") == found.of("Great") == expected[:5]
    assert "wonderful" in expected


def test_whole_words_of_a_tokenizer_that_marks_them(shared_data: Path) -> None:
    from tokenizers import Tokenizer

    found = whole_words(Tokenizer.from_file(str(shared_data / "tokenizer_qwen2_5" / "tokenizer.json")))
    assert {"company", "profit", "公司", "利润"} <= set(found)
    assert "ustr" not in found


# ---- anew in each epoch ----


def fresh(tmp_path: Path, per_input: dict[int, Any]) -> Tokens:
    zoo.tokenizer().save_pretrained(tmp_path / "tokenizer")
    renderer = Renderer.from_folder(tmp_path / "tokenizer")
    rows = [{"text": f"the company went {i} times to the river and the town"} for i in range(6)]
    rows[3] = {"text": "2024 15%"}
    records = Records.of(rows)
    held = tokenise(records, renderer)
    held.anew = Anew(records, Work(renderer, "all_answers", 2048, "cut", None), per_input)
    return held


def ids(documents: Any) -> list[list[int]]:
    return [document.ids.tolist() for document in documents]


def test_each_epoch_has_documents_of_its_own(tmp_path: Path) -> None:
    held = fresh(tmp_path, {0: [Augment(insert=0.5).in_epoch((17, 0, 0))]})
    first, second = ids(held.at_epoch(0)), ids(held.at_epoch(1))
    assert first != second
    assert ids(held.at_epoch(1)) == second
    assert ids(held)[3] == first[3] == second[3]  # nothing in it may be changed
    assert [d.record for d in held.at_epoch(1)] == list(range(6))
    assert ids(fresh(tmp_path, {1: [Augment(insert=0.5).in_epoch(0)]}).at_epoch(1)) == ids(held)  # of another input


def test_a_record_that_becomes_two_documents_stays_as_it_was(tmp_path: Path) -> None:
    held = fresh(tmp_path, {})
    held.anew = lambda record, epoch: [Document(np.array([1, 2]), np.ones(2))] * 2
    assert ids(held.at_epoch(0)) == ids(held)


def test_the_loader_reads_them_and_goes_on_from_where_it_was(tmp_path: Path) -> None:
    def opened() -> Loader:
        source = Loader(shuffle=False)
        source.open(fresh(tmp_path, {0: [Augment(insert=0.5).in_epoch(0)]}), batch_size=4, unit=1, seed=1)
        return source

    source = opened()
    stream = iter(source)
    batches = [ids(next(stream).documents) for _ in range(3)]
    state = source.state_dict()
    after = [ids(next(stream).documents) for _ in range(3)]
    again = opened()
    again.load_state_dict(state)
    stream = iter(again)
    assert [ids(next(stream).documents) for _ in range(3)] == after
    assert batches[0] != batches[2] != after[1]


RECIPE = """
model: {path: model}
data: {train: [{path: train.jsonl, stages: [{kind: augment, per_epoch: true, insert: 0.5}]}], valid: {fraction: 0.3}}
tuner: {kind: full}
objective: {kind: sft}
train: {epochs: 2, batch_size: 4, device: cpu, precision: float32}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"instruction": f"say what the company said {i} times", "output": "word " * (1 + i % 3)} for i in range(12)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    zoo.tiny_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_recipe_changes_what_is_learnt_and_not_what_is_held_out(place: Path) -> None:
    from seektune import assembly

    ready = assembly.prepare(recipe.load("recipe.yaml", ["tuner=lora", "tuner.rank=2"]))
    train, valid = ready.data.train_tokens, ready.data.valid_tokens
    assert valid is not None
    assert ids(train.at_epoch(0)) != ids(train) != ids(train.at_epoch(1))
    assert ids(valid.at_epoch(0)) == ids(valid)
    assert len(train) + len(valid) == 12
    batches = [next(iter(ready.recipe.source)) for _ in range(3)]
    assert Counter(d.record for batch in batches for d in batch.documents).most_common(1)[0][1] <= 2


def test_the_prefix_cache_is_off_where_documents_change(place: Path) -> None:
    from seektune import assembly

    options = ["tuner={kind: freeze, layers: 1}", "train.epochs=3"]
    ready = assembly.prepare(recipe.load("recipe.yaml", options))
    assert ready.prefix.reason == "off: the documents are made anew in each epoch"
    plain = assembly.prepare(recipe.load("recipe.yaml", [*options, "data.train.0.stages=[]"]))
    assert plain.prefix.on
    with pytest.raises(RecipeError, match="made anew"):
        assembly.prepare(recipe.load("recipe.yaml", [*options, "train.prefix_cache=true"]))


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("data.train.0.stages.0.per_epoch=false", "copies of held-out records"),
        ("data.train.0.stages=[{kind: augment, per_epoch: true}, {kind: length}]", "per_epoch stages last"),
    ],
)
def test_what_does_not_go_together_is_told(place: Path, argument: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe.load("recipe.yaml", [argument])


def test_a_pipeline_has_no_epochs(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "input: [{path: a.jsonl}]\nstages: [{kind: augment, per_epoch: true}]\noutput: b.jsonl\n"
    )
    with pytest.raises(RecipeError, match=r"stages\.0\.per_epoch: a pipeline writes its records once"):
        pipeline.load(tmp_path / "p.yaml")
