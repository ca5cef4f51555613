"""URIs of sources: what is understood, and what is refused with which words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ami.errors import SourceError
from ami.sources import open_source, take, uri
from ami.sources.live import zeromq
from ami.sources.recorded import hdf5
from ami.sources.simulated import detectors, pump_probe


def test_a_uri_has_a_protocol_a_body_and_options() -> None:
    parts = uri.parse("hdf5:///data/run%201.h5?speed=2&fields=a,b&repeat")
    assert (parts.proto, parts.body) == ("hdf5", "/data/run 1.h5")
    assert parts.options == {"speed": "2", "fields": "a,b", "repeat": ""}


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (uri.duration_s, "50ms", 0.05),
        (uri.duration_s, "2s", 2.0),
        (uri.duration_s, "1.5us", 1.5e-6),
        (uri.duration_s, "1min", 60.0),
        (uri.rate_hz, "1000", 1000.0),
        (uri.rate_hz, "1e6", 1e6),
        (uri.rate_hz, "10kHz", 1e4),
        (uri.rate_hz, "max", math.inf),
        (uri.natural, "1_000", 1000),
        (uri.natural, "1e3", 1000),
        (uri.repeat, "", uri.FOREVER),
        (uri.repeat, "3", 3),
        (uri.image_shape, "96x128", (96, 128)),
        (uri.names, "a, b,", ("a", "b")),
    ],
)
def test_an_option_is_read_with_its_unit(read, text: str, value: object) -> None:
    assert read(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pump-probe", "proto://body"),
        ("sin://pump-probe", "did you mean 'sim'"),
        ("xyz://a", "known: daq, hdf5, sim, static, zmq"),
        ("sim://pump-prob", "pump-probe, scalars, and FILE.json"),
        ("sim://pump-probe?rat=5", "unknown option 'rat'; did you mean 'rate'? known: camera"),
        ("sim://pump-probe?rate=5&rate=6", "given twice"),
        ("sim://pump-probe?rate=fast", "1000, 10kHz, or max"),
        ("sim://pump-probe?rate=-5", "rate=-5"),
        ("sim://pump-probe?interval=50", "a number with a unit"),
        ("sim://pump-probe?interval=0ms", "above 0"),
        ("sim://pump-probe?policy=stop", "one of these is wanted: wait, drop"),
        ("sim://pump-probe?missing=2", "from 0 to 1"),
        ("sim://pump-probe?noise=nan", "finite"),
        ("sim://pump-probe?seed=-1", "whole number"),
        ("sim://pump-probe?repeat=0", "how often"),
        ("sim://pump-probe?repeat=2", "no end cannot be repeated"),
        ("sim://pump-probe?start=5&stop=5", "not below stop"),
        ("sim://pump-probe?variants=3", "odd"),
        ("sim://pump-probe?camera=8x8", "no room for two spots"),
        ("sim://pump-probe?camera=96", "ROWSxCOLUMNS"),
        ("sim://pump-probe?camera=4096x4096", "512 are possible"),
        ("sim://pump-probe?missing_fields=camra", "no 'camra'; known: delay"),
        ("sim://pump-probe?event_rate=max", "no event time"),
        ("sim://scalars?missing_fields=x", "no 'x'; known: delay"),
        ("static://?fields=a:vector", "wanted NAME:scalar"),
        ("static://file.json?fields=a:scalar", "not both"),
        ("hdf5://", "which file?"),
        ("hdf5:///a.h5?rate=5&speed=2", "rate and speed contradict"),
    ],
)
def test_a_uri_that_cannot_be_opened_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        open_source(text)
    assert words in str(refused.value)


def test_every_example_of_the_documentation_opens_or_misses_only_its_file() -> None:
    text = (Path(__file__).parents[2] / "docs/sources.md").read_text().partition("## Examples")[2]
    examples = text.split()
    assert len(examples) >= 7
    for example in examples:
        if example.startswith("hdf5:"):
            with pytest.raises(SourceError, match=r"there is no file /data/run42\.h5"):
                open_source(example)
        elif example.startswith(("zmq:", "daq:")):
            open_source(example).close()
        else:
            take(open_source(example), 0, 3)


@pytest.mark.parametrize(
    "table",
    [
        uri.COMMON,
        pump_probe.OPTIONS,
        detectors.OPTIONS,
        detectors.STATIC_OPTIONS,
        hdf5.OPTIONS,
        zeromq.OPTIONS,
    ],
)
def test_every_option_is_documented(table: dict[str, uri.Option]) -> None:
    text = (Path(__file__).parents[2] / "docs/sources.md").read_text()
    assert [name for name in table if f"`{name}=" not in text] == []
