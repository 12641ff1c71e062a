"""Whether a tokenizer keeps numbers: that no digit is lost, and that numbers of one length are cut alike; and how to mend it.

A vocabulary that has merged some groups of digits and not others cuts 2019 as `2019` and 2023 as `20`, `23`: a model then sees
numbers of one size in many shapes. With digits one by one, place and value are always told alike (Nogueira et al. 2021,
arXiv:2102.13019; Singh & Strouse 2024, arXiv:2402.14903).
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ModelError, problem

SEED = 17
EACH = 200  # numbers of each length
LONGEST = 12  # digits
SHOWN = 10
FORMS = ("{}", " {}", "{}%", "${}", "共{}元。", "({}) ", "a {} b", "-{}", "{}\n")
SPLIT = {"type": "Split", "pattern": {"Regex": "[0-9]"}, "behavior": "Isolated", "invert": False}


@dataclass
class Digits:
    """What was found. `lost`: texts that come back with other digits; `cuts`: of each length, how numbers are cut -> how many."""

    numbers: int = 0
    lost: list[tuple[str, str]] = field(default_factory=list)  # (given, came back)
    lost_count: int = 0
    cuts: dict[int, Counter[tuple[int, ...]]] = field(default_factory=dict)
    examples: dict[tuple[int, ...], list[str]] = field(default_factory=dict)  # cut -> the pieces of one number

    @property
    def one_by_one(self) -> bool:
        return all(set(cut) <= {1} for cuts in self.cuts.values() for cut in cuts)

    @property
    def irregular(self) -> list[int]:
        """Lengths of which not all numbers are cut alike."""
        return sorted(length for length, cuts in self.cuts.items() if len(cuts) > 1)

    def as_dict(self) -> dict[str, Any]:
        cuts = {
            str(n): {"+".join(map(str, cut)): count for cut, count in found.most_common()}
            for n, found in sorted(self.cuts.items())
        }
        return {"numbers": self.numbers, "lost": self.lost_count, "lost_examples": self.lost, "one_by_one": self.one_by_one,
                "irregular_lengths": self.irregular, "cuts": cuts}  # fmt: skip


def opened(path: str | Path) -> Any:
    """The tokenizer of a folder, or of a tokenizer.json."""
    from tokenizers import Tokenizer

    file = file_of(path)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(
            problem(str(file), f"no tokenizer ({error})", "tokenizer.json of the tokenizers library")
        ) from None


def file_of(path: str | Path) -> Path:
    at = Path(path).expanduser()
    file = at / "tokenizer.json" if at.is_dir() else at
    if not file.is_file():
        raise ModelError(problem(str(path), "no tokenizer.json", "the folder of a tokenizer, or the file itself"))
    return file


def check(tokenizer: Any, numbers: Iterable[str] | None = None) -> Digits:
    """Encodes numbers in texts of many forms and decodes them again; looks at the pieces of each number behind a space."""
    found = Digits()
    for number in _drawn() if numbers is None else numbers:
        found.numbers += 1
        _round_trip(tokenizer, number, found)
        _cut(tokenizer, number, found)
    return found


def _drawn() -> Iterator[str]:
    """All numbers of up to two digits, and of each further length as many at random, with separators and points among them."""
    draw = random.Random(SEED)
    yield from map(str, range(100))
    for length in range(3, LONGEST + 1):
        for i in range(EACH):
            digits = "".join(draw.choice("0123456789") for _ in range(length))
            yield f"{digits[: length // 2]}.{digits[length // 2 :]}" if i % 10 == 9 else digits


def digits_of(text: str) -> str:
    return "".join(c for c in text if c in "0123456789.")


def _round_trip(tokenizer: Any, number: str, found: Digits) -> None:
    text = FORMS[found.numbers % len(FORMS)].format(number)
    back = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)
    if number not in back or digits_of(back) != digits_of(text):
        found.lost_count += 1
        if len(found.lost) < SHOWN:
            found.lost.append((text, back))


def _cut(tokenizer: Any, number: str, found: Digits) -> None:
    """Lengths of the pieces that hold digits, by where they stand in the text."""
    if not number.isdecimal():
        return
    text = f"a {number} b"
    pieces = [text[a:b].strip() for a, b in tokenizer.encode(text, add_special_tokens=False).offsets]
    digits = [piece for piece in pieces if piece.isdecimal()]
    if "".join(digits) != number:
        return  # pieces of other shapes: the round trip tells
    cut = tuple(map(len, digits))
    found.cuts.setdefault(len(number), Counter())[cut] += 1
    found.examples.setdefault(cut, digits)


def split(path: str | Path, output: str | Path) -> Digits:
    """Writes the tokenizer with digits one by one: no piece reaches over two digits any more, all ids stay. Returns its check.

    The digits are put apart behind what parts the text already, so that marks for spaces stay where they were. Raises
    ModelError where a digit is no token by itself, or where digits would be lost (WordPiece puts a space between them).
    """
    file, at = file_of(path), Path(output).expanduser()
    held = json.loads(file.read_text(encoding="utf-8"))
    if missing := [c for c in "0123456789" if c not in _vocabulary(held)]:
        raise ModelError(
            problem(
                str(file), f"{missing[0]!r} is no token", "every digit as a token", "train a vocabulary that has them"
            )
        )
    before = held.get("pre_tokenizer")
    inner = [] if before is None else before["pretokenizers"] if before["type"] == "Sequence" else [before]
    if SPLIT not in inner:
        held["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*inner, SPLIT]}
    if at.exists() and any(at.iterdir()):
        raise ModelError(problem(str(at), "is not empty", "a new folder"))
    with files.new_folder(at) as aside:
        (aside / "tokenizer.json").write_text(json.dumps(held, ensure_ascii=False), encoding="utf-8")
        found = check(opened(aside))
        if found.lost_count or not found.one_by_one:
            told = (
                f"{found.lost[0][0]!r} would come back as {found.lost[0][1]!r}"
                if found.lost
                else "pieces of several digits stay"
            )
            raise ModelError(problem(str(file), told, "a tokenizer whose digits can stand alone (BPE, Unigram)"))
        _beside(file.parent, aside)
    return found


def _vocabulary(held: dict[str, Any]) -> set[str]:
    """Tokens of the model; byte fallback spells a digit that is missing as its byte, which is a token of its own too."""
    vocab = held["model"].get("vocab", {})
    tokens = set(vocab) if isinstance(vocab, dict) else {entry[0] for entry in vocab}
    return tokens | {
        chr(byte) for byte in range(48, 58) if f"<0x{byte:02X}>" in tokens and held["model"].get("byte_fallback")
    }


def _beside(folder: Path, output: Path) -> None:
    """Settings and templates, but no weights."""
    for name in (
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "generation_config.json",
    ):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)
