"""Run by `proof.py` in a process of its own, which never imports seektune: opens a result as anybody would.

Reads a job (JSON) and writes what it found beside it: ids, logits and greedy answers, by transformers and peft alone.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, found = opened(folder, job)
    model.eval()
    found |= {"prompt_ids": [prompt_ids(tokenizer, one) for one in job["prompts"]], "answers": [], "stopped": []}
    found["text_ids"] = [tokenizer(text, pair)["input_ids"] for text, pair in job["texts"]]
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in job["documents"]]
        if job["places"]:
            logits = [one[at].clone() for one, at in zip(logits, job["places"], strict=True)]
        for ids in found["prompt_ids"][: job["answers"]]:
            made = model.generate(torch.tensor([ids]), max_new_tokens=job["max_new_tokens"], do_sample=False)
            answer = made[0, len(ids) :].tolist()
            ends = model.generation_config.eos_token_id
            ends = ends if isinstance(ends, list) else [ends]
            stopped = bool(answer) and answer[-1] in ends
            found["stopped"].append(stopped)
            found["answers"].append(answer[:-1] if stopped else answer)
    torch.save(logits, job["logits"])
    found["foreign"] = not any(name.partition(".")[0] == "seektune" for name in sys.modules)
    Path(job["found"]).write_text(json.dumps(found), encoding="utf-8")


def opened(folder: Path, job: dict) -> tuple[Any, dict[str, Any]]:
    """The model, and the names of tensors that its files lack or have too many."""
    import transformers

    autos = {"lm": transformers.AutoModelForCausalLM, "classifier": transformers.AutoModelForSequenceClassification,
             "tagger": transformers.AutoModelForTokenClassification}  # fmt: skip
    auto: Any = autos[job["head"]]
    if not (folder / "adapter_config.json").exists():
        model, report = auto.from_pretrained(folder, output_loading_info=True, dtype=job["dtype"], **job["attention"])
        return model, {"missing": sorted(report["missing_keys"]), "unexpected": sorted(report["unexpected_keys"])}
    import peft
    from safetensors import safe_open

    named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    more = job["attention"] | ({"num_labels": job["num_labels"]} if job["head"] != "lm" else {})
    base = auto.from_pretrained(named, dtype=job["dtype"], **more)
    if job["rows"] > base.get_input_embeddings().num_embeddings:
        base.resize_token_embeddings(job["rows"], mean_resizing=False)
    model = peft.PeftModel.from_pretrained(base, folder)
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        held = set(file.keys())
    wanted = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    return model, {"missing": sorted(wanted - held), "unexpected": sorted(held - wanted)}


def prompt_ids(tokenizer: Any, conversation: dict) -> list[int]:
    text = tokenizer.apply_chat_template(
        conversation["messages"], tools=conversation.get("tools"), add_generation_prompt=True, tokenize=False
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


if __name__ == "__main__":
    main()
