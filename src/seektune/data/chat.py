"""The one renderer: messages -> text -> token ids with a loss weight each, for training, evaluation, chat and serving.

Needs `tokenizers` and `jinja2` only, so that worker processes start fast. The template that a run was trained with is
the one that `save` writes, in the form that plain transformers reads.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from .. import files
from ..contracts import Document, Record
from ..errors import DataError, problem
from . import mask, template
from .template import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass
class Draft:
    """A document while answers are being placed in it: its text, the tokens and where in the text each stands."""

    text: str
    ids: list[int]
    starts: np.ndarray  # (time,) first character of each token
    ends: np.ndarray  # (time,) one past its last
    weights: np.ndarray  # (time,) float32
    notes: Counter[str] = field(default_factory=Counter)

    def learn(self, start: int, end: int, weight: float) -> None:
        """Give `weight` to every token that holds a character of text[start:end]."""
        self.weights[(self.starts < end) & (self.ends > start)] = weight


class Renderer:
    """Turns records into documents and messages into what a model is fed, for one tokenizer and its chat template.

    `templates` holds "default" and perhaps "tool_use" (taken where tools are given), as in a tokenizer's folder.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        templates: dict[str, str] | str | None,
        special: dict[str, str],
        *,
        add_bos: bool = False,
        name: str = "the tokenizer",
    ):
        self.tokenizer = tokenizers.Tokenizer.from_str(tokenizer.to_str())  # our own: nobody else's padding or truncation
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.templates = {"default": templates} if isinstance(templates, str) else dict(templates or {})
        self.special = special
        self.add_bos = add_bos
        self.name = name
        for source in self.templates.values():
            template.compiled(source)

    # ---------------------------------------------------------------- opening and saving

    @classmethod
    def from_folder(cls, path: Path | str, template: str = "auto") -> Renderer:
        """Opens tokenizer.json with its settings. `template`: auto, chatml, or the path of a Jinja file."""
        folder = Path(path)
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise DataError(problem(str(folder), "no tokenizer.json", "a folder with a tokenizer of the tokenizers library"))
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise DataError(problem(str(file), f"cannot be read: {error}")) from None
        config = _read_settings(folder / "tokenizer_config.json")
        special = _special(_read_settings(folder / "special_tokens_map.json")) | _special(config)
        templates = _chosen(template) or _templates_of(folder, config)
        return cls(tokenizer, templates, special, add_bos=bool(config.get("add_bos_token")), name=str(folder))

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, template: str = "auto") -> Renderer:
        """Of a tokenizer of transformers (one that stands on the tokenizers library)."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise DataError(problem(tokenizer.name_or_path, "a tokenizer without tokenizer.json", "a fast tokenizer"))
        special = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if key in SPECIAL_NAMES}
        templates = _chosen(template) or tokenizer.chat_template
        add_bos = bool(getattr(tokenizer, "add_bos_token", False))
        return cls(backend, templates, special, add_bos=add_bos, name=tokenizer.name_or_path or "the tokenizer")

    def save(self, folder: Path | str) -> None:
        """Write the chat template (and the tokenizer where the folder has none) so that plain transformers renders the same."""
        folder = Path(folder)
        if not (folder / "tokenizer.json").exists():
            files.write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True))
        settings = _read_settings(folder / "tokenizer_config.json")
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False} | self.special | settings
        settings.pop("chat_template", None)
        if self.templates:
            many = [{"name": name, "template": source} for name, source in self.templates.items()]
            settings["chat_template"] = self.template if len(many) == 1 else many
        files.write_json(folder / "tokenizer_config.json", settings)
        _write_templates(folder, self.templates)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.to_str(),
            "templates": self.templates,
            "special": self.special,
            "add_bos": self.add_bos,
            "name": self.name,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        tokenizer = tokenizers.Tokenizer.from_str(state["tokenizer"])
        Renderer.__init__(
            self, tokenizer, state["templates"], state["special"], add_bos=state["add_bos"], name=state["name"]
        )

    # ---------------------------------------------------------------- text and ids

    @property
    def template(self) -> str | None:
        return self.templates.get("default")

    def text(self, messages: Sequence[Message], tools: list[Any] | None = None, generation_prompt: bool = False) -> str:
        """The conversation as the template writes it. Raises DataError where it refuses the messages."""
        source = self._source(tools)
        return template.render(source, self._prepared(messages, source), tools, self.special, generation_prompt)

    def prompt_ids(self, messages: Sequence[Message], tools: list[Any] | None = None) -> list[int]:
        """Exactly what inference feeds before an answer."""
        return self.encode(self.text(messages, tools, generation_prompt=True))

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, those that the tokenizer itself puts around it (bos, [CLS] …) as well."""
        return (self.tokenizer if special else self._bare).encode(text, add_special_tokens=special).ids

    def classifier_ids(self, text: str, pair: str | None = None, max_length: int | None = None) -> tuple[list[int], bool]:
        """A text or a pair with the marks that its tokenizer adds, and whether it was cut; the marks survive the cut."""
        encoding = self.tokenizer.encode(text, pair)
        if max_length is None or len(encoding.ids) <= max_length:
            return encoding.ids, False
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")
        try:
            return self.tokenizer.encode(text, pair).ids, True
        finally:
            self.tokenizer.no_truncation()

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    @cached_property
    def pad_id(self) -> int:
        """The padding id; without one the end of text, else 0. Padding is never told from text by its id."""
        for name in ("pad_token", "eos_token"):
            found = self._id(name)
            if found is not None:
                return found
        return 0

    @cached_property
    def eos_id(self) -> int | None:
        return self._id("eos_token")

    @cached_property
    def bos_id(self) -> int | None:
        return self._id("bos_token")

    @cached_property
    def end_ids(self) -> list[int]:
        """The ids that end a turn, as the template writes it, and the end of text."""
        found = [] if self.template is None else [self._closing_id(tools) for tools in (False, True)]
        ids = [token for token in [*found, self.eos_id] if token is not None]
        return list(dict.fromkeys(ids))

    # ---------------------------------------------------------------- documents

    def documents(self, record: Record, train_on: str = "all_answers") -> list[Document]:
        """What is learnt from a record, uncut. `extra["notes"]` counts what the template left out of it.

        A plain text is one document, its end-of-text token included. Answers of a conversation share a document where
        what inference would feed before each of them is a beginning of it, in text and in tokens; otherwise each has
        its own, that ends where its answer ends. Raises DataError where an answer cannot follow its prompt.
        """
        if "text" in record:
            return [_finished(self._plain(record))]
        if "messages" not in record:
            raise DataError(problem("record", f"fields {', '.join(sorted(record))}", "text or messages"))
        return [_finished(draft) for draft in self._conversation(record, train_on)]

    def _plain(self, record: Record) -> Draft:
        """bos, where the tokenizer adds it, the text, eos; weights from `spans` where there are any."""
        text = record["text"]
        draft = self._draft(text)
        spans = record.get("spans")
        if spans is None:
            draft.weights[:] = 1.0
        for start, end, weight in spans or []:
            draft.learn(start, end, weight)
        last = 1.0 if spans is None or not len(draft.weights) else float(draft.weights[-1])
        if self._adds_bos and draft.ids[:1] != [self.bos_id]:
            draft = _joined(self._token(self.bos_id, 0, 0.0), draft)
        if self.eos_id is not None and draft.ids[-1:] != [self.eos_id]:
            draft = _joined(draft, self._token(self.eos_id, len(text), last))
        return draft

    def _conversation(self, record: Record, train_on: str) -> list[Draft]:
        tools = record.get("tools") or None
        source = self._source(tools)
        given = record["messages"]
        messages = self._prepared(given, source)

        def render(messages: Sequence[Message], generation_prompt: bool) -> str:
            return template.render(source, messages, tools, self.special, generation_prompt)

        if train_on == "everything":
            return [self._everything(render, messages, given)]
        weights = _message_weights(given, train_on)
        masker = self._maskers.setdefault(source, mask.Masker(self._added))
        turns = masker.turns(render, messages, weights, tools is not None)
        drafts = self._placed(turns)
        if not drafts:
            drafts = [self._draft(render(messages, False))]
        self._weigh_prompts(render, messages, weights, turns, drafts)
        drafts[0].notes["special_inside"] += sum(self._special_inside(message) for message in given)
        return drafts

    def _placed(self, turns: Sequence[mask.Turn]) -> list[Draft]:
        """Documents in the order of their last answers; from the last turn back, so that earlier ones find a home."""
        drafts: list[Draft] = []
        for turn in reversed(turns):
            home = next((draft for draft in drafts if self._fits(draft, turn)), None)
            if home is None:
                home = self._following(turn.prompt, turn.answer)
                drafts.insert(0, home)
            home.learn(len(turn.prompt), len(turn.prompt) + len(turn.answer), turn.weight)
            home.notes.update(turn.notes)
        return drafts

    def _weigh_prompts(
        self,
        render: mask.Render,
        messages: Sequence[Message],
        weights: Sequence[float],
        turns: Sequence[mask.Turn],
        drafts: Sequence[Draft],
    ) -> None:
        """Messages that are no answers but have a weight: learnt in the first document that holds them."""
        for index, message in enumerate(messages):
            if message["role"] == "assistant" or not weights[index]:
                continue
            turn = next((turn for turn in turns if turn.index > index), None)
            if turn is not None:
                home = next(draft for draft in drafts if draft.text.startswith(turn.prompt + turn.answer))
                start, end = mask.locate(render, messages[: turn.index], index, turn.prompt, prompt=True)
            else:
                home = self._draft(render(messages, False)) if turns else drafts[0]
                start, end = mask.locate(render, messages, index, home.text, prompt=False)
                if turns:
                    drafts = [*drafts, home]
            home.learn(start, end, weights[index])

    def _everything(self, render: mask.Render, messages: Sequence[Message], given: Sequence[Message]) -> Draft:
        draft = self._draft(render(messages, False))
        draft.weights[:] = 1.0
        for index, weight in enumerate(_message_weights(given, "everything")):
            if weight != 1.0:
                start, end = mask.locate(render, messages, index, draft.text, prompt=False)
                draft.learn(start, end, weight)
        return draft

    # ---------------------------------------------------------------- tokens of a text

    def _draft(self, text: str) -> Draft:
        encoding = self._bare.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return Draft(text, list(encoding.ids), offsets[:, 0], offsets[:, 1], np.zeros(len(encoding.ids), np.float32))

    def _token(self, token: int | None, at: int, weight: float) -> Draft:
        place = np.array([at], dtype=np.int64)
        assert token is not None
        return Draft("", [token], place, place, np.array([weight], np.float32))

    def _following(self, prompt: str, answer: str) -> Draft:
        """prompt + answer, whose first tokens are the prompt's own: no token straddles the border."""
        whole = self._draft(prompt + answer)
        if self._border(whole, len(prompt)) is not None:
            return whole
        first, second = self._draft(prompt), self._continued(answer)
        second.starts += len(prompt)
        second.ends += len(prompt)
        return _joined(first, second)

    def _continued(self, answer: str) -> Draft:
        """The tokens of a text that begins in the middle of another: behind an added token, where no space is put in."""
        guard = next(iter(sorted(self._added_ids.values(), key=len, reverse=True)), None)
        if guard is None:
            return self._draft(answer)
        draft = self._draft(guard + answer)
        inside = draft.starts >= len(guard)
        ids = [token for token, kept in zip(draft.ids, inside, strict=True) if kept]
        starts, ends = draft.starts[inside] - len(guard), draft.ends[inside] - len(guard)
        return Draft(answer, ids, starts, ends, draft.weights[inside])

    def _fits(self, draft: Draft, turn: mask.Turn) -> bool:
        return draft.text.startswith(turn.prompt + turn.answer) and self._border(draft, len(turn.prompt)) is not None

    def _border(self, draft: Draft, at: int) -> int | None:
        """How many tokens of the draft are exactly the tokens of text[:at], or None where they are others.

        Added tokens split a text before anything else does, so only what stands behind the last of them is compared.
        """
        count = int(np.searchsorted(draft.starts, at))
        if count and draft.ends[:count].max() > at:
            return None
        anchor = next((i for i in range(count - 1, -1, -1) if draft.ids[i] in self._added_ids), 0)
        begin = int(draft.starts[anchor]) if count and draft.ids[anchor] in self._added_ids else 0
        if begin == 0:
            anchor = 0
        return count if self.encode(draft.text[begin:at]) == draft.ids[anchor:count] else None

    # ---------------------------------------------------------------- facts of the tokenizer and the template

    @cached_property
    def _bare(self) -> tokenizers.Tokenizer:
        """Without post-processor: it would trim spaces from the offsets, and adds nothing that we want here."""
        bare = tokenizers.Tokenizer.from_str(self.tokenizer.to_str())
        bare.post_processor = None  # type: ignore[assignment]
        return bare

    @cached_property
    def _added_ids(self) -> dict[int, str]:
        return {token: added.content for token, added in self.tokenizer.get_added_tokens_decoder().items()}

    @cached_property
    def _added(self) -> re.Pattern[str] | None:
        return _any_of(self._added_ids.values())

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        """Added tokens that steer a model; the marks of reasoning and calls belong inside answers."""
        ordinary = re.compile(r"</?(think|tool_call|tool_response)>$")
        looks = [text for text in self._added_ids.values() if re.fullmatch(r"<.+>|\[.+\]", text) and not ordinary.match(text)]
        return _any_of(looks)

    @cached_property
    def _maskers(self) -> dict[str, mask.Masker]:
        return {}

    @cached_property
    def _adds_bos(self) -> bool:
        if self.bos_id is None:
            return False
        return self.add_bos or self.tokenizer.encode("").ids[:1] == [self.bos_id]

    def _special_inside(self, message: Message) -> int:
        content = message.get("content")
        return len(self._marks.findall(content)) if self._marks and isinstance(content, str) else 0

    def _id(self, name: str) -> int | None:
        text = self.special.get(name)
        return None if text is None else self.tokenizer.token_to_id(text)

    def _source(self, tools: Any) -> str:
        source = self.templates.get("tool_use") if tools else None
        source = source or self.template
        if source is None:
            found = "has no chat template, which records with messages need"
            fix = "set `data.template` to the path of a Jinja file, or to `chatml` (<|im_start|>role … <|im_end|>)"
            raise DataError(problem(self.name, found, "chat_template in tokenizer_config.json, or chat_template.jinja", fix))
        return source

    def _prepared(self, messages: Sequence[Message], source: str) -> list[Message]:
        calls = any(message.get("tool_calls") for message in messages)
        form = template.tool_form(source, tuple(sorted(self.special.items()))) if calls else None
        return template.prepare(messages, form)

    def _closing_id(self, tools: bool) -> int | None:
        """The id that closes an answer; of a call of a tool only where it is a special token."""
        source = self._source(None)
        answer: Message = {"role": "assistant", "content": "answer"}
        if tools:
            call = {"name": "name", "arguments": {}}
            answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        messages = self._prepared([{"role": "user", "content": "question"}, answer], source)
        try:
            closing = mask.find_closing(
                lambda messages, prompt: template.render(source, messages, None, self.special, prompt), messages, self._added
            )
        except DataError:
            return None
        ids = self.encode(closing.end)
        added = self.tokenizer.get_added_tokens_decoder()
        if not ids or ids[-1] not in added or (tools and not added[ids[-1]].special):
            return None
        return ids[-1]


def _message_weights(messages: Sequence[Message], train_on: str) -> list[float]:
    """The loss weight of each message: `weight` and `train` where given, otherwise as `train_on` says."""
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    learnt = set(answers[-1:] if train_on == "last_answer" else answers)
    weights = []
    for index, message in enumerate(messages):
        default = train_on == "everything" or index in learnt
        trained = message.get("train")
        weight = message.get("weight")
        if trained is None:
            trained = default or weight is not None
        weights.append((1.0 if weight is None else float(weight)) if trained else 0.0)
    return weights


def _joined(first: Draft, second: Draft) -> Draft:
    return Draft(
        first.text + second.text,
        first.ids + second.ids,
        np.concatenate([first.starts, second.starts]),
        np.concatenate([first.ends, second.ends]),
        np.concatenate([first.weights, second.weights]),
        first.notes + second.notes,
    )


def _finished(draft: Draft) -> Document:
    weights = draft.weights.copy()
    weights[:1] = 0.0  # nothing predicts the first token
    notes = {name: count for name, count in draft.notes.items() if count}
    return Document(np.array(draft.ids, dtype=np.int32), weights, extra={"notes": notes} if notes else {})


def _any_of(words: Any) -> re.Pattern[str] | None:
    ordered = sorted((word for word in words if word), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(problem(str(path), f"no JSON: {error}")) from None
    return value if isinstance(value, dict) else {}


def _special(settings: dict[str, Any]) -> dict[str, str]:
    """bos_token and its kin, each as a text (they may stand as {"content": …})."""
    found = {name: settings.get(name) for name in SPECIAL_NAMES}
    texts = {name: value["content"] if isinstance(value, dict) else value for name, value in found.items()}
    return {name: value for name, value in texts.items() if isinstance(value, str)}


def _chosen(name: str) -> dict[str, str] | None:
    """The template that a recipe names, or None for the tokenizer's own."""
    if name == "auto":
        return None
    if name == "chatml":
        return {"default": template.CHATML}
    path = Path(name)
    if not path.is_file():
        raise DataError(problem("data.template", f"no file {name}", "auto, chatml, or the path of a Jinja file"))
    return {"default": path.read_text(encoding="utf-8")}


def _templates_of(folder: Path, config: dict[str, Any]) -> dict[str, str]:
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


def _write_templates(folder: Path, templates: dict[str, str]) -> None:
    files.remove(folder / "chat_template.jinja")
    files.remove(folder / "additional_chat_templates")
    for name, source in templates.items():
        place = folder / ("chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja")
        files.write_text(place, source)
