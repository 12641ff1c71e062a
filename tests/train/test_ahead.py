"""Reading ahead changes nothing but the time that a step waits: same bits, exact positions, errors and stops as without it."""

import threading
import time

import pytest
import torch
from harness import documents, trainer, weights

from seektune.contracts import Batch
from seektune.errors import RunFailedError, StoppedError
from seektune.objectives.sft import SFT
from seektune.sources.loader import Loader
from seektune.train import checkpoint
from seektune.train.ahead import DEPTH, Ahead, moved
from seektune.train.options import Train
from seektune.train.trainer import Layout


class InTurn(Loader):
    """The same batches, and none is read before the step before it is done."""

    ahead = False


class Counting(Loader):
    """Tells how many batches were taken, and fails or ends where told."""

    fail_at, end_at, taken = 0, 0, 0

    def __iter__(self):
        for batch in super().__iter__():
            self.taken += 1
            if self.taken == self.fail_at:
                raise ValueError("a broken record")
            yield batch
            if self.taken == self.end_at:
                return


def source(kind=Loader, **values):
    made = kind()
    made.open(documents(), batch_size=4, unit=1, seed=3)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def threads():
    return [t for t in threading.enumerate() if t.name == "read ahead"]


def until(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_batches_and_positions_are_those_of_the_source():
    plain, seen = source(), []
    with Ahead(source()) as reads:
        for _, read in zip(range(15), reads, strict=False):
            seen.append(([d.record for d in read.batch.documents], read.state))
    expected = []
    for _, batch in zip(range(15), plain, strict=False):
        expected.append(([d.record for d in batch.documents], plain.state_dict()))
    assert seen == expected


def test_it_reads_as_far_ahead_as_it_may_and_leaves_the_source_behind_the_last_batch_that_was_taken():
    made = source(Counting)
    with Ahead(made) as reads:
        iterator = iter(reads)
        first = next(iterator)
        until(lambda: made.taken == 1 + DEPTH + 1)  # one in hand, those that lie ready, one that waits for room
    assert made.taken == DEPTH + 2
    assert made.state_dict() == first.state
    assert threads() == []


def test_a_source_that_forbids_it_is_read_in_turn():
    made = source(Counting, ahead=False)
    with Ahead(made) as reads:
        iterator = iter(reads)
        next(iterator)
        assert threads() == []
        assert made.taken == 1


def test_errors_arrive_as_they_are_after_the_batches_before_them():
    with Ahead(source(Counting, fail_at=3)) as reads:
        iterator = iter(reads)
        assert next(iterator).batch.documents
        assert next(iterator).batch.documents
        with pytest.raises(ValueError, match="a broken record"):
            next(iterator)
    assert threads() == []


def test_a_source_may_end():
    with Ahead(source(Counting, end_at=2)) as reads:
        assert len(list(reads)) == 2


def test_the_thread_draws_nothing():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    layout = Layout("packed", records=2)
    with Ahead(source(), trainer_like(layout)) as reads:
        for _, read in zip(range(8), reads, strict=False):
            assert read.prepared
    assert torch.equal(torch.get_rng_state(), state)


def trainer_like(layout):
    from seektune.data import pack

    return lambda batch: pack.cut(batch.documents, records=layout.records, rows=layout.rows)


def test_the_wait_is_counted():
    class Slow(Loader):
        def __iter__(self):
            for batch in super().__iter__():
                time.sleep(0.05)
                yield batch

    with Ahead(source(Slow)) as reads:
        waited = [read.waited for _, read in zip(range(4), reads, strict=False)]
    assert sum(waited) > 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_run_has_the_same_bits_with_and_without_reading_ahead(tmp_path, dropout):
    options = Train(steps=7, batch_size=5, save_every=3)
    ahead = trainer(tmp_path, name="ahead", options=options, dropout=dropout)
    ahead.fit()
    in_turn = trainer(tmp_path, name="in-turn", options=options, dropout=dropout, source=InTurn())
    in_turn.fit()
    assert torch.equal(weights(ahead.model), weights(in_turn.model))
    assert ahead.tally.tokens == in_turn.tally.tokens
    for step in (6, 7):
        facts = [checkpoint.read_facts(made.run.checkpoint_folder(step)) for made in (ahead, in_turn)]
        assert facts[0]["source"] == facts[1]["source"]
    assert threads() == []


def test_waiting_stands_in_every_line_and_in_the_tally(tmp_path):
    made = trainer(tmp_path)
    tally = made.fit()
    lines = made.run.metrics("train")
    assert tally.waiting == pytest.approx(sum(line["waiting"] for line in lines))
    assert 0 < tally.waiting < tally.seconds


class StopAt:
    def __init__(self, step):
        self.step = step

    def observe(self, event):
        return "signal SIGTERM" if event.name == "step" and event.step == self.step else None


def test_a_stop_saves_the_position_of_the_last_step_and_ends_the_thread(tmp_path):
    made = trainer(tmp_path, options=Train(steps=9, batch_size=4, save_every=100), observers=[StopAt(4)])
    with pytest.raises(StoppedError):
        made.fit()
    [path] = checkpoint.every(made.run.checkpoints_folder)
    assert checkpoint.read_facts(path)["source"] == made.source.state_dict() == {"epoch": 0, "batch": 4}
    assert threads() == []


def test_an_error_of_a_step_ends_the_thread_too(tmp_path):
    class Broken(SFT):
        def loss(self, model, batch):
            raise ZeroDivisionError

    made = trainer(tmp_path, objective=Broken())
    with pytest.raises(ZeroDivisionError):
        made.fit()
    assert threads() == []


class Small(SFT):
    """Cannot take more than some documents at once, and remembers what it was given."""

    def __init__(self, most):
        super().__init__()
        self.most, self.given = most, []

    def loss(self, model, batch):
        if len(batch.documents) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.given.append(len(batch.documents))
        return super().loss(model, batch)


def test_what_was_cut_ahead_is_cut_anew_after_an_out_of_memory(tmp_path):
    made = trainer(tmp_path, objective=Small(3), options=Train(steps=5, batch_size=8))
    made.fit()
    assert max(made.objective.given) == 2
    assert sum(made.objective.given) == 5 * 8


def test_the_halved_cut_is_kept_for_a_resume(tmp_path):
    """Otherwise the run that goes on would cut otherwise than the one that was never interrupted."""
    options = Train(steps=6, batch_size=8, save_every=3)
    whole = trainer(tmp_path, name="whole", objective=Small(3), options=options)
    whole.fit()
    stopped = trainer(tmp_path, name="parts", objective=Small(3), options=options, observers=[StopAt(3)])
    with pytest.raises(StoppedError):
        stopped.fit()
    again = trainer(tmp_path, name="parts", options=options)  # on a machine with enough memory
    again.resume(checkpoint.latest(again.run.checkpoints_folder))
    assert again.layout.records == 2
    again.fit()
    assert torch.equal(weights(again.model), weights(whole.model))


class Annotating(SFT):
    """Needs the model of the step, so nothing may be cut before it."""

    def annotate(self, model, batch):
        assert batch.ids is None
        for document in batch.documents:
            document.extra["seen"] = True

    def loss(self, model, batch):
        assert all(document.extra["seen"] for document in batch.documents)
        return super().loss(model, batch)


def test_annotate_comes_before_the_cut(tmp_path):
    made = trainer(tmp_path, objective=Annotating())
    plain = trainer(tmp_path, name="plain")
    made.fit()
    plain.fit()
    assert torch.equal(weights(made.model), weights(plain.model))


def test_a_micro_batch_moves_with_all_its_tensors():
    [micro] = trainer_like(Layout("packed"))(Batch(documents(4)))
    there = moved(micro, torch.device("meta"))
    assert {t.device.type for t in (there.ids, there.positions, there.segments, there.weights)} == {"meta"}
    assert there.lengths == micro.lengths
    assert moved(micro, torch.device("cpu")) is micro


def test_nothing_learnt_is_told_as_before(tmp_path):
    for document in (empty := documents(8)):
        document.weights[:] = 0
    with pytest.raises(RunFailedError, match="no token of the batch is learnt"):
        trainer(tmp_path, documents=empty).fit()
    assert threads() == []
