"""Files that lie: what is away is missing and never zero, and every refusal names what is to be done."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ami.errors import GraphError, SourceError
from ami.event import Schema
from ami.graph.check import check
from ami.graph.language.text import graph_of
from ami.sources import open_source, take
from ami.sources.uri import of_file

COUNT = 24
TIMES = np.arange(COUNT, dtype=np.int64) * 10**6


def recording(folder: Path, **datasets: Any) -> Path:
    """Write a recording with a field ``y`` that is always well."""
    path = folder / "run.h5"
    with h5py.File(path, "w") as file:
        for name, values in {"timestamp": TIMES, "y": TIMES, **datasets}.items():
            file[name] = values
    return path


def left_out(path: Path) -> dict[str, str]:
    """Return why fields are left out of a recording of which ``y`` can be read."""
    with closing(open_source(of_file(str(path)))) as source:
        np.testing.assert_array_equal(take(source, 0, COUNT, ["y"])["y"], TIMES)
        return dict(source.schema.left_out)


def read(path: Path, name: str) -> Any:
    with closing(open_source(of_file(str(path)))) as source:
        assert name in source.schema, source.schema.left_out
        return take(source, 0, COUNT, [name])[name]


# --- virtual datasets ---------------------------------------------------------------------------


def places(order: str, parts: int, part: int) -> Any:
    """Return where in an array of shape (COUNT, 12) a part of a virtual dataset lies."""
    rows, columns = COUNT // parts, 12 // parts
    return {
        "behind each other": np.s_[part * rows : (part + 1) * rows, :],
        "in turn": np.s_[part::parts, :],
        "beside each other": np.s_[:, part * columns : (part + 1) * columns],
    }[order]


def virtual(folder: Path, order: str, parts: int, *, relative: bool, layers: int = 1) -> tuple[Path, Any]:
    """Write a recording whose ``x`` is made of part0.h5, part1.h5 and so on; return its values, too."""
    values = np.random.default_rng(parts).integers(1, 100, (COUNT, 12)).astype(float)
    path, layout = recording(folder), h5py.VirtualLayout((COUNT, 12), "f8")
    for part in range(parts):
        name, place = f"part{part}.h5", places(order, parts, part)
        with h5py.File(folder / name, "w") as file:
            file["deep/x0"] = values[place]
            for layer in range(1, layers):
                inner = h5py.VirtualLayout(values[place].shape, "f8")
                inner[...] = h5py.VirtualSource(".", f"deep/x{layer - 1}", values[place].shape)
                file.create_virtual_dataset(f"deep/x{layer}", inner)
        source = name if relative else str(folder / name)
        layout[place] = h5py.VirtualSource(source, f"deep/x{layers - 1}", values[place].shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("x", layout)
    return path, values


def spoil(path: Path, how: str) -> None:
    """Take the values of a part away."""
    if how == "away":
        path.rename(path.with_suffix(".away"))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with h5py.File(path, "a") as file:
            del file["deep/x0"]
            if how == "short":
                file["deep/x0"] = np.ones((1, 1))


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("order", ["behind each other", "in turn", "beside each other"])
def test_a_virtual_dataset_is_read_when_it_is_whole_and_else_left_out_by_the_name_of_the_part(
    tmp_path: Path, order: str, parts: int, layers: int, relative: bool
) -> None:
    path, values = virtual(tmp_path, order, parts, relative=relative, layers=layers)
    np.testing.assert_array_equal(read(path, "x"), values)
    for part in range(parts):
        for how in ("away", "cut", "empty", "short"):
            whole = (tmp_path / f"part{part}.h5").read_bytes()
            spoil(tmp_path / f"part{part}.h5", how)
            reasons = left_out(path)
            assert set(reasons) == {"x"}, how
            assert f"part{part}.h5" in reasons["x"], how
            (tmp_path / f"part{part}.h5").write_bytes(whole)
    np.testing.assert_array_equal(read(path, "x"), values)


def test_events_that_no_part_of_a_virtual_dataset_has_are_no_zeros(tmp_path: Path) -> None:
    path = recording(tmp_path, a=np.ones(10))
    layout = h5py.VirtualLayout(COUNT, "f8")
    layout[:10] = h5py.VirtualSource(str(path), "a", (10,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("x", layout)
    assert "its event 10 is in no part" in left_out(path)["x"]


def test_a_growing_virtual_dataset_is_left_out_when_one_of_its_sources_is_behind(tmp_path: Path) -> None:
    path, layout = recording(tmp_path), h5py.VirtualLayout((COUNT,), "f8", maxshape=(None,))
    for part in range(2):
        with h5py.File(tmp_path / f"part{part}.h5", "w") as file:
            file.create_dataset("x", data=np.arange(part, COUNT, 2.0), maxshape=(None,))
        source = h5py.VirtualSource(f"part{part}.h5", "x", (COUNT // 2,), maxshape=(None,))
        layout[part : h5py.h5s.UNLIMITED : 2] = source[0 : h5py.h5s.UNLIMITED]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("x", layout)
    np.testing.assert_array_equal(read(path, "x"), np.arange(float(COUNT)))
    with h5py.File(tmp_path / "part0.h5", "a") as file:
        file["x"].resize((COUNT // 2 - 3,))
    assert "part0.h5" in left_out(path)["x"]


def test_a_part_that_goes_away_while_it_is_played_stops_the_replay(tmp_path: Path) -> None:
    path, _ = virtual(tmp_path, "in turn", 2, relative=True)
    with closing(open_source(of_file(str(path)))) as source:
        (tmp_path / "part1.h5").unlink()
        with pytest.raises(SourceError, match=r"part1\.h5"):
            take(source, 0, COUNT, ["x"])


def test_a_recording_is_another_when_one_of_its_parts_is(tmp_path: Path) -> None:
    path, _ = virtual(tmp_path, "in turn", 2, relative=True)
    before = open_source(of_file(str(path))).identity
    with h5py.File(tmp_path / "part1.h5", "a") as file:
        file["more"] = np.ones(1000)
    assert open_source(of_file(str(path))).identity != before


@pytest.mark.parametrize("lacking", [0, 1, 8 * 11, 8 * 12, None])
def test_an_external_file_is_read_when_it_is_whole(tmp_path: Path, lacking: int | None) -> None:
    path, raw = recording(tmp_path), [tmp_path / "a.raw", tmp_path / "b.raw"]
    with h5py.File(path, "a") as file:
        pieces = [(str(raw[0]), 16, 8 * 12), (str(raw[1]), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("x", (COUNT,), "f8", external=pieces)
        file["x"][...] = np.arange(1.0, COUNT + 1)
    np.testing.assert_array_equal(read(path, "x"), np.arange(1.0, COUNT + 1))
    if lacking is None:
        raw[1].unlink()
    elif lacking:
        raw[1].write_bytes(raw[1].read_bytes()[:-lacking])
    reasons = {} if lacking == 0 else left_out(path)
    assert not reasons or ("b.raw" in reasons["x"] and set(reasons) == {"x"})
    assert bool(reasons) == (lacking != 0)


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_links_of_every_kind_are_followed_and_those_into_nothing_are_told(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path, right, nowhere = recording(tmp_path), {}, set()
    with h5py.File(path, "a") as file, h5py.File(tmp_path / "other.h5", "w") as other:
        for holder in (file, other):
            holder["deep/group/x"] = rng.random(COUNT)
        targets = [f"deep{'/group' * int(whole)}" for whole in (0, 1)] + ["deep/group/x"]
        for number in range(12):
            name, target = f"link{number}", targets[rng.integers(3)]
            holder = file if (kind := rng.integers(5)) < 2 else other
            if kind >= 4:
                file[name] = [h5py.SoftLink("/no/x"), h5py.ExternalLink("no.h5", "/x")][number % 2]
                nowhere.add(name)
                continue
            file[name] = (
                file[target] if kind == 0 else h5py.SoftLink(f"/{target}") if kind == 1
                else h5py.ExternalLink("other.h5", f"/{target}")
            )  # fmt: skip
            full = name + "/deep/group/x".removeprefix(f"/{target}")
            right[full.replace("/", ".")] = holder["deep/group/x"][:]
        file["self"] = h5py.SoftLink("/")
        file["deep/up"] = h5py.SoftLink("/deep")
    assert set(left_out(path)) == nowhere
    for name, values in right.items():
        np.testing.assert_array_equal(read(path, name), values)


def test_groups_that_link_to_each_other_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ami.sources.recorded.contents.MAX_LINKS", 1000)
    path = recording(tmp_path)
    with h5py.File(path, "a") as file:
        for level in range(18):  # 2**18 names
            group = file.create_group(f"g{level}")
            for name in "ab":
                group[name] = h5py.SoftLink(f"/g{level + 1}")
    with pytest.raises(SourceError, match="more than 1000 links"):
        open_source(of_file(str(path)))


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "f8", "f4", ">i8", ">f8"])
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("µs", 10**3), ("ns", 1), (b"seconds", 10**9),
     ("s since 1970-01-01", 10**9), (np.array(["ms"], object), 10**6)],
)  # fmt: skip
def test_times_are_read_in_the_unit_that_is_written_with_them(
    tmp_path: Path, unit: Any, factor: int, dtype: str
) -> None:
    rng = np.random.default_rng(factor)
    times = 1_700_000_000 + np.sort(rng.uniform(0, 1000, COUNT))
    stored = np.sort(times.astype(dtype))
    path = recording(tmp_path, timestamp=stored)
    with h5py.File(path, "a") as file:
        file["timestamp"].attrs["units"] = unit
    source = open_source(of_file(str(path)))
    exact = [round(Fraction(time.item()) * factor) for time in stored]
    found = take(source, 0, COUNT).timestamps.tolist()
    # Half a ns may be rounded either way.
    assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) <= (stored.dtype.kind == "f")


@pytest.mark.parametrize(
    ("times", "unit", "words"),
    [
        (np.arange(COUNT) / 7, "", "floats need the attribute units"),
        (np.arange(COUNT), "fortnights", "has the units 'fortnights'; ns, us, ms or s"),
        (np.arange(COUNT) * 10**9, "s", "'timestamp' is 10000000000 at index 10"),
        (np.r_[0, 1, np.nan, np.arange(3.0, COUNT)], "s", "'timestamp' is nan at index 2"),
        (np.r_[np.arange(COUNT - 1.0), np.inf], "ns", f"'timestamp' is inf at index {COUNT - 1}"),
    ],
)
def test_times_that_are_none_are_refused(tmp_path: Path, times: Any, unit: str, words: str) -> None:
    path = recording(tmp_path, timestamp=times)
    with h5py.File(path, "a") as file:
        file["timestamp"].attrs["units"] = unit
    with pytest.raises(SourceError) as refused:
        open_source(of_file(str(path)))
    assert words in str(refused.value)


# --- filters, locks and names -------------------------------------------------------------------


def test_a_filter_that_is_not_installed_is_named_with_the_dataset(tmp_path: Path) -> None:
    path = recording(tmp_path)
    with h5py.File(path, "a") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((COUNT,))
        plan.set_filter(32765, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((COUNT,)), plan)
        h5py.Dataset(h5py.h5d.open(file.id, b"x")).id.write_direct_chunk((0,), b"what nobody can read")
    assert left_out(path)["x"].startswith("it is written through the HDF5 filter 32765")
    assert "hdf5plugin" in left_out(path)["x"]


WRITER = """
import sys, time, h5py
file = h5py.File(sys.argv[1], "a", libver=sys.argv[2])
if sys.argv[3]:
    file.swmr_mode = True
print("open", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("version", "mode", "while_open", "after_death"),
    [("earliest", "", "is locked", ""), ("latest", "", "is locked", "h5clear -s"),
     ("latest", "swmr", "is being written", "h5clear -s")],
)  # fmt: skip
def test_a_file_that_is_being_written_is_refused_and_so_is_what_a_killed_writer_left(
    tmp_path: Path, version: str, mode: str, while_open: str, after_death: str
) -> None:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["timestamp"], file["y"] = TIMES, TIMES
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), version, mode], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(SourceError, match=while_open):
            open_source(of_file(str(path)))
    finally:
        writer.kill()
        writer.wait()
        writer.communicate()
    if after_death:
        with pytest.raises(SourceError, match=after_death):
            open_source(of_file(str(path)))
    else:
        assert not left_out(path)


@pytest.mark.parametrize(
    "name",
    [
        "what? 50%.h5",
        "a%20b.h5",
        "run.h5?speed=2",
        "#1&x=y.h5",
        "ü ∆.h5",
        "x'\"$(y).h5",
        "line\nend.h5",
        " .h5",
    ],
)
def test_a_file_of_any_name_is_opened_by_its_path_and_behind_hdf5(tmp_path: Path, name: str) -> None:
    path = recording(tmp_path).rename(tmp_path / name)
    assert not left_out(path)
    assert open_source(of_file(f"hdf5://{path}")).length == COUNT


# --- who asks for what is left out ---------------------------------------------------------------


def test_who_asks_for_what_is_left_out_is_told_why(tmp_path: Path) -> None:
    path = recording(tmp_path, names=[b"a"] * COUNT)
    schema = open_source(of_file(str(path))).schema
    told = Schema.from_json(schema.to_json(left_out=True))
    assert told == schema
    assert told.left_out == schema.left_out
    assert not Schema.from_json(schema.to_json()).left_out
    with pytest.raises(GraphError, match=r"'names' of the source is left out: .* is not of bools"):
        check(graph_of("results: {n: count(names)}"), told)
    with pytest.raises(GraphError, match="there is no value or field 'z'"):
        check(graph_of("results: {n: count(z)}"), told)
