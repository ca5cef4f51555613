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
from ami.daemons.manager.requests import ACTIONS, Past
from ami.errors import ConfigError, GraphError
from ami.graph.language.changes import compare
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
        self.history: list[dict[str, Any]] = []
        self.told: dict[str, Any] = {}

    def version(self, number: int) -> Document:
        try:
            return self.versions[number]
        except KeyError:
            raise GraphError(f"version {number} is not kept any more") from None

    def __call__(self, action: str, client: str = "anna", **fields: Any) -> Document:
        asked = request(action, client, **fields)
        edit = requests.apply(asked, self.document, requests.Past(self.version, self.history))
        told = requests.describe(asked, self.document, edit)
        if told:  # as the manager: what changes nothing is no version
            back = {"takes_back": edit.takes_back["version"]} if edit.takes_back else {}
            version = edit.document.version
            self.history.append(
                {"version": version, "client": client, "action": action, "summary": "", **back}
            )
            self.document = self.versions[version] = edit.document
        self.told = told
        return self.document

    def fingerprint(self, name: str) -> str:
        return lower(self.document).fingerprint(name)


def test_each_accepted_request_is_the_next_version() -> None:
    ask = Manager()
    assert ask("add", text=one("shots", "count(x)")).version == 1
    assert ask("add", text=one("total", "sum_events(x)")).version == 2
    assert ask("remove", names=["shots"]).version == 3
    assert ask.document.results == ("total",)


def test_add_refuses_another_definition_of_a_name_and_says_whose_it_is_or_how_to_replace_it() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    for client, said in (
        ("anna", "is yours alone; --replace"),
        ("bert", "belongs to anna; choose another name"),
    ):
        with pytest.raises(GraphError, match=f"'shots' exists already as count.x. .*{said}"):
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
    with pytest.raises(GraphError, match="^anna would lose shots: .* --force"):
        ask("set", "bert", text=one("total", "sum_events( x )"))
    assert ask("set", "bert", text=one("total", "sum_events( x )"), force=True).results == ("total",)
    assert ask.told["lost"] == {"anna": ["shots"]}
    assert ask.fingerprint("total") == fingerprint
    assert (ask.document["total"].owners, ask.document["total"].text) == (("anna", "bert"), "sum_events(x)")


def test_what_the_node_put_there_by_itself_is_nobodys_loss() -> None:
    ask = Manager()
    ask("set", "node@vm", text="results: {look: count(x)}")
    assert ask("set", text=one("shots", "count(x)")).results == ("shots",)
    assert "lost" not in ask.told


def test_what_belongs_to_others_too_is_removed_by_force_only() -> None:
    ask = Manager()
    for client in ("anna", "bert", "carl"):
        ask("add", client, text=one("shots", "count(x)"))
    with pytest.raises(GraphError, match="bert would lose shots; carl would lose shots: .*force=True"):
        ask("remove", names=["shots"])
    assert ask("remove-mine")["shots"].owners == ("bert", "carl")
    assert ask("remove-mine", "bert")["shots"].owners == ("carl",)
    assert ask("remove", names=["shots"], force=True).definitions == {}
    assert ask.told == {"removed": ["shots"], "lost": {"carl": ["shots"]}}
    for force in (1, "yes", None, []):
        with pytest.raises(GraphError, match="force must be true or false"):
            ask("add", text=one("shots", "count(x)"), force=force)


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


def test_undo_takes_back_my_last_change_then_the_one_before_and_never_anothers() -> None:
    ask = Manager()
    for name in ("a", "b"):
        ask("add", text=one(name, f"count(x + {len(name)})"))
        ask("add", "bert", text=one(f"of_bert_{name}", "sum_events(x)"))
    assert set(ask("undo").results) == {"a", "of_bert_a", "of_bert_b"}
    assert ask.told["takes_back"]["version"] == 3
    assert ask.told["removed"] == ["b"]
    assert set(ask("undo").results) == {"of_bert_a", "of_bert_b"}
    for client in ("anna", "carl"):
        with pytest.raises(GraphError, match=f"nothing to undo: no change by {client} is left"):
            ask("undo", client)
    assert set(ask("undo", "bert").results) == {"of_bert_a"}


def test_an_undo_is_taken_back_by_its_version_and_then_the_change_can_be_undone_again() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    ask("undo")
    assert ask("undo", version=2).results == ("shots",)
    for version, said in ((2, "taken back already"), (9, "no version 9"), ("1", "no version '1'")):
        with pytest.raises(GraphError, match=said):
            ask("undo", version=version)
    with pytest.raises(GraphError, match="version 1 is a change by anna"):
        ask("undo", "bert", version=1)
    assert ask("undo").results == ()


def test_what_somebody_built_on_stays_his_when_it_is_taken_back() -> None:
    ask = Manager()
    ask("add", text="values: {spot: 2 * x}")
    ask("add", "bert", text=one("mean", "mean_events(spot)"))
    document = ask("undo")
    assert (document["spot"].owners, document["mean"].owners) == (("bert",), ("bert",))
    assert ask.told["shared"] == ["spot"]
    ask("undo", "bert")
    assert ask.document.definitions == {}


def test_a_change_on_which_somebody_built_is_taken_back_by_force_only() -> None:
    ask = Manager()
    ask("add", text="values: {spot: 2 * x}")
    ask("replace", text="values: {spot: 3 * x}")
    ask("add", "bert", text=one("mean", "mean_events(spot)"))
    with pytest.raises(GraphError, match="bert would begin anew with spot"):
        ask("undo")
    assert ask("undo", force=True)["spot"].text == "2 * x"
    assert ask.document["spot"].owners == ("anna", "bert")


def test_what_was_changed_again_since_is_not_taken_back_under_it() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    ask("replace", text=one("shots", "count(x + 1)"))
    with pytest.raises(GraphError, match=r"'shots' was changed again since, it is count\(x \+ 1\) now"):
        ask("undo", version=1)
    ask("remove", names=["shots"])
    with pytest.raises(GraphError, match="'shots' is not there any more"):
        ask("undo", version=2)
    ask("add", "bert", text=one("shots", "sum_events(x)"))
    with pytest.raises(GraphError, match=r"'shots' was changed again since, it is sum_events\(x\) now"):
        ask("undo")


def test_a_removal_by_force_is_taken_back_with_the_owners() -> None:
    ask = Manager()
    ask("add", "bert", text="{values: {spot: 2 * x}, results: {mean: mean_events(spot)}}")
    before = ask.document
    ask("set", text=one("shots", "count(x)"), force=True)
    ask("add", "carl", text=one("of_carl", "count(x)"))
    after = ask("undo")
    assert {n: d for n, d in after.definitions.items() if n != "of_carl"} == before.definitions


def test_a_reset_cannot_be_taken_back_and_the_reason_says_how_to_go_on() -> None:
    ask = Manager()
    ask("add", text=one("shots", "count(x)"))
    ask("reset")
    with pytest.raises(GraphError, match="change 2 was a reset: .* `ami graph undo 1` goes on"):
        ask("undo")
    assert ask("undo", version=1).definitions == {}


def test_a_change_of_which_nothing_is_left_is_passed_over() -> None:
    ask = Manager()
    ask("add", text=one("a", "count(x)"))
    ask("add", text=one("b", "sum_events(x)"))
    ask("remove", "bert", names=["b"], force=True)
    assert ask("undo").definitions == {}


def test_a_changed_function_is_taken_back_with_all_that_call_it() -> None:
    ask = Manager()
    ask("add", text=FUNCTION)
    before = ask.fingerprint("doubled")
    ask("replace", text=FUNCTION.replace("2 * x", "4 * x"))
    assert ask.fingerprint("doubled") != before
    ask("add", "bert", text="results: {last_one: last(twice(x))}")
    with pytest.raises(GraphError, match="bert would begin anew with last_one"):
        ask("undo")
    ask("undo", force=True)
    assert ask.fingerprint("doubled") == before
    assert "2 * x" in dict(ask.document.functions["twice"])["code"]  # type: ignore[operator]


def test_an_edit_that_changes_nothing_is_no_version() -> None:
    ask = Manager()
    text = "{values: {double: 2 * x}, results: {total: sum_events(double)}}"
    ask("set", text=text)
    for action, fields in (("set", {"text": text}), ("add", {"text": text}), ("rollback", {"version": 1})):
        assert ask(action, **fields).version == 1
        assert ask.told == {}
    assert ask("remove-mine", "bert").version == 1


def test_an_answer_says_what_is_published_and_what_is_only_a_value() -> None:
    ask = Manager()
    ask("add", text="{values: {double: 2 * x}, results: {total: sum_events(double)}}")
    assert ask.told == {"added": ["double", "total"], "published": ["total"], "values": ["double"]}
    ask("add", "bert", text=one("total", "sum_events( double )"))
    assert ask.told == {"shared": ["double", "total"]}
    ask("replace", "carl", text="values: {four: 2 * double}")
    ask("add", "carl", text=one("level", "mean_events(four)"))
    assert ask.told == {"added": ["level"], "published": ["level"]}


def test_rollback_gives_an_earlier_graph_a_new_number() -> None:
    ask = Manager()
    for number in range(3):
        ask("add", text=one(f"n{number}", f"count(x + {number})"))
    assert ask("rollback", version=1).results == ("n0",)
    assert ask.document.version == 4
    with pytest.raises(GraphError, match="anna would lose n0"):
        ask("rollback", "bert", version=0)
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
    ask("add", "bert", text=one("level", "mean_events(x)"))
    for names in ([], ["level"]):
        with pytest.raises(GraphError, match="bert would begin anew with level"):
            ask("reset", names=names)
    assert ask("reset", force=True).resets["level"] == 1
    assert ask.told["lost"] == {"bert": ["level"]}
    assert ask("rollback", version=2, force=True).resets["shots"] == 2  # and begins not anew for it


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


def test_a_deadline_goes_by_the_clock_of_the_store_whatever_this_machine_has() -> None:
    """A client takes the store's time and adds how long it waits; clocks of machines may be hours apart."""
    store_ns = 10**18
    request = Request.from_plain({"id": "a", "client": "ann", "action": "undo", "deadline_ns": store_ns + 1})
    for now_ns, reason in ((store_ns, "undo"), (store_ns + 2, "nobody waits")):
        with pytest.raises(GraphError, match=reason):
            requests.apply(request, Document(), Past(lambda _: Document()), now_ns)


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


def test_code_is_taken_of_accounts_that_are_named() -> None:
    security = SecurityConfig(user_code="signed", code_from=("ann",))
    requests.check_code(request("add", client="ann"), ("f",), security)
    requests.check_code(request("add", client="bob"), (), security)
    with pytest.raises(GraphError, match="f: code of bob is not taken here, only of ann"):
        requests.check_code(request("add", client="bob"), ("f",), security)
    with pytest.raises(ConfigError):
        SecurityConfig(user_code="signed")


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
    assert compare(before, after).summary == "+d, -c, ~b"
    assert compare(after, ask("reset", names=["a"])).summary == "reset a"
    many = ask("set", text="results: {" + ", ".join(f"n{i}: count(x + {i})" for i in range(20)) + "}")
    assert compare(Document(), many).summary.endswith(", +n7 and 12 more")


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
HISTORY = [{"version": 1, "client": "anna", "action": "add", "summary": "+a"}]
FIELDS = [
    "id",
    "force",
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
        edit = requests.apply(
            asked, RUNNING, Past(lambda version: replace(RUNNING, version=version), HISTORY)
        )
    except GraphError as error:
        assert str(error)
        return
    assert edit.document.version == RUNNING.version + 1
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
        requests.apply(Request.from_plain(plain), Document(), Past(lambda _: Document()))


def test_a_name_that_fills_a_history_is_refused() -> None:
    for field in ("id", "client"):
        with pytest.raises(GraphError, match="at most"):
            Request.from_plain({"id": "1", "client": "anna", "action": "add", field: "x" * 1000})
