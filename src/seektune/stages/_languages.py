"""Which language a text is in: Chinese, Japanese and Korean by their script, the others by lingua's models of letters."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import RecipeError, nearest, problem
from ._need import need
from ._words import HAN

LONGEST = 1000  # characters that are looked at: more decides nothing else
UNKNOWN = "und"  # the code of ISO 639-2 for texts without letters, and those that lingua cannot tell
WEIGHT = 3  # letters that one Chinese, Japanese or Korean sign is worth beside other scripts

_han, _kana, _hangul = (re.compile(f"[{one}]") for one in (HAN, "\u3040-\u30ff", "\uac00-\ud7a3"))
_letter = re.compile(r"[^\W\d_]")


def language_of(text: str, candidates: tuple[str, ...] = (), accurate: bool = False) -> str:
    """Two letters of ISO 639-1, or `und`."""
    text = text[:LONGEST]
    letters = len(_letter.findall(text))
    if not letters:
        return UNKNOWN
    if by_script := _by_script(text, letters):
        return by_script
    found = _detector(candidates, accurate).detect_language_of(text)
    return UNKNOWN if found is None else str(found.iso_code_639_1.name).lower()


def _by_script(text: str, letters: int) -> str:
    han, kana, hangul = (len(one.findall(text)) for one in (_han, _kana, _hangul))
    signs = han + kana + hangul
    if WEIGHT * signs <= letters - signs:
        return ""
    if hangul > han + kana:
        return "ko"
    return "ja" if 10 * kana > han + kana else "zh"


@cache
def _detector(candidates: tuple[str, ...], accurate: bool) -> Any:
    lingua = need("lingua", "language")
    builder = lingua.LanguageDetectorBuilder.from_all_languages()
    if candidates:
        known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
        for code in candidates:
            if code not in known:
                raise RecipeError(problem("candidates", f"found {code!r}", "codes of ISO 639-1", nearest(code, known)))
        builder = lingua.LanguageDetectorBuilder.from_languages(*(known[code] for code in candidates))
    return (builder if accurate else builder.with_low_accuracy_mode()).build()


def script_of(text: str) -> str:
    """`zh-hans` or `zh-hant`, by the characters that only one of them has; `zh` where there are as many of each."""
    simplified, traditional = _only()
    difference = sum((c in simplified) - (c in traditional) for c in text[:LONGEST])
    return "zh" if not difference else "zh-hans" if difference > 0 else "zh-hant"


@cache
def _only() -> tuple[frozenset[str], frozenset[str]]:
    """Characters that OpenCC's tables turn into another one: from simplified, from traditional."""
    folder = Path(need("opencc", "telling simplified from traditional Chinese").__file__).parent / "dictionary"
    one, other = (_keys(folder / f"{name}Characters.txt") for name in ("ST", "TS"))
    return one - other, other - one


def _keys(path: Path) -> frozenset[str]:
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(pair[0] for pair in pairs if len(pair) > 1 and pair[0] not in pair[1:])
