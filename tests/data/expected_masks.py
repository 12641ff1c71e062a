"""What is learnt, by hand: for every real template and mode the learnt tokens of each document, as strings.

Written by reading the templates (never by running our renderer): after the generation prompt of an answer, what a model
would write, to the token that ends its turn. Tokens are those of the Qwen2.5 vocabulary with the templates' own marks
added. `None` means that the template cannot render the conversation, so that the record is refused.
"""

HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}
AND = {"role": "user", "content": "And?"}
FINE = {"role": "assistant", "content": "Fine."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "get", "arguments": {"a": 1}}]}
RESULT = {"role": "tool", "content": "22"}
CHINESE = {"role": "assistant", "content": "你好。"}

# mode -> messages, train_on, tokens that `max_length` takes from the end of the longest document
MODES = {
    "single": ([HI, HELLO], "all_answers", 0),
    "chinese": ([HI, CHINESE], "all_answers", 0),
    "multi": ([HI, HELLO, AND, FINE], "all_answers", 0),
    "last": ([HI, HELLO, AND, FINE], "last_answer", 0),
    "train_false": ([HI, {**HELLO, "train": False}, AND, FINE], "all_answers", 0),
    "first_only": ([HI, HELLO, AND, {**FINE, "train": False}], "all_answers", 0),
    "system": ([SYSTEM, HI, HELLO, AND, FINE], "all_answers", 0),
    "reasoning": ([HI, {**HELLO, "reasoning_content": "Wave"}], "all_answers", 0),
    "reasoning_inside": ([HI, {"role": "assistant", "content": "<think>\nWave\n</think>\n\nHello!"}], "all_answers", 0),
    "reasoning_twice": (
        [HI, {**HELLO, "reasoning_content": "Wave"}, AND, {**FINE, "reasoning_content": "Think"}],
        "all_answers",
        0,
    ),
    "tool": ([HI, CALL, RESULT, FINE], "all_answers", 0),
    "truncated": ([HI, HELLO, AND, FINE], "all_answers", 2),
}

IM = "<|im_end|>"
EOT = "<|eot_id|>"
S = "</s>"
EOS = "<｜end▁of▁sentence｜>"

THINK_WAVE = ["<think>", "\n", "Wave", "\n", "</think>", "\n\n"]
NO_THINK = ["<think>", "\n\n", "</think>", "\n\n"]  # the empty block of Qwen3
CLOSE = ["\n", "</think>", "\n\n"]  # the rest of an empty block whose `<think>\n` the prompt has opened
WAVE = ["Wave", "\n", "</think>", "\n\n"]
THINK = ["Think", "\n", "</think>", "\n\n"]
QWEN_CALL = [
    "<tool_call>", "\n", '{"', "name", '":', ' "', "get", '",', ' "', "arguments", '":', ' {"', "a", '":', " ", "1", "}}\n",
    "</tool_call>",
]  # fmt: skip
R1_CALL = [
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "function", "<｜tool▁sep｜>", "get", "\n", "```", "json", "\n",
    '{"', "a", '":', " ", "1", "}\n", "```", "<｜tool▁call▁end｜>",
]  # fmt: skip

# ChatML without reasoning: all answers in one document; reasoning given apart is left out, inside it is content.
PLAIN_IM = {
    "single": [["Hello", "!", IM]],
    "chinese": [["你好", "。", IM]],
    "multi": [["Hello", "!", IM, "Fine", ".", IM]],
    "last": [["Fine", ".", IM]],
    "train_false": [["Fine", ".", IM]],
    "first_only": [["Hello", "!", IM]],
    "system": [["Hello", "!", IM, "Fine", ".", IM]],
    "reasoning": [["Hello", "!", IM]],
    "reasoning_inside": [["<think>", "\n", "Wave", "\n", "</think>", "\n\n", "Hello", "!", IM]],
    "reasoning_twice": [["Hello", "!", IM, "Fine", ".", IM]],
    "truncated": [["Hello", "!", IM, "Fine"]],
}
# Llama 3: the same with its own mark.
PLAIN_EOT = {
    "single": [["Hello", "!", EOT]],
    "chinese": [["你好", "。", EOT]],
    "multi": [["Hello", "!", EOT, "Fine", ".", EOT]],
    "last": [["Fine", ".", EOT]],
    "train_false": [["Fine", ".", EOT]],
    "first_only": [["Hello", "!", EOT]],
    "system": [["Hello", "!", EOT, "Fine", ".", EOT]],
    "reasoning": [["Hello", "!", EOT]],
    "reasoning_inside": [["<think>", "\n", "Wave", "\n", "</think>", "\n\n", "Hello", "!", EOT]],
    "reasoning_twice": [["Hello", "!", EOT, "Fine", ".", EOT]],
    "truncated": [["Hello", "!", EOT, "Fine"]],
}
# R1: the prompt opens <think>, earlier turns lose their reasoning: a document for each answer.
R1_OPEN = {
    "single": [[*CLOSE, "Hello", "!", EOS]],
    "chinese": [[*CLOSE, "你好", "。", EOS]],
    "multi": [[*CLOSE, "Hello", "!", EOS], [*CLOSE, "Fine", ".", EOS]],
    "last": [[*CLOSE, "Fine", ".", EOS]],
    "train_false": [[*CLOSE, "Fine", ".", EOS]],
    "first_only": [[*CLOSE, "Hello", "!", EOS]],
    "system": [[*CLOSE, "Hello", "!", EOS], [*CLOSE, "Fine", ".", EOS]],
    "reasoning": [[*WAVE, "Hello", "!", EOS]],
    "reasoning_inside": [[*WAVE, "Hello", "!", EOS]],
    "reasoning_twice": [[*WAVE, "Hello", "!", EOS], [*THINK, "Fine", ".", EOS]],
    "truncated": [[*CLOSE, "Hello", "!", EOS], [*CLOSE, "Fine"]],
}

EXPECTED = {
    "Qwen-Qwen2.5-7B-Instruct": PLAIN_IM | {"tool": [[*QWEN_CALL, IM, "Fine", ".", IM]]},
    "trl-qwen3_instruct_2507": PLAIN_IM | {"tool": [[*QWEN_CALL, IM, "Fine", ".", IM]]},
    "chatml": PLAIN_IM | {"tool": None},
    "trl-llama3": PLAIN_EOT | {"tool": None},
    "meta-llama-Llama-3.1-8B-Instruct": PLAIN_EOT
    | {
        "tool": [
            [
                '{"',
                "name",
                '":',
                ' "',
                "get",
                '",',
                ' "',
                "parameters",
                '":',
                ' {"',
                "a",
                '":',
                " ",
                "1",
                "}}",
                EOT,
                "Fine",
                ".",
                EOT,
            ]
        ]
    },
    # The last turn has a thinking block, an empty one where there is no reasoning; earlier turns lose it.
    "Qwen-Qwen3-0.6B": {
        "single": [[*NO_THINK, "Hello", "!", IM]],
        "chinese": [[*NO_THINK, "你好", "。", IM]],
        "multi": [[*NO_THINK, "Hello", "!", IM], [*NO_THINK, "Fine", ".", IM]],
        "last": [[*NO_THINK, "Fine", ".", IM]],
        "train_false": [[*NO_THINK, "Fine", ".", IM]],
        "first_only": [[*NO_THINK, "Hello", "!", IM]],
        "system": [[*NO_THINK, "Hello", "!", IM], [*NO_THINK, "Fine", ".", IM]],
        "reasoning": [[*THINK_WAVE, "Hello", "!", IM]],
        "reasoning_inside": [[*THINK_WAVE, "Hello", "!", IM]],
        "reasoning_twice": [
            [*THINK_WAVE, "Hello", "!", IM],
            ["<think>", "\n", "Think", "\n", "</think>", "\n\n", "Fine", ".", IM],
        ],
        "tool": [[*NO_THINK, *QWEN_CALL, IM], [*NO_THINK, "Fine", ".", IM]],
        "truncated": [[*NO_THINK, "Hello", "!", IM], [*NO_THINK, "Fine"]],
    },
    # After results of tools the prompt opens nothing. One call is rendered without the mark that closes all calls.
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": R1_OPEN | {"tool": [[*CLOSE, *R1_CALL], ["Fine", ".", EOS]]},
    "trl-deepseekv3": R1_OPEN | {"tool": [[*CLOSE, *R1_CALL, "<｜tool▁calls▁end｜>", EOS], ["Fine", ".", EOS]]},
    # After results of tools it opens the reasoning again.
    "llama-cpp-deepseek-r1": R1_OPEN
    | {"tool": [[*CLOSE, *R1_CALL, "<｜tool▁calls▁end｜>", EOS], [*CLOSE, "Fine", ".", EOS]]},
    # The prompt opens and closes the reasoning; the answers in the rendering have no block: a document each.
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": {
        "single": [["Hello", "!", EOS]],
        "chinese": [["你好", "。", EOS]],
        "multi": [["Hello", "!", EOS], ["Fine", ".", EOS]],
        "last": [["Fine", ".", EOS]],
        "train_false": [["Fine", ".", EOS]],
        "first_only": [["Hello", "!", EOS]],
        "system": [["Hello", "!", EOS], ["Fine", ".", EOS]],
        "reasoning": [["Hello", "!", EOS]],
        "reasoning_inside": [["\n\n", "Hello", "!", EOS]],
        "reasoning_twice": [["Hello", "!", EOS], ["Fine", ".", EOS]],
        "tool": [[*R1_CALL, "<｜tool▁calls▁end｜>", EOS], ["Fine", ".", EOS]],
        "truncated": [["Hello", "!", EOS], ["Fine"]],
    },
    # An empty block stands before every answer, in the rendering too: one document.
    "deepseek-ai-DeepSeek-V3.1": {
        "single": [["Hello", "!", EOS]],
        "chinese": [["你好", "。", EOS]],
        "multi": [["Hello", "!", EOS, "Fine", ".", EOS]],
        "last": [["Fine", ".", EOS]],
        "train_false": [["Fine", ".", EOS]],
        "first_only": [["Hello", "!", EOS]],
        "system": [["Hello", "!", EOS, "Fine", ".", EOS]],
        "reasoning": [["Hello", "!", EOS]],
        "reasoning_inside": [["\n\n", "Hello", "!", EOS]],
        "reasoning_twice": [["Hello", "!", EOS, "Fine", ".", EOS]],
        "tool": [
            [
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "get",
                "<｜tool▁sep｜>",
                '{"',
                "a",
                '":',
                " ",
                "1",
                "}",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
                EOS,
                "Fine",
                ".",
                EOS,
            ]
        ],
        "truncated": [["Hello", "!", EOS, "Fine"]],
    },
    # The system message stands in the last user message, and only before a generation: with it, a document each.
    "mistralai-Mistral-Nemo-Instruct-2407": {
        "single": [["Hello", "!", S]],
        "chinese": [["你好", "。", S]],
        "multi": [["Hello", "!", S, "Fine", ".", S]],
        "last": [["Fine", ".", S]],
        "train_false": [["Fine", ".", S]],
        "first_only": [["Hello", "!", S]],
        "system": [["Hello", "!", S], ["Fine", ".", S]],
        "reasoning": [["Hello", "!", S]],
        "reasoning_inside": [["<think>", "\n", "Wave", "\n", "</think>", "\n\n", "Hello", "!", S]],
        "reasoning_twice": [["Hello", "!", S, "Fine", ".", S]],
        "tool": [
            [
                "[TOOL_CALLS]",
                "[",
                '{"',
                "name",
                '":',
                ' "',
                "get",
                '",',
                ' "',
                "arguments",
                '":',
                ' {"',
                "a",
                '":',
                " ",
                "1",
                "},",
                ' "',
                "id",
                '":',
                ' "',
                "call",
                "0",
                "0",
                "0",
                "0",
                "1",
                '"}',
                "]",
                S,
                "Fine",
                ".",
                S,
            ]
        ],
        "truncated": [["Hello", "!", S, "Fine"]],
    },
    "alpaca": {
        "single": [["Hello", "!", S]],
        "chinese": [["你好", "。", S]],
        "multi": [["Hello", "!", S, "Fine", ".", S]],
        "last": [["Fine", ".", S]],
        "train_false": [["Fine", ".", S]],
        "first_only": [["Hello", "!", S]],
        "system": [["Hello", "!", S, "Fine", ".", S]],
        "reasoning": [["Hello", "!", S]],
        "reasoning_inside": [["<think>", "\n", "Wave", "\n", "</think>", "\n\n", "Hello", "!", S]],
        "reasoning_twice": [["Hello", "!", S, "Fine", ".", S]],
        "tool": None,
        "truncated": [["Hello", "!", S, "Fine"]],
    },
    # The prompt ends in `ASSISTANT:`; the space before the answer is the model's to write.
    "vicuna": {
        "single": [[" Hello", "!", S]],
        "chinese": [[" ", "你好", "。", S]],
        "multi": [[" Hello", "!", S, " Fine", ".", S]],
        "last": [[" Fine", ".", S]],
        "train_false": [[" Fine", ".", S]],
        "first_only": [[" Hello", "!", S]],
        "system": [[" Hello", "!", S, " Fine", ".", S]],
        "reasoning": [[" Hello", "!", S]],
        "reasoning_inside": [[" ", "<think>", "\n", "Wave", "\n", "</think>", "\n\n", "Hello", "!", S]],
        "reasoning_twice": [[" Hello", "!", S, " Fine", ".", S]],
        "tool": None,
        "truncated": [[" Hello", "!", S, " Fine"]],
    },
}
