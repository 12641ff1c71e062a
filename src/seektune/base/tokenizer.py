"""The tokenizer of the base model: byte-level BPE in which a span has the same tokens wherever it stands.

Text is cut as Qwen2's tokenizer cuts it, since transformers builds that one for every Qwen2 model, whatever the file says.
What makes it ours are the merges: letters join with letters only, a Chinese character or a digit with nothing, so a name
copied from a sentence into JSON is copied token by token. Only the joints of JSON (`":`, `",`, ` "`, `{"`, `"}`) are merged.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

from seektune.base.words import CHARACTERS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
LETTERS = r"\p{Han}|\p{N}|(?:(?!\p{Han})[\p{L}\p{M}])+|\s|[^\s\p{L}\p{N}\p{M}]"  # what merges are learnt within
QWEN2 = (  # how the finished tokenizer cuts
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
JOINTS = [('"', ":"), ('"', ","), ("Ġ", '"'), ("{", '"'), ('"', "}")]

# Only what follows the last question keeps its reasoning, as the models do that reason in public; any role is rendered.
TEMPLATE = """\
{%- set last = namespace(index=-1) %}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{% set last.index = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' and loop.index0 > last.index and message.get('reasoning_content') %}
{{- '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""


def train_tokenizer(texts: Iterable[str], vocab_size: int = 4096) -> Tokenizer:
    """Characters of Chinese and wide marks first, each one token, then merges of letters until the vocabulary is full."""
    wide: Counter[str] = Counter()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=SPECIAL,
    )
    learner = _tokenizer(models.BPE(), LETTERS)
    learner.train_from_iterator(_counting(texts, wide), trainer)
    learnt = json.loads(learner.to_str())["model"]["merges"]
    merges = [*JOINTS, *_character_merges(_common(wide))]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    letters = [tuple(merge) for merge in learnt if _narrow("".join(merge))]
    for left, right in letters:
        if len(vocabulary) == vocab_size:
            break
        vocabulary.setdefault(left + right, len(vocabulary))
        merges.append((left, right))
    tokenizer = _tokenizer(models.BPE(vocab=vocabulary, merges=merges), QWEN2)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return tokenizer


def _tokenizer(model: models.BPE, pattern: str) -> Tokenizer:
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _counting(texts: Iterable[str], wide: Counter[str]) -> Iterator[str]:
    """Passes the texts on without Chinese, whose characters are counted on the way."""
    for text in texts:
        wide[""] += 1
        wide.update(c for c in text if ord(c) > 0x7F)
        yield "".join(" " if ord(c) > 0x7F else c for c in text)


def _common(wide: Counter[str]) -> set[str]:
    """The characters that are said often; the others are spelled in bytes."""
    texts = wide.pop("", 0)
    return set(CHARACTERS) | {c for c, count in wide.items() if count >= max(3, texts // 8_000)}


def _narrow(token: str) -> bool:
    """Whether the token stands for ASCII only (in the byte alphabet, 'Ġ' is the space and 'Ċ' the line's end)."""
    return all(ord(c) < 128 or c in "ĠĊ" for c in token)


def _character_merges(characters: Iterable[str]) -> list[tuple[str, str]]:
    """The merges that make each character one token: first two bytes, then the third."""
    byte = ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = [byte.pre_tokenize_str(c)[0][0] for c in sorted(characters)]
    pairs = dict.fromkeys((s[0], s[1]) for s in spelled)
    return [*pairs, *dict.fromkeys((s[:i], s[i]) for s in spelled for i in range(2, len(s)))]


def save_tokenizer(tokenizer: Tokenizer, folder: Path | str) -> None:
    """An ordinary folder that `transformers.AutoTokenizer` opens, with the chat template in it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": TEMPLATE,
    }
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def text_of(record: dict) -> Iterator[str]:
    """Every text of a record, for training the tokenizer."""
    if "text" in record:
        yield record["text"]
    for message in record.get("messages", ()):
        yield message["content"]
        if "reasoning_content" in message:
            yield message["reasoning_content"]
