"""Translation: Swahili to English on real parallel text. What do made pairs, switched words and a grown vocabulary bring base:tiny?

    python bench/_data_translation.py ../shared/data                    the lexicons, tokens of a word: seconds
    python bench/_data_translation.py ../shared/data --seeds 17 18      the tuned models too: five to seven minutes a seed

Short pairs only (at most 16 words a side). Half of those of dev.jsonl are parallel; of the other half the English side alone is
given, as plain text. Each way is tuned for the same steps from the same base and scored on the first short pairs of test.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sacrebleu
from _rows import row

from seektune.commands._data.vocabulary import described, parted
from seektune.engine.opening import folder_of, open_engine
from seektune.models import vocabulary
from seektune.stages import _ibm1
from seektune.stages._words import words
from seektune.stages._work import Work, equip
from seektune.stages.back_translate import BackTranslate
from seektune.stages.code_switch import CodeSwitch

LONGEST = 16  # words of a side
TESTED = 150  # pairs
STEPS, BATCH = 80, 8
NEW_TOKENS = 64  # longest translation
GROWN = 1000  # tokens
CLAIMED = 0.28  # relative gain that articles tell of, for languages with few texts
WAYS = ("plain", "back_translate", "code_switch", "extend_vocabulary")
RECIPE = """
name: {name}
seed: {seed}
model: {{path: {model}}}
data: {{train: [{{path: {rows}, columns: {{prompt: {source}, completion: {target}}}}}], max_length: 256}}
tuner: {{kind: full}}
objective: {{kind: sft}}
optimizer: {{kind: adamw, learning_rate: 1e-3}}
schedule: {{kind: cosine, warmup: 0.05}}
train: {{steps: {steps}, batch_size: {batch}, device: cpu}}
"""

Rows = list[dict[str, Any]]


def figures(folder: Path, seeds: Iterable[int] = (), ways: Iterable[str] = WAYS) -> Rows:
    """The rows of the table; those of tuned models only for the seeds that are given."""
    rows = [lexicon(folder / "mt_en_sw" / "dev.jsonl", "sw", "en"),
            lexicon(folder / "mt_en_zh" / "tatoeba_en_zh.jsonl", "en", "zh"),
            *tokens_per_word(folder / "mt_en_sw" / "dev.jsonl")]  # fmt: skip
    for seed in seeds:
        rows += tuned(folder / "mt_en_sw", seed, tuple(ways))
    return rows


def lexicon(path: Path, source: str, target: str) -> dict[str, Any]:
    began = time.perf_counter()
    pairs = [([w.lower() for w in words(r[source])], [w.lower() for w in words(r[target])]) for r in read(path)]
    found = _ibm1.learn(pairs)
    return row("code_switch", f"words of the lexicon {source}-{target} (agreement of the directions {found.agreement:.3f})",
               len(found.entries), path.parent.name, began)  # fmt: skip


def tokens_per_word(path: Path) -> Rows:
    began = time.perf_counter()
    tokenizer = vocabulary.read_tokenizer(folder_of("base:tiny"))
    learnt, held = parted(r["sw"] for r in read(path))
    grown = vocabulary.learn(tokenizer, learnt, GROWN)
    facts = described(tokenizer, vocabulary.extended(tokenizer, grown), grown, learnt, held)
    return [row("extend_vocabulary", f"tokens of a Swahili word, {when}", value, path.parent.name, began)
            for when, value in zip(("before", f"after {GROWN} new tokens"), facts["tokens_per_word"], strict=True)]  # fmt: skip


def tuned(folder: Path, seed: int, ways: tuple[str, ...]) -> Rows:
    """BLEU and chrF of each way; the gains stand beside those of `plain`."""
    pairs, test = short(read(folder / "dev.jsonl")), short(read(folder / "test.jsonl"))[:TESTED]
    parallel, alone = pairs[::2], [{"en": pair["en"]} for pair in pairs[1::2]]
    made, plain = [], dict[str, float]()
    with tempfile.TemporaryDirectory() as place:
        at = Path(place)
        for way in ways:
            began = time.perf_counter()
            model, rows = prepared(way, at, parallel, alone, seed)
            run = train(at, f"{way}-{seed}", model, rows, "sw", "en", seed)
            scores = score(run, test)
            plain = plain or scores
            for measure, value in scores.items():
                gain = value / plain[measure] - 1 if plain[measure] else None
                shown = "" if way == "plain" or gain is None else f" ({gain:+.0%} relative)"
                reached = None if way == "plain" or gain is None else gain >= CLAIMED
                data = f"{folder.name}: {len(rows)} records, {STEPS} steps, seed {seed}"
                asked = None if way == "plain" else f"+{CLAIMED:.0%} relative (articles)"
                made.append(row(way, measure + shown, round(value, 2), data, began, asked, reached))
    return made


def prepared(way: str, at: Path, parallel: Rows, alone: Rows, seed: int) -> tuple[str, Rows]:
    """(model to start from, records)."""
    if way == "back_translate":
        back = train(at, f"back-{seed}", "base:tiny", parallel, "en", "sw", seed)
        stage = BackTranslate(str(back), column="en", into="sw", max_new_tokens=2 * NEW_TOKENS)
        return "base:tiny", parallel + passed(stage, alone, seed)
    if way == "code_switch":
        return "base:tiny", passed(CodeSwitch(column="sw", other="en"), parallel, seed)
    if way == "extend_vocabulary":
        folder = folder_of("base:tiny")
        tokenizer = vocabulary.read_tokenizer(folder)
        vocabulary.write(folder, at / f"grown-{seed}",
                         vocabulary.learn(tokenizer, (r["sw"] for r in parallel), GROWN), {})  # fmt: skip
        return str(at / f"grown-{seed}"), parallel
    return "base:tiny", parallel


def passed(stage: Any, rows: Rows, seed: int) -> Rows:
    equip(stage, Work(seed))
    out = list(stage(rows))
    told = {key: value for key, value in stage.report().items() if key not in ("examples", "entries")}
    print(json.dumps({type(stage).__name__: told}, ensure_ascii=False)[:1500], file=sys.stderr)
    return out


def train(at: Path, name: str, model: str, rows: Rows, source: str, target: str, seed: int) -> Path:
    """The folder of the run, by `seektune train`."""
    data = at / f"{name}.jsonl"
    data.write_text("".join(json.dumps({source: r[source], target: r[target]}) + "\n" for r in rows))
    recipe = at / f"{name}.yaml"
    recipe.write_text(RECIPE.format(name=name, seed=seed, model=model, rows=data, source=source, target=target,
                                    steps=STEPS, batch=BATCH))  # fmt: skip
    command = [sys.executable, "-m", "seektune", "train", str(recipe)]
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return at / "runs" / name


def score(run: Path, test: Rows) -> dict[str, float]:
    prompts = [{"messages": [{"role": "user", "content": r["sw"]}]} for r in test]
    answers = [a.text.strip() for a in open_engine(str(run), "cpu").generate(prompts, max_new_tokens=NEW_TOKENS)]
    print("\n".join(answers[:3]), file=sys.stderr)
    expected = [[r["en"] for r in test]]
    return {
        "BLEU": sacrebleu.corpus_bleu(answers, expected).score,
        "chrF": sacrebleu.corpus_chrf(answers, expected).score,
    }


def short(rows: Rows) -> Rows:
    return [r for r in rows if 0 < max(len(words(r["sw"])), len(words(r["en"]))) <= LONGEST]


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    options = parser.parse_args()
    print(json.dumps(figures(options.folder, options.seeds, options.ways), ensure_ascii=False, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
