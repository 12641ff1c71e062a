"""Stops a pipeline or a training where the data is not fit: too few records, skewed classes, unequal lengths, wrong labels.

Records pass unchanged. Every rule gives a verdict of its own in the report, and so in cards and data.json; a rule that is
null is off, and one that cannot be applied says why. What a rule asks by default is usual advice, not a law: see the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .. import console, kinds
from ..contracts import Probe, Record, above, at_least, between, option
from ..errors import DataError, nearest, problem
from ._audit import accuracy_of, ids_of, read_audit
from ._lengths import spread
from ._spool import spool
from ._texts import label_of, text_of
from ._trust import estimated
from ._words import words
from ._work import Work, place_of, seen, work_of

ESTIMATED = 20_000  # labels are estimated on so many records at most, drawn with the seed
FEW = 100  # below: too few to train on
SMALL = 1000  # below: few weights should change
METHODS = {"freeze": ("tuner", "tuner: freeze"), "lora": ("tuner", "tuner: lora"), "augment": ("stage", "the stage augment"),
           "template": ("stage", "few-shot prompts by the stage template")}  # fmt: skip


def _share(value: Any) -> str | None:
    fine = value is None or (len(value) == 2 and 0 <= value[0] <= value[1] <= 1)
    return None if fine else "two shares, the lower first"


@dataclass
class Gate:
    """Lets records pass where they are fit to train on; else stops, or warns, naming each rule that is broken."""

    on_fail: Literal["stop", "warn"] = option(
        "stop",
        "what happens where a rule is broken: stop ends the pipeline or the training",
        probe=Probe("stop", "stop", "stage", {"data.train.0.stages.0.on_fail": "warn"}),
    )
    records: int | None = option(5000, "at least so many records; null: any", probe=seen(20), check=at_least(1))
    negative: str | int | None = option(
        None,
        "the label of the negative class, for `negative_share`; where labels are of two classes",
        probe=seen("bad"),
    )
    negative_share: tuple[float, float] | None = option(
        (0.15, 0.20), "from and to which share of the negative class; null: any", check=_share,
        probe=seen((0.1, 0.9), negative="bad"),
    )  # fmt: skip
    dispersion: float | None = option(
        2.0, "the variance of the lengths is at most so many times their mean; null: any", probe=seen(1000.0),
        check=above(0),
    )  # fmt: skip
    unit: Literal["words", "characters"] = option("words", "in which lengths are counted", probe=seen("characters"))
    label_accuracy: float | None = option(
        0.95, "a larger share of the labels is right, by estimate or audit; null: any", probe=seen(None),
        check=between(0, 1),
    )  # fmt: skip
    audit: str | None = option(
        None, "a file of `seektune data audit` that a person has filled in, instead of the estimate", probe=seen("audit.csv")
    )  # fmt: skip
    label: str = option("label", "the column of the label", probe=seen("nowhere"))
    column: str | None = option(None, "the field of the text; all texts where left out", probe=seen("topic"))

    example: ClassVar[dict[str, Any]] = {"on_fail": "warn"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        rules = {
            "records": self._enough(held),
            "negative_share": self._negative(held),
            "dispersion": self._lengths(held),
            "label_accuracy": self._labels(held, work),
        }
        broken = [rule.pop("line") for rule in rules.values() if not rule.get("fit", True)]
        work.facts |= {"verdict": "unfit" if broken else "fit", "rules": rules}
        if broken and self.on_fail == "stop":
            raise DataError(broken)
        for line in broken:
            console.warn(line)
        for record in held:
            work.keep()
            yield record

    def _enough(self, held: Any) -> dict[str, Any]:
        if self.records is None:
            return _off()
        line = problem("gate.records", f"{len(held):,} records", f"at least {self.records:,}", small_data(len(held)))
        return _verdict(len(held) >= self.records, line, found=len(held), asked=self.records)

    def _negative(self, held: Any) -> dict[str, Any]:
        if self.negative_share is None:
            return _off()
        if self.negative is None:
            return {"skipped": "no negative class is named (gate.negative)"}
        counts = Counter(name for record in held if (name := label_of(record, self.label)) is not None)
        asked, (low, high) = str(self.negative), self.negative_share
        if asked not in counts:
            fix = nearest(asked, counts) if counts else f"no record has one {self.label!r}"
            line = problem("gate.negative", f"no record of class {asked!r}", fix=fix)
            return _verdict(False, line, found=0.0, asked=[low, high])
        if len(counts) > 2:
            return {"skipped": f"the labels are of {len(counts)} classes, not of two"}
        share = counts[asked] / sum(counts.values())
        line = problem("gate.negative_share", f"{share:.1%} of the labels are {asked!r}", f"{low:.0%} to {high:.0%}",
                       f"the stage stratify samples to shares, as {{{asked}: {(low + high) / 2:g}, …}}")  # fmt: skip
        return _verdict(low <= share <= high, line, found=round(share, 4), asked=[low, high])

    def _lengths(self, held: Any) -> dict[str, Any]:
        if self.dispersion is None:
            return _off()
        lengths = [self._length(record) for record in held]
        if not lengths:
            return {"skipped": "no record"}
        told = spread(lengths, self.dispersion)
        outside, (low, high) = told.pop("outside"), told["fitting"]
        shown = [{"where": place_of(held[i]), "length": lengths[i]} for i in _furthest(outside, lengths)]
        most = ", ".join(f"{one['where']} has {one['length']:,}" for one in shown[:3])
        line = problem(
            "gate.dispersion",
            f"the variance of the lengths is {told['dispersion']:g} times their mean of {told['mean']:g} {self.unit} ({most})",
            f"at most {self.dispersion:g}",
            f"{{kind: length, unit: {self.unit}, least: {low}, most: {high}}} keeps {len(lengths) - len(outside):,} of {len(lengths):,}",
        )
        return _verdict(
            not outside, line, asked=self.dispersion, unit=self.unit, outside=len(outside), furthest=shown, **told
        )

    def _length(self, record: Record) -> int:
        text = text_of(record, self.column)
        return len(words(text)) if self.unit == "words" else len(text)

    def _labels(self, held: Any, work: Work) -> dict[str, Any]:
        if self.label_accuracy is None:
            return _off()
        told = self._audited(held) if self.audit is not None else self._estimated(held, work)
        if "skipped" in told:
            return told
        if self.audit is not None:
            how = f"{told['right']:,} of {told['judged']:,} judged by a person, {told['interval'][0]:.1%} to {told['interval'][1]:.1%}"
        else:
            how = f"estimated; the classifier behind it agrees with {told['classifier']:.1%}"
        line = problem(
            "gate.label_accuracy",
            f"{told['accuracy']:.1%} of the labels are right ({how})",
            f"more than {self.label_accuracy:.0%}",
            "mend the labels, or let a person judge a sample: `seektune data audit FILE`",
        )
        return _verdict(told["accuracy"] > self.label_accuracy, line, asked=self.label_accuracy, **told)

    def _audited(self, held: Any) -> dict[str, Any]:
        """From the rows of the audit whose records are still there."""
        assert self.audit is not None
        there = dict(ids_of(held, self.label))
        rows = read_audit(self.audit, there.values())
        mine = [row for row in rows if row.id in there]
        if not mine:
            found = f"none of its {len(rows):,} judged records is among these"
            raise DataError(problem(self.audit, found, "an audit of this data, with the same label column"))
        return {"by": "audit", "gone": len(rows) - len(mine), **accuracy_of(mine)}

    def _estimated(self, held: Any, work: Work) -> dict[str, Any]:
        labels = [label_of(record, self.label) for record in held]
        labelled = np.array([i for i, label in enumerate(labels) if label is not None], np.int64)
        if not len(labelled):
            return {"skipped": f"no record has one {self.label!r}"}
        if len(labelled) > ESTIMATED:
            labelled = np.sort(work.random("labels").choice(labelled, ESTIMATED, replace=False))
        some = [held[int(i)] for i in labelled]
        return {"by": "estimate", **estimated(some, work, self.label, self.column)}

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def small_data(count: int) -> str:
    """What suits few records, of what there is."""
    wanted = ["template"] if count < FEW else ["freeze", "augment"] if count < SMALL else ["lora", "augment"]
    there = [line for name, (noun, line) in METHODS.items() if name in wanted and name in kinds.names(noun)]
    suits = f"so few suit {' and '.join(there)}" if there else "gather more"
    return f"{suits}; or set gate.records: {max(count, 1)}"


def _off() -> dict[str, Any]:
    return {"skipped": "off"}


def _verdict(fit: bool, line: str, **told: Any) -> dict[str, Any]:
    return {"fit": bool(fit), **told} | ({} if fit else {"line": line})


def _furthest(outside: list[int], lengths: list[int]) -> list[int]:
    """Ten of the records, those furthest from the mean first."""
    mean = float(np.mean(lengths))
    return sorted(outside, key=lambda i: (-abs(lengths[i] - mean), i))[:10]
