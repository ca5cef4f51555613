"""What every journal keeps: each record once."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest

from ami.stores import Bell, Record, Store
from ami.stores.codec import equal
from tests.journals import last
from tests.waiting import wait_until


def numbers(records: list[Record]) -> list[int]:
    return [record.number for record in records]


def test_records_are_read_in_order_beyond_a_number(store: Store) -> None:
    journal = store.journal("j")
    for number in (1, 2, 5, 9):
        assert journal.append(number, {"n": number, "a": np.arange(number)})
    assert numbers(journal.read()) == [1, 2, 5, 9]
    assert numbers(journal.read(after=2)) == [5, 9]
    assert numbers(journal.read(after=1, limit=2)) == [2, 5]
    assert journal.read(after=9) == []
    assert equal(journal.read(after=5)[0].value, {"n": 9, "a": np.arange(9)})
    assert journal.pending() == 4
    assert last(journal) == 9


def test_a_number_is_appended_once_and_the_first_value_stands(store: Store) -> None:
    journal = store.journal("j")
    assert journal.append(3, "first", also={"mark": 1})
    assert not journal.append(3, "again", also={"mark": 2, "other": 3})
    assert not journal.append(2, "late", also={"mark": 2})
    assert journal.read() == [Record(3, "first")]
    assert store["mark"] == 1
    assert list(store) == ["mark"]


def test_a_removed_record_does_not_come_back_by_a_repeated_append(store: Store) -> None:
    journal = store.journal("j")
    journal.append(1, "a")
    journal.append(2, "b")
    assert journal.remove([1, 2, 77]) == 2
    assert not journal.append(2, "b")
    assert journal.read() == []
    assert journal.pending() == 0
    assert last(journal) == 2
    assert [found.key for found in store.scan("*") if found.type == "string"] == []


def test_last_is_0_before_the_first(store: Store) -> None:
    journal = store.journal("j")
    assert last(journal) == 0
    assert journal.read() == []
    assert journal.pending() == 0
    assert journal.remove([]) == 0
    with pytest.raises(ValueError, match="from 1"):
        journal.append(0, "x")


def test_what_a_dead_writer_sent_is_refused_once_its_successor_fenced_it(store: Store) -> None:
    journal = store.journal("j")
    assert journal.fence() == 1
    assert not journal.append(1, "sent by the dead one", also={"mark": 1})
    assert journal.append(2, "of its successor")
    assert journal.fence() == 3
    assert not journal.append(3, "sent late", also={"mark": 3})
    assert journal.read() == [Record(2, "of its successor")]
    assert journal.pending() == 1
    assert "mark" not in store
    assert last(journal) == 3
    journal.remove([2])
    assert journal.fence() == 4


def test_trim_removes_all_up_to_a_number(store: Store) -> None:
    journal = store.journal("j")
    for number in range(1, 11):
        journal.append(number, number)
    assert journal.trim(7) == 7
    assert numbers(journal.read()) == [8, 9, 10]
    assert journal.trim(7) == 0
    assert last(journal) == 10


def test_a_payload_may_expire_and_its_number_stays_taken(store: Store) -> None:
    journal = store.journal("j")
    journal.append(1, "x", expire_s=0.05)
    journal.append(2, "y")
    wait_until(lambda: numbers(journal.read()) == [2], what="the payload to expire")
    assert not journal.append(1, "x")
    assert numbers([record for _, record in store.read_journals({"j": journal}, {}, 0.0)]) == [2]


def test_large_payloads_come_back_exactly(store: Store) -> None:
    image = np.random.default_rng(1).random((512, 600))
    journal = store.journal("j")
    journal.append(1, {"image": image, "small": np.arange(3)})
    (record,) = journal.read()
    assert equal(record.value, {"image": image, "small": np.arange(3)})


def test_several_journals_are_read_at_once(store: Store) -> None:
    one, two = store.journal("inbox:a"), store.journal("inbox:b")
    one.append(1, "a1")
    two.append(4, "b4")
    one.append(2, "a2")
    found = store.read_journals({"a": one, "b": two}, {"a": 1}, 0.0)
    assert sorted((name, record.number) for name, record in found) == [("a", 2), ("b", 4)]
    assert store.read_journals({"a": one, "b": two}, {"a": 2, "b": 4}, 0.02) == []
    assert [name for name, _ in store.read_journals({"a": one, "b": two}, {}, 0.0)].count("a") == 2
    assert store.read_journals({}, {}, 0.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_was_appended_and_removed_each_record_is_read_once_and_in_order(
    store: Store, seed: int
) -> None:
    draw = random.Random(seed)
    journals = {name: store.journal(name) for name in "abc"}
    there: dict[str, list[int]] = {name: [] for name in journals}
    last, read = dict.fromkeys(journals, 0), {name: list[int]() for name in journals}
    wanted: dict[str, list[int]] = {name: [] for name in journals}
    for _ in range(12):
        for name, journal in journals.items():
            for _ in range(draw.choice([0, 1, 1, 3])):
                last[name] += draw.choice([1, 1, 1, 4])  # a fence, or a dead writer's, leaves some out
                journal.append(last[name], f"{name}{last[name]}")
                there[name].append(last[name])
        gone = {name: [n for n in mine if draw.random() < 0.2] for name, mine in there.items()}
        count = journals["a"].remove(gone["a"], others=[(journals[name], gone[name]) for name in "bc"])
        assert count == sum(map(len, gone.values()))
        for name, mine in there.items():
            wanted[name] += [n for n in mine if n not in gone[name]]
            mine.clear()
        after = {name: max(mine, default=0) for name, mine in read.items()}
        for name, record in store.read_journals(journals, after, 0.0):
            assert record.value == f"{name}{record.number}"
            read[name].append(record.number)
    assert read == wanted
    payloads = [found.key for found in store.scan("*") if found.type == "string"]
    assert len(payloads) == sum(map(len, wanted.values()))


def test_who_waits_for_records_of_his_own_is_told_of_others(store: Store) -> None:
    mine, other = store.journal("mine"), store.journal("other")
    other.append(3, "x")
    bell = Bell({other: 2})
    assert store.read_journals({"mine": mine}, {}, 60.0, bell=bell) == []
    assert bell.rings
    mine.append(1, "y")
    bell = Bell({other: 3})
    assert store.read_journals({"mine": mine}, {}, 60.0, bell=bell) == [("mine", Record(1, "y"))]
    assert not bell.rings
    assert store.read_journals({"mine": mine}, {"mine": 1}, 0.0, bell=bell) == []
    assert not bell.rings


def test_a_reader_who_waits_hears_of_a_record_at_once(store: Store) -> None:
    journal = store.journal("j")
    found: list[tuple[str, Record]] = []
    reader = threading.Thread(target=lambda: found.extend(store.read_journals({"j": journal}, {}, 30.0)))
    reader.start()
    time.sleep(0.05)
    store.view(store.prefix).journal("j").append(1, "x")
    reader.join(20)
    assert found == [("j", Record(1, "x"))]


def test_of_appends_of_the_same_numbers_by_two_processes_each_counts_once(store: Store) -> None:
    journal = store.journal("j")
    accepted: list[int] = []

    def append(by: int) -> None:
        for number in range(1, 31):
            if journal.append(number, by, also={"mark": number}):
                accepted.append(number)

    threads = [threading.Thread(target=append, args=(by,)) for by in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == len(set(accepted))
    assert numbers(journal.read()) == sorted(accepted)
    assert store["mark"] == last(journal) == 30
