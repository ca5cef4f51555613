"""Answer what a page, or a program, asks over HTTP: what clients read, and what they ask of the graph."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import anyio
import numpy as np
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ami.client.client import Client
from ami.errors import AmiError, GraphError, StoreUnavailable
from ami.values import plain
from ami.web.files import write_hdf5
from ami.web.layouts import Layouts
from ami.web.pictures import find_image

# Calls of a store that may be under way at once: who asks too much waits for himself.
AT_ONCE: Final = 8
MOST_WAIT_S: Final = 30.0
# What may be asked of the graph manager, and the fields that go with it.
ACTIONS: Final = {
    "add": ("text", "expected_version"),
    "replace": ("text", "expected_version"),
    "set": ("text", "expected_version", "force"),
    "remove": ("names", "expected_version", "force"),
    "undo": ("version", "expected_version", "force"),
    "rollback": ("version", "expected_version", "force"),
    "reset": ("names", "expected_version", "force"),
}


class Wrong(Exception):
    """What was asked cannot be understood; the text says what is wanted."""


class Api:
    """The endpoints, over one client.

    Args:
        connect: returns a client of a name, for edits; the caller closes it.
    """

    def __init__(self, client: Client, connect: Callable[[str], Client], layouts: Layouts) -> None:
        self._client = client
        self._connect = connect
        self._layouts = layouts
        self._limit = anyio.CapacityLimiter(AT_ONCE)

    def routes(self) -> list[Route]:
        """Return what is served, by path."""
        return [
            Route("/api/results", self._answer(self._results)),
            Route("/api/results/{name}", self._answer(self._result)),
            Route("/api/results/{name}/pixel", self._answer(self._pixel)),
            Route("/api/results/{name}/history", self._answer(self._past)),
            Route("/api/results/{name}/file", self._answer(self._file)),
            Route("/api/graph", self._answer(self._graph), methods=["GET"]),
            Route("/api/graph", self._answer(self._edit), methods=["POST"]),
            Route("/api/history", self._answer(self._history)),
            Route("/api/status", self._answer(self._status)),
            Route("/api/load", self._answer(self._load)),
            Route("/api/sources", self._answer(self._sources)),
            Route("/api/operations", self._answer(self._operations)),
            Route("/api/layouts", self._answer(self._list_layouts)),
            Route("/api/layouts/{name}", self._answer(self._layout), methods=["GET", "PUT", "DELETE"]),
        ]

    def _answer(self, ask: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
        """Return an endpoint that asks in a thread, and says what went wrong as everywhere in ami."""

        async def endpoint(request: Request) -> Response:
            try:
                body = await request.body()
                found = await run_sync(partial(ask, request, body), limiter=self._limit)
                return found if isinstance(found, Response) else JSONResponse(plain(found))
            except ClientDisconnect:
                return _refusal(413, "more was sent than is taken")
            except Wrong as error:
                return _refusal(400, str(error))
            except GraphError as error:
                return _refusal(409, str(error))
            except StoreUnavailable as error:
                return _refusal(503, str(error))
            except AmiError as error:
                return _refusal(404, str(error))

        endpoint.__doc__ = ask.__doc__
        return endpoint

    # results

    def _results(self, _request: Request, _body: bytes) -> Any:
        """Every result without its value.
        ---
        responses: {200: Results}
        """
        catalogue = self._client.catalogue()
        return {
            name: _without_value(one.to_plain()) | dict(catalogue.get(name, {}))
            for name, one in self._client.results().items()
        }

    def _result(self, request: Request, _body: bytes) -> Any:
        """One result, with its value.
        ---
        parameters: [{name: wait_s, in: query, schema: {type: number}}]
        responses: {200: Result}
        """
        wait_s = _number(request, "wait_s", 0.0, 0.0, MOST_WAIT_S)
        return self._client.get(request.path_params["name"], wait_s=wait_s).to_plain()

    def _pixel(self, request: Request, _body: bytes) -> Any:
        """The exact value of an image at a row and a column, of the newest interval.
        ---
        parameters:
          - {name: row, in: query, required: true, schema: {type: integer}}
          - {name: column, in: query, required: true, schema: {type: integer}}
          - {name: part, in: query, description: of the result; the first, schema: {type: string}}
          - {name: key, in: query, description: which image of a stack, schema: {type: number}}
          - {name: interval, in: query, description: which is shown, schema: {type: integer}}
        responses: {200: Pixel}
        """
        result = self._client.get(request.path_params["name"])
        wanted = request.query_params.get("part")
        found = next(
            (p for p in result.parts() if p.name == wanted or (not wanted and np.ndim(p.value) > 1)), None
        )
        image = None if found is None else np.asarray(found.value)
        if found is not None and image is not None and image.ndim == 3 and len(image):
            points = next((axis.points for axis in result.axes() if axis.name in found.axes[:1]), None)
            image = image[find_image(image, points, _number(request, "key", 0.0, -1e300, 1e300))]
        if found is None or image is None or image.ndim != 2:
            raise Wrong(f"{result.name} has no image {wanted or ''}")
        rows, columns = image.shape
        row = int(_number(request, "row", None, 0, rows - 1))
        column = int(_number(request, "column", None, 0, columns - 1))
        shown = _number(request, "interval", result.interval, 0, 2**63)
        return {
            "value": image[row, column], "unit": found.unit, "run": result.run, "interval": result.interval,
            "other": shown != result.interval,
        }  # fmt: skip

    def _file(self, request: Request, _body: bytes) -> Any:
        """A result as an HDF5 file: its parts and axes as they are, units, events, versions.
        ---
        responses: {200: {description: NXdata, content: {application/x-hdf5: {schema: {type: string}}}}}
        """
        name = request.path_params["name"]
        found = write_hdf5(self._client.get(name))
        return Response(found, media_type="application/x-hdf5")

    def _past(self, request: Request, _body: bytes) -> Any:
        """Values of a number by interval, oldest first.
        ---
        parameters: [{name: limit, in: query, schema: {type: integer}}]
        responses: {200: Past}
        """
        limit = int(_number(request, "limit", 1000, 1, 100_000))
        return self._client.history(request.path_params["name"], limit)

    # the graph

    def _graph(self, request: Request, _body: bytes) -> Any:
        """The graph as people wrote it.
        ---
        parameters: [{name: version, in: query, schema: {type: integer}}]
        responses: {200: Graph}
        """
        from ami.graph.language.text import write

        given = "version" in request.query_params
        version = int(_number(request, "version", None, 0, 2**53)) if given else None
        document = self._client.document(version)
        return {
            "version": document.version,
            "text": write(document),
            "definitions": {
                name: {"text": one.text, "owners": one.owners, "result": one.result, "uses": sorted(one.uses)}
                for name, one in document.definitions.items()
            },
            "functions": list(document.functions),
        }

    def _edit(self, request: Request, body: bytes) -> Any:
        """Ask the graph manager for a change.
        ---
        requestBody: {content: {application/json: {schema: {type: object}}}}
        responses: {200: Change}
        """
        said = _object(body)
        action = said.pop("action", None)
        if action not in ACTIONS:
            raise Wrong(f"action: one of {', '.join(ACTIONS)} is wanted, got {action!r}")
        name, dry_run = said.pop("name", ""), said.pop("dry_run", False)
        if not isinstance(name, str) or not name:
            raise Wrong("name: who edits? A text is wanted")
        unknown = said.keys() - set(ACTIONS[action])
        if unknown:
            raise Wrong(f"{action} has no {', '.join(sorted(unknown))}; it has {', '.join(ACTIONS[action])}")
        with self._connect(name) as client:
            return edit(client, action, said, dry_run=bool(dry_run))

    def _history(self, _request: Request, _body: bytes) -> Any:
        """Versions of the graph, oldest first.
        ---
        responses: {200: History}
        """
        return self._client.graph_history()

    def _operations(self, _request: Request, _body: bytes) -> Any:
        """What a definition may call.
        ---
        responses: {200: Operations}
        """
        from ami.graph.language.reference import list_operations

        return [asdict(one) for one in list_operations()]

    # the cluster

    def _status(self, _request: Request, _body: bytes) -> Any:
        """How every process is.
        ---
        responses: {200: Status}
        """
        return self._client.status().to_plain()

    def _load(self, _request: Request, _body: bytes) -> Any:
        """What every operation costs.
        ---
        responses: {200: Load}
        """
        return self._client.meter().look().to_plain()

    def _sources(self, _request: Request, _body: bytes) -> Any:
        """The fields of the events.
        ---
        responses: {200: Sources}
        """
        schema = self._client.schema()
        return [] if schema is None else json.loads(schema.to_json())

    def _list_layouts(self, _request: Request, _body: bytes) -> Any:
        """Names of the arrangements of tiles that somebody keeps.
        ---
        responses: {200: Names}
        """
        return self._layouts.list_names()

    def _layout(self, request: Request, body: bytes) -> Any:
        """Read, keep or remove an arrangement of tiles.
        ---
        responses: {200: Layout}
        """
        name = request.path_params["name"]
        if request.method == "PUT":
            self._layouts.keep(name, _object(body))
        elif request.method == "DELETE":
            self._layouts.remove(name)
            return {}
        return self._layouts.read(name)


def edit(client: Client, action: str, fields: Mapping[str, Any], *, dry_run: bool) -> Any:
    """Ask for a change as :class:`Client` does; ``dry_run``: only say what would come of it."""
    given = dict(fields)
    if "text" in given:
        from ami.client.definitions import to_yaml

        given["text"], given["publish"] = to_yaml([str(given["text"])])
    client.dry_run = dry_run
    return client.request(action, **given)


def _without_value(told: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in told.items() if name != "value"}


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"a JSON object is wanted: {error}") from None
    if not isinstance(said, dict):
        raise Wrong(f"a JSON object is wanted, got {type(said).__name__}")
    return said


def _number(request: Request, name: str, default: float | None, least: float, most: float) -> float:
    text = request.query_params.get(name)
    try:
        number = default if text is None else float(text)
    except ValueError:
        number = None
    if number is None or not math.isfinite(number) or not least <= number <= most:
        raise Wrong(f"{name}: a number from {least:g} to {most:g} is wanted, got {text!r}")
    return number


def _refusal(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
