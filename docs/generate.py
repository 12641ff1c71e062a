"""Writes the parts of README and docs that follow from code or from a measurement: `make docs`.

    python docs/generate.py            writes what is stale
    python docs/generate.py --check    names what is stale and exits with 1

A generated part stands between `<!-- NAME ARGUMENT -->` and `<!-- /NAME -->`; docs/recipe.md is generated whole.
Figures come from docs/figures/*.json, which the commands named in them wrote. Nothing here knows a figure of its own.

docs/figures/quickstart.json    {"date", "machine", "command", "seeds": [{"seed", "seconds", "before": SCORE, "after": SCORE}]}
                                with SCORE = {"value", "low", "high", "n"}, shares between 0 and 1
docs/figures/quickstart.txt     the screen of one of those runs
docs/figures/NAME.json          for `<!-- figure NAME.KEY -->` and `NAME.KEY.KEY`: numbers, texts, and mappings as tables.
                                base.json: command, date, machine, tokens, minutes, loss_first, loss_last, perplexity,
                                tasks {"task": "right of all"}; intents.json: report.json of that run
docs/figures/step-NAME.json     written by bench/step.py --json, for `<!-- steps NAME -->` and `<!-- steps all -->`
docs/figures/memory.json       written by bench/memory.py --json, for `<!-- memory -->`
docs/figures/data.json         written by bench/data.py --json, for `<!-- data -->`
docs/figures/cache.json        written by bench/cache.py --json, for `<!-- cache -->`
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seektune import kinds
from seektune.base.headlines import headlines
from seektune.commands import _verbs
from seektune.commands.kinds import listing
from seektune.recipe import Recipe
from seektune.run import FILES

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import tables  # noqa: E402

FIGURES = ROOT / "docs" / "figures"
CARD = ROOT / "src" / "seektune" / "base" / "MODEL_CARD.md"
BLOCK = re.compile(
    r"(<!-- (?P<name>[a-z]+)(?: (?P<argument>[^\s>]+))? -->)(?P<gap>\n?)(?P<old>.*?)(<!-- /(?P=name) -->)", re.S
)

WORDS = {  # what the tables of figures say
    "en": {
        "head": "| | before | after | seconds, slowest seed |",
        "row": "worst of {count} seeds (seed {seed})",
        "interval": "{value} ({low} to {high})",
        "made": "Whole JSON right on {n} held-out headlines, with 95 % intervals. Made by `{command}` on {date}; {machine}.",
        "missing": "Not measured yet: `make docs` fills this table from `docs/figures/quickstart.json`.",
        "no screen": "No screen kept yet: `make docs` copies it from `docs/figures/quickstart.txt`.",
        "figure": "not measured yet",
        "speed": "Tokens a second, beside the fastest peer on the same records: {found}. `python bench/step.py`, {date}, "
        "2 cores{gpu}: [performance](docs/performance.md).",
        "speed_gpu": "; on one H100 {found}, {date}",
        "lora": "LoRA",
        "full": "in full",
        "and": ", ",
        "unmeasured": "Not measured yet: see [performance](docs/performance.md).",
    },
    "zh": {
        "head": "| | 训练前 | 训练后 | 用时（秒，最慢的种子） |",
        "row": "{count} 个随机种子中最差的一个（种子 {seed}）",
        "interval": "{value}（{low} 至 {high}）",
        "made": "{n} 条留出的标题，整个 JSON 全对才算对，括号内为 95 % 置信区间。由 `{command}` 于 {date} 测得；机器：{machine}。",
        "missing": "尚未测量：测完后 `make docs` 会用 `docs/figures/quickstart.json` 填好这张表。",
        "no screen": "还没有保存的屏幕输出：`make docs` 会从 `docs/figures/quickstart.txt` 抄过来。",
        "figure": "尚未测量",
        "speed": "每秒处理的 token 数，与同一批数据上最快的同类工具相比：{found}。由 `python bench/step.py` 于 {date} 测得，2 核{gpu}；"
        "见[性能](docs/performance.md)。",
        "speed_gpu": "；单块 H100：{found}，{date}",
        "lora": "LoRA",
        "full": "全量微调",
        "and": "，",
        "unmeasured": "尚未测量：见[性能](docs/performance.md)。",
    },
}


def main(arguments: list[str]) -> int:
    stale = [
        path for path, text in generated().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{'stale' if '--check' in arguments else 'wrote'}: {path.relative_to(ROOT)}", file=sys.stderr)
        if "--check" not in arguments:
            path.write_text(generated()[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), CARD]


def generated() -> dict[Path, str]:
    """Each page as it should be."""
    found = {path: filled(path.read_text(encoding="utf-8"), path.name) for path in pages()}
    return found | {ROOT / "docs" / "recipe.md": reference()}


def filled(page: str, name: str) -> str:
    """A page with its generated parts made anew."""
    words = WORDS["zh" if name.endswith(".zh.md") else "en"]

    def replace(found: re.Match[str]) -> str:
        made = BLOCKS[found["name"]](words, found["argument"] or "")
        return found[1] + found["gap"] + made + found["gap"] + found[6]

    return BLOCK.sub(replace, page)


# What stands in the blocks: (words of the language, argument) -> Markdown


def figures(words: dict[str, str], argument: str, folder: Path | None = None) -> str:
    """The quickstart's score before and after: the seed that ended lowest."""
    path = (folder or FIGURES) / "quickstart.json"
    if not path.exists():
        return words["missing"]
    found = json.loads(path.read_text(encoding="utf-8"))
    worst = min(found["seeds"], key=lambda seed: seed["after"]["value"])
    row = words["row"].format(count=len(found["seeds"]), seed=worst["seed"])
    before, after = (words["interval"].format(**_shares(worst[when])) for when in ("before", "after"))
    machine = _machine(found["machine"])
    made = words["made"].format(n=worst["after"]["n"], command=found["command"], date=found["date"], machine=machine)
    seconds = max(seed["seconds"] for seed in found["seeds"])  # the slowest, which need not be the lowest
    return f"{words['head']}\n|---|---|---|---|\n| {row} | {before} | {after} | {seconds:.0f} |\n\n{made}"


def _machine(facts: str | dict[str, Any]) -> str:
    """`environment.json` of a run in a few words; what is a text already stays."""
    return facts if isinstance(facts, str) else f"{facts['cores']} × {facts['cpu']}"


def _shares(score: dict[str, Any]) -> dict[str, str]:
    return {key: f"{100 * score[key]:.1f} %" for key in ("value", "low", "high")}


def figure(words: dict[str, str], argument: str) -> str:
    """One figure: `base.tokens` is the key `tokens` of docs/figures/base.json; a mapping becomes a table."""
    name, *keys = argument.split(".")
    path = FIGURES / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if found is None:
        return words["figure"]
    if isinstance(found, dict):
        return "\n".join(["| task | right |", "|---|---|", *(f"| {key} | {value} |" for key, value in found.items())])
    if isinstance(found, float):
        return f"{found:,.3f}".rstrip("0").rstrip(".") if abs(found) < 100 else f"{found:,.0f}"
    return f"{found:,}" if isinstance(found, int) else str(found)


def screen(words: dict[str, str], argument: str) -> str:
    path = FIGURES / "quickstart.txt"
    return fenced(path.read_text(encoding="utf-8"), "text") if path.exists() else words["no screen"]


def source(words: dict[str, str], argument: str) -> str:
    """A file of the repository, whole."""
    return fenced((ROOT / argument).read_text(encoding="utf-8"), Path(argument).suffix[1:])


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def headline(words: dict[str, str], argument: str) -> str:
    """The first records of the quickstart's training file."""
    lines = [json.dumps(record, ensure_ascii=False) for record in headlines(17, int(argument), "train")]
    return fenced("\n".join(lines), "json")


def verbs(words: dict[str, str], argument: str) -> str:
    rows = [f"| `{verb}` | {line} |" for verb, line in _verbs.verbs().items()]
    return "\n".join(["| verb | what it does |", "|---|---|", *rows])


def files(words: dict[str, str], argument: str) -> str:
    rows = [f"| `{name}` | {what} |" for name, what in FILES.items()]
    return "\n".join(["| in the folder | what it is |", "|---|---|", *rows])


def steps(words: dict[str, str], argument: str) -> str:
    """The tables of docs/figures/step-NAME.json, or the overview of all of them (bench/tables.py)."""
    return tables.steps(argument)


def memory(words: dict[str, str], argument: str) -> str:
    """Of docs/figures/memory.json (bench/memory.py): what the plan predicted beside what was measured."""
    return tables.memory()


def cache(words: dict[str, str], argument: str) -> str:
    """Of docs/figures/cache.json (bench/cache.py): what running the frozen layers once gives."""
    return tables.cache()


def data(words: dict[str, str], argument: str) -> str:
    """Of docs/figures/data.json (bench/data.py): what the data stages did on real records."""
    return tables.data()


def speed(words: dict[str, str], argument: str) -> str:
    """One line from all docs/figures/step-NAME.json."""
    return tables.speed(words)


BLOCKS: dict[str, Callable[[dict[str, str], str], str]] = {
    "quickstart": screen,
    "figures": figures,
    "figure": figure,
    "source": source,
    "headlines": headline,
    "verbs": verbs,
    "files": files,
    "steps": steps,
    "memory": memory,
    "cache": cache,
    "data": data,
    "speed": speed,
}

# The reference of all recipes

HEAD = """\
# The recipe: every key

Written by `make docs` from the code itself; a test compares. `seektune kinds` prints the same in a terminal.

A recipe is a YAML 1.2 file. This is a whole one:

{example}

**How values are read**
- `2e-4` is a number; `no` and `on` are text. `null` stands for nothing.
- `tuner: lora` is short for `tuner: {{kind: lora}}`, `model: base:tiny` for `model: {{path: base:tiny}}`; where a list is
  expected, one item stands for a list of one.
- A relative path is looked for beside the recipe first, then in the current folder.
- On the command line `key=value` replaces a value: `seektune train recipe.yaml train.epochs=1 data.train.0.path=mine.jsonl`.
- An unknown key, a wrong type or a value out of range is an error with file, line and the nearest right name. All
  mistakes are told at once, before anything is read or written. See [errors](errors.md).
- `kind: my_package.losses:KTO` is a dataclass of your own, importable from the current folder; its fields are its options.
- `require` compares a measure after the run with a number or with `before`, the same measure before it:
  `{{exact_match: "> before + 0.05"}}`, `{{perplexity: "< 20 and < before"}}`. Not met: exit code 1.

The section `tuner`, `objective`, `optimizer`, `schedule` or `source` holds one kind; `observers` and `evaluate` hold lists
of kinds.
"""
HEADINGS = {
    "stage": "what is done to the records of an input, in order (`data.train[].stages`)",
    "source": "where batches come from",
    "tuner": "what may change in the model",
    "objective": "what for",
    "optimizer": "how each step is taken",
    "schedule": "the factor of the learning rate over the run",
    "observers": "what else happens while training",
    "evaluate": "what is measured on the held-out records, before and after",
}


def reference() -> str:
    """docs/recipe.md."""
    entries = listing()
    parts = [HEAD.format(example=source({}, "recipes/sft_lora.yaml")), "## At the top", *_top()]
    sections = [entry for entry in entries if not entry["kind"]]
    for entry in sections:
        parts += [f"## `{entry['noun']}`", entry["summary"], _table(entry["options"])]
    for noun in dict.fromkeys(entry["noun"] for entry in entries if entry["kind"]):
        parts.append(f"## `{noun}`: {HEADINGS[noun]}")
        for entry in entries:
            if entry["noun"] == noun and entry["kind"]:
                parts += [f"### `kind: {entry['kind']}`", entry["summary"], _table(entry["options"])]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _top() -> list[str]:
    """The keys of the recipe itself: plain ones with type and default, sections with what they hold."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for field in kinds.fields(Recipe):
        key, hint = kinds.key_of(field), kinds.hints_of(Recipe)[field.name]
        default = kinds.default_of(field)
        shown = "required" if default is ... else f"`{_inline(kinds.plain_value(default, hint))}`"
        rows.append(f"| `{key}` | {_cell(shown)} | {_cell(field.metadata['help'])} |")
    return ["\n".join([*rows, "| `version` | `1` | of the recipe's format; may be left out |"])]


def _table(options: list[dict[str, Any]]) -> str:
    if not options:
        return "No options."
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for option in options:
        default = "required" if option["required"] else f"`{_inline(option['default'])}`"
        rows.append(
            f"| `{option['name']}` | {_cell(_type(option['type']))} | {_cell(default)} | {_cell(option['help'])} |"
        )
    return "\n".join(rows)


def _type(words: str) -> str:
    return re.sub(r"or one of (\w+)$", r"or \1", words)


def _inline(value: Any) -> str:
    from seektune.recipe_yaml import inline

    if isinstance(value, dict) and list(value) and value.get("kind"):
        return f"{{kind: {value['kind']}}}"
    if isinstance(value, dict) and value:
        return "{…}"
    return inline(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
