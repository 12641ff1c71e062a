"""Makes conversations of task dialogues and keeps the state of each turn beside them, or makes it the answer, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import Probe, Record, at_least, option
from ._each import Outcome, run_each
from ._states import Dialogue, Malformed, read, text_of_state
from ._work import PLACE, bare, work_of


def _dialogues(other: Any, **given: Any) -> Probe:
    """Where tests see the options: in dialogues, which other stages' records are not."""
    more = {f"data.train.0.stages.0.{key}": value for key, value in given.items()}
    return Probe(other, "stage", "stage", {"data.train.0.path": "dialogues.jsonl"} | more)


@dataclass
class DialogueStates:
    """Turns with frames (Schema-Guided Dialogue) become `messages` and `states`: intent, requested slots, slot values with spans.

    A record without `turns` is no dialogue of this form and stays as it is; it is counted.
    """

    form: Literal["turns", "text"] = option(
        "turns",
        "turns: a record a dialogue, with `states`; text: a record for each of the user's turns, answered by its state as text",
        probe=_dialogues("text"),
    )
    history: int | None = option(
        None,
        "turns up to the user's that form: text keeps; all where left out",
        probe=_dialogues(1, form="text"),
        check=at_least(1),
    )
    system: str | None = option(
        None, "a system turn that asks for the state, for form: text", probe=_dialogues("Track the state.", form="text")
    )

    def each(self, record: Record) -> Outcome:
        if "turns" not in record:
            return Outcome(record, figures={"records without turns": 1})
        try:
            found = read(record["turns"])
        except Malformed as error:
            return Outcome(None, error.args[0], error.args[1])
        figures = {"slot values": found.values, "slot values in the history": found.literal}
        if found.unfit:
            figures["spans outside their utterance"] = found.unfit
        if self.form == "turns":
            made = _without_turns(record) | {"messages": found.messages, "states": found.states}
            return Outcome(made, "turns with their states", figures=dict(figures))
        each_turn = [self._asked(record, found, i) for i, state in enumerate(found.states) if state is not None]
        if not each_turn:
            return Outcome(None, "no turn of the user", figures=dict(figures))
        return Outcome(each_turn[0], "a turn with its state as answer", more=each_turn[1:], figures=dict(figures))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        """With the share of slot values that stand letter by letter in the turns so far, where there are any."""
        told = work_of(self).report()
        figures = told.get("figures", {})
        if values := figures.get("slot values", 0):
            told["literal_share"] = round(figures["slot values in the history"] / values, 4)
        return told

    def _asked(self, record: Record, found: Dialogue, number: int) -> Record:
        """The conversation up to one turn of the user and its state; spans count from the first turn that is kept."""
        state = found.states[number]
        assert state is not None
        first = max(0, number + 1 - self.history) if self.history is not None else 0
        system = [{"role": "system", "content": self.system}] if self.system is not None else []
        answer = {"role": "assistant", "content": text_of_state(state, found.messages)}
        before = [_only_read(message) for message in found.messages[first : number + 1]]
        messages = [*system, *before, answer]
        moved = {service: _moved(one, len(system) - first, len(system)) for service, one in state.items()}
        return _without_turns(record) | {"messages": messages, "turn": number, "state": moved}


def _only_read(message: dict[str, Any]) -> dict[str, Any]:
    """What the assistant said on the way is no state: it is not learnt."""
    return message | {"train": False} if message["role"] == "assistant" else message


def _without_turns(record: Record) -> Record:
    held = {key: value for key, value in bare(record).items() if key != "turns"}
    return held | ({PLACE: record[PLACE]} if PLACE in record else {})


def _moved(one: dict[str, Any], by: int, least: int) -> dict[str, Any]:
    """The state of a service with spans that point into a list of messages shifted by `by`; None where the turn was cut off."""

    def span(found: list[int] | None) -> list[int] | None:
        return [found[0] + by, *found[1:]] if found is not None and found[0] + by >= least else None

    slots = {name: slot | {"span": span(slot["span"])} for name, slot in one["slots"].items()}
    return one | {"slots": slots}
