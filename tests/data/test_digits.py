"""Digits of a tokenizer: what is lost or cut unevenly is found; put apart, every text still comes back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seektune import cli
from seektune.data import digits
from seektune.errors import ModelError

TEXTS = ["2019 2020 2021 2019 2020 12 12 345 净利润 1.2亿元 growth of 15% in 2019"] * 4
SAMPLE = ["7", "42", "2019", "2087", "1234567", "3.50"]


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return made


def sentence_pieces() -> Tokenizer:
    """Marks for spaces, as in Llama's first vocabularies: no pre-tokenizer, bytes for what is unknown."""
    alphabet = [*map(chr, range(33, 127)), "▁"]
    vocabulary = {
        token: i
        for i, token in enumerate(
            ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), *alphabet, "20", "19", "201", "2019"]
        )
    }
    merges = [("2", "0"), ("1", "9"), ("20", "1"), ("201", "9")]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def metaspace() -> Tokenizer:
    made = Tokenizer(
        models.Unigram(
            [("<unk>", 0.0), ("▁", -2.0), *((chr(c), -5.0) for c in range(33, 127)), ("20", -3.0), ("2019", -3.0)],
            0,
            False,
        )
    )
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return made


def word_piece() -> Tokenizer:
    vocabulary = ["[UNK]", *"0123456789", *(f"##{d}" for d in "0123456789"), "a", "b"]
    made = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return made


def saved(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "!"}')
    return folder


EACH = pytest.mark.parametrize("made", [byte_level, sentence_pieces, metaspace])


@EACH
def test_uneven_cuts_are_found_and_mended(made: Any, tmp_path: Path) -> None:
    folder = saved(made(), tmp_path / "given")
    found = digits.check(digits.opened(folder), SAMPLE)
    assert not found.one_by_one
    assert found.irregular == [4]
    assert found.lost_count == 0
    after = digits.split(folder, tmp_path / "split")
    assert after.one_by_one and not after.lost_count and not after.irregular
    assert (tmp_path / "split" / "tokenizer_config.json").is_file()
    before, now = digits.opened(folder), digits.opened(tmp_path / "split")
    assert now.get_vocab() == before.get_vocab()
    assert (
        before.encode("no figures", add_special_tokens=False).ids
        == now.encode("no figures", add_special_tokens=False).ids
    )


@EACH
def test_any_text_comes_back_as_before_the_split(made: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = saved(made(), tmp_path_factory.mktemp("any") / "given")
    digits.split(folder, folder.parent / "split")
    before, now = digits.opened(folder), digits.opened(folder.parent / "split")

    @settings(max_examples=60, deadline=None)
    @given(st.text(st.sampled_from("0123456789abc.,%$ -" + ("亿元²½" if made is byte_level else "")), max_size=30))
    def same(text: str) -> None:
        ids = now.encode(text, add_special_tokens=False).ids
        assert now.decode(ids) == before.decode(before.encode(text, add_special_tokens=False).ids)
        pieces = [now.id_to_token(i) for i in ids]
        assert not any(
            a.isascii() and a.isdecimal()
            for piece in pieces
            for a, b in itertools.pairwise(piece)
            if b.isascii() and b.isdecimal()
        )

    same()


def test_the_split_can_be_split_again(tmp_path: Path) -> None:
    folder = saved(byte_level(), tmp_path / "given")
    digits.split(folder, tmp_path / "once")
    digits.split(tmp_path / "once", tmp_path / "twice")
    assert [(tmp_path / n / "tokenizer.json").read_text() for n in ("once", "twice")] == [
        (tmp_path / "once" / "tokenizer.json").read_text()
    ] * 2


def test_transformers_reads_what_was_written(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    digits.split(saved(byte_level(), tmp_path / "given"), tmp_path / "split")
    read = AutoTokenizer.from_pretrained(tmp_path / "split")
    ids = read.encode("in 2019: 345", add_special_tokens=False)
    assert read.convert_ids_to_tokens(ids)[-3:] == ["3", "4", "5"]
    assert read.decode(ids) == "in 2019: 345"


def test_lost_digits_are_found() -> None:
    """A vocabulary without 7."""
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate("012345689 a")}, merges=[]))
    made.decoder = decoders.Fuse()
    found = digits.check(made, ["12", "17", "777"])
    assert found.lost_count == 2
    assert all("7" not in back for _, back in found.lost)


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="would come back as"):
        digits.split(saved(word_piece(), tmp_path / "words"), tmp_path / "a")
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate("012345689 a")}, merges=[]))
    with pytest.raises(ModelError, match="'7' is no token; expected every digit"):
        digits.split(saved(made, tmp_path / "seven"), tmp_path / "b")
    folder = saved(byte_level(), tmp_path / "bytes")
    with pytest.raises(ModelError, match="is not empty"):
        digits.split(folder, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bytes", "seven", "words"]


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"no tokenizer"):
        digits.opened(tmp_path)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(byte_level(), tmp_path / "given")
    assert cli.main(["data", "digits", str(folder), "--split", str(tmp_path / "split"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["one_by_one"] and found["split"]["one_by_one"] and found["split"]["lost"] == 0
    assert cli.main(["data", "digits", str(tmp_path / "split")]) == 0
    assert "every digit is a piece of its own" in capsys.readouterr().out
    assert cli.main(["data", "digits", str(tmp_path / "gone")]) == 2
    assert "no tokenizer.json" in capsys.readouterr().err


def test_real_tokenizers(shared_data: Path) -> None:
    """DeepSeek cuts digits one by one (as its README says); a small vocabulary does not."""
    assert digits.check(digits.opened(shared_data / "tokenizer_deepseek_coder"), SAMPLE).one_by_one
    assert digits.check(digits.opened(shared_data / "tokenizer_minimind")).irregular
