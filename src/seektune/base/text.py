"""The text from which the base model is pretrained: seeded, endless, and marked with what of it can be predicted.

Record i depends on the seed, on i and on how far i is in the count: the first tenth begins with short copies over small
alphabets and grows into the full mixture, which is stationary afterwards.
"""

from collections.abc import Callable, Iterator

from seektune.base import copying, extraction, language, reasoning, tables
from seektune.base.names import Draw

Task = Callable[[Draw], dict]
CURRICULUM = 0.1
HELD_OUT_SEED = 987_654_321

# Share of each task once the curriculum is over.
MIXTURE: dict[Task, float] = {
    extraction.questions: 13,
    extraction.extract: 18,
    extraction.two_facts: 4,
    extraction.topic: 4,
    tables.convert: 3,
    tables.cells: 3,
    tables.from_json: 2,
    copying.repeat: 5,
    copying.nth: 4,
    copying.lookup: 5,
    copying.repeat_text: 2,
    copying.pairs_text: 2,
    copying.induction_text: 3,
    copying.story_of_names: 3,
    reasoning.arithmetic: 3,
    reasoning.steps: 2,
    reasoning.compare: 2,
    reasoning.order: 3,
    reasoning.letters: 1.5,
    reasoning.pattern: 2,
    reasoning.labels: 2,
    language.translate: 4,
    language.opposite: 1,
    language.group: 2,
    language.language: 1,
    language.sentiment: 3,
    language.talk: 1.5,
    language.story: 2,
}
BEGINNING: dict[Task, float] = {
    copying.repeat_text: 4,
    copying.pairs_text: 3,
    copying.induction_text: 3,
    copying.repeat: 2,
}


def _wheel(shares: dict[Task, float]) -> list[Task]:
    return [task for task, share in shares.items() for _ in range(round(share * 10))]


FULL, FIRST = _wheel(MIXTURE), _wheel(BEGINNING)


def records(seed: int, count: int, start: int = 0) -> Iterator[dict]:
    """Records `start` … `count` - 1 of a text of `count` records."""
    for i in range(start, count):
        yield record(seed, i, progress=i / count)


def record(seed: int, i: int, progress: float = 1.0) -> dict:
    """One record; progress in [0, 1] places it in the curriculum."""
    level = min(1.0, progress / CURRICULUM)
    draw = Draw(seed * 1_000_003 + i, level=level)
    first = draw.chance((1.0 - level) * 1.4)  # only copies until level 0.3, then more and more of everything
    return draw.pick(FIRST if first else FULL)(draw)


def held_out(count: int) -> Iterator[dict]:
    """Records with names that `records` never uses, the tasks in turn; every one has answers and a `task`."""
    tasks = [task for task in MIXTURE if not task.__name__.endswith("_text") and task not in WITHOUT_ANSWERS]
    for i in range(count):
        yield tasks[i % len(tasks)](Draw(HELD_OUT_SEED + i, held=True))


WITHOUT_ANSWERS = (copying.story_of_names, language.story)
