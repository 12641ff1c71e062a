"""Translators: what a user names, behind one call, texts in and texts out. A causal model of any kind or an endpoint is prompted
through `_models.opened`; a folder of encoder and decoder (Marian, NLLB, M2M100, T5) is opened here by plain transformers.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..contracts import Record
from ..errors import DataError, ModelError, RecipeError, nearest, problem
from ._models import Answers, opened
from ._work import Work

ASKING = "Translate from {source} to {target}:\n{text}"  # of causal models, where both languages are named
PLAIN = "{text}"
FIELDS = ("text", "source", "target")
ROWS = 16  # texts that an encoder and decoder reads at once


@dataclass
class Translator:
    """Texts of one language into another, in their order; what was translated once is not asked again."""

    answers: Answers
    prompt: str
    source: str
    target: str

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """None for a text that is longer than the model takes."""
        asked = [self._asked(text) for text in texts]
        try:
            return self._written(asked)
        except DataError:
            fits = [self._fits(prompt) for prompt in asked]
            if all(fits):
                raise
        made = iter(self._written([prompt for prompt, fit in zip(asked, fits, strict=True) if fit]))
        return [next(made) if fit else None for fit in fits]

    def _written(self, asked: list[Record]) -> list[str | None]:
        return [_final(text).strip() for text in self.answers.write(asked)]

    def _fits(self, prompt: Record) -> bool:
        """Endpoints answer for themselves; of others, a text cut short would have no translation."""
        if isinstance(self.answers.inner, Seq2Seq):
            return self.answers.inner.fits(prompt)
        engine = getattr(self.answers.inner, "engine", None)
        return engine is None or len(engine.prompt_ids(prompt)) < engine.limit

    def _asked(self, text: str) -> Record:
        asked = filled(self.prompt, text=text, source=self.source, target=self.target)
        if isinstance(self.answers.inner, Seq2Seq):
            return {"text": asked}
        return {"messages": [{"role": "user", "content": asked}]}


def translator(
    model: str, work: Work, *, prompt: str | None = None, source: str = "", target: str = "",
    max_new_tokens: int = 256, temperature: float = 0.0,
) -> Translator:  # fmt: skip
    """`model`: a folder, a run, a hub id, `base:tiny`, or an endpoint as `http://host/v1#name-of-its-model`.

    Its answers are kept under the fingerprint of its weights: a model that was trained anew is asked anew.
    """
    if model.startswith(("http://", "https://")):
        url, _, name = model.partition("#")
        answers = opened(url, work, name=name, max_new_tokens=max_new_tokens, temperature=temperature)
        return Translator(answers, prompt or _asking(source, target), source, target)
    folder, stamp = _looked_at(model)
    if not _is_seq2seq(folder):
        answers = opened(model, work, name=stamp, max_new_tokens=max_new_tokens, temperature=temperature)
        return Translator(answers, prompt or _asking(source, target), source, target)
    inner = Seq2Seq(str(folder), source, target, max_new_tokens, temperature, work.seed)
    settings = [stamp, source, target, max_new_tokens, temperature, work.seed]
    answers = Answers(inner, work, files.sha256_text(repr(["seq2seq", *settings]))[:16])
    return Translator(answers, prompt or PLAIN, source, target)


def check_prompt(prompt: str | None) -> str | None:
    """For an option: what would be right, where a template cannot be filled or leaves the text out."""
    if prompt is None:
        return None
    try:
        made = filled(prompt, text="\x00", source="", target="")
    except (KeyError, IndexError, ValueError, RecipeError):
        return "a template with {text}, and {source} and {target} if need be (or the same in Jinja: {{ text }})"
    return None if "\x00" in made else "a template that holds {text}"


def filled(prompt: str, **values: str) -> str:
    """The template as Jinja where it has `{{` or `{%`, else as Python's format with plain names."""
    if "{{" in prompt or "{%" in prompt:
        return _jinja(prompt, values)
    for _, name, _, _ in string.Formatter().parse(prompt):
        if name is not None and name not in values:  # no attributes, no indices
            raise RecipeError(problem("prompt", f"unknown field {{{name}}}", fix=nearest(name, FIELDS)))
    return prompt.format(**values)


def _jinja(prompt: str, values: dict[str, str]) -> str:
    import jinja2
    import jinja2.sandbox

    try:
        inside = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        return inside.from_string(prompt).render(values)
    except jinja2.TemplateError as error:
        raise RecipeError(problem("prompt", f"cannot be filled ({error})", "Jinja with text, source, target")) from None


def _asking(source: str, target: str) -> str:
    """Without names of languages the text alone is given: what a model that was tuned on pairs has seen."""
    return ASKING if source and target else PLAIN


def _final(text: str) -> str:
    """What was said after thinking."""
    return text.rpartition("</think>")[2]


def _looked_at(model: str) -> tuple[Path, str]:
    """The folder behind a name, and what tells its weights (and those of an adapter's base) from others."""
    from ..engine.opening import folder_of
    from ..models import adapters, load, weights

    folder = folder_of(model)
    if adapters.is_adapter(folder):
        base = load.folder_of(load.base_of(folder))
        return folder, (weights.fingerprint(base) or "") + files.sha256(*sorted(folder.glob("*.safetensors")))[:16]
    return folder, weights.fingerprint(folder) or ""


def _is_seq2seq(folder: Path) -> bool:
    from ..models import weights

    path = folder / "config.json"
    return path.is_file() and bool(weights.read_object(path).get("is_encoder_decoder"))


@dataclass
class Seq2Seq:
    """An encoder and decoder in a local folder, opened when it is first asked: safetensors only, no code of the folder's.

    `source` and `target` are the codes that its tokenizer knows (NLLB: swh_Latn); models for one direction take none.
    """

    folder: str
    source: str = ""
    target: str = ""
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 17
    _held: Any = field(default=None, repr=False)

    def fits(self, prompt: Record) -> bool:
        return len(self._opened()[0](str(prompt["text"]))["input_ids"]) <= self._room()

    def write(self, prompts: Sequence[Record]) -> list[str]:
        """Raises DataError for prompts that are longer than the model takes."""
        if long := [number for number, prompt in enumerate(prompts, 1) if not self.fits(prompt)]:
            raise DataError(problem(f"prompt {long[0]}", f"longer than the {self._room()} tokens of {self.folder}"))
        texts = [str(prompt["text"]) for prompt in prompts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike lengths together: less padding
        made = dict[int, str]()
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            made.update(zip(part, self._generated([texts[i] for i in part]), strict=True))
        return [made[i] for i in range(len(texts))]

    def _generated(self, texts: list[str]) -> list[str]:
        import torch

        tokenizer, model = self._opened()
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        inputs.pop("token_type_ids", None)
        sampling: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if self.temperature:
            sampling = {"do_sample": True, "temperature": self.temperature, "num_beams": 1, "top_k": 0}
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self.seed)
            ids = model.generate(**inputs.to(model.device), **self._forced(tokenizer), **sampling,
                                 max_new_tokens=self.max_new_tokens)  # fmt: skip
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))

    def _room(self) -> int:
        """Tokens that the encoder takes; T5 has no such bound but its tokenizer's."""
        tokenizer, model = self._opened()
        bound = getattr(model.config, "max_position_embeddings", None) or 1 << 30
        return min(int(bound), int(tokenizer.model_max_length))

    def _forced(self, tokenizer: Any) -> dict[str, int]:
        """The first token of the answer, which tells a multilingual model its language."""
        if not self.target or not hasattr(tokenizer, "src_lang"):
            return {}
        return {"forced_bos_token_id": _language_id(tokenizer, self.target, self.folder)}

    def _opened(self) -> tuple[Any, Any]:
        if self._held is None:
            self._held = _open(Path(self.folder))
            tokenizer = self._held[0]
            if self.source and hasattr(tokenizer, "src_lang"):
                _language_id(tokenizer, self.source, self.folder)
                tokenizer.src_lang = self.source
        return self._held[0], self._held[1]


def _language_id(tokenizer: Any, code: str, folder: str) -> int:
    known = getattr(tokenizer, "lang_code_to_id", None) or {}
    if code in known:
        return int(known[code])
    found = tokenizer.convert_tokens_to_ids(code)
    if found is None or found == tokenizer.unk_token_id:
        codes = [*known, *(token for token in tokenizer.get_added_vocab() if token[:1].isalpha())]
        raise ModelError(problem(folder, f"knows no language {code!r}", fix=nearest(code, codes)))
    return int(found)


def _open(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSeq2SeqLM

    from .. import runtime
    from ..models import load
    from ..models.quiet import quiet

    tokenizer = load.open_tokenizer(folder)
    with quiet():
        try:
            model = AutoModelForSeq2SeqLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
            line = str(error).partition("\n")[0]
            what = "an encoder and decoder of transformers with its weights as safetensors"
            raise ModelError(problem(str(folder), f"cannot be opened ({line})", what)) from None
    return tokenizer, model.to(runtime.resolve_device("auto", "model")).eval()
