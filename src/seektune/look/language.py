"""Which languages a sample of texts is in: by script where a script tells it, by lingua where it is installed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..stages._words import han_share

SCRIPTS = {"ja": r"[\u3040-\u30ff]", "ko": r"[\uac00-\ud7af]", "th": r"[\u0e00-\u0e7f]", "el": r"[\u0370-\u03ff]",
           "he": r"[\u0590-\u05ff]", "bn": r"[\u0980-\u09ff]", "ta": r"[\u0b80-\u0bff]"}  # fmt: skip
_scripts = {code: re.compile(pattern) for code, pattern in SCRIPTS.items()}
NAMES = ("ENGLISH", "GERMAN", "FRENCH", "SPANISH", "PORTUGUESE", "ITALIAN", "DUTCH", "POLISH", "CZECH", "SWEDISH", "ROMANIAN",
         "TURKISH", "VIETNAMESE", "INDONESIAN", "SWAHILI", "RUSSIAN", "UKRAINIAN", "ARABIC", "PERSIAN", "HINDI")  # fmt: skip
LETTERS = 15  # fewer tell nothing
COVERED = 200  # characters of a text


def by_script(text: str) -> str | None:
    """`zh`, `ja`, … where the letters tell it; "" where there are too few; None where several languages share them."""
    letters = sum(c.isalpha() for c in text)
    share = han_share(text)
    for code, pattern in _scripts.items():
        if len(pattern.findall(text)) > 0.2 * max(letters, 1):
            return code
    if share > 0.3:
        return "zh"
    return None if letters >= LETTERS else ""


def languages(texts: Sequence[str]) -> dict[str, Any]:
    """{"counts": {"zh": n, …}, "texts": n, "by": how}; "?" are texts that are too short to tell."""
    shown = [text[:COVERED] for text in texts]
    codes = [by_script(text) for text in shown]
    open_ = [text for text, code in zip(shown, codes, strict=True) if code is None]
    told, by = _lingua(open_)
    counts = Counter([code or "?" for code in codes if code is not None] + told)
    return {"texts": len(texts), "counts": dict(counts.most_common()), "by": by}


def _lingua(texts: list[str]) -> tuple[list[str], str]:
    if not texts:
        return [], "script"
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ModuleNotFoundError:
        return ["other"] * len(texts), "script; pip install 'seektune[data]' tells the others apart"
    known = [getattr(Language, name) for name in NAMES]
    detector = LanguageDetectorBuilder.from_languages(*known).build()
    found = detector.detect_languages_in_parallel_of(texts)
    return [one.iso_code_639_1.name.lower() if one else "?" for one in found], "script and lingua"
