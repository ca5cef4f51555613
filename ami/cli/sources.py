"""`ami sources [URI]`: which sources there are, and what one of them gives."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

import click

from ami.cli.options import Session, as_uri, with_session
from ami.cli.screen import duration, number, size, table
from ami.packages import list_packaged
from ami.sources import GROUP, Source, open_source

# One URI of each kind, with what it is; docs/sources.md has all options.
EXAMPLES = (
    ("sim://pump-probe?rate=1000", "a simulated pump-probe experiment with known truth"),
    ("sim://scalars?rate=max", "a few simulated numbers per event, as fast as possible"),
    ("sim://detectors.json", "simulated detectors, as a JSON file describes them"),
    ("static://?rate=100", "events that are all alike, for tests"),
    ("hdf5:///data/run7.h5?speed=1", "a recording, at its own pace, faster, or rate=max"),
    ("zmq://127.0.0.1:5555", "events as somebody sends them over ZeroMQ"),
    ("daq://127.0.0.1:5577", "this node's part of what `ami-daq` deals to several"),
)


@click.command()
@click.argument("uri", metavar="[FILE|URI]", required=False, callback=as_uri)
@with_session
def sources(session: Session, uri: str | None) -> None:
    """List the kinds of sources with an example each; with a URI or a file, what that gives."""
    if uri is None:
        kinds = [*EXAMPLES, *((f"{name}://", f"of {of}") for name, of in list_packaged(GROUP).items())]
        content = [{"uri": example, "what": what} for example, what in kinds]
        session.answer(lambda: content, lambda: table(["source", "what"], kinds))
        return
    with closing(open_source(uri)) as source:
        facts = describe(source)
    session.answer(lambda: facts, lambda: report(facts))


def describe(source: Source) -> dict[str, Any]:
    """Return what there is to know of a source without reading events."""
    return {
        "events": source.length,
        "event_bytes": source.schema.event_bytes,
        "paced": source.pace.paced,
        "interval_s": source.interval_s,
        "policy": source.policy,
        "identity": source.identity,
        "left_out": dict(source.schema.left_out),
        "fields": [asdict(one) | {"dtype": str(one.dtype)} for one in source.schema.fields],
    }


def report(facts: dict[str, Any]) -> str:
    """Return the facts of a source as text."""
    rows = [
        [f["name"], f["dtype"], "≤ " * f["variable"] + "×".join(map(str, f["shape"])) or "-", f["unit"]]
        for f in facts["fields"]
    ]
    count = "without end" if facts["events"] is None else f"{number(facts['events'])} events"
    pace = "at its own pace" if facts["paced"] else "as fast as possible"
    interval = "" if facts["interval_s"] is None else f", intervals of {duration(facts['interval_s'])}"
    text = table(["field", "dtype", "shape", "unit"], rows)
    if facts["left_out"]:
        text += f"\n\n{table(['left out', 'because'], [*facts['left_out'].items()])}"
    return f"{text}\n\n{count}, {size(facts['event_bytes'])} each, {pace}{interval}"
