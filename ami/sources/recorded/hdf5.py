"""Replay a recording: ``hdf5:///path/file.h5``. Event i is index i of every dataset.

Values go from the file straight into the columns where a request is large. Where it is small, or
the file keeps its events in compressed chunks, a window of decoded events is kept for each field,
so that no chunk is decompressed twice because a block ended in its middle.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ami.errors import SourceError
from ami.event import MAX_FIELDS, SEQUENCE, TIMESTAMP, Field, Schema, Slots
from ami.sources import uri
from ami.sources.base import Input, Opener, Step, Timestamps
from ami.sources.recorded import vlen
from ami.sources.recorded.column import Column
from ami.sources.recorded.contents import find_datasets, unit_of
from ami.sources.recorded.parts import Parts
from ami.sources.recorded.times import Times
from ami.sources.recorded.vlen import VariableColumn
from ami.sources.refusals import Refusals
from ami.sources.uri import COMMON, Option, Uri

if TYPE_CHECKING:  # h5py takes 0.1 s and 20 MB, which a simulation does not need
    import h5py

OPTIONS: Mapping[str, Option] = {
    "speed": Option(uri.positive, None),
    "pace": Option(uri.one_of("max", "recorded"), None),
    "fields": Option(uri.names, ()),
    "longest": Option(uri.counted, None),
}
EVENT_BYTES = 64 << 20  # of one array of variable length


class Recording:
    """The :class:`~ami.sources.base.Input` of an HDF5 file; see the module.

    A dataset is a field if it is of bools, integers or floats and has as many entries as
    ``timestamp``. Others are left out and listed in ``skipped``, with the reason. A dataset in a
    group is called ``group.dataset``, and so is one behind a link.

    ``timestamp`` ascends; equal ones are allowed. :class:`Times` knows their units.

    Raises:
        SourceError: there is no such file, it is no HDF5 or cut, or its timestamps are not such.
    """

    def __init__(self, path: Path, fields: tuple[str, ...] = (), longest: int | None = None) -> None:
        self._path = path
        self._longest = longest
        self._too_long = Refusals(f"hdf5://{path}")
        self._file = _open(path)
        try:
            with _translate_errors(path):
                self._open_fields(fields)
                self.rate_hz = self._check_timestamps(len(self._times))
        except BaseException:
            self._file.close()
            raise
        chosen = f"{sorted(fields)}{longest or ''}"
        self.content = f"{' '.join(['hdf5', *map(_identify, [path, *self._others])])} {chosen}"

    def _open_fields(self, wanted: tuple[str, ...]) -> None:
        datasets, reasons = find_datasets(self._file)
        with closing(Parts()) as parts:
            self._times = self._open_times(datasets, reasons, parts)
            self.count: int | None = len(self._times)
            for name, data in datasets.items():
                if reason := parts.find_fault(name, data) or _unfit(name, data, len(self._times)):
                    reasons[name] = reason
        reasons.pop(TIMESTAMP, None)
        found = [name for name in datasets if name != TIMESTAMP and name not in reasons]
        self.skipped = tuple(f"{name}: {reason}" for name, reason in reasons.items())
        found = self._choose(found, wanted, reasons)
        fields = [self._field(name, datasets[name]) for name in found]
        self.schema = Schema.of(fields, reasons)
        files = parts.files
        self._columns = {
            f.name: Column(datasets[f.name], f.dtype, parts=files[f.name]) for f in fields if not f.variable
        }
        self._variable = {
            f.name: VariableColumn(datasets[f.name], f, files[f.name]) for f in fields if f.variable
        }
        read = [TIMESTAMP, *found]
        others = {Path(datasets[name].file.filename) for name in read}.union(*(files[name] for name in read))
        self._others = sorted(others - {self._path})

    def _open_times(
        self, datasets: Mapping[str, h5py.Dataset], broken: Mapping[str, str], parts: Parts
    ) -> Times:
        if TIMESTAMP not in datasets:
            seen = ", ".join(datasets) or "no dataset at all"
            why = f"{TIMESTAMP!r} cannot be read: {broken[TIMESTAMP]}" if TIMESTAMP in broken else ""
            raise SourceError(
                f"{self._path}: {why or f'no dataset {TIMESTAMP!r} (integers, ns); it has {seen}'}"
            )
        if fault := parts.find_fault(TIMESTAMP, datasets[TIMESTAMP]):
            raise SourceError(f"{self._path}: {TIMESTAMP!r} cannot be read: {fault}")
        return Times(datasets[TIMESTAMP], self._path, parts.files[TIMESTAMP])

    def _choose(self, found: list[str], wanted: tuple[str, ...], reasons: Mapping[str, str]) -> list[str]:
        """Return the names of the fields, of those that can be."""
        for name in wanted:
            if name not in found:
                seen = reasons.get(name) or f"there is none; known: {', '.join(found)}"
                raise SourceError(f"{self._path}: fields={name}: {seen}")
        if wanted:
            found = [name for name in found if name in wanted]
        if len(found) > MAX_FIELDS:
            raise SourceError(
                f"{self._path}: {len(found)} datasets, at most {MAX_FIELDS} can be fields; "
                f"choose with fields=NAME,NAME"
            )
        if not found:
            left_out = f"; left out: {'; '.join(self.skipped)}" if self.skipped else ""
            raise SourceError(f"{self._path}: no dataset beside {TIMESTAMP!r} can be a field{left_out}")
        return found

    def _field(self, name: str, dataset: h5py.Dataset) -> Field:
        unit = unit_of(dataset)
        elements = vlen.element_dtype(dataset)
        # newbyteorder: files of other machines are read into this one's byte order. dtype.str drops
        # what h5py hangs on a dtype, such as the names of an enumeration.
        dtype = np.dtype((elements or dataset.dtype).str).newbyteorder("=")
        if elements is None:
            return Field(name, dtype, dataset.shape[1:], unit=unit)
        most = max(1, self._longest or vlen.longest(dataset))
        if most * dtype.itemsize > EVENT_BYTES:
            raise SourceError(
                f"{self._path}: {name} has up to {most} elements in one event, and every event takes the room"
                f" of the longest; with longest=N events of more than N lack {name}"
            )
        return Field(name, dtype, (most,), variable=True, unit=unit)

    def _check_timestamps(self, count: int) -> float:
        """Return the mean rate, in Hz, once it is known that the timestamps ascend."""
        first = last = None
        for start in range(0, count, 1 << 20):
            times = np.empty(min(1 << 20, count - start), np.int64)
            self.timestamps(start, times)
            before = np.concatenate(([times[0] if last is None else last], times[:-1]))
            falls = np.flatnonzero(times < before)
            if len(falls):
                at = int(falls[0])
                raise SourceError(
                    f"{self._path}: timestamps must ascend, but at index {start + at} {times[at]} follows "
                    f"{before[at]}; sort the file by {TIMESTAMP!r}"
                )
            first, last = (times[0] if first is None else first), times[-1]
        span_ns = int(last) - int(first) if first is not None and last is not None else 0
        return (count - 1) * 1e9 / span_ns if span_ns > 0 else 1000.0

    def timestamps(self, index: int, into: Timestamps) -> None:
        with _translate_errors(self._path):
            self._times.read(index, into)

    def step(self, index: int) -> Step | None:
        return None

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        into.set_valid(fields)
        with _translate_errors(self._path):
            for name in fields & self._columns.keys():
                self._columns[name].read(index, into.columns[name])
            for name in fields & self._variable.keys():
                self._read_variable(self.schema[name], index, into)

    def _read_variable(self, field: Field, index: int, into: Slots) -> None:
        lengths = into.columns[field.length_name]
        too_long = self._variable[field.name].read_arrays(index, into.columns[field.name], lengths)
        if too_long.any():
            into.set_missing([field.name, field.length_name], too_long)
            self._too_long.add(
                f"event {index + int(np.argmax(too_long))} has more than {field.shape[0]} elements of"
                f" {field.name}, so it lacks that field; longest=N takes more",
                int(np.count_nonzero(too_long)),
            )

    @property
    def counters(self) -> Mapping[str, float]:
        """Say how many fields of events were left out because they are too long."""
        return {"too_long": self._too_long.count} if self._variable else {}

    def close(self) -> None:
        self._file.close()


def _identify(path: Path) -> str:
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


def _open(path: Path) -> h5py.File:
    import h5py

    try:
        facts = path.stat()
        if not path.is_file():
            raise SourceError(f"{path} is no file; an HDF5 file is wanted")
        if facts.st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes); an HDF5 file is wanted")
        if _is_locked(path):
            raise SourceError(
                f"{path} is locked: another program is writing it; try again when that has closed it"
            )
        # Without locks: recordings lie on read-only and network file systems that have none.
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise SourceError(
            f"there is no file {path}; give its path, or a URI such as hdf5:///path/file.h5"
        ) from error
    except OSError as error:
        if error.errno:
            raise SourceError(f"{path} cannot be opened: {os.strerror(error.errno)}") from error
        if "already open for" in str(error):
            raise SourceError(
                f"{path} is being written, or was left so by a program that died ({error}); wait until it is "
                f"closed, or, if nobody writes it: h5clear -s {shlex.quote(str(path))}"
            ) from error
        if "truncated" in str(error):
            raise SourceError(
                f"{path} is cut: {facts.st_size} bytes are there ({error}); copy it again"
            ) from error
        raise SourceError(f"{path} is no HDF5 file, or a damaged one: {error}") from error


def _is_locked(path: Path) -> bool:
    """Return whether somebody writes the file: HDF5 locks it for that. What has no locks has none."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn what h5py raises on bad bytes, which is nearly anything, into an error of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} cannot be read any further, it is cut or damaged: {error}") from error


def _unfit(name: str, dataset: h5py.Dataset, count: int) -> str:
    """Return why a dataset cannot be a field; empty if it can."""
    dtype, shape = vlen.element_dtype(dataset) or dataset.dtype, dataset.shape
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        return f"{dtype} is not of bools, integers or floats of up to 8 bytes"
    if not shape:
        return "it is one value, not one for each event"
    if shape[0] != count:
        return f"it has {shape[0]} entries, {TIMESTAMP!r} has {count}"
    if 0 in shape:
        return f"its shape {shape} is empty"
    if dtype is not dataset.dtype and len(shape) > 1:
        return f"it has several arrays for each event, {shape[1:]}"
    if dtype is not dataset.dtype and not dtype.isnative:
        # h5py 3.16 gives their bytes as they are in the file, and calls them native.
        return f"{dtype} is another machine's byte order, which h5py misreads in arrays of variable length"
    if name == SEQUENCE:
        return "every event has a sequence already"
    return ""


def _as_a_name(parts: Uri) -> Uri:
    """Return the URI of a file whose name has the signs of a URI, such as ``what? 50%.h5``, if it is one."""
    name = parts.text.removeprefix("hdf5://")
    if Path(parts.body).is_file() or not Path(name).is_file():
        return parts
    return replace(parts, body=name, options={})


def _open_input(parts: Uri) -> tuple[Input, dict[str, Any]]:
    parts = _as_a_name(parts)
    values = parts.values({**COMMON, **OPTIONS})
    paces = [name for name in ("rate", "speed", "pace") if values[name] is not None]
    if len(paces) > 1:
        raise SourceError(f"{parts.text!r}: {' and '.join(paces)} contradict each other; give one")
    if values["pace"] == "recorded":
        values["speed"] = 1.0
    if not parts.body:
        raise SourceError(f"{parts.text!r}: which file? hdf5:///path/file.h5")
    return Recording(Path(parts.body), values["fields"], values["longest"]), values


PROTOCOLS: Mapping[str, Opener] = {"hdf5": _open_input}
