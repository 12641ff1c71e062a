"""Two small models that say something short to everything, for `back_translate` and `pivot`."""

from __future__ import annotations

from pathlib import Path

import torch
import zoo


def files(folder: Path) -> None:
    for name, seed in (("translator", 2), ("other_translator", 3)):
        model = zoo.tiny("qwen2", seed)
        with torch.no_grad():
            model.get_input_embeddings().weight[zoo.EOS] *= 2  # the head is tied to it: answers end sooner
        model.save_pretrained(folder / name)
        zoo.tokenizer().save_pretrained(folder / name)
