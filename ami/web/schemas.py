"""Say as an OpenAPI document what HTTP endpoints take and give; what each one does is in its docstring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from starlette.routing import BaseRoute, Route

from ami.web.doors import EDITS_AT_ONCE, EDITS_PER_S, MOST_BYTES
from ami.web.live import MOST_CHARACTERS, MOST_SHOWN, MOST_VIEWERS

REFUSALS: Final = (400, 401, 403, 404, 409, 413, 429, 503)
LIMITS: Final = (
    f"A body has at most {MOST_BYTES} bytes. Edits: {EDITS_PER_S:g} a second, {EDITS_AT_ONCE:g} at once. "
    f"Viewers: {MOST_VIEWERS}; each shows at most {MOST_SHOWN} results, in a message of at most "
    f"{MOST_CHARACTERS} characters."
)


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _by_name(of: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
ANY: Final[dict[str, Any]] = {"nullable": True}
FLAG: Final = {"type": "boolean"}
_ENVELOPE: Final = {
    "name": TEXT, "error": TEXT | ANY, "window": TEXT, "run": NUMBER, "interval": NUMBER,
    "graph_version": NUMBER, "complete": FLAG, "events": _by_name(NUMBER), "nodes": _list(TEXT),
    "missing_nodes": _list(TEXT),
}  # fmt: skip
# What an answer of 200 is, by the name under which docstrings speak of it.
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "Results": _by_name(_object("name run", **_ENVELOPE)),
    "Result": _object("name value run interval events", value=ANY, **_ENVELOPE),
    "Pixel": _object(
        "value unit run interval other", value=ANY, unit=TEXT, run=NUMBER, interval=NUMBER, other=FLAG
    ),
    "Past": _list(_object("interval time_ns value", interval=NUMBER, time_ns=NUMBER, value=ANY)),
    "Graph": _object(
        "version text definitions functions", version=NUMBER, text=TEXT, functions=_list(ANY),
        definitions=_by_name(_object("text owners", text=TEXT, owners=_list(TEXT), uses=_list(TEXT))),
    ),
    "Change": _object("version", version=NUMBER),
    "History": _list(_object("version", version=NUMBER, client=TEXT, action=TEXT)),
    "Operations": _list(_object("name usage help", name=TEXT, usage=TEXT, help=TEXT, example=TEXT)),
    "Load": _object(
        "cluster problems warnings processes operations owners results", cluster=TEXT, graph_version=NUMBER,
        problems=_list(TEXT), warnings=_list(TEXT), processes=_list(ANY), operations=_list(ANY),
        owners=_list(ANY), results=_list(ANY),
    ),
    "Status": _object(
        "cluster well problems warnings processes", cluster=TEXT, well=FLAG, problems=_list(TEXT),
        warnings=_list(TEXT), processes=_list(_object("name state alive", name=TEXT, state=TEXT, alive=FLAG)),
    ),
    "Sources": _list(_object("name", name=TEXT, dtype=TEXT, shape=_list(NUMBER), unit=TEXT)),
    "Names": _list(TEXT),
    "Layout": _object(),
    "Alive": _object("alive", alive=FLAG),
    "Ready": _object("ready because", ready=FLAG, because=TEXT),
    "Document": _object("openapi paths", openapi=TEXT, paths=_object()),
    "Refused": _object("error", error=TEXT),
}  # fmt: skip


def describe(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the document of all routes; the docstring of each says what it does, takes and gives."""
    answers = {
        name: {"description": name, "content": {"application/json": {"schema": schema}}}
        for name, schema in ANSWERS.items()
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, Route):
            for method in (route.methods or set()) - {"HEAD"}:
                paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.0.3",
        "info": {"title": "ami", "version": "1", "description": LIMITS},
        "paths": paths,
        "components": {
            "responses": answers,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, method: str) -> dict[str, Any]:
    import yaml

    text, _, facts = (route.endpoint.__doc__ or "").partition("---")
    told = yaml.safe_load(facts) or {}
    given = dict.fromkeys(REFUSALS, "Refused") | told.get("responses", {})
    places = [{"name": one, "in": "path", "required": True, "schema": TEXT} for one in route.param_convertors]
    return {
        **told,
        "description": " ".join(text.split()),
        "parameters": places + told.get("parameters", []),
        "responses": {
            str(status): {"$ref": f"#/components/responses/{answer}"} if isinstance(answer, str) else answer
            for status, answer in given.items()
        },
        # Reading is free on loopback.
        "security": [{"token": []}, {}] if method == "GET" else [{"token": []}],
    }
