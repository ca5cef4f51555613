"""Edits that become one version do what they would have done apart, then and when taken back."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ami.daemons.manager.draft import MOST_TOUCHED, Draft, list_touched
from ami.daemons.manager.requests import Past
from ami.errors import GraphError
from ami.graph.language.document import Document
from ami.messages.request import NEVER_NS, Request

NAMES = ("a", "b")
CLIENTS = ("anna", "bert", "carl")
TEXTS = ("count(x)", "sum_events(x)", "mean_events(x + a)", "2 * x")
Edits = list[tuple[str, str, dict[str, Any]]]

_added = st.builds(
    lambda name, text, is_result: {"text": f"{'results' if is_result else 'values'}: {{{name}: '{text}'}}"},
    st.sampled_from(NAMES),
    st.sampled_from(TEXTS),
    st.booleans(),
)
_named = st.fixed_dictionaries(
    {"names": st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)}
)
_forced = st.builds(lambda fields, force: {**fields, "force": force}, _named, st.booleans())
_edit = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(CLIENTS), _added),
    st.tuples(st.just("add"), st.sampled_from(CLIENTS), _added),
    st.tuples(st.just("replace"), st.sampled_from(CLIENTS), _added),
    st.tuples(st.just("remove"), st.sampled_from(CLIENTS), _forced),
    st.tuples(st.just("reset"), st.sampled_from(CLIENTS), _forced),
    st.tuples(st.sampled_from(["undo", "remove-mine"]), st.sampled_from(CLIENTS), st.just({})),
)


class Manager:
    """Carries out edits, at most so many in a version."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._documents = {0: Document()}
        self._history: list[dict[str, Any]] = []
        self._draft = Draft(Document())
        self._ids = map(str, itertools.count())
        self.told: list[Any] = []
        self.sizes: Counter[int] = Counter()

    def carry_out(self, edits: Edits) -> Document:
        for action, client, fields in edits:
            request = Request(next(self._ids), client, action, None, NEVER_NS, fields)
            if not self._try(request):
                self.publish()
                assert self._try(request)
            if len(self._draft.members) == self._most:
                self.publish()
        self.publish()
        return self._draft.document

    def _try(self, request: Request) -> bool:
        draft = self._draft
        try:
            edit = draft.apply(request, Past(self._documents.__getitem__, self._history), 0)
        except GraphError as error:
            if request.action == "undo" and draft.members:
                return False  # what it means to undo may be in hand
            self.told.append(str(error))
            return True
        if not draft.join(request, edit, list_touched(draft.document, edit.document, request.client)):
            return False
        told = {**draft.members[-1].changes}
        told.pop("takes_back", None)  # has numbers of versions
        self.told.append(told)
        return True

    def publish(self) -> None:
        made = [member for member in self._draft.members if member.changes]
        if made:
            self.sizes[len(made)] += 1
            document = self._draft.document
            self._history += [
                {
                    "version": document.version,
                    "client": member.request.client,
                    "action": member.request.action,
                    "summary": member.summary,
                    **({} if member.takes_back is None else {"takes_back": member.takes_back}),
                    **self._draft.tell_parts(member),
                }
                for member in made
            ]
            self._documents[document.version] = document
        self._draft = Draft(self._documents[max(self._documents)])


def _add(client: str, text: str, action: str = "add") -> tuple[str, str, dict[str, Any]]:
    return action, client, {"text": text}


ONE, OTHER = (f"results: {{a: {text}}}" for text in TEXTS[:2])
FIRST, AGAIN = [_add("anna", ONE)], _add("anna", OTHER, "replace")
REMOVED = ("remove", "bert", {"names": ["a"], "force": True})
# What was reset goes and comes anew, while carl gets a part of something else.
BEGUN_ANEW = [
    _add("bert", "values: {b: 'count(x)'}"),
    ("reset", "anna", {"names": ["b"], "force": True}),
    ("undo", "bert", {}),
    *(_add(client, "values: {a: 'count(x)'}") for client in ("anna", "carl", "anna")),
    _add("anna", "values: {b: 'count(x)'}"),
    ("undo", "carl", {}),
]
UNDONE = [[("undo", client, {}) for client in clients] for clients in (["bert"], ["anna"], ["anna", "bert"])]


# What a version has of two who met at one definition: who changed it, who took a part in it, who removed it.
@example([*FIRST, AGAIN, _add("bert", OTHER), *UNDONE[0]])
@example([*FIRST, AGAIN, _add("bert", OTHER), *UNDONE[1]])
@example([*FIRST, _add("bert", ONE), *UNDONE[2]])
@example([*FIRST, AGAIN, REMOVED, *UNDONE[1]])
@example([*FIRST, AGAIN, REMOVED, *UNDONE[0]])
@example([*FIRST, _add("bert", ONE), _add("carl", ONE), ("remove-mine", "anna", {}), *UNDONE[2]])
@example(BEGUN_ANEW)
@settings(max_examples=300)
@given(st.lists(_edit, min_size=2, max_size=14))
def test_what_comes_of_edits_does_not_show_how_many_were_one_version(edits: Edits) -> None:
    apart, together = Manager(1), Manager(100)
    one, other = (replace(manager.carry_out(edits), version=0) for manager in (apart, together))
    says = [[_without_order(told) for told in manager.told] for manager in (apart, together)]
    assert says[0] == says[1]
    assert dict(one.definitions) == dict(other.definitions)
    assert all(one[name].means(other[name]) for name in one.definitions)
    assert (one.functions, one.resets) == (other.functions, other.resets)


def _without_order(told: Any) -> Any:
    """Return what a client is told without numbers of versions, and names as sets: of who came first."""
    if isinstance(told, str):
        return "".join(c for c in told if not c.isdigit())
    return {what: sorted(names) if isinstance(names, list) else names for what, names in told.items()}


def test_a_hundred_who_share_what_they_use_are_one_version_and_each_takes_back_his_own() -> None:
    manager = Manager(1000)
    clients = [f"client{n}" for n in range(100)]
    both = "{{values: {{part: 2 * x}}, results: {{mean_{}: mean_events(part)}}}}"
    document = manager.carry_out([_add(client, both.format(client)) for client in clients])
    assert manager.sizes == {100: 1}
    assert document["part"].owners == tuple(sorted(clients))
    left = manager.carry_out([("undo", client, {}) for client in clients[1:]])
    assert {name: d.owners for name, d in left.definitions.items()} == {
        "part": ("client0",),
        "mean_client0": ("client0",),
    }
    assert manager.carry_out([("undo", "client0", {})]).definitions == {}


def test_who_touches_much_or_expects_a_version_or_brings_functions_has_a_version_alone() -> None:
    many = ", ".join(f"m{n}: count(x + {n})" for n in range(MOST_TOUCHED + 1))
    function = "{functions: {f: 'def f(x): return x'}, results: {g: sum_events(f(x))}}"
    manager = Manager(1000)
    edits = [_add("a", "results: {a: count(x)}"), _add("b", f"results: {{{many}}}"), _add("c", function)]
    manager.carry_out([*edits, _add("d", "results: {d: count(x)}"), _add("e", "results: {e: count(x)}")])
    assert manager.sizes == {1: 3, 2: 1}
