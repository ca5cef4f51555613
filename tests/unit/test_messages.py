"""What travels: each message comes back as it was, and one of other fields or types is refused, with both."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest

from ami import messages
from ami.errors import AmiError, Undecodable
from ami.graph.execution.bucket import Bucket
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.messages.answer import Answer
from ami.messages.batch import Mark
from ami.messages.checkpoint import Checkpoint, Totals
from ami.messages.flush import Covered, Covers, EntryFacts, Flush
from ami.messages.heartbeat import Heartbeat
from ami.messages.message import expect
from ami.messages.request import Request
from ami.messages.run_book import RunBook, RunEntry
from ami.ring.entries import Entry
from ami.stores import codec
from tests.batches import batch, facts
from tests.daemons_rig import GRAPH
from tests.hostile import calling, wrapped

PARTIAL = Partial(1, 3, {"s": 6, "l": (np.arange(4.0), 2)}, {"s": 3}, {"f": ErrorRecord(2, "oops", 7)}, 1)
FLUSH = Flush(entry=facts(), covers=Covers(events=3, first_ns=10, last_ns=None), partial=PARTIAL)
MESSAGES: list[Any] = [
    FLUSH,
    Covered(ring=7, flush=3, runs=[(0, 2), (5, 1)]),
    replace(batch(1, []), partial=PARTIAL),
    Mark(batch=3, ring=7, next_entry=4, late=(2,), flushes={"here:worker:0": [1, 2]}),
    Checkpoint(
        applied={"here": 3},
        accumulator={
            "graph": GRAPH.to_plain(),
            "windows": {
                "a": {"since": 1, "buckets": {(1, 0): Bucket(6, 3, 4, 1, 0, (1, 2), (1, 3))}, "batch": None},
                "b": {"since": 2, "buckets": {(0, 0): Bucket(), (1, 0): Bucket("odd", 1)}, "batch": Bucket()},
            },
        },
        graph=GRAPH.to_plain(),
        interval_ns=1000,
        nodes={"here": (1, 3)},
        ended={"here": 1},
        workers={"here:worker:0": (1, 2)},
        newest=(1, 3),
        place=(1, 2),
        published={"total": 1},
        totals=Totals(expected=4, reduced=3, dropped=1),
        run=1,
        intervals=2,
    ),
    RunBook(last=7, runs=(RunEntry(number=7, whole="a run 2", begun={"here": "1 2"}, ended=("here",)),)),
    Heartbeat(
        process="here:worker:0", pid=7, started_ns=1, beat_ns=2, steps=3, step_age_s=0, state="running",
        counters={"events": 5},
    ),
]  # fmt: skip


@pytest.mark.parametrize("sent", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_comes_back_as_it_was(sent: Any) -> None:
    received = codec.decode(bytes(codec.encode(sent)))
    assert type(received) is type(sent)
    assert codec.equal(received, sent)
    with pytest.raises(FrozenInstanceError):
        setattr(received, fields(received)[0].name, 0)


@pytest.mark.parametrize("sent", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_whose_fields_have_other_names_is_refused_with_both_lists(sent: Any) -> None:
    """As after another version of ami, which had as many fields."""
    names = [field.name for field in fields(sent)]
    other = f"format 1: {', '.join(['elsewhere', *names[1:]])}"
    parts = [None for _ in names]
    with pytest.raises(
        Undecodable, match=rf"{type(sent).__name__} of {other}, and .* \d: {', '.join(names)}"
    ):
        codec.decode(wrapped(calling(type(sent).__name__, other, *parts)))


@pytest.mark.parametrize("sent", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_field_of_another_type_is_refused_by_name(sent: Any) -> None:
    for field in fields(sent):
        if field.type == "Any":
            continue
        with pytest.raises(TypeError, match=rf"{field.name} must be \w+( or \w+)?, got <object"):
            replace(sent, **{field.name: object()})


def test_what_is_in_a_partial_is_looked_at_too() -> None:
    with pytest.raises(TypeError, match=r"Partial.seen must be int, got 'x'"):
        replace(FLUSH, partial=Partial(1, "x"))  # type: ignore[arg-type]


def test_what_is_something_else_is_not_taken_for_a_message() -> None:
    assert expect(Flush, FLUSH) is FLUSH
    for other in (None, {}, {"ring": 7}, FLUSH.covers):
        with pytest.raises(Undecodable, match=f"there is a {type(other).__name__} where a Flush should be"):
            expect(Flush, other)


def test_states_travel_without_being_copied() -> None:
    image = np.zeros((256, 256))
    chunks = codec.encode(replace(FLUSH, partial=Partial(1, 1, {"sum": image})))
    assert any(
        isinstance(one, memoryview) and np.shares_memory(np.asarray(one), image) for one in chunks.buffers
    )


def test_what_two_flushes_cover_is_what_both_do() -> None:
    nothing, some = Covers(), Covers(events=2, first_ns=5, last_ns=9)
    assert nothing.plus(nothing) == nothing
    assert nothing.plus(some) == some.plus(nothing) == some
    assert some.plus(Covers(events=1, first_ns=1, last_ns=7)) == Covers(events=3, first_ns=1, last_ns=9)


def test_every_message_is_known_to_who_shows_what_lies_in_a_store() -> None:
    messages.know_all()
    with pytest.raises(Undecodable, match=r"known: .*Batch.*Checkpoint.*Covered.*Flush.*Heartbeat.*Mark"):
        codec.decode(wrapped(calling("Unknown", 1)))


def test_the_facts_of_an_entry_are_those_of_the_ring() -> None:
    entry = Entry(3, 100, 2, 1, 0.5, 9, 0, 77)
    assert EntryFacts.of(7, entry) == EntryFacts(
        ring=7, index=3, interval=100, run=2, step=1, step_value=0.5, graph_version=9
    )


def test_a_request_that_a_client_makes_is_the_one_that_the_manager_reads() -> None:
    asked = Request(
        id="1", client="anna", action="add", expected_version=3, deadline_ns=5, fields={"text": "a: x"}
    )
    plain = json.loads(json.dumps(asked.to_plain()))
    read = Request.from_plain(plain)
    assert replace(read, fields=asked.fields) == asked
    assert read.text("text") == "a: x"


def test_an_answer_is_plain_data_and_another_is_refused() -> None:
    said = Answer(id="1", accepted=False, version=3, hash="abc", reason="no", warnings=[])
    plain = json.loads(json.dumps(said.to_plain()))
    assert Answer.from_plain(plain) == said
    for other in (None, [], {}, {**plain, "version": "3"}, {**plain, "mood": "good"}):
        with pytest.raises(AmiError, match="the graph manager's answer cannot be read"):
            Answer.from_plain(other)
