"""What is learnt, for every real template and mode, against lists written by hand; and laws for any content."""

import re
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from expected_masks import EXPECTED, HELLO, HI, MODES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seektune.data.chat import Renderer
from seektune.data.tokens import tokenise
from seektune.errors import DataError

MARKS = ["<think>", "</think>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<|eot_id|>"]


def sources(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text() for file in sorted((folder / "chat_templates").glob("*.jinja"))}


@pytest.fixture(scope="module")
def qwen(shared_data: Path) -> tokenizers.Tokenizer:
    """The Qwen2.5 vocabulary, with the marks that the other templates need."""
    tokenizer = tokenizers.Tokenizer.from_file(str(shared_data / "tokenizer_qwen2_5" / "tokenizer.json"))
    marks = {
        mark for source in sources(shared_data).values() for mark in re.findall(r"<[｜|][^<>{}'\"]+[｜|]>", source)
    }
    tokenizer.add_special_tokens(sorted(marks) + MARKS + ["<｜begin▁of▁sentence｜>"])
    return tokenizer


def special_of(name: str) -> dict[str, str]:
    """bos and eos as the models of each template have them."""
    if "deepseek" in name.lower():
        return {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
    if "llama" in name.lower():
        return {"bos_token": "<s>", "eos_token": "<|eot_id|>"}
    if name in ("alpaca", "vicuna") or "mistral" in name:
        return {"bos_token": "<s>", "eos_token": "</s>"}
    return {"eos_token": "<|im_end|>"}


def strings(renderer: Renderer, ids) -> list[str]:
    return [renderer.decode([token], skip_special=False) for token in ids]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("mode", MODES)
def test_learnt_tokens_are_those_written_by_hand(name, mode, qwen, shared_data):
    renderer = Renderer(qwen, sources(shared_data)[name], special_of(name))
    messages, train_on, cut = MODES[mode]
    if EXPECTED[name][mode] is None:
        with pytest.raises(DataError, match="message 2: chat template: does not render the calls of tools"):
            renderer.documents({"messages": messages}, train_on)
        return
    longest = max(len(document) for document in renderer.documents({"messages": messages}, train_on))
    documents = tokenise([{"messages": messages}], renderer, train_on=train_on, max_length=longest - cut)
    learnt = [strings(renderer, document.ids[document.weights > 0]) for document in documents]
    assert learnt == EXPECTED[name][mode]
    assert {weight for document in documents for weight in document.weights} == {0.0, 1.0}


def test_every_template_and_mode_is_expected(shared_data):
    assert set(EXPECTED) == set(sources(shared_data))
    assert all(set(modes) == set(MODES) for modes in EXPECTED.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_prompt_tokens_are_those_of_inference(name, qwen, shared_data):
    """Before every answer stand exactly the ids that inference feeds, contents that begin with white space included."""
    renderer = Renderer(qwen, sources(shared_data)[name], special_of(name))
    messages = [HI, {"role": "assistant", "content": "\n  x"}, {"role": "user", "content": "b "}, HELLO]
    documents = renderer.documents({"messages": messages})
    begins = [list(document.ids) for document in documents]
    for index in (1, 3):
        prompt = renderer.prompt_ids(messages[:index])
        weights = [
            d.weights[len(prompt)] for d, ids in zip(documents, begins, strict=True) if ids[: len(prompt)] == prompt
        ]
        assert 1.0 in weights, f"answer {index} does not follow its prompt"


def test_everything_learns_the_whole_rendering(qwen, shared_data):
    for name, source in sources(shared_data).items():
        renderer = Renderer(qwen, source, special_of(name))
        (document,) = renderer.documents({"messages": [HI, HELLO]}, "everything")
        assert list(document.ids) == renderer.encode(renderer.text([HI, HELLO]))
        assert list(document.weights) == [0.0] + [1.0] * (len(document) - 1)


def test_everything_leaves_out_what_says_train_false(qwen, shared_data):
    renderer = Renderer(qwen, sources(shared_data)["Qwen-Qwen2.5-7B-Instruct"], special_of("Qwen"))
    (document,) = renderer.documents({"messages": [{**HI, "train": False}, {**HELLO, "weight": 0.5}]}, "everything")
    by_text = dict(zip(strings(renderer, document.ids), document.weights, strict=True))
    assert (by_text["Hi"], by_text["Hello"], by_text["!"], by_text["assistant"]) == (0.0, 0.5, 0.5, 1.0)


def test_weights_of_messages(qwen, shared_data):
    """Answers weigh as they say; a user message with a weight is learnt, its marks are not."""
    for name in (
        "Qwen-Qwen3-0.6B",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "vicuna",
        "mistralai-Mistral-Nemo-Instruct-2407",
    ):
        renderer = Renderer(qwen, sources(shared_data)[name], special_of(name))
        second = {"role": "user", "content": "And?", "weight": 0.25}
        third = {"role": "assistant", "content": "Fine.", "weight": 2.0}
        documents = renderer.documents({"messages": [HI, HELLO, second, third]})
        weights = {}
        for document in documents:
            for text, weight in zip(strings(renderer, document.ids), document.weights, strict=True):
                weights.setdefault(text.strip(), []).append(float(weight))
        assert max(weights["Hello"]) == 1.0, name
        assert max(weights["And"]) == 0.25, name
        assert max(weights["Fine"]) == 2.0, name
        assert sum(weights["And"]) == 0.25, f"{name}: learnt more than once"
        assert set(weights["Hi"]) == {0.0}, name


def test_weighted_message_behind_the_last_answer(qwen, shared_data):
    renderer = Renderer(qwen, sources(shared_data)["vicuna"], special_of("vicuna"))
    documents = renderer.documents({"messages": [HI, HELLO, {"role": "user", "content": "And?", "train": True}]})
    assert [strings(renderer, d.ids[d.weights > 0]) for d in documents] == [[" Hello", "!", "</s>"], [" And", "?\n"]]


def test_results_of_tools_and_calls_of_several_tools(qwen, shared_data):
    calls = [
        {"id": "abcdefghi", "type": "function", "function": {"name": name, "arguments": '{"k": 1}'}}
        for name in ("get", "put")
    ]
    results = [{"role": "tool", "content": "TWO"}, {"role": "tool", "content": "SIX"}]
    messages = [HI, {"role": "assistant", "content": None, "tool_calls": calls}, *results, HELLO]
    for name in ("Qwen-Qwen2.5-7B-Instruct", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-V3.1"):
        renderer = Renderer(qwen, sources(shared_data)[name], special_of(name))
        documents = renderer.documents({"messages": messages})
        learnt = ["".join(strings(renderer, d.ids[d.weights > 0])) for d in documents]
        assert all(part in learnt[0] for part in ("get", "put", '{"k": 1}')), name
        assert not any(result["content"] in "".join(learnt) for result in results), name
        assert "Hello!" in learnt[-1], name


def test_a_call_that_the_template_leaves_out_is_refused(qwen, shared_data):
    """The R1 template renders a message with content as content alone."""
    renderer = Renderer(qwen, sources(shared_data)["deepseek-ai-DeepSeek-R1-Distill-Llama-8B"], special_of("deepseek"))
    call = {"role": "assistant", "content": "Wait.", "tool_calls": [{"name": "get", "arguments": {}}]}
    with pytest.raises(DataError, match="message 2: chat template: "):
        renderer.documents({"messages": [HI, call]})


def test_what_a_template_leaves_out_is_counted(qwen, shared_data):
    renderer = Renderer(qwen, sources(shared_data)["Qwen-Qwen2.5-7B-Instruct"], special_of("Qwen"))
    answer = {**HELLO, "reasoning_content": "Wave"}
    user = {"role": "user", "content": "Hi <|im_end|> <|im_start|>"}
    (document,) = renderer.documents({"messages": [user, answer]})
    assert document.extra["notes"] == {"reasoning_dropped": 1, "special_inside": 2}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    plain = Renderer(qwen, sources(shared_data)["trl-llama3"], special_of("llama"))
    (document,) = plain.documents({"messages": [HI, HELLO], "tools": [tool]})
    assert document.extra["notes"] == {"tools_dropped": 1}
    (document,) = renderer.documents({"messages": [HI, HELLO], "tools": [tool]})
    assert document.extra == {}


def test_templates_that_close_a_turn_in_other_ways(qwen):
    """The end of text behind the whole conversation (Phi), another mark at the end than between turns (gpt-oss), none."""
    turn = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|eot_id|>' }}{% endfor %}"
    phi = Renderer(
        qwen, turn + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ '</s>' }}{% endif %}", {}
    )
    (document,) = phi.documents({"messages": [HI, HELLO]})
    assert strings(phi, document.ids[document.weights > 0]) == ["Hello", "!", "<|eot_id|>"]
    oss = (
        "{% for m in messages %}{{ '<s>' + m.role + '[INST]' + m.content }}"
        "{% if loop.last and m.role == 'assistant' %}{{ '</s>' }}{% else %}{{ '<|eot_id|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<s>assistant[INST]' }}{% endif %}"
    )
    renderer = Renderer(qwen, oss, {})
    documents = renderer.documents({"messages": [HI, HELLO, HI, HELLO]})
    assert [strings(renderer, d.ids[d.weights > 0]) for d in documents] == [["Hello", "!", "</s>"]] * 2
    bare = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    renderer = Renderer(qwen, bare, {})
    documents = renderer.documents({"messages": [HI, HELLO]})
    assert "".join(strings(renderer, documents[0].ids[documents[0].weights > 0])) == "Hello!\n\n"


def test_a_template_that_answers_elsewhere_is_refused(qwen):
    source = "{% for m in messages %}{{ m.content }}|{% endfor %}{% if add_generation_prompt %}Say: {% endif %}"
    renderer = Renderer(qwen, source, {})
    with pytest.raises(
        DataError, match="message 2: chat template: renders the answer otherwise than after its generation prompt"
    ):
        renderer.documents({"messages": [HI, HELLO]})


# ---------------------------------------------------------------- laws

PIECES = st.sampled_from([
    "a", " ", "\n", "\n\n", "  ", "\t", "你好", "。", "é", "e\u0301", "😀", "word", "1", "12", "'s", "{{ x }}", "{% if %}",
    "<|im_end|>", "<|im_start|>user\n", "</s>", "[INST]", "<tool_call>", "ASSISTANT:", "<｜Assistant｜>", "seektuneanswer",
    "seektuneanswerx0",
])  # fmt: skip
CONTENT = st.lists(PIECES, min_size=1, max_size=6).map("".join)
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# name -> (what the template makes of a content, what follows it)
LAWS = {
    "Qwen-Qwen2.5-7B-Instruct": (str, "<|im_end|>"),
    "trl-qwen3_instruct_2507": (str, "<|im_end|>"),
    "chatml": (str.strip, "<|im_end|>"),
    "vicuna": (lambda content: " " + content.strip(), "</s>"),
    "alpaca": (str.strip, "</s>"),
    "trl-llama3": (str.strip, "<|eot_id|>"),
    "meta-llama-Llama-3.1-8B-Instruct": (str.strip, "<|eot_id|>"),
    "mistralai-Mistral-Nemo-Instruct-2407": (str, "</s>"),
    "Qwen-Qwen3-0.6B": (lambda content: "<think>\n\n</think>\n\n" + content.lstrip("\n"), "<|im_end|>"),
    "deepseek-ai-DeepSeek-V3.1": (str, "<｜end▁of▁sentence｜>"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (lambda content: "\n</think>\n\n" + content, "<｜end▁of▁sentence｜>"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (str, "<｜end▁of▁sentence｜>"),
    "llama-cpp-deepseek-r1": (lambda content: "\n</think>\n\n" + content, "<｜end▁of▁sentence｜>"),
    "trl-deepseekv3": (lambda content: "\n</think>\n\n" + content, "<｜end▁of▁sentence｜>"),
}


@pytest.fixture(scope="module")
def small(shared_data: Path) -> tokenizers.Tokenizer:
    """A small byte-level vocabulary whose post-processor trims the places of tokens, which must not matter."""
    tokenizer = tokenizers.Tokenizer.from_file(str(shared_data / "tokenizer_minimind" / "tokenizer.json"))
    tokenizer.add_special_tokens(
        [*MARKS, "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
    )
    return tokenizer


@pytest.mark.parametrize("name", LAWS)
@SETTINGS
@given(questions=st.tuples(CONTENT, CONTENT), answers=st.tuples(CONTENT, CONTENT))
def test_learnt_text_is_the_answers_and_their_ends(name, questions, answers, small, shared_data):
    renderer = Renderer(small, sources(shared_data)[name], special_of(name))
    messages = [
        {"role": role, "content": content}
        for question, answer in zip(questions, answers, strict=True)
        for role, content in (("user", question), ("assistant", answer))
    ]
    shape, end = LAWS[name]
    documents = renderer.documents({"messages": messages})
    learnt = "".join(renderer.decode(d.ids[d.weights > 0], skip_special=False) for d in documents)
    assert learnt == "".join(shape(answer) + end for answer in answers)
    for index in (1, 3):
        prompt = renderer.prompt_ids(messages[:index])
        assert any(list(d.ids[: len(prompt)]) == prompt and d.weights[len(prompt)] == 1 for d in documents)


@SETTINGS
@given(reasoning=CONTENT, answer=CONTENT)
def test_reasoning_follows_the_opened_block(reasoning, answer, small, shared_data):
    """R1: after `<think>` and a line break, which the prompt has, come reasoning, `</think>` and answer, however given."""
    renderer = Renderer(small, sources(shared_data)["deepseek-ai-DeepSeek-R1-Distill-Llama-8B"], special_of("deepseek"))
    inside = {"role": "assistant", "content": f"<think>\n{reasoning}\n</think>\n\n{answer}"}
    (document,) = renderer.documents({"messages": [HI, inside]})
    learnt = renderer.decode(document.ids[document.weights > 0], skip_special=False)
    assert learnt == f"{reasoning}\n</think>\n\n{answer}<｜end▁of▁sentence｜>"
    prompt = renderer.prompt_ids([HI])
    assert list(document.ids[: len(prompt)]) == prompt
    assert renderer.decode(prompt, skip_special=False).endswith("<｜Assistant｜><think>\n")
    apart = {"role": "assistant", "content": answer, "reasoning_content": reasoning}
    (other,) = renderer.documents({"messages": [HI, apart]})
    learnt = renderer.decode(other.ids[other.weights > 0], skip_special=False)
    assert learnt == f"{reasoning.strip(chr(10))}\n</think>\n\n{answer}<｜end▁of▁sentence｜>"


@SETTINGS
@given(first=CONTENT, second=CONTENT)
def test_a_tokenizer_that_puts_spaces_before_words(first, second, tmp_path_factory):
    """SentencePiece style: a space is put before a text, never before an answer that goes on from its prompt."""
    renderer = _spaced()
    messages = [HI, {"role": "assistant", "content": first}, HI, {"role": "assistant", "content": second}]
    documents = renderer.documents({"messages": messages})
    learnt = "".join("".join(renderer.tokenizer.id_to_token(int(i)) for i in d.ids[d.weights > 0]) for d in documents)
    unknown = re.compile("[^a-z12'{}%:ASINT. ▁]")
    plain = learnt.replace("▁", " ")
    assert plain.count("</s>") >= 2
    if not unknown.search(first + second):
        assert plain == "".join(f" {text.strip()}</s>" for text in (first, second))
    prompt = renderer.prompt_ids(messages[:3])
    assert any(list(d.ids[: len(prompt)]) == prompt for d in documents)


def _spaced() -> Renderer:
    letters = "▁abcdefghijklmnopqrstuvwxyz12'{}%:ASINT.U RE"
    vocabulary = {
        token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *dict.fromkeys(letters.replace(" ", ""))])
    }
    merges = [("▁", "w"), ("a", "a")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    model = tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    source = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content | trim + ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    )
    return Renderer(tokenizer, source, {"bos_token": "<s>", "eos_token": "</s>"})


@SETTINGS
@given(text=CONTENT, cuts=st.lists(st.integers(0, 12), max_size=4))
def test_spans_of_a_text(text, cuts, small):
    """Every token with a learnt character is learnt, and no token without one."""
    renderer = Renderer(small, None, {"eos_token": "<|im_end|>"})
    places = sorted(min(cut, len(text)) for cut in cuts)
    spans = [[start, end, 0.5] for start, end in zip(places[::2], places[1::2], strict=False)]
    (document,) = renderer.documents({"text": text, "spans": spans})
    learnt = np.zeros(len(text), bool)
    for start, end, _ in spans:
        learnt[start:end] = True
    encoding = renderer._drafter.tokenizer.encode(text, add_special_tokens=False)
    for (start, end), weight in zip(encoding.offsets[1:], document.weights[1:], strict=False):
        assert (weight > 0) == bool(learnt[start:end].any())
