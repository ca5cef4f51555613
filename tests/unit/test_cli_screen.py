"""What is drawn with characters, and that nothing from a store can command a terminal."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ami.cli import picture, screen
from ami.client.summary import summary
from ami.values import NO_LABEL, Axis, Histogram, Histogram2D, Label, Moments, Part, PickedEvents, Scan, Value


def test_terminal_commands_in_a_text_are_shown_and_not_sent() -> None:
    assert screen.clean("a\x1b[2Jb\r\nc\x07") == "a\\x1b[2Jb\\r\\nc\\x07"


def test_a_long_text_is_cut() -> None:
    assert screen.clean("x" * 1000, 10) == "x" * 9 + "…"


@given(st.text())
def test_a_cleaned_text_is_one_printable_line(text: str) -> None:
    assert screen.clean(text).isprintable()


def test_a_sparkline_goes_from_the_lowest_to_the_highest_bar() -> None:
    assert screen.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"


def test_missing_values_are_gaps_in_a_sparkline() -> None:
    assert screen.sparkline([0.0, np.nan, np.inf, 1.0]) == "▁··█"


def test_equal_values_are_a_flat_line() -> None:
    assert screen.sparkline([3, 3, 3]) == "▄▄▄"


@example(np.full(29, np.finfo(np.float64).max), 2)
@given(hnp.arrays(np.float64, st.integers(0, 300)), st.integers(1, 80))
def test_any_values_fit_into_the_width(values: np.ndarray, width: int) -> None:
    assert len(screen.sparkline(values, width)) == min(len(values), width)
    assert all(len(line) < width + 24 for line in screen.plot(values, width=width))


def test_more_values_than_columns_are_averaged() -> None:
    values = np.repeat([0.0, 1.0], 50)
    assert screen.sparkline(values, 10) == "▁▁▁▁▁█████"


def test_a_plot_has_its_range_beside_it() -> None:
    lines = screen.plot([0, 5, 10], left=-1, right=1)
    assert lines[0].startswith("10 ▕")
    assert lines[-2].startswith(" 0 ▕")
    assert lines[-1].split() == ["-1", "1"]


def test_a_table_lines_up_its_columns() -> None:
    text = screen.table(["name", "count"], [["a", "1"], ["long name", "1,000"]], right="lr")
    assert text.splitlines() == ["name       count", "a              1", "long name  1,000"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (np.int64(5), "5"),
        (0.1, "0.1"),
        (1.0, "1"),
        (1e300, "1e+300"),
        (10**40, "1e+40"),
        (float("nan"), "nan"),
        (True, "true"),
    ],
)
def test_numbers_read_as_people_write_them(value: float, text: str) -> None:
    assert screen.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.05, "50 ms"), (3.21, "3.2 s"), (600, "10 min"), (9000, "2.5 h"), (9e5, "10 d"), (float("nan"), "?")],
)
def test_a_time_has_its_natural_unit(seconds: float, text: str) -> None:
    assert screen.duration(seconds) == text


@pytest.mark.parametrize("things", ["slots", "flushes", "batches", "requests"])
def test_one_thing_is_not_several(things: str) -> None:
    assert screen.counted(1, things) in ("1 slot", "1 flush", "1 batch", "1 request")
    assert [screen.counted(n, things) for n in (0, 2000)] == [f"0 {things}", f"2,000 {things}"]


def test_rates_and_sizes_have_their_prefix() -> None:
    assert [screen.rate(v) for v in (950.0, 3100, 12e6, None)] == ["950 /s", "3.1 k/s", "12 M/s", ""]
    assert [screen.size(v) for v in (0, 1023, 1536, 3 << 30)] == ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]


HISTOGRAM = Histogram(np.array([1, 5, 2]), np.array([0.0, 1, 2, 3]), underflow=4)
SCAN = Scan(
    np.array([3.0, 8.0]), np.array([10, 20]), np.array([1.0, 2.0]), np.array([0.1, np.nan]),
)  # fmt: skip
VALUES = [
    None,
    True,
    5,
    2.5,
    "text",
    b"\x00\xff",
    np.float32(1.5),
    np.array(2.0),
    np.zeros(0),
    np.arange(5),
    np.array([np.nan, np.inf]),
    np.arange(12.0).reshape(3, 4),
    np.full((2, 2), np.nan),
    np.zeros((2, 3, 4)),
    np.zeros((0, 4)),
    np.array(["a", "b"]),
    {"a": 1, "b": np.zeros(3)},
    [1, "x", None],
    {1, 2},
    HISTOGRAM,
    Histogram2D(np.arange(6).reshape(2, 3), np.arange(3.0), np.arange(4.0)),
    Moments(3, np.asarray(1.0), np.asarray(2.0)),
    Moments(3, np.ones((4, 4)), np.ones((4, 4))),
    Moments(0, np.asarray(np.nan), np.asarray(0.0)),
    SCAN,
    Scan(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)),
    Scan(np.array([1.0]), np.array([1]), np.ones((1, 2, 2)), np.ones((1, 2, 2))),
    PickedEvents(np.arange(2), np.arange(2), (np.arange(2.0), np.zeros((2, 3)))),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__}{getattr(v, 'shape', '')}")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_value_can_be_shown_in_a_line_in_a_picture_and_as_a_summary(value: object) -> None:
    assert picture.one_line(value).isprintable()
    assert all(line.isprintable() for line in picture.lines(value))
    assert "type" in summary(value)


def test_a_histogram_shows_its_bars_and_what_lay_outside() -> None:
    assert picture.one_line(HISTOGRAM) == "▁█▃  8 in 3 bins"
    assert picture.lines(HISTOGRAM)[-1] == "8 in 3 bins; underflow 4; overflow 0; nan 0"


def test_a_short_scan_is_a_table_by_key() -> None:
    heading, first, second, below = picture.lines(SCAN, Label("mJ", (("delay", "ps"),)))
    assert heading.split() == ["delay", "[ps]", "means", "[mJ]", "errors", "[mJ]", "counts"]
    assert below == "2 keys; events 30; overflow 0; nan 0"
    assert first.split()[:4] == ["3", "1", "0.1", "10"]
    assert second.split()[:4] == ["8", "2", "nan", "20"]


@pytest.mark.parametrize(
    "keys",
    [
        np.array([1.0000001, 1.0000002]),
        np.array([1 << 63, (1 << 63) + 1], np.uint64),
        np.array([1.7e18, 1.7e18 + 256]),
        np.array([np.nextafter(0.1, 0), 0.1]),
    ],
)
def test_keys_that_differ_are_told_apart(keys: np.ndarray) -> None:
    ones = np.ones(len(keys))
    scan = Scan(keys, ones.astype(np.int64), ones, ones)
    assert len({line.split()[0] for line in picture.lines(scan)[1:3]}) == 2


EDGES = [np.nan, np.inf, -np.inf, 0.0, 1.7e308, -1.7e308, 5e-324, 1e16, 1.7e18]


@pytest.mark.parametrize("number", EDGES)
@pytest.mark.parametrize("other", EDGES)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_edges_of_numbers_are_shown_like_any_other(number: float, other: float) -> None:
    pair, two = np.array([number, other]), np.array([1, 2])
    values = [
        number, np.float64(number), pair, np.tile(pair, (3, 1)), np.tile(pair, (60, 40)),
        Moments(3, np.array(number), np.array(other)), Moments(1, pair, pair),
        Scan(two, two, pair, pair), Scan(two, two, np.tile(pair, (2, 1)), np.tile(pair, (2, 1))),
        Scan(np.arange(50.0), np.arange(50), np.tile(pair, 25), np.tile(pair, 25)),
        Histogram(pair, np.arange(3.0), number, other, number),
    ]  # fmt: skip
    for value in values:
        shown = [picture.one_line(value), *picture.lines(value)]
        assert not any("does not say" in line for line in shown)
    assert ("nan" in picture.one_line(number)) == np.isnan(number)


@dataclass(frozen=True)
class Spectrum(Value):
    """A value class that no file of ami knows."""

    energies: np.ndarray
    strength: np.ndarray
    shots: int

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        return Part("strength", self.strength, label.unit, ("energy",)), Part("shots", self.shots)

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (Axis("energy", self.energies, "eV"),)


def test_a_value_of_another_package_is_shown_and_summed_up_like_ours() -> None:
    value = Spectrum(np.array([7100.0, 7110.0]), np.array([1.0, 3.0]), 5)
    assert picture.one_line(value).endswith("  2 energies")
    heading, *rows, below = picture.lines(value)
    assert (heading.split(), rows[1].split()[:2], below) == (
        ["energy", "[eV]", "strength"], ["7110", "3"], "2 energies; shots 5",
    )  # fmt: skip
    assert summary(value) == {
        "type": "Spectrum", "energies": 2, "shots": 5,
        "strength": {"dtype": "float64", "shape": [2], "min": 1.0, "max": 3.0, "mean": 2.0},
    }  # fmt: skip


class Faulty(Value):
    """A value of a package whose parts raise whatever its author forgot."""

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        raise self._fault


@pytest.mark.parametrize("fault", [ZeroDivisionError("x"), SystemExit(0), KeyError("y"), TypeError()])
def test_a_value_that_cannot_say_its_parts_is_said_to_be_so(fault: BaseException) -> None:
    for shown in (picture.one_line(Faulty(fault)), *picture.lines(Faulty(fault))):
        assert type(fault).__name__ in shown
        assert "Faulty" in shown
    assert summary(Faulty(fault)) == {"type": "Faulty", "fault": repr(fault)}


def test_one_key_is_not_several() -> None:
    scan = Scan(np.array([1.5]), np.array([3]), np.array([0.25]), np.array([0.01]))
    assert "1 key" in picture.one_line(scan)
    assert "1 keys" not in "\n".join(picture.lines(scan))


def test_an_image_is_shaded_with_its_brightest_pixel_darkest() -> None:
    image = np.zeros((4, 4))
    image[1, 2] = 9
    assert picture.lines(image)[1:5] == ["|    |", "|  @ |", "|    |", "|    |"]


def test_a_summary_of_an_array_has_its_numbers() -> None:
    facts = summary(np.array([[1, 2], [3, 65535]], np.uint16))
    assert facts == {
        "type": "array", "dtype": "uint16", "shape": [2, 2], "min": 1.0, "max": 65535.0, "mean": 16385.25,
    }  # fmt: skip


def test_a_summary_says_how_many_numbers_are_not_finite() -> None:
    assert summary(np.array([1.0, np.nan, np.inf]))["not_finite"] == 2
