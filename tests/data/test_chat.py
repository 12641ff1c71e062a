"""The renderer writes what plain transformers writes, opens and saves what plain transformers opens and saves."""

import itertools
import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from seektune.data import template
from seektune.data.chat import Renderer
from seektune.errors import DataError

HI = {"role": "user", "content": "Hi 你好 "}
HELLO = {"role": "assistant", "content": " Hello!\n"}
THOUGHT = {"role": "assistant", "content": "<think>\nwell\n</think>\n\nYes."}
APART = {"role": "assistant", "content": "Yes.", "reasoning_content": "well"}
SYSTEM = {"role": "system", "content": "Be brief & <kind>."}
RESULT = {"role": "tool", "content": "22", "tool_call_id": "abcdefghi"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get",
            "description": "Gets <it>, 取得",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]
CONVERSATIONS = {
    "user": [HI],
    "single": [HI, HELLO],
    "multi": [HI, HELLO, HI, THOUGHT, HI],
    "system": [SYSTEM, HI, HELLO],
    "reasoning": [HI, APART, HI, APART],
    "assistant first": [HELLO, HI],
    "two users": [HI, HI],
    "tool": [HI, "call", RESULT, HELLO],
    "tool last": [HI, "call", RESULT],
    "call last": [HI, "call"],
}
NAMES = [
    "Qwen-Qwen2.5-7B-Instruct",
    "Qwen-Qwen3-0.6B",
    "alpaca",
    "chatml",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "llama-cpp-deepseek-r1",
    "meta-llama-Llama-3.1-8B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "trl-deepseekv3",
    "trl-llama3",
    "trl-qwen3_instruct_2507",
    "vicuna",
]
# Templates that add the arguments to a text want them as JSON text, the others as an object.
WANTS_TEXT = {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "trl-deepseekv3"}
# Those that ask whether the content is none: transformers takes a None away before they see it.
WANTS_NONE = {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"}


def letters(*special: str) -> tokenizers.Tokenizer:
    """A tokenizer of single bytes and some special tokens."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def plain(source: str) -> PreTrainedTokenizerFast:
    """The tokenizer as plain transformers has it."""
    return PreTrainedTokenizerFast(tokenizer_object=letters("<s>", "</s>"), chat_template=source, **SPECIAL)


def call_for(name: str) -> dict:
    arguments = {"a": 1, "b": "é<"}
    function = {
        "name": "get",
        "arguments": json.dumps(arguments, ensure_ascii=False) if name in WANTS_TEXT else arguments,
    }
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "abcdefghi", "type": "function", "function": function}],
    }


@pytest.mark.parametrize("name", NAMES)
def test_text_is_that_of_transformers(name, shared_data):
    source = (shared_data / "chat_templates" / f"{name}.jinja").read_text()
    theirs, ours = plain(source), Renderer(letters("<s>", "</s>"), source, SPECIAL)
    same = 0
    for messages, tools, prompt in itertools.product(CONVERSATIONS.values(), (None, TOOLS), (False, True)):
        if "call" in messages and name in WANTS_NONE:
            continue
        messages = [call_for(name) if message == "call" else message for message in messages]
        try:
            expected = theirs.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=False)
        except Exception:
            with pytest.raises(DataError, match="chat template: does not render these messages"):
                ours.text(messages, tools, prompt)
            continue
        same += 1
        assert ours.text(messages, tools, prompt) == expected
        if prompt:
            ids = theirs.apply_chat_template(messages, tools=tools, add_generation_prompt=True)["input_ids"]
            assert ours.prompt_ids(messages, tools) == ids
    assert same >= 12


@pytest.mark.parametrize("name", sorted(WANTS_NONE))
def test_calls_that_transformers_cannot_render(name, shared_data):
    """R1 with the content None that its templates ask for: once through Jinja by hand, as the template is written."""
    source = (shared_data / "chat_templates" / f"{name}.jinja").read_text()
    text = Renderer(letters("<s>", "</s>"), source, SPECIAL).text([HI, call_for(name), RESULT], generation_prompt=True)
    closed = "" if "Llama" in name else "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
    assert text == (
        "<s><｜User｜>Hi 你好 <｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n"
        '{"a": 1, "b": "é<"}\n```<｜tool▁call▁end｜>' + closed + "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>22"
        "<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    )


def test_jinja_of_transformers():
    """Trimmed blocks, loop controls, JSON that escapes nothing, generation marks, dates, refusals."""
    source = (
        "{% for m in messages %}\n  {% if loop.index > 2 %}{% break %}{% endif %}\n"
        "  {% generation %}{% set x = m.content %}{{ x }}{% endgeneration %}{{ x is defined }}\n{% endfor %}"
        "{{ {'é': '<b>', 'b': [1, none]} | tojson }}{{ {'a': 1} | tojson(indent=2) }}{{ strftime_now('%Y')[:2] }}"
        "{% if add_generation_prompt %}{{ raise_exception('no prompt here') }}{% endif %}"
    )
    ours = Renderer(letters(), source, {})
    text = ours.text([HI, HELLO, HI])
    assert text == plain(source).apply_chat_template([HI, HELLO, HI], tokenize=False)
    assert '{"é": "<b>", "b": [1, null]}' in text
    with pytest.raises(DataError, match="no prompt here"):
        ours.prompt_ids([HI])


def test_templates_cannot_reach_python():
    for source in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
    ):
        with pytest.raises(DataError, match="chat template: does not render"):
            Renderer(letters(), source, {}).text([HI])


def test_a_broken_template_is_named():
    with pytest.raises(DataError, match=r"chat template: line 2: .*; expected Jinja"):
        Renderer(letters(), "{% if x %}\n{% endfor %}", {})


def test_tool_calls_in_any_form_render_alike(shared_data):
    """Arguments as text or object, wrapped or flat, numbered or not: the template gets what it wants."""
    flat = {"role": "assistant", "content": "", "tool_calls": [{"name": "get", "arguments": '{"a": 1}'}]}
    nested = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "get", "arguments": {"a": 1}}}],
    }
    for name in NAMES:
        source = (shared_data / "chat_templates" / f"{name}.jinja").read_text()
        ours = Renderer(letters("<s>", "</s>"), source, SPECIAL)
        if "tool_calls" not in source:
            continue
        result = {"role": "tool", "content": "22"}
        texts = {ours.text([HI, call, result]) for call in (flat, nested)}
        assert len(texts) == 1
        assert re.search(r'\{"a": 1\}', texts.pop())


def test_our_own_marks_and_empty_fields_reach_no_template():
    source = "{% for m in messages %}{{ m.keys() | sort | join(',') }};{% endfor %}"
    messages = [{**HI, "train": True, "weight": 2.0, "tool_calls": None, "reasoning_content": None}]
    assert Renderer(letters(), source, {}).text(messages) == "content,role;"
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert Renderer(letters(), "{{ messages[0].content }}", {}).text(parts) == "ab"


# ---------------------------------------------------------------- folders


def test_real_tokenizers_open_alike(shared_data):
    """Ids from the folder, from the transformers object and from transformers itself."""
    text = "Hello  world\n\n 你好。'll 1234 <|im_end|> é"
    for name in ("qwen2_5", "minimind", "deepseek_coder"):
        folder = shared_data / f"tokenizer_{name}"
        theirs = AutoTokenizer.from_pretrained(folder)
        for ours in (Renderer.from_folder(folder), Renderer.from_tokenizer(theirs)):
            assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
            assert ours.encode(text, special=True) == theirs(text)["input_ids"]
            assert ours.pad_id == theirs.pad_token_id
            assert ours.template == theirs.chat_template
            assert ours.special["eos_token"] == theirs.eos_token


def test_end_ids_of_real_folders(shared_data, tmp_path):
    assert Renderer.from_folder(shared_data / "tokenizer_qwen2_5").end_ids == [151645]
    assert Renderer.from_folder(shared_data / "tokenizer_minimind").end_ids == [2]
    assert Renderer.from_folder(shared_data / "tokenizer_deepseek_coder").end_ids == [32014]
    assert r1(shared_data, tmp_path).end_ids == [151643]


def r1(shared_data: Path, folder: Path) -> Renderer:
    """The R1 distill on Qwen, put together as its SOURCE.md tells."""
    parts = shared_data / "tokenizer_r1_distill_qwen"
    tokenizer = json.loads((shared_data / "tokenizer_qwen2_5" / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = json.loads((parts / "added_tokens.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(parts / "tokenizer_config.json", folder)
    return Renderer.from_folder(folder)


def test_the_r1_flagship_learns_after_its_opened_block(shared_data, tmp_path):
    """With its own tokenizer: `<think>` and the line break are the prompt's, one begin-of-sentence, the end is learnt."""
    renderer = r1(shared_data, tmp_path)
    answer = {"role": "assistant", "content": "<think>\nwell\n</think>\n\n是。"}
    documents = renderer.documents({"messages": [HI, answer, HI, HELLO]})
    assert len(documents) == 2
    first = documents[0]
    learnt = [renderer.decode([token], skip_special=False) for token in first.ids[first.weights > 0]]
    assert learnt == ["well", "\n", "</think>", "\n\n", "是", "。", "<｜end▁of▁sentence｜>"]
    for document in documents:
        text = renderer.decode(document.ids, skip_special=False)
        assert text.count("<｜begin▁of▁sentence｜>") == 1
        assert text.startswith("<｜begin▁of▁sentence｜><｜User｜>")
    assert "well" not in renderer.decode(documents[1].ids)  # as at inference: earlier reasoning is gone


def folder_with(tmp_path: Path, settings: dict, **files: str) -> Path:
    letters("<s>", "</s>").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | SPECIAL | settings)
    )
    for name, text in files.items():
        (tmp_path / f"{name}.jinja").write_text(text)
    return tmp_path


def test_templates_are_found_where_transformers_finds_them(tmp_path):
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "T"}]
    for settings, files, without, with_tools in (
        ({"chat_template": "one"}, {}, "one", "one"),
        ({"chat_template": named}, {}, "A", "T"),
        ({"chat_template": "old"}, {"chat_template": "file"}, "file", "file"),
    ):
        path = tmp_path / without
        path.mkdir()
        renderer = Renderer.from_folder(folder_with(path, settings, **files))
        theirs = AutoTokenizer.from_pretrained(path)
        for tools, expected in ((None, without), (TOOLS, with_tools)):
            assert renderer.text([HI], tools) == expected
            assert theirs.apply_chat_template([HI], tools=tools, tokenize=False) == expected


def test_without_template_the_error_says_how_to_choose(tmp_path):
    renderer = Renderer.from_folder(folder_with(tmp_path, {}))
    with pytest.raises(DataError) as caught:
        renderer.documents({"messages": [HI, HELLO]})
    assert str(caught.value) == (
        f"{tmp_path}: has no chat template, which records with messages need; expected chat_template in "
        "tokenizer_config.json, or chat_template.jinja; set `data.template` to the path of a Jinja file, or to `chatml` "
        "(<|im_start|>role … <|im_end|>)"
    )
    chosen = Renderer.from_folder(tmp_path, "chatml")
    assert chosen.text([HI], generation_prompt=True) == "<|im_start|>user\nHi 你好 <|im_end|>\n<|im_start|>assistant\n"
    own = tmp_path / "own.jinja"
    own.write_text("{{ messages[0].content }}")
    assert Renderer.from_folder(tmp_path, str(own)).text([HI]) == "Hi 你好 "
    with pytest.raises(DataError, match=r"data.template: no file nowhere.jinja; expected auto, chatml, or the path"):
        Renderer.from_folder(tmp_path, "nowhere.jinja")


def test_folders_that_hold_no_tokenizer_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no tokenizer.json; expected a folder"):
        Renderer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json: cannot be read"):
        Renderer.from_folder(tmp_path)


def test_saved_folder_renders_alike_in_plain_transformers(tmp_path, shared_data):
    """The template that was trained with, whatever the folder held before; in a process that has no seektune."""
    source = (shared_data / "chat_templates" / "Qwen-Qwen3-0.6B.jinja").read_text()
    folder = folder_with(tmp_path, {"chat_template": "old", "model_max_length": 77}, chat_template="older")
    ours = Renderer(letters("<s>", "</s>"), source, SPECIAL)
    ours.save(folder)
    code = (
        "import json, sys; from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained(sys.argv[1]);"
        "m = json.loads(sys.argv[2]); assert 'seektune' not in sys.modules and t.model_max_length == 77;"
        "print(json.dumps(t.apply_chat_template(m, add_generation_prompt=True)['input_ids']))"
    )
    messages = [SYSTEM, HI, THOUGHT, HI]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), json.dumps(messages)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ours.prompt_ids(messages)
    assert Renderer.from_folder(folder).prompt_ids(messages) == ours.prompt_ids(messages)
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == source


def test_saving_into_an_empty_folder(tmp_path):
    named = {"default": template.CHATML, "tool_use": "T"}
    Renderer(letters("<s>", "</s>"), named, SPECIAL).save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.apply_chat_template([HI], tokenize=False) == "<|im_start|>user\nHi 你好 <|im_end|>\n"
    assert theirs.apply_chat_template([HI], tools=TOOLS, tokenize=False) == "T"
    assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")
    again = Renderer.from_folder(tmp_path)
    assert again.templates == named
    assert again.special == SPECIAL


# ---------------------------------------------------------------- documents of texts, other facts


def with_bos() -> tokenizers.Tokenizer:
    tokenizer = letters("<s>", "</s>")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    return tokenizer


def test_a_text_is_learnt_whole_with_its_end():
    ours = Renderer(with_bos(), None, SPECIAL)
    (document,) = ours.documents({"text": "ab"})
    assert [ours.decode([i], skip_special=False) for i in document.ids] == ["<s>", "a", "b", "</s>"]
    assert list(document.weights) == [0.0, 1.0, 1.0, 1.0]
    (document,) = ours.documents({"text": "<s>ab</s>"})
    assert list(document.ids).count(256) == list(document.ids).count(257) == 1
    (document,) = Renderer(letters("<s>", "</s>"), None, SPECIAL).documents({"text": "ab"})
    assert list(document.weights) == [0.0, 1.0, 1.0]  # this tokenizer adds no bos


def test_spans_weigh_their_characters():
    ours = Renderer(with_bos(), None, SPECIAL)
    (document,) = ours.documents({"text": "a你b", "spans": [[1, 3, 0.5]]})
    assert list(document.weights) == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5]  # the end weighs what the last letter does
    (document,) = ours.documents({"text": "abc", "spans": [[0, 2, 2.0]]})
    assert list(document.weights) == [0.0, 2.0, 2.0, 0.0, 0.0]


def test_a_conversation_gets_no_second_bos():
    """The template writes bos, the tokenizer would add it: one stands there, as transformers has it."""
    source = "{{ bos_token }}" + template.CHATML
    (document,) = Renderer(with_bos(), source, SPECIAL).documents({"messages": [HI, HELLO]})
    assert list(document.ids).count(256) == 1
    (document,) = Renderer(with_bos(), template.CHATML, SPECIAL).documents({"messages": [HI, HELLO]})
    assert list(document.ids).count(256) == 0


def test_records_of_another_shape_are_refused():
    with pytest.raises(DataError, match="record: fields rejected, whatever; expected text or messages"):
        Renderer(letters(), None, {}).documents({"whatever": 1, "rejected": []})


def test_classifier_ids_keep_their_marks_when_cut():
    ours = Renderer(with_bos(), None, SPECIAL)
    assert ours.classifier_ids("ab", "cd")[0] == ours.tokenizer.encode("ab", "cd").ids
    ids, cut = ours.classifier_ids("abcdef", "gh", 6)
    assert (ours.decode(ids, skip_special=False), cut) == ("<s>ab</s>gh", True)
    assert ours.classifier_ids("abcdef", "gh") == (ours.tokenizer.encode("abcdef", "gh").ids, False)


def test_a_renderer_can_be_sent_to_another_process():
    ours = Renderer(with_bos(), template.CHATML, SPECIAL)
    other = pickle.loads(pickle.dumps(ours))
    assert other.prompt_ids([SYSTEM, HI]) == ours.prompt_ids([SYSTEM, HI])
    assert other.end_ids == ours.end_ids == [257]
    assert other.special == ours.special


def test_padding_of_others_does_not_reach_us():
    tokenizer = letters("<s>", "</s>")
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template.CHATML, **SPECIAL)
    ours = Renderer.from_tokenizer(theirs)
    theirs("abc", truncation=True, max_length=2)
    assert len(ours.encode("abcd")) == 4
    theirs.chat_template = "changed"
    assert ours.template == template.CHATML


def test_importing_the_renderer_needs_no_torch():
    code = (
        "import sys; from seektune.data.chat import Renderer; import seektune.data.tokens;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
