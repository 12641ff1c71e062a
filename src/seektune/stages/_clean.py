"""The steps of `clean_text`: each takes a piece of text that is no code and gives it cleaner. All are pure.

Done twice they may still find something (an entity inside an entity), so `clean_text` repeats the row of them until it rests.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from typing import Any

from ._need import need
from ._words import HAN

# Code: fences of Markdown (open ones too), pre and code of HTML, `inline`
CODE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*(?:\n(?:.*?^[ \t]*(?P=fence)[ \t]*$|.*\Z)|\Z)"
    r"|<(?P<tag>pre|code)\b[^<>]*>.*?</(?P=tag)\s*>"
    r"|`[^`\n]+`",
    re.M | re.S | re.I,
)

BLOCK = (
    "address|article|aside|blockquote|body|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|head|header|hr|html"
    "|li|main|nav|ol|option|p|section|select|table|tbody|td|tfoot|th|thead|title|tr|ul|br"
)
INLINE = (
    "a|abbr|b|bdi|bdo|big|button|cite|del|dfn|em|embed|font|i|iframe|img|input|ins|kbd|label|link|mark|meta|noscript|object|q|s"
    "|samp|small|span|strike|strong|sub|sup|svg|textarea|time|tt|u|var|video|audio|wbr"
)
_unseen = re.compile(r"<!--.*?-->|<(?P<tag>script|style)\b[^<>]*>.*?</(?P=tag)\s*>|<!doctype[^<>]*>", re.S | re.I)
_tag = re.compile(rf"</?(?:(?P<block>{BLOCK})|{INLINE})(?:\s[^<>]*|/)?>", re.I)
_begins_tag = re.compile(rf"/?(?:{BLOCK}|{INLINE}|script|style|pre|code)\b|!", re.I)
_entity = re.compile(
    rf"(?P<shown>&lt;/?(?:{BLOCK}|{INLINE}|script|style|pre|code)\b[^<>\n]{{0,200}}?&gt;)"
    r"|&(?:\#\d{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});",
    re.I,
)

_escape = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_breaks = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_unprinted = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
# Joiners stay between letters of scripts that need them and inside emoji
_joiner = re.compile(
    rf"(?:(?<=[\x00-\x7f{HAN}])|(?<=\s)|\A)[\u200c\u200d]+|(?<![\u200c\u200d])[\u200c\u200d]+(?=[\x00-\x7f{HAN}]|\s|\Z)",
    re.S,
)

_wide = {
    ord(c): ord(c) - 0xFEE0 for c in map(chr, [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)])
}
_any_wide = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
_wide_sign = re.compile(r"(?<=[A-Za-z0-9])[．＠＿＋－／＆＝＃](?=[A-Za-z0-9])|(?<=[0-9])％")

_blanks = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_indent = re.compile("^\u3000+", re.M)
_many = re.compile(r"(?<=\S)  +(?=\S)")
_trailing = re.compile(r"(?<![ \t])[ \t]+(?=\n)")  # a run is looked at once, however long
_empty = re.compile(r"\n{3,}")
IN_PHRASES = "瞭藉覆沈牴衹"  # simplified in some words and not in others
_gone = re.compile("\ufffd|锟斤拷|烫烫烫")


def pieces(text: str) -> list[tuple[bool, str]]:
    """(is code, piece) of the whole text, in order; pieces that are no code may be empty."""
    if "`" not in text and "~~~" not in text and "<" not in text:
        return [(False, text)]
    found, at = [], 0
    for match in CODE.finditer(text):
        found += [(False, text[at : match.start()]), (True, match.group())]
        at = match.end()
    return [*found, (False, text[at:])]


def mojibake(text: str) -> str:
    """UTF-8 that was read as another encoding, once or more often (ftfy); nothing else that ftfy could do."""
    return text if text.isascii() else str(_ftfy().fix_text(text, _config()))


@cache
def _ftfy() -> Any:
    return need("ftfy", "clean_text")


@cache
def _config() -> Any:
    off = ("remove_terminal_escapes", "fix_latin_ligatures", "fix_character_width", "uncurl_quotes", "fix_line_breaks",
           "remove_control_chars", "unescape_html")  # fmt: skip
    return _ftfy().TextFixerConfig(normalization=None, **dict.fromkeys(off, False))


def tags(text: str) -> str:
    """HTML without its tags (known names only: `<user>` and `a < b` stay) and comments; entities decoded.

    A tag that is written in entities is meant to be read as a tag, and stays as it is written.
    """
    if "<" in text:
        text = _unseen.sub("", text)
        text = _tag.sub(lambda match: "\n" if match["block"] else "", text)
    return _entity.sub(_decoded, text) if "&" in text else text


def _decoded(match: re.Match[str]) -> str:
    if match["shown"]:
        return match.group()
    made = html.unescape(match.group())
    return match.group() if made == "<" and _begins_tag.match(match.string, match.end()) else made


def control(text: str) -> str:
    """No control characters, no invisible ones, no terminal colours; line and form feeds of all kinds are line breaks."""
    text = _breaks.sub("\n", _escape.sub("", text))
    return _joiner.sub("", _unprinted.sub("", text))


def width(text: str) -> str:
    """Full-width letters and digits as ASCII, and the signs between such; Chinese punctuation stays."""
    if not text.isascii() and _any_wide.search(text):
        text = text.translate(_wide)
    return _wide_sign.sub(lambda match: chr(ord(match.group()) - 0xFEE0), text)


def nfc(text: str) -> str:
    """Unicode normalization form C: letter and accent are one character."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def simplified(text: str) -> str:
    """Traditional Chinese characters as simplified ones (OpenCC, character and phrase tables)."""
    return str(_opencc().convert(text)) if not text.isascii() and _traditional().search(text) else text


@cache
def _opencc() -> Any:
    return need("opencc", "clean_text").OpenCC("t2s")


@cache
def _traditional() -> re.Pattern[str]:
    """Characters without which OpenCC changes nothing, so that it, which is slow, need not look: those that it changes by
    themselves, those that it changes in phrases only, and all rare ones."""
    common = [
        chr(i) for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)) for i in range(first, last + 1)
    ]
    made = _opencc().convert("\n".join(common)).split("\n")
    changed = "".join(one for one, other in zip(common, made, strict=True) if one != other)
    return re.compile(f"[{changed}{IN_PHRASES}\U00020000-\U0003ffff]")


def spaces(text: str) -> str:
    """One kind of blank, one between words, none at ends of lines, at most one empty line; indentation and tabs stay."""
    text = _blanks.sub(" ", _indent.sub("", text))
    text = _trailing.sub("", _many.sub(" ", text))
    return _empty.sub("\n\n", text)


def lost_characters(text: str) -> int:
    """Places where an earlier conversion threw characters away: nothing can bring them back."""
    return len(_gone.findall(text))
