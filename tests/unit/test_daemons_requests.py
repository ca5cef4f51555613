"""What a request makes of the graph; requests are plain data from anybody, and none is a bug."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ami.config import SecurityConfig
from ami.daemons.manager import requests
from ami.daemons.manager.requests import ACTIONS
from ami.errors import GraphError
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import parse
from ami.messages.request import MAX_TEXT_BYTES, Request
from ami.security import sign
from tests.daemons_rig import TEXT

RUNNING = replace(parse(TEXT), version=1)
FUNCTION = """
functions:
  twice: |
    def twice(x):
        return 2 * x
results:
  doubled: sum_events(twice(x))
"""


def request(action: str, client: str = "anna", **fields: Any) -> Request:
    return Request.from_plain({"id": "1", "client": client, "action": action, **fields})


def one(name: str, definition: str) -> str:
    return f"results: {{{name}: '{definition}'}}"


class Manager:
    """Applies requests one after the other, as the manager does."""

    def __init__(self) -> None:
        self.document = Document()
        self.versions = {0: self.document}

    def version(self, number: int) -> Document:
        try:
            return self.versions[number]
        except KeyError:
            raise GraphError(f"version {number} is not kept any more") from None

    def __call__(self, action: str, client: str = "anna", **fields: Any) -> Document:
        self.document = requests.apply(request(action, client, **fields), self.document, self.version)
        self.versions[self.document.version] = self.document
        return self.document

    def fingerprint(self, name: str) -> str:
        return lower(self.document).fingerprint(name)


def test_each_accepted_request_is_the_next_version() -> None:
    ask = Manager()
    assert ask("add", text=one("shots", "count(x)")).version == 1
    assert ask("add", text=one("total", "sum_events(x)")).version == 2
    assert ask("remove", names=["shots"]).version == 3
    assert ask.document.results == ("total",)


def test_add_refuses_another_definition_of_a_name_and_says_whose_it_is() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    for client in ("anna", "bert"):
        with pytest.raises(GraphError, match="'shots' exists already .* belongs to anna"):
            ask("add", client, text=one("shots", "sum_events(x)"))
    assert ask("add", "bert", text=one("shots", "count(x)"))["shots"].owners == ("anna", "bert")


def test_replace_changes_what_is_mine_and_refuses_what_others_use() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    assert ask("replace", text=one("shots", "sum_events(x)"))["shots"].text == "sum_events(x)"
    ask("add", "bert", text=one("shots", "sum_events(x)"))
    with pytest.raises(GraphError, match="in use by bert"):
        ask("replace", text=one("shots", "count(x)"))


def test_set_is_the_whole_graph_and_keeps_the_resets_of_what_stays() -> None:
    ask = Manager()
    ask("set", text="results: {shots: count(x), total: sum_events(x)}")
    ask("reset", names=["total"])
    fingerprint = ask.fingerprint("total")
    assert ask("set", "bert", text=one("total", "sum_events(x)")).results == ("total",)
    assert ask.fingerprint("total") == fingerprint
    assert ask.document["total"].owners == ("bert",)


def test_what_belongs_to_others_too_is_not_removed() -> None:
    ask = Manager()
    for client in ("anna", "bert"):
        ask("add", client, text=one("shots", "count(x)"))
    with pytest.raises(GraphError, match="'shots' belongs to bert too"):
        ask("remove", names=["shots"])
    assert ask("remove-mine")["shots"].owners == ("bert",)
    assert ask("remove-mine", "bert").definitions == {}


def test_an_operation_and_what_it_needs_are_removed_in_one_request_in_either_order() -> None:
    for names in (["double", "total"], ["total", "double"]):
        ask = Manager()
        ask("add", text="{values: {double: 2 * x}, results: {total: sum_events(double)}}")
        assert ask("remove", names=names).definitions == {}
    ask("undo")
    with pytest.raises(GraphError, match="'double' is needed by total"):
        ask("remove", names=["double"])


@pytest.mark.parametrize("names", [["nothing"], ["shots", "shots"], [], [""], "shots", [1], {"shots": 1}])
def test_names_that_cannot_be_removed_are_refused_as_such(names: Any) -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    with pytest.raises(GraphError):
        ask("remove", names=names)


def test_undo_takes_the_last_edit_back_and_undo_of_that_takes_it_forth() -> None:
    ask = Manager()
    with pytest.raises(GraphError, match="nothing to undo"):
        ask("undo")
    ask("add", text=one("shots", "count(x)"))
    ask("add", text=one("total", "sum_events(x)"))
    assert ask("undo").results == ("shots",)
    assert ask.document.version == 3
    assert set(ask("undo").results) == {"shots", "total"}


def test_rollback_gives_an_earlier_graph_a_new_number() -> None:
    ask = Manager()
    for number in range(3):
        ask("add", text=one(f"n{number}", f"count(x + {number})"))
    assert ask("rollback", version=1).results == ("n0",)
    assert ask.document.version == 4
    assert ask("rollback", version=0).definitions == {}
    for version in (-1, 6, None, "1", 1.0, [1]):
        with pytest.raises(GraphError, match="between 0 and 5"):
            ask("rollback", version=version)
    del ask.versions[2]
    with pytest.raises(GraphError, match="not kept"):
        ask("rollback", version=2)


def test_reset_starts_the_named_results_anew_and_no_others() -> None:
    ask = Manager()
    ask("set", text="results: {shots: count(x), total: sum_events(x)}")
    before = {name: ask.fingerprint(name) for name in ("shots", "total")}
    ask("reset", names=["total"])
    assert ask.fingerprint("shots") == before["shots"]
    assert ask.fingerprint("total") != before["total"]
    ask("reset")
    assert ask.fingerprint("shots") != before["shots"]
    with pytest.raises(GraphError, match="nothing"):
        ask("reset", names=["nothing"])


def test_an_edit_of_an_older_version_is_denied_so_that_no_edit_is_lost() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"), expected_version=0)
    with pytest.raises(GraphError, match="you edited version 0, but the graph is at version 1"):
        ask("add", "bert", text=one("total", "sum_events(x)"), expected_version=0)
    assert ask("add", "bert", text=one("total", "sum_events(x)"), expected_version=1).version == 2


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    ask = Manager()
    now = time.time_ns()
    with pytest.raises(GraphError, match="nobody waits"):
        ask("add", text=one("shots", "count(x)"), deadline_ns=now - 1)
    ask("add", text=one("shots", "count(x)"), deadline_ns=now + 10**12)


def test_an_unknown_action_names_the_known_ones() -> None:
    with pytest.raises(GraphError, match=f"unknown action 'destroy'; known: {', '.join(sorted(ACTIONS))}"):
        Manager()("destroy")


def test_new_code_is_what_the_graph_before_did_not_have() -> None:
    ask = Manager()
    before = ask.document
    ask("add", text=FUNCTION)
    assert requests.new_code(ask.document, before)
    assert requests.new_code(ask.document, ask.document) == ()
    with_more = ask("add", text=one("shots", "count(x)"))
    assert requests.new_code(with_more, ask.versions[1]) == ()


def test_the_policies_for_user_code(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sixteen bytes, at the least")
    signed = SecurityConfig(secret_file=str(secret), user_code="signed")
    plain = {"id": "1", "client": "anna", "action": "add", "text": FUNCTION}
    unsigned, good = Request.from_plain(plain), Request.from_plain(sign(plain, signed))
    names = ("doubled",)
    requests.check_code(unsigned, names, SecurityConfig())
    requests.check_code(good, names, signed)
    requests.check_code(unsigned, (), signed)  # no code in it
    with pytest.raises(GraphError, match="not signed"):
        requests.check_code(unsigned, names, signed)
    with pytest.raises(GraphError, match=r"doubled: user code, and security\.user_code is 'refused'"):
        requests.check_code(good, names, SecurityConfig(secret_file=str(secret), user_code="refused"))
    requests.check_code(unsigned, (), SecurityConfig(user_code="refused"))


def test_the_summary_says_what_came_went_changed_and_was_reset() -> None:
    ask = Manager()
    before = ask("set", text="results: {a: count(x), b: sum_events(x), c: count(x + 1)}")
    after = ask("set", text="results: {a: count(x), b: sum_events(x * 2), d: count(x + 3)}")
    assert requests.summary(before, after) == "+d, -c, ~b"
    assert requests.summary(after, ask("reset", names=["a"])) == "reset a"
    many = ask("set", text="results: {" + ", ".join(f"n{i}: count(x + {i})" for i in range(20)) + "}")
    assert requests.summary(Document(), many).endswith(", +n7 and 12 more")


def test_without_a_source_there_is_no_schema_and_the_reason_says_so() -> None:
    with pytest.raises(GraphError, match="no source has told its fields yet"):
        requests.schema_of(None)


# --- anybody may put anything into the queue

ODD_TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(
    [
        "",
        "add",
        "set",
        "anna",
        "\ud800",
        "results: {a: count(x)}",
        "x" * 100,
        "results: [",
        "!!python/object:os.system",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXT, inner, max_size=4),
    max_leaves=10,
)
FIELDS = [
    "id",
    "client",
    "action",
    "text",
    "names",
    "version",
    "expected_version",
    "deadline_ns",
    "signature",
]
REQUESTS = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON).flatmap(
    lambda fields: st.builds(
        lambda action: {"id": "1", "client": "anna", "action": action, **fields},
        st.sampled_from(sorted(ACTIONS)),
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain=REQUESTS)
def test_whatever_is_in_the_queue_gives_a_graph_or_a_reason(plain: Any) -> None:
    try:
        asked = Request.from_plain(plain)
        document = requests.apply(asked, RUNNING, lambda version: replace(RUNNING, version=version))
    except GraphError as error:
        assert str(error)
        return
    assert document.version == RUNNING.version + 1
    # What the manager writes of it must be writable: as a key, and in the history.
    for text in (asked.id, asked.client, asked.action):
        text.encode()


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(GraphError, match="at most 1048576"):
        Manager()("add", text="#" * (MAX_TEXT_BYTES + 1))


@pytest.mark.parametrize("field", ["id", "client", "action", "text"])
def test_text_that_no_key_and_no_file_can_hold_is_refused(field: str) -> None:
    plain = {"id": "1", "client": "anna", "action": "add", "text": one("a", "count(x)"), field: "\ud800"}
    with pytest.raises(GraphError, match=f"{field!r} has half of a character"):
        requests.apply(Request.from_plain(plain), Document(), lambda _: Document())


def test_a_name_that_fills_a_history_is_refused() -> None:
    for field in ("id", "client"):
        with pytest.raises(GraphError, match="at most"):
            Request.from_plain({"id": "1", "client": "anna", "action": "add", field: "x" * 1000})
