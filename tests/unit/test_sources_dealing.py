"""Shares of a replay: over all offsets each event once, as it is in the whole, and all borders in each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import SourceError
from ami.event import Slots
from ami.sources import Source, Span, dealing, open_source, take
from ami.sources.base import THE_END
from ami.sources.playback import Playback

EVENTS = 61
LONGEST = 4  # of `peaks`; some have more
RNG = np.random.default_rng(3)

SCAN = "sim://pump-probe?rate=max&steps=3&step_events=5&run_events=12&camera=16x16&samples=8"
BORDERS = "sim://pump-probe?rate=max&steps=3&step_events=2&run_events=5&camera=16x16&samples=8"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("dealing") / "run.h5"
    with h5py.File(path, "w") as file:
        file["timestamp"] = np.sort(RNG.integers(0, 10**9, EVENTS))
        file["x"] = RNG.integers(-100, 100, EVENTS)
        file.create_dataset(
            "image", data=RNG.normal(size=(EVENTS, 3, 4)), chunks=(7, 3, 4), compression="gzip"
        )
        peaks = file.create_dataset("peaks", (EVENTS,), h5py.vlen_dtype(np.float32))
        for event in range(EVENTS):
            peaks[event] = RNG.normal(size=RNG.integers(0, LONGEST + 2))
    return f"hdf5://{path}?longest={LONGEST}"


def with_pieces(uri: str) -> st.SearchStrategy[str]:
    """Return URIs of random selections and repetitions."""

    @st.composite
    def draw(draw: st.DrawFn) -> str:
        stop = draw(st.integers(1, EVENTS))
        start = draw(st.integers(0, stop - 1))
        return f"{uri}&start={start}&stop={stop}&repeat={draw(st.integers(1, 3))}"

    return draw()


def assert_equal(share: Slots, whole: Slots, places: np.ndarray) -> None:
    """Hold what was read of a share against these events of the whole."""
    np.testing.assert_array_equal(share.timestamps, whole.timestamps[places])
    np.testing.assert_array_equal(share.valid, whole.valid[:, places])
    for field in whole.schema.fields:
        there = share.has(field.name)
        got, wanted = share[field.name][there], whole[field.name][places][there]
        if field.variable:
            kept = np.arange(field.shape[0]) < whole[field.length_name][places][there][:, None]
            got, wanted = got[kept], wanted[kept]
        np.testing.assert_array_equal(got, wanted)


def spans(source: Source, limit: int) -> Iterator[Span]:
    first = 0
    while isinstance(span := source.span(first, limit), Span):
        yield span
        if not span.count:
            return
        first += span.count


def borders(source: Source) -> list[tuple[int, object]]:
    """Return what is said, each with the position of the event behind it."""
    return [(span.first, said) for span in spans(source, 7) for said in span.transitions]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_shares_are_the_whole_each_event_once(recorded: str, data: st.DataObject) -> None:
    kinds = [recorded, SCAN + "&missing=0.3&missing_fields=camera,diode", "sim://scalars?pool=37&missing=0.5"]
    uri = data.draw(with_pieces(data.draw(st.sampled_from(kinds))))
    every, blocks = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 40))
    with pytest.MonkeyPatch.context() as patch, closing(open_source(uri)) as opened:
        # What is read apart, and how much at once, must not show.
        patch.setattr(dealing, "APART_BYTES", data.draw(st.sampled_from([0, 100, 1000, 1 << 30])))
        patch.setattr(dealing, "STRETCH_BYTES", data.draw(st.sampled_from([1, 3000, 1 << 20])))
        patch.setattr(dealing, "FIELD_BYTES", data.draw(st.sampled_from([0, 100])))
        patch.setattr(dealing, "STRETCH_EVENTS", data.draw(st.integers(1, 100)))
        assert opened.length is not None
        whole = take(opened, 0, opened.length)
        dealt = np.zeros(opened.length, int)
        for offset in range(every):
            with closing(open_source(f"{uri}&every={every}&offset={offset}")) as share:
                places = np.arange(offset, opened.length, every)
                assert share.length == len(places)
                got = 0
                for span in spans(share, blocks):
                    here = places[got : got + span.count]
                    dealt[here] += 1
                    np.testing.assert_array_equal(span.timestamps, whole.timestamps[here])
                    if span.count:
                        assert_equal(take(share, got, span.count), whole, here)
                    got += span.count
                assert got == share.length
        assert (dealt == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SCAN, BORDERS]).flatmap(with_pieces),
    st.integers(2, 25),
    st.integers(0, 10**9),
    st.integers(1, 20),
)
def test_every_share_hears_of_all_borders_before_its_next_event(
    uri: str, every: int, offset: int, limit: int
) -> None:
    offset %= every
    whole, share = open_source(uri), open_source(f"{uri}&every={every}&offset={offset}")
    # The first event of the share that is not before the border; behind the last one comes the end.
    assert borders(share) == [(max(0, -(-(at - offset) // every)), said) for at, said in borders(whole)]
    values = [(span.step_value, span.count) for span in spans(whole, 1000)]
    wanted = np.concatenate([np.full(count, value) for value, count in values])[offset::every]
    values = [(span.step_value, span.count) for span in spans(share, limit)]
    np.testing.assert_array_equal(np.concatenate([np.full(n, v) for v, n in values] + [[]]), wanted)


def test_a_share_is_read_from_any_position_and_only_what_is_asked_for(recorded: str) -> None:
    whole = open_source(recorded)
    share = open_source(f"{recorded}&every=4&offset=3")
    values = take(whole, 0, EVENTS)
    for first, count in ((9, 5), (2, 3), (14, 1)):
        got = take(share, first, count)
        assert_equal(got, values, np.arange(3, EVENTS, 4)[first : first + count])
    got["x"][:] = 1234
    share.read(0, got, frozenset({"image"}))
    assert got["x"].tolist() == [1234]
    assert [name for name in share.schema.names if got.has(name).all()] == ["image"]


def test_a_share_of_what_has_no_end_has_none() -> None:
    whole = open_source("sim://scalars?stop=5&repeat")
    share = open_source("sim://scalars?stop=5&repeat&every=3&offset=2")
    assert share.length is None
    assert_equal(take(share, 10**9, 4), take(whole, 3 * 10**9, 12), np.arange(2, 12, 3))


def test_a_share_without_events_ends_at_once_behind_all_borders() -> None:
    share = open_source("sim://scalars?stop=5&every=9&offset=5")
    assert (share.length, share.span(0, 9)) == (0, THE_END)
    share = open_source(f"{SCAN}&stop=13&every=100&offset=50")
    said = [border for _, border in borders(open_source(f"{SCAN}&stop=13"))]
    assert borders(share) == [(0, border) for border in said]
    assert len(said) == 9  # two steps, and one that a run cuts


@pytest.mark.parametrize(
    "uri",
    [
        "sim://pump-probe?stop=1000&every=3&offset=1&rate=500&event_rate=1000",
        "sim://scalars?rate=max&stop=10000000&repeat=2&every=3&offset=1",
        "sim://scalars?every=3&offset=1&interval=20ms&policy=drop",
    ],
)
def test_pace_intervals_and_policy_are_those_of_the_whole(uri: str) -> None:
    whole, share = open_source(uri.replace("every=3&offset=1", "")), open_source(uri)
    assert (share.pace.paced, share.pace.speed) == (whole.pace.paced, whole.pace.speed)
    assert share.interval_s == whole.interval_s
    assert share.interval_fixed == whole.interval_fixed
    assert (share.policy, share.skipped, share.schema) == (whole.policy, whole.skipped, whole.schema)


def test_shares_differ_from_each_other_and_one_of_one_is_the_whole() -> None:
    whole = open_source("sim://scalars")
    options = ["every=2&offset=0", "every=2&offset=1", "every=3&offset=0", "every=3&offset=1"]
    identities = {open_source(f"sim://scalars?{one}").identity for one in options}
    assert len(identities | {whole.identity}) == 5
    same = open_source("sim://scalars?every=1&offset=0")
    assert isinstance(same, Playback)
    assert same.identity == whole.identity


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("every=3&offset=3", "offset=3 is not below every=3"),
        ("offset=1", "offset=1 is not below every=1"),
        ("every=0", "every=0: a whole number from 1 on"),
        ("every=1.5", "every=1.5: a whole number from 1 on"),
        ("every=2&offset=-1", "offset=-1: a whole number from 0 on"),
    ],
)
def test_a_share_that_cannot_be_is_refused(options: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(f"sim://scalars?{options}")


def test_reading_beyond_the_end_of_a_share_is_refused() -> None:
    share = open_source("sim://scalars?stop=10&every=3")
    with pytest.raises(SourceError, match="has 4 events; 3 to 5 were asked for"):
        take(share, 3, 2)
