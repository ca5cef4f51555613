"""Edits of what people wrote: owners, sharing, names that are taken, and that nobody's text is lost."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.language import edits
from ami.graph.language.changes import compare, find_losses, refuse_losses
from ami.graph.language.document import Definition, Document
from ami.graph.language.lower import lower
from ami.graph.language.safe_yaml import dump
from ami.graph.language.text import parse, restore, write
from tests.unit.graphs import FUNCTIONS, documents, people, texts


def one(name: str, text: str, section: str = "results") -> Document:
    return parse(f"{section}: {{{name}: '{text}'}}")


def added(document: Document, owner: str, text: str, *, replacing: bool = False) -> Document:
    return edits.add(document, parse(text, document.functions), owner, replacing=replacing)


def test_equal_definitions_of_two_owners_are_shared_until_the_last_owner_goes() -> None:
    document = edits.add(Document(), one("spot", "roi(camera, rows=1:3)", "values"), "alice")
    document = edits.add(document, one("mean", "mean_events(spot)"), "alice")
    document = edits.add(document, one("spot", "roi( camera , rows=1 : 3 )", "values"), "bob")
    assert document["spot"].owners == ("alice", "bob")
    assert document["spot"].text == "roi(camera, rows=1:3)"
    left = edits.remove_owner(document, "alice")
    assert list(left.definitions) == ["spot"]
    assert edits.remove_owner(left, "bob") == Document()


def test_another_definition_of_anothers_name_is_refused_with_both_texts_and_the_owner() -> None:
    document = edits.add(Document(), one("spot", "roi(camera,rows=1:3)"), "alice")
    refusal = r"'spot' is in use by alice as roi\(camera,rows=1:3\); choose another name for sum\(camera\)"
    with pytest.raises(GraphError, match=refusal):
        edits.add(document, one("spot", "sum(camera)"), "bob", replacing=True)


def test_an_integer_a_float_and_a_truth_are_different_definitions() -> None:
    document = edits.add(Document(), one("x", "max_events(a * 1)"), "alice")
    for text in ("max_events(a * 1.0)", "max_events(a * true)"):
        with pytest.raises(GraphError, match="exists already"):
            edits.add(document, one("x", text), "bob")


def test_an_owner_replaces_what_only_he_uses_and_rewrites_what_is_only_his() -> None:
    document = edits.add(Document(), one("spot", "sum(a)"), "alice")
    document = edits.add(document, one("spot", "sum( a )"), "alice")
    assert document["spot"].text == "sum( a )"
    document = edits.add(document, one("spot", "mean(a)", "values"), "alice", replacing=True)
    assert (document["spot"].text, document["spot"].result) == ("mean(a)", False)


def test_who_uses_a_definition_owns_it_so_nobody_pulls_it_away() -> None:
    document = edits.add(Document(), one("spot", "sum(camera)", "values"), "alice")
    document = added(
        document, "bob", "{values: {signal: spot / monitor}, results: {mean: mean_events(signal)}}"
    )
    before = lower(document).fingerprint("mean")
    assert lower(edits.remove_owner(document, "alice")).fingerprint("mean") == before
    with pytest.raises(GraphError, match="in use by bob"):
        edits.add(document, one("spot", "mean(camera)"), "alice", replacing=True)


def test_a_word_that_is_no_value_makes_nobody_an_owner() -> None:
    document = edits.add(Document(), one("interval", "count(x)"), "alice")
    document = edits.add(document, one("m", "mean_events(x, window=interval)"), "bob")
    assert document["interval"].owners == ("alice",)


def test_an_unrelated_edit_keeps_fingerprints_and_a_shared_part_runs_once() -> None:
    document = edits.add(Document(), one("a", "mean_events(sum(roi(camera, rows=1:3)))"), "alice")
    before = lower(document).fingerprint("a")
    document = edits.add(document, one("b", "last(sum(roi(camera, rows=1:3)))"), "bob")
    graph = lower(document)
    assert graph.fingerprint("a") == before
    assert graph.fingerprint("a/2") == graph.fingerprint("b/2")


def test_a_function_belongs_to_those_whose_definitions_call_it() -> None:
    halve, other = "functions: {f: 'def f(x): return x / 2'}\n", "functions: {f: 'def f(x): return x / 3'}\n"
    document = added(Document(), "alice", halve + "results: {a: mean_events(f(x))}")
    document = added(document, "bob", "results: {b: last(f(y))}")
    for replacing, said in (
        (True, "the function 'f' is in use by alice"),
        (False, "belongs to alice and bob"),
    ):
        with pytest.raises(GraphError, match=said):
            added(document, "bob", other + "results: {c: last(f(y))}", replacing=replacing)
    alone = edits.remove_owner(document, "alice")
    changed = added(alone, "bob", other + "results: {c: last(f(z))}", replacing=True)
    assert changed["b"].text == alone["b"].text
    assert not changed["b"].means(alone["b"])
    assert edits.remove_owner(changed, "bob").functions == {}


def test_a_definition_of_what_is_not_installed_any_more_stays_what_it_was() -> None:
    document = edits.add(Document(), one("a", "mean_events(sum(x))"), "alice")
    known = document["a"]
    gone = replace(known, text="mean_events(sharpness(x))", parts=(
        replace(known.parts[0], kind="sharpness"), known.parts[1],
    ))  # fmt: skip
    document = Document(definitions={"a": gone})
    document = restore(write(document), lower(document).to_plain())
    document = edits.add(document, one("b", "count(x)"), "bob")
    graph = lower(document)
    assert (graph["a/1"].kind, graph.reduced) == ("sharpness", {"a", "b"})
    assert list(edits.remove(document, ("a",)).definitions) == ["b"]
    with pytest.raises(GraphError, match="there is no operation 'sharpness'"):
        parse("results: {c: last(sharpness(x))}")


def test_what_is_no_document_is_refused() -> None:
    graph = lower(Document()).to_plain()
    for text, made in ((None, graph), ("values: 3", graph), ("", None), ("", {"format": 1})):
        with pytest.raises(GraphError):
            restore(text, made)  # type: ignore[arg-type]  # what may be in a store


class Content(NamedTuple):
    """What one request has: text and whether it is a result by name, and code by name."""

    definitions: dict[str, tuple[str, bool]]
    functions: dict[str, str]


# --- several owners, any edits: nobody's definition is lost or changed by another's

names = st.sampled_from(["a", "b", "on", "a/1", "x y"])
contents = st.builds(
    Content,
    st.dictionaries(names, st.tuples(texts, st.booleans()), min_size=1, max_size=3),
    st.fixed_dictionaries({}, optional={n: st.sampled_from(bodies) for n, bodies in FUNCTIONS.items()}),
)


def _new(content: Content, document: Document) -> Document:
    """Return what somebody sends: definitions, and functions with one body or the other, or none."""
    parts = {"functions": content.functions}
    for section, result in (("values", False), ("results", True)):
        parts[section] = {name: text for name, (text, r) in content.definitions.items() if r == result}
    return parse(dump({name: part for name, part in parts.items() if part}), document.functions)


def _step(document: Document, kind: str, owner: str, content: Content) -> Document:
    some = tuple(content.definitions)
    acts: dict[str, Callable[[], Document]] = {
        "add": lambda: edits.add(document, _new(content, document), owner),
        "replace": lambda: edits.add(document, _new(content, document), owner, replacing=True),
        "set": lambda: edits.put(document, _new(content, Document()), owner),
        "remove": lambda: edits.remove(document, some),
        "remove-mine": lambda: edits.remove_owner(document, owner),
        "reset": lambda: edits.reset(document, some),
    }
    changed = acts[kind]()
    lower(changed)  # the manager refuses what has no graph
    refuse_losses(find_losses(document, changed, owner))
    return changed


kinds = st.sampled_from(["add", "add", "replace", "replace", "set", "remove", "remove-mine", "reset"])
edits_drawn = st.tuples(kinds, people, contents)


@given(documents(), st.lists(edits_drawn, max_size=8))
@settings(deadline=None, max_examples=150)
def test_nobodys_definition_is_lost_or_changed_by_anothers_edit(
    begin: Document, steps: list[tuple[str, str, Content]]
) -> None:
    document = begin
    for kind, owner, content in steps:
        try:
            after = _step(document, kind, owner, content)
        except GraphError as error:
            assert str(error)
            continue
        for name, before in document.definitions.items():
            _holds(name, before, after, owner)
        for name in content.definitions if kind in ("add", "replace") else ():
            assert all(owner in after[needed].owners for needed in after.ancestry([name]))
        assert all(after.callers(function) for function in after.functions) or kind == "reset"
        assert parse(write(after)) == after
        document = after


def _holds(name: str, before: Definition, after: Document, owner: str) -> None:
    """What others own is there, to the letter, with the same owners but perhaps for the one who edited."""
    others = set(before.owners) - {owner}
    if others:
        now = after[name]
        assert (now.text, now.parts) == (before.text, before.parts)
        assert set(now.owners) - {owner} == others


# --- what was done is taken back


def _content(document: Document) -> Document:
    """Return a document without what taking back leaves as it is: the order, and how often it was reset."""
    return replace(document, definitions=dict(sorted(document.definitions.items())), resets={})


def _edited(document: Document, steps: list[tuple[str, str, Content]]) -> Iterator[Document]:
    """Yield the documents that edits make, without those that are refused or that no source suits."""
    for step in steps:
        with contextlib.suppress(GraphError):
            made = _step(document, *step)
            if lower(made).fields <= {"camera", "cam:stats.max"}:
                document = made
                yield document


@given(st.lists(edits_drawn, max_size=8))
@settings(deadline=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
def test_changes_that_are_taken_back_one_after_the_other_leave_what_was_there(
    steps: list[tuple[str, str, Content]],
) -> None:
    versions = [Document(), *_edited(Document(), steps)]
    now = versions[-1]
    for before, after in reversed(list(itertools.pairwise(versions))):
        now = edits.take_back(now, before, after)
        assert _content(now) == _content(before)
        assert not {*compare(now, before).to_plain()} - {"reset"}


@given(st.lists(edits_drawn, max_size=4), edits_drawn, st.lists(edits_drawn, max_size=4))
@settings(deadline=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
def test_what_others_did_since_a_change_is_there_when_it_is_taken_back(
    steps: list[tuple[str, str, Content]],
    first: tuple[str, str, Content],
    more: list[tuple[str, str, Content]],
) -> None:
    *_, before = Document(), *_edited(Document(), steps)
    who = first[1]
    for after in _edited(before, [first]):
        by_others = [(kind, owner if owner != who else "somebody", content) for kind, owner, content in more]
        *_, now = after, *_edited(after, by_others)
        try:
            left = edits.take_back(now, before, after)
            lower(left)
            refuse_losses(find_losses(now, left, who))
        except GraphError as error:
            assert str(error)
            continue
        for name, definition in now.definitions.items():
            _holds(name, definition, left, who)
        for name in left.definitions.keys() & after.definitions.keys() - before.definitions.keys():
            assert who not in left[name].owners
        assert all(left.callers(function) for function in left.functions)
        assert parse(write(left)) == left
