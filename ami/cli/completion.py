"""Complete names for a shell: of results, values, fields and operations.

click asks, whenever somebody presses Tab. What cannot be known, because no node runs, is no error there:
nothing is completed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from ami.client import Client

PATIENCE_S = 1.0  # a Tab that hangs is worse than one that does nothing


def complete_results(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the published results whose names begin so."""
    return _begin(incomplete, _ask(context, lambda client: client.catalogue()))


def complete_values(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the definitions whose names begin so."""
    return _begin(incomplete, _ask(context, lambda client: client.document().definitions))


def complete_operations(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the operations whose names begin so."""
    from ami.graph.language.reference import list_operations

    return _begin(incomplete, (entry.name for entry in list_operations()))


def complete_definition(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return definitions whose last word is completed to an operation, a field or a value; else files."""
    place = re.search(r"\w*$", incomplete)
    if "=" not in incomplete or place is None:
        return [CompletionItem(incomplete, type="file")]
    names = {
        *complete_operations(context, parameter, place[0]),
        *complete_values(context, parameter, place[0]),
    }
    names.update(_begin(place[0], _ask(context, _fields)))
    return [CompletionItem(incomplete[: place.start()] + name) for name in sorted(names)]


def _fields(client: Client) -> Iterable[str]:
    schema = client.schema()
    return () if schema is None else schema.names


def _ask(context: click.Context, question: Callable[[Client], Iterable[str]]) -> list[str]:
    from ami.client import connect
    from ami.config import load
    from ami.errors import AmiError

    try:
        with connect(load(context.params.get("config_file")), timeout_s=PATIENCE_S) as client:
            return list(question(client))
    except AmiError:
        return []


def _begin(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
