"""The files in a tokenizer's folder that a renderer reads and writes: settings, special tokens and chat templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import files
from ..errors import DataError, problem
from .template import CHATML


def read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(problem(str(path), f"no JSON: {error}")) from None
    return value if isinstance(value, dict) else {}


def special(settings: dict[str, Any]) -> dict[str, str]:
    """bos_token and its kin, which a template may name, each as a text (they may stand as {"content": …})."""
    found = {name: value for name, value in settings.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    return {name: value for name, value in texts.items() if isinstance(value, str)}


def chosen(name: str) -> dict[str, str] | None:
    """The template that a recipe names, or None for the tokenizer's own."""
    if name == "auto":
        return None
    if name == "chatml":
        return {"default": CHATML}
    path = Path(name)
    if not path.is_file():
        raise DataError(problem("data.template", f"no file {name}", "auto, chatml, or the path of a Jinja file"))
    return {"default": path.read_text(encoding="utf-8")}


def templates_of(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """chat_template.jinja and its neighbours first, then the settings: one text, or a list with names."""
    value = config.get("chat_template")
    found = {"default": value} if isinstance(value, str) else {}
    if isinstance(value, list):
        found = {entry["name"]: entry["template"] for entry in value}
    if (folder / "chat_template.jinja").is_file():
        found = {"default": (folder / "chat_template.jinja").read_text(encoding="utf-8")}
        for file in sorted(folder.glob("additional_chat_templates/*.jinja")):
            found[file.stem] = file.read_text(encoding="utf-8")
    return found


def write_templates(folder: Path, templates: dict[str, str]) -> None:
    files.remove(folder / "chat_template.jinja")
    files.remove(folder / "additional_chat_templates")
    for name, source in templates.items():
        place = folder / ("chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja")
        files.write_text(place, source)


def counter(folder: Path) -> Callable[[list[str]], list[int]]:
    """Texts to their numbers of tokens. Raises DataError where the folder holds no tokenizer that can be read."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise DataError(problem(str(folder), "no tokenizer.json here", "the folder of a tokenizer"))
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise DataError(problem(str(path), f"no tokenizer ({error})")) from None
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
