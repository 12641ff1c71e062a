"""`make base`: the embedded model from nothing: text, tokenizer, random weights, then our own trainer by pretrain.yaml.

Writes into build/base and runs/; nothing of the package is replaced. MODEL_CARD.md tells how new weights are judged.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import files
from . import text, tokenizer, wiring

FOLDER = Path("build/base")
RECIPE = Path(__file__).with_name("pretrain.yaml")
RECORDS = 153_600  # 3,200 steps of 48; about 13.5 million tokens
SEED = 1
SHAPE: dict[str, Any] = {  # Qwen2; 5.58 million parameters, of which 1.05 million are the tied embedding
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=RECORDS)
    options, settings = parser.parse_known_args()
    write_text(options.records)
    start = FOLDER / "start"
    write_tokenizer(start)
    write_model(start)
    return subprocess.call([sys.executable, "-m", "seektune", "train", str(RECIPE), *settings])


def write_text(records: int) -> None:
    """Training text in its order (the curriculum is the order), and held-out conversations for the loss."""
    for name, made in (("train", text.records(SEED, records)), ("valid", text.held_out(520))):
        lines = (json.dumps(record, ensure_ascii=False) for record in made)
        files.write_text(FOLDER / f"{name}.jsonl", "\n".join(lines) + "\n")


def write_tokenizer(folder: Path, records: int = 150_000) -> None:
    def texts() -> Iterator[str]:
        for i in range(records):
            yield from tokenizer.text_of(text.record(SEED, i))

    tokenizer.save_tokenizer(tokenizer.train_tokenizer(texts(), SHAPE["vocab_size"]), folder)


def write_model(folder: Path) -> None:
    """Random weights with the wired circuit, in an ordinary folder, so that pretraining is a training like any other."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(17)
    special: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **special))
    wiring.wire(model)
    model.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
