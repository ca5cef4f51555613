"""Which run it is, among several nodes: drawn orders in which sources begin, die, and begin again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.daemons.process.orders import RUNS_KEPT as KEPT
from ami.daemons.source.runs import enter, leave, name_whole
from ami.errors import SourceError
from ami.messages.run_book import RunBook

EMPTY = RunBook(last=0, runs=())
NODES = ("a", "b", "c")


@dataclass
class Book:
    """The book, and what each node was told."""

    book: RunBook = EMPTY
    told: dict[str, list[int]] = field(default_factory=dict)

    def begin(self, host: str, whole: str, beginning: str, *, here: str = "abc", **more: int) -> int:
        self.book, run = enter(self.book, host, whole, beginning, here=set(here), **more)
        self.told.setdefault(host, []).append(run)
        return run


@settings(max_examples=300)
@given(st.lists(st.sampled_from(NODES), min_size=3, max_size=3 * KEPT), st.booleans())
def test_the_nth_run_of_shares_of_one_replay_is_one_run_whoever_is_first(
    order: list[str], dies: bool
) -> None:
    book = Book()
    for turn, host in enumerate(order):
        nth = len(book.told.get(host, []))
        if nth and nth + 1 - min(len(book.told.get(one, [])) for one in NODES) > KEPT:
            continue
        whole = name_whole("w", nth)
        run = book.begin(host, whole, f"{host} {nth}")
        if dies and turn % 3 == 0:  # and its successor asks again
            book.book, again = enter(book.book, host, whole, f"{host} {nth}", here=set(NODES))
            assert again == run
        book.book = leave(book.book, host, run) if turn % 2 else book.book
    for told in book.told.values():
        assert told == list(range(1, len(told) + 1))


def test_who_begins_anew_begins_a_run_and_the_others_join_it() -> None:
    book = Book()
    assert [book.begin(host, "w", "first") for host in NODES] == [1, 1, 1]
    assert [book.begin(host, "w", "second") for host in NODES] == [2, 2, 2]
    assert book.begin("b", "w", "third") == 3


def test_streams_that_know_nothing_of_each_other_are_in_the_run_that_is_open() -> None:
    book = Book()
    assert book.begin("a", "", "1") == 1
    assert book.begin("b", "", "1") == 1
    book.book = leave(leave(book.book, "a", 1), "b", 1)
    assert book.begin("c", "", "1") == 2  # nobody is in the first one any more
    assert book.begin("a", "", "2") == 2


def test_a_run_of_which_only_dead_nodes_did_not_say_the_end_is_nobodys() -> None:
    book = Book()
    assert book.begin("a", "", "1") == 1
    assert book.begin("b", "", "1", here="b") == 2


def test_what_the_sender_says_is_the_number_and_one_of_another_run_is_refused() -> None:
    book = Book()
    assert [book.begin(host, "", "1", number=17) for host in NODES] == [17, 17, 17]
    assert [book.begin(host, "", "2", number=18) for host in "ab"] == [18, 18]
    assert book.begin("c", "", "2", number=17) == 17  # it was away, and hears of an older one again
    assert book.begin("c", "", "3", number=18) == 18
    with pytest.raises(SourceError, match="begins run 5, and run 18 .* from 19 on"):
        book.begin("a", "", "4", number=5)
    with pytest.raises(SourceError, match="run 30"):
        book.begin("a", "", "4", number=30, least=30)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_a_number_that_was_given_before_the_store_was_lost_is_not_given_again(last: int, kept: int) -> None:
    book = Book(RunBook(last=last, runs=()))
    assert book.begin("a", "w", "1", least=kept) == max(last, kept) + 1
