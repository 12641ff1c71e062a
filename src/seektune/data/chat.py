"""The one renderer: messages -> text -> token ids with a loss weight each, for training, evaluation, chat and serving.

Needs `tokenizers` and `jinja2` only, so that worker processes start fast. The template that a run was trained with is
the one that `save` writes, in the form that plain transformers reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from .. import files
from ..contracts import Document, Record
from ..errors import DataError, problem
from . import mask, template, tokenizer_files
from .draft import Draft, Drafter, any_of
from .template import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Renderer:
    """Turns records into documents and messages into what a model is fed, for one tokenizer and its chat template.

    `templates` holds "default" and perhaps "tool_use" (taken where tools are given), as in a tokenizer's folder. The
    `tokenizer` is taken over: its padding and truncation are turned off.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        templates: dict[str, str] | str | None,
        special: dict[str, str],
        name: str = "the tokenizer",
    ):
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.templates = {"default": templates} if isinstance(templates, str) else dict(templates or {})
        self.special = special
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
            raise DataError(
                problem(str(folder), "no tokenizer.json", "a folder with a tokenizer of the tokenizers library")
            )
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise DataError(problem(str(file), f"cannot be read: {error}")) from None
        config = tokenizer_files.read_settings(folder / "tokenizer_config.json")
        special = tokenizer_files.special(
            tokenizer_files.read_settings(folder / "special_tokens_map.json")
        ) | tokenizer_files.special(config)
        templates = tokenizer_files.chosen(template) or tokenizer_files.templates_of(folder, config)
        return cls(tokenizer, templates, special, str(folder))

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, template: str = "auto") -> Renderer:
        """Of a tokenizer of transformers (one that stands on the tokenizers library)."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise DataError(problem(tokenizer.name_or_path, "a tokenizer without tokenizer.json", "a fast tokenizer"))
        special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
        templates = tokenizer_files.chosen(template) or tokenizer.chat_template
        own = tokenizers.Tokenizer.from_str(backend.to_str())  # nobody else's padding or truncation
        return cls(own, templates, special, tokenizer.name_or_path or "the tokenizer")

    def save(self, folder: Path | str) -> None:
        """Write the chat template (and the tokenizer where the folder has none) so that plain transformers renders the same."""
        folder = Path(folder)
        if not (folder / "tokenizer.json").exists():
            files.write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True))
        settings = tokenizer_files.read_settings(folder / "tokenizer_config.json")
        settings = (
            {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
            | self.special
            | settings
        )
        settings.pop("chat_template", None)
        if self.templates:
            many = [{"name": name, "template": source} for name, source in self.templates.items()]
            settings["chat_template"] = self.template if len(many) == 1 else many
        files.write_json(folder / "tokenizer_config.json", settings)
        tokenizer_files.write_templates(folder, self.templates)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.to_str(),
            "templates": self.templates,
            "special": self.special,
            "name": self.name,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        tokenizer = tokenizers.Tokenizer.from_str(state["tokenizer"])
        Renderer.__init__(self, tokenizer, state["templates"], state["special"], state["name"])

    # ---------------------------------------------------------------- text and ids

    @property
    def template(self) -> str | None:
        return self.templates.get("default")

    def text(self, messages: Sequence[Message], tools: list[Any] | None = None, generation_prompt: bool = False) -> str:
        """The conversation as the template writes it. Raises DataError where it refuses the messages."""
        source = self._source(tools)
        return template.render(source, self._prepared(messages, source), tools, self.special, generation_prompt)

    def prepared(self, messages: Sequence[Message], tools: list[Any] | None = None) -> list[Message]:
        """The messages as the template is given them; plain transformers, given the same, must render the same."""
        return self._prepared(messages, self._source(tools))

    def prompt_ids(self, messages: Sequence[Message], tools: list[Any] | None = None) -> list[int]:
        """Exactly what inference feeds before an answer."""
        return self.encode(self.text(messages, tools, generation_prompt=True))

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, those that the tokenizer itself puts around it (bos, [CLS] …) as well."""
        return self.tokenizer.encode(text).ids if special else self._drafter.encode(text)

    def classifier_ids(
        self, text: str, pair: str | None = None, max_length: int | None = None
    ) -> tuple[list[int], bool]:
        """A text or a pair with the marks that its tokenizer adds, and whether it was cut; the marks survive the cut."""
        encoding = self.tokenizer.encode(text, pair)
        if max_length is None or len(encoding.ids) <= max_length:
            return encoding.ids, False
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")
        try:
            return self.tokenizer.encode(text, pair).ids, True
        finally:
            self.tokenizer.no_truncation()

    def tagger_pieces(self, text: str, max_length: int | None = None) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, (start, end) of each piece in the text) with the marks of the tokenizer, which stand at (0, 0); cut at `max_length`."""
        encoding = self.tokenizer.encode(text)
        places = [
            (0, 0) if mark else place
            for place, mark in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ]
        return encoding.ids[:max_length], places[:max_length]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
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
        draft = self._drafter.draft(text)
        spans = record.get("spans")
        if spans is None:
            draft.weights[:] = 1.0
        for start, end, weight in spans or []:
            draft.learn(start, end, weight)
        last = 1.0 if spans is None or not len(draft.weights) else float(draft.weights[-1])
        if self._adds_bos and self.bos_id is not None and draft.ids[:1] != [self.bos_id]:
            draft = Draft.token(self.bos_id, 0.0).then(draft)
        if self.eos_id is not None and draft.ids[-1:] != [self.eos_id]:
            draft = draft.then(Draft.token(self.eos_id, last))
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
        masker = self._maskers.setdefault(source, mask.Masker(self._drafter.added_pattern))
        turns = masker.turns(render, messages, weights, tools is not None)
        drafts = self._placed(turns)
        drafts = self._weigh_prompts(render, messages, weights, turns, drafts)
        if not drafts:
            drafts = [self._drafter.draft(render(messages, False))]
        drafts[0].notes["special_inside"] += sum(self._special_inside(message) for message in given)
        drafts[0].notes["tools_dropped"] += tools is not None and not _names_any(tools, drafts[0].text)
        return drafts

    def _placed(self, turns: Sequence[mask.Turn]) -> list[Draft]:
        """Documents in the order of their last answers; from the last turn back, so that earlier ones find a home."""
        drafts: list[Draft] = []
        for turn in reversed(turns):
            home = next((draft for draft in drafts if self._holds(draft, turn)), None)
            if home is None:
                home = self._drafter.following(turn.prompt, turn.answer)
                drafts.insert(0, home)
            home.learn(len(turn.prompt), len(turn.prompt) + len(turn.answer), turn.weight)
            home.notes.update(turn.notes)
        return drafts

    def _holds(self, draft: Draft, turn: mask.Turn) -> bool:
        """Whether a draft begins with this turn, and with just the tokens that inference would feed before the answer."""
        begins = draft.text.startswith(turn.prompt + turn.answer)
        return begins and self._drafter.border(draft, len(turn.prompt)) is not None

    def _weigh_prompts(
        self,
        render: mask.Render,
        messages: Sequence[Message],
        weights: Sequence[float],
        turns: Sequence[mask.Turn],
        drafts: list[Draft],
    ) -> list[Draft]:
        """Messages that are no answers but have a weight are learnt in the first document that holds them."""
        whole: Draft | None = None  # for those behind the last answer
        for index, message in enumerate(messages):
            if message["role"] == "assistant" or not weights[index]:
                continue
            turn = next((turn for turn in turns if turn.index > index), None)
            if turn is not None:
                home = next(draft for draft in drafts if draft.text.startswith(turn.prompt + turn.answer))
                start, end = mask.locate(render, messages[: turn.index], index, turn.prompt, prompt=True)
            else:
                home = whole = whole or self._drafter.draft(render(messages, False))
                start, end = mask.locate(render, messages, index, home.text, prompt=False)
            home.learn(start, end, weights[index])
        return drafts if whole is None else [*drafts, whole]

    def _everything(self, render: mask.Render, messages: Sequence[Message], given: Sequence[Message]) -> Draft:
        draft = self._drafter.draft(render(messages, False))
        draft.weights[:] = 1.0
        for index, weight in enumerate(_message_weights(given, "everything")):
            if weight != 1.0:
                start, end = mask.locate(render, messages, index, draft.text, prompt=False)
                draft.learn(start, end, weight)
        return draft

    # ---------------------------------------------------------------- facts of the tokenizer and the template

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        """Added tokens that steer a model; the marks of reasoning and calls belong inside answers."""
        ordinary = re.compile(r"</?(think|tool_call|tool_response)>$")
        looks = [
            text
            for text in self._drafter.added.values()
            if re.fullmatch(r"<.+>|\[.+\]", text) and not ordinary.match(text)
        ]
        return any_of(looks)

    @cached_property
    def _drafter(self) -> Drafter:
        return Drafter(self.tokenizer)

    @cached_property
    def _maskers(self) -> dict[str, mask.Masker]:
        return {}

    @cached_property
    def _adds_bos(self) -> bool:
        return self.bos_id is not None and self.tokenizer.encode("").ids[:1] == [self.bos_id]

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
            raise DataError(
                problem(self.name, found, "chat_template in tokenizer_config.json, or chat_template.jinja", fix)
            )
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
                lambda messages, prompt: template.render(source, messages, None, self.special, prompt),
                messages,
                self._drafter.added_pattern,
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


def _names_any(tools: Sequence[Any], text: str) -> bool:
    """Whether the description of any of the tools shows in a rendering."""
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    return any(str(function.get("name", "")) in text for function in functions)


def _finished(draft: Draft) -> Document:
    weights = draft.weights.copy()
    weights[:1] = 0.0  # nothing predicts the first token
    notes = {name: count for name, count in draft.notes.items() if count}
    return Document(np.array(draft.ids, dtype=np.int32), weights, extra={"notes": notes} if notes else {})
