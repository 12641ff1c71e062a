"""A grown vocabulary: what was read before is read as before, new rows are means, plain transformers opens the folder."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import zoo

from seektune import cli
from seektune.errors import ModelError
from seektune.models import heads, load, vocabulary

SWAHILI = [
    "Watoto wanasoma kitabu",
    "watoto wanacheza mpira",
    "Wanafunzi wanasoma vitabu vyao",
    "kitabu cha watoto",
] * 3
ENGLISH = [
    "The company reported a profit of 3,000,000 dollars.",
    "What is the name of the person?",
    "公司在第二季度报告了利润。",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.tiny_folder(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def grown(folder: Path) -> vocabulary.Grown:
    return vocabulary.learn(vocabulary.read_tokenizer(folder), SWAHILI, 40)


def opened(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)


def test_merges_are_those_of_counting_anew_each_time(folder: Path) -> None:
    """The commonest pair of the texts as they are cut now, by plain loops over all words."""
    tokenizer = vocabulary.read_tokenizer(folder)
    words = [word for text in SWAHILI for word in by_words(tokenizer, text)]
    known, expected = set(tokenizer.get_vocab()), []
    for _ in range(25):
        counts: Counter[tuple[str, str]] = Counter()
        for word in words:
            counts.update((a, b) for a, b in itertools.pairwise(word) if a + b not in known)
        pair = min(counts, key=lambda p: (-counts[p], p))
        if counts[pair] < 2:
            break
        expected.append(pair)
        known.add("".join(pair))
        words = [merged(word, pair) for word in words]
    assert vocabulary.learn(tokenizer, SWAHILI, 25).merges == expected


def by_words(tokenizer: tokenizers.Tokenizer, text: str) -> list[list[str]]:
    encoded = tokenizer.encode(text, add_special_tokens=False)
    found: dict[int, list[str]] = {}
    for token, number in zip(encoded.tokens, encoded.word_ids, strict=True):
        found.setdefault(number, []).append(token)
    return list(found.values())


def merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    made: list[str] = []
    for token in word:
        if made and (made[-1], token) == pair:
            made[-1] += token
        else:
            made.append(token)
    return made


def test_every_new_token_is_reached_and_replaces_its_pieces(folder: Path, grown: vocabulary.Grown) -> None:
    before = vocabulary.read_tokenizer(folder)
    after = vocabulary.extended(before, grown)
    assert after.get_vocab_size() == before.get_vocab_size() + len(grown)
    expanded = dict(enumerate(grown.pieces, grown.first))
    used = set[int]()
    for text in SWAHILI:
        ids = after.encode(text, add_special_tokens=False).ids
        used |= set(ids)
        assert after.decode(ids) == text
        spelled = [piece for i in ids for piece in expanded.get(i, [i])]
        assert spelled == before.encode(text, add_special_tokens=False).ids
    assert len(used & set(expanded)) >= 5
    assert sum(len(after.encode(t).ids) for t in SWAHILI) < 0.7 * sum(len(before.encode(t).ids) for t in SWAHILI)


def test_what_holds_no_new_pair_keeps_its_ids(folder: Path, grown: vocabulary.Grown) -> None:
    before = vocabulary.read_tokenizer(folder)
    after = vocabulary.extended(before, grown)
    new = {tuple(pair) for pair in grown.merges}
    kept = 0
    for text in ENGLISH + zoo.TEXT + ["<user>1234567890<eos>", "12.5%, 3,000", "  \n\t"]:
        old, now = before.encode(text, add_special_tokens=False), after.encode(text, add_special_tokens=False)
        assert after.decode(now.ids) == before.decode(old.ids)
        if not new & set(zip(old.tokens, old.tokens[1:], strict=False)):
            assert now.ids == old.ids
            kept += 1
    assert kept >= 3


def test_digits_and_signs_join_nothing(folder: Path) -> None:
    texts = ["a1b2 a1b2 a1b2", "x--y x--y x--y", "<user>ab<user>ab<user>ab", "don't don't don't"] * 4
    grown = vocabulary.learn(vocabulary.read_tokenizer(folder), texts, 50)
    assert all(all(c.isalpha() or c == "Ġ" for c in "".join(pair)) for pair in grown.merges)


def test_chinese_grows_too(folder: Path) -> None:
    before = vocabulary.read_tokenizer(folder)
    texts = ["股票市场上涨", "股票市场下跌", "股票价格"] * 3
    grown = vocabulary.learn(before, texts, 30)
    after = vocabulary.extended(before, grown)
    assert [after.decode(after.encode(t).ids) for t in texts] == texts
    assert len(after.encode("股票市场").ids) < len(before.encode("股票市场").ids) / 2


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])  # a tied head, and one of its own
def test_rows_are_the_mean_of_the_old_pieces(architecture: str, tmp_path: Path) -> None:
    folder = zoo.tiny_folder(tmp_path / "model", architecture)
    grown = vocabulary.learn(vocabulary.read_tokenizer(folder), SWAHILI, 40)
    vocabulary.write(folder, tmp_path / "grown", grown, {"tokens": len(grown)})
    _, before = opened(folder)
    tokenizer, after = opened(tmp_path / "grown")
    assert heads.tied(after) == (architecture == "qwen2")
    for part in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, part)().weight, getattr(after, part)().weight
        assert torch.equal(new[: grown.first], old[: grown.first])
        for row, pieces in enumerate(grown.pieces, grown.first):
            expected = sum(old[piece] for piece in pieces) / len(pieces)
            torch.testing.assert_close(new[row], expected)
    assert after.config.vocab_size == after.get_input_embeddings().weight.shape[0] == grown.first + len(grown)
    own = tokenizers.Tokenizer.from_file(str(tmp_path / "grown" / "tokenizer.json"))
    for text in SWAHILI + ENGLISH:
        assert tokenizer.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.convert_tokens_to_ids(zoo.SPECIAL) == list(range(len(zoo.SPECIAL)))
    assert tokenizer.chat_template == zoo.TEMPLATE


def test_spare_rows_are_used_and_nothing_shrinks(folder: Path, tmp_path: Path) -> None:
    grown = vocabulary.learn(vocabulary.read_tokenizer(folder), SWAHILI, 5)
    vocabulary.write(folder, tmp_path / "grown", grown, {})
    _, after = opened(tmp_path / "grown")
    assert grown.first + len(grown) < zoo.VOCAB == after.config.vocab_size == heads.embedding_rows(after)


def test_marks_behind_the_vocabulary_keep_their_ids(folder: Path, tmp_path: Path) -> None:
    """As in Qwen's folders: marks have ids above those of the merges, and there are spare rows above them."""
    tokenizer = vocabulary.read_tokenizer(folder)
    tokenizer.add_special_tokens([tokenizers.AddedToken("<late>", special=True)])
    late = tokenizer.token_to_id("<late>")
    grown = vocabulary.learn(tokenizer, SWAHILI, 10)
    after = vocabulary.extended(tokenizer, grown)
    assert grown.first == late + 1
    assert after.token_to_id("<late>") == late
    after.save(str(tmp_path / "tokenizer.json"))
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.get_vocab() == after.get_vocab()
    text = "watoto<late>wanasoma"
    assert again.encode(text).ids.count(late) == 1
    assert again.decode(again.encode(text).ids, skip_special_tokens=False) == text


def test_words_end_at_the_mark_for_a_space() -> None:
    """Tokenizers of the SentencePiece kind cut nothing beforehand: a merge must not run from one word into the next."""
    from tokenizers import models, normalizers

    letters = {c: i for i, c in enumerate("▁abcd")}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    grown = vocabulary.learn(tokenizer, ["ab cd ab cd ab cd"], 10)
    assert {"".join(pair) for pair in grown.merges} == {"ab", "▁ab", "cd", "▁cd"}


@pytest.mark.parametrize("what", ["adapter", "none", "words"])
def test_what_cannot_grow_is_told(what: str, tmp_path: Path) -> None:
    from tokenizers import models

    if what == "adapter":
        (tmp_path / "adapter_config.json").write_text("{}")
    if what == "words":
        tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    expected = {"adapter": "holds an adapter", "none": "no tokenizer.json", "words": "of the kind WordLevel"}[what]
    with pytest.raises(ModelError, match=expected):
        vocabulary.read_tokenizer(tmp_path)


def test_the_verb(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"sw": f"{text} {i}", "en": "nothing of this"} for i, text in enumerate(SWAHILI)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data", "vocabulary", str(folder), str(tmp_path / "pairs.jsonl"), "--column", "sw", "--tokens", "20",
             "--output", str(tmp_path / "out")]  # fmt: skip
    assert cli.main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tokens"] == 20
    assert (facts["texts_learnt"], facts["texts_measured"]) == (11, 1)
    assert facts["tokens_per_word"][1] < facts["tokens_per_word"][0]
    assert not any("noth" in token for token in facts["learnt"])
    assert json.loads((tmp_path / "out" / "vocabulary.json").read_text()) == facts
    assert load.facts_of(tmp_path / "out").vocab >= facts["first_id"] + 20
    assert cli.main(words) == 2  # the folder is there
    assert "--output" in capsys.readouterr().err
    for wrong, line in (("--tokens=0", "at least 1"), ("--column=fr", "no text in 'fr'")):
        assert cli.main([*words[:-1], str(tmp_path / "b"), wrong]) == 2
        assert line in capsys.readouterr().err
    (tmp_path / "one.txt").write_text("x\n")
    assert (
        cli.main(
            [
                "data",
                "vocabulary",
                str(folder),
                str(tmp_path / "one.txt"),
                "--tokens",
                "5",
                "--output",
                str(tmp_path / "c"),
            ]
        )
        == 2
    )
    assert "stands in it twice" in capsys.readouterr().err
