import json
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seektune.base.headlines import headlines
from seektune.base.names import Draw
from seektune.base.text import record
from seektune.base.tokenizer import SPECIAL, save_tokenizer, text_of, train_tokenizer
from seektune.base.words import CHARACTERS

TOKENIZER = train_tokenizer(text for i in range(4000) for text in text_of(record(1, i)))


def ids(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def spelled(text):
    return [TOKENIZER.decode([i], skip_special_tokens=False) for i in ids(text)]


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
@example("\u0a59")  # composed, and taken apart by NFC
def test_any_text_comes_back(text):
    """In Unicode's normal form C, as Qwen2's tokenizer has it."""
    assert TOKENIZER.decode(ids(text), skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def test_the_vocabulary_is_full_and_special_tokens_are_one():
    assert TOKENIZER.get_vocab_size() == 4096
    assert [ids(token) for token in SPECIAL] == [[i] for i in range(len(SPECIAL))]


def test_a_chinese_character_and_a_digit_are_one_token_each():
    assert spelled(CHARACTERS) == list(CHARACTERS)
    assert spelled("2031-07") == list("2031-07")
    assert spelled("净利12亿元") == list("净利12亿元")


@pytest.mark.parametrize(
    "around", ["{}", " {} ", '"{}"', '{{"name": "{}"}}', '", "{}", "', "see {}, then", "（{}）", "他说{}。", "|{}|"]
)
def test_a_span_has_the_same_tokens_wherever_it_stands(around):
    for i in range(60):
        draw = Draw(i)
        for name in (draw.company(), draw.person(), draw.city(), draw.product(), draw.money().text):
            before, after = (ids(part) for part in around.replace("{{", "{").replace("}}", "}").split("{}", 1))
            framed = ids(
                before_text := around.split("{}", 1)[0].replace("{{", "{")
                + name
                + around.split("{}", 1)[1].replace("}}", "}")
            )
            assert framed == before + ids(name) + after, before_text


def test_outputs_of_the_quickstart_are_short():
    for row in headlines(1, 300, "train"):
        assert len(ids(row["output"])) <= 60
        assert len(ids(row["input"])) <= 55


def test_the_folder_opens_with_transformers(tmp_path):
    from transformers import AutoTokenizer

    save_tokenizer(TOKENIZER, tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = '{"公司": "Lena Vo"}  <|im_end|>'
    assert opened(text)["input_ids"] == ids(text)
    assert opened.decode(ids(text), skip_special_tokens=False) == text
    assert (opened.eos_token, opened.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    messages = [
        {"role": "tool", "content": "t"},
        {"role": "assistant", "content": "a", "reasoning_content": "gone"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "b", "reasoning_content": "kept"},
    ]
    rendered = opened.apply_chat_template(messages, tokenize=False)
    start, end = "<|im_start|>", "<|im_end|>\n"
    assert rendered == (
        f"{start}tool\nt{end}{start}assistant\na{end}{start}user\nq{end}"
        f"{start}assistant\n<think>\nkept\n</think>\n\nb{end}"
    )
    assert opened.apply_chat_template(messages[2:3], tokenize=False, add_generation_prompt=True).endswith(
        f"{start}assistant\n"
    )
