"""Every route is in the OpenAPI document, answers as it says, and lets nobody in who may not."""

from __future__ import annotations

import io
import itertools
import json
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from starlette.routing import Route

from ami.errors import AmiError, GraphError, StoreUnavailable
from ami.graph.language.document import Document
from ami.result import Events, Result
from ami.values import Label, Scan
from tests.openapi import answer_faults
from tests.web_rig import Page, page, viewer

RNG = np.random.default_rng(8)
STACK = RNG.normal(size=(3, 5, 4))
RESULTS = {
    "image": Result(name="image", value=RNG.normal(size=(6, 7)), interval=41, run=2, label=Label("counts")),
    "total": Result(name="total", value=3.5, interval=41, nodes=("n1",)),
    "scan": Result(
        name="scan", value=Scan(np.array([-1.5, 0, 9]), np.array([4, 5, 6]), STACK, STACK / 10), interval=7,
        label=Label("mJ", (("delay", "ps"),)), graph_version=3,
        events=Events(expected=20, used=15, dropped=5),
    ),
    "none": Result(name="none", error="ValueError: <script>alert(1)</script>"),
}  # fmt: skip


class Known:
    """Stands for a client that knows these results; ``fails`` is what it raises instead, once."""

    fails: Exception | None = None
    dry_run = False

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None: ...

    def catalogue(self) -> dict[str, Any]:
        if self.fails is not None:
            raise self.fails
        return {name: {"owners": ["anna"]} for name in RESULTS}

    def results(self) -> dict[str, Result]:
        return RESULTS

    def get(self, name: str, *, wait_s: float = 0.0) -> Result:
        if name not in RESULTS:
            raise AmiError(f"there is no {name!r} ({wait_s})")
        return RESULTS[name]

    def history(self, name: str, limit: int) -> list[dict[str, Any]]:
        self.get(name)
        return [{"interval": 4, "time_ns": 5, "value": None, "used": 3}][:limit]

    def document(self, _version: int | None = None) -> Document:
        return Document()

    def graph_history(self) -> list[dict[str, Any]]:
        return [{"version": 1, "time_ns": 5, "client": "anna", "action": "add", "summary": "", "hash": "1"}]

    def status(self) -> Any:
        one = {"name": "h:worker:0", "state": "running", "alive": True, "age_s": None}
        status = {"cluster": "c", "well": True, "problems": [], "warnings": ["late"], "processes": [one]}
        return SimpleNamespace(to_plain=lambda: status)

    def meter(self) -> Any:
        lists = ("problems", "warnings", "processes", "operations", "owners", "results")
        load = {"cluster": "c", "graph_version": 3} | {name: [] for name in lists}
        return SimpleNamespace(look=lambda: SimpleNamespace(to_plain=lambda: load))

    def schema(self) -> None:
        return None

    def request(self, _action: str, **_fields: Any) -> dict[str, Any]:
        return {"version": 3}


@pytest.fixture(scope="module")
def client() -> Known:
    return Known()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, client: Known) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("page"), client) as found:
        yield found


@pytest.fixture(scope="module")
def document(served: Page) -> dict[str, Any]:
    return served.ask("/openapi.json")[1]


def operations(served: Page) -> list[tuple[str, str]]:
    """Return path and method of all that the application answers over HTTP."""
    routes = [route for route in served.app.routes if isinstance(route, Route)]
    return [
        (route.path, method) for route in routes for method in sorted(route.methods or ()) if method != "HEAD"
    ]


def ask_for(path: str, method: str) -> Iterator[tuple[str, bytes | None]]:
    """Yield places of a path, of names that there are, that there are not, that nobody gives; and bodies."""
    names = [*RESULTS, "absent", "%3Cscript%3E", "%C3%BC", "..", "x" * 2000]
    if method != "GET":  # edits come at a bounded rate
        bodies = [b"[]", b"\xff", b'{"action": "undo", "name": "anna"}', b'{"action": "undo", "name": 3}']
        yield from ((path.replace("{name}", "absent"), body) for body in bodies)
        return
    queries = ("", "?row=1&column=2", "?row=1e9&column=x", "?row=1&column=1&key=8&part=errors", "?wait_s=nan")
    for name in names if "{name}" in path else [""]:
        yield from ((path.replace("{name}", name) + query, None) for query in queries)


def test_each_route_is_described_and_no_other(served: Page, document: dict[str, Any]) -> None:
    described = [(path, method.upper()) for path, methods in document["paths"].items() for method in methods]
    assert sorted(described) == sorted(operations(served))
    for path, method in described:
        operation = document["paths"][path][method.lower()]
        assert operation["description"]
        in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert in_path == ({"name"} if "{name}" in path else set())
    assert "edits" in document["info"]["description"].lower()


def test_each_answer_is_as_it_is_described(served: Page, document: dict[str, Any]) -> None:
    right = {"Authorization": f"Bearer {served.token}"}
    seen = set()
    for path, method in operations(served):
        for place, body in ask_for(path, method):
            status, said, _ = served.ask(place, body, method, **right)
            assert status < 500, (method, place, said)
            assert not answer_faults(document, path, method, status, said)
            seen.add((path, method, status))
    assert {(path, method) for path, method, status in seen if status == 200} >= {
        one for one in operations(served) if "layouts/" not in one[0]
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("no store"), 503), (GraphError("no"), 409), (AmiError("none"), 404)],
)
def test_what_fails_is_refused_as_described(
    served: Page, document: dict[str, Any], client: Known, error: Exception, status: int
) -> None:
    client.fails = error
    try:
        found, said, _ = served.ask("/api/results")
    finally:
        client.fails = None
    assert found == status
    assert said == {"error": str(error)}
    assert not answer_faults(document, "/api/results", "GET", status, said)


def test_no_route_lets_anybody_in_who_may_not(served: Page) -> None:
    """Drawn from the table of routes: one that is added later is in it."""
    foreign = [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
    no_token: list[dict[str, str]] = [{}, {"Authorization": "Bearer x"}, {"Cookie": f"token={served.token}"}]
    for (path, method), headers in itertools.product(operations(served), [*foreign, *no_token]):
        place = path.replace("{name}", "image")
        is_foreign = headers in foreign
        status, said, _ = served.ask(place, None if method == "GET" else b"{}", method, **headers)
        if is_foreign or method != "GET":
            assert status == (403 if is_foreign else 401), (method, path, headers)
            assert said["error"]
        else:
            assert status in (200, 400, 404)
    # What the routes do not have is not there, whatever the method is.
    right = {"Authorization": f"Bearer {served.token}"}
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "POST"):
        assert served.ask("/api/status", b"{}", method, **right)[0] == 405


def test_metrics_count_whom_the_doors_refuse_to_the_last_one(served: Page) -> None:
    def count() -> int:
        lines = dict(line.rsplit(" ", 1) for line in served.ask("/metrics")[1]["text"].splitlines())
        return int(lines.get('ami_web_refused_total{status="403"}', 0))

    before = count()
    for _ in range(3):
        assert served.ask("/api/status", Host="evil")[0] == 403
    assert count() == before + 3


@pytest.mark.parametrize("key", [-9, -1.5, -0.7, 0, 4.4, 4.6, 1e30])
@pytest.mark.parametrize("part", ["means", "errors", ""])
def test_a_pixel_is_the_one_of_the_key_that_is_nearest(served: Page, key: float, part: str) -> None:
    place = f"/api/results/scan/pixel?row=4&column=3&key={key:f}&part={part}&interval=7"
    value = STACK / 10 if part == "errors" else STACK
    nearest = int(np.argmin(np.abs(np.array([-1.5, 0, 9]) - key)))
    wanted = {"value": value[nearest, 4, 3], "unit": "mJ", "run": 0, "interval": 7, "other": False}
    assert served.ask(place)[:2] == (200, wanted)
    assert served.ask(place.replace("interval=7", "interval=6"))[1]["other"]


@pytest.mark.parametrize("name", RESULTS)
def test_a_file_has_the_result_as_it_is(served: Page, name: str) -> None:
    result = RESULTS[name]
    with urllib.request.urlopen(f"http://{served.address}/api/results/{name}/file", timeout=100) as answer:
        file = h5py.File(io.BytesIO(answer.read()))
    group = file[file.attrs["default"]]
    for part in result.parts():
        np.testing.assert_array_equal(group[part.name][()], part.value)
        assert group[part.name].attrs["units"] == part.unit
    for axis in result.axes():
        np.testing.assert_array_equal(group[axis.name][()], axis.points)
    if result.parts():
        first = group[group.attrs["signal"]]
        assert len(group.attrs["axes"]) == first.ndim
    told = {
        name: group.attrs[name] for name in ("run", "interval", "events_dropped", "graph_version", "error")
    }
    assert told == {
        "run": result.run, "interval": result.interval, "events_dropped": result.events.dropped,
        "graph_version": result.graph_version, "error": result.error or "",
    }  # fmt: skip


def test_a_socket_of_another_site_is_refused_and_a_script_in_a_name_is_a_text(served: Page) -> None:
    with viewer(served) as socket:
        socket.send(json.dumps({"show": {"<img src=x onerror=alert(1)>": {}, "\u202e": {}, "": {}}}))
        served.board.put({"": Result(name="", value=1)}, 0)
    status, said, headers = served.ask("/api/results/%3Cscript%3Ealert(1)")
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert said["error"]
