"""A renderer over bytes, small enough to know by heart: `<bos>user<user>`, the answer, `<eos>`. Byte b is id b + 8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seektune.contracts import Document, Record

PAD, BOS, EOS, USER = 0, 1, 2, 4


class ByteRenderer:
    pad_id = PAD
    end_ids = (EOS,)

    def encode(self, text: str, special: bool = False) -> list[int]:
        return [BOS] * special + [byte + 8 for byte in text.encode()]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return bytes((i - 8) % 256 for i in ids if i >= 8).decode(errors="replace")

    def prompt_ids(self, messages: list[dict[str, Any]], tools: Any = None) -> list[int]:
        return [BOS] + [
            i for m in messages for i in (*self.encode(m["content"]), USER if m["role"] != "assistant" else EOS)
        ]

    def text(self, messages: list[dict[str, Any]], tools: Any = None, generation_prompt: bool = False) -> str:
        return "|".join(m["content"] for m in messages) + ("|" if generation_prompt else "")

    def classifier_ids(
        self, text: str, pair: str | None = None, max_length: int | None = None
    ) -> tuple[list[int], bool]:
        ids = self.encode(text, special=True)
        return ids[:max_length], max_length is not None and len(ids) > max_length

    def documents(self, record: Record, train_on: str = "all_answers") -> list[Document]:
        if "messages" not in record:
            ids = [*self.encode(record["text"], special=True), EOS]
            return [Document(np.array(ids, np.int32), np.array([0] + [1] * (len(ids) - 1), np.float32))]
        prompt = self.prompt_ids(record["messages"][:-1])
        answer = [*self.encode(record["messages"][-1]["content"]), EOS]
        weights = [0] * len(prompt) + [1] * len(answer)
        return [Document(np.array(prompt + answer, np.int32), np.array(weights, np.float32))]
