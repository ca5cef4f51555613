"""Choose the graph that a node starts with when nobody gave one: a first look at every field."""

from __future__ import annotations

import re
from pathlib import Path

from ami.event import Schema
from ami.graph.language.safe_yaml import dump

READY_FOLDER = Path(__file__).resolve().parent.parent.parent / "conf" / "graphs"
READY = {"sim://pump-probe": "pump_probe.yaml"}  # source, without its options -> file
MAX_ARRAYS = 8  # each costs a copy of itself per interval


def ready_graph(uri: str) -> Path | None:
    """Return the file of the graph that was made for this source; None when there is none."""
    name = READY.get(uri.partition("?")[0].rstrip("/"))
    path = READY_FOLDER / name if name else None
    return path if path is not None and path.is_file() else None


def first_look(schema: Schema) -> str:
    """Return the text of a graph that shows every field: scalars by their mean, arrays by the last one."""
    results: dict[str, str] = {}
    arrays = 0
    for field in schema.fields:
        name = field.name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", field.name) else f"`{field.name}`"
        if not field.shape:
            results[f"mean_{field.name}"] = f"mean_events({name}, window=interval)"
        elif arrays < MAX_ARRAYS:
            arrays += 1
            results[f"last_{field.name}"] = f"last({name})"
    return dump({"results": results})
