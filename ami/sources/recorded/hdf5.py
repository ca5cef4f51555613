"""Replay a recording: ``hdf5:///path/file.h5``. Event i is index i of every dataset.

Values go from the file straight into the columns where a request is large. Where it is small, or
the file keeps its events in compressed chunks, a window of decoded events is kept for each field,
so that no chunk is decompressed twice because a block ended in its middle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ami.errors import SourceError
from ami.event import MAX_FIELDS, SEQUENCE, TIMESTAMP, Array, Field, Schema, Slots
from ami.sources import uri
from ami.sources.base import Input, Opener, Step, Timestamps
from ami.sources.uri import COMMON, Option, Uri

if TYPE_CHECKING:  # h5py takes 0.1 s and 20 MB, which a simulation does not need
    import h5py

OPTIONS: Mapping[str, Option] = {
    "speed": Option(uri.positive, None),
    "pace": Option(uri.one_of("max", "recorded"), None),
    "fields": Option(uri.names, ()),
}

WINDOW_BYTES = 1 << 20


class Column:
    """One dataset, read in runs of events."""

    def __init__(self, dataset: h5py.Dataset, dtype: np.dtype[Any]) -> None:
        self._dataset = dataset
        self._descriptor: int = dataset.file.id.get_vfd_handle()
        self._file_bytes = os.fstat(self._descriptor).st_size
        event_bytes = max(1, dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
        rows = max(1, WINDOW_BYTES // event_bytes)
        if dataset.chunks:
            rows = max(1, rows // dataset.chunks[0]) * int(dataset.chunks[0])
        self._window_rows = min(rows, len(dataset))
        self._window = np.empty((0, *dataset.shape[1:]), dtype)
        self._window_number = -1

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, index: int, into: Array) -> None:
        """Fill ``into`` with the events from ``index`` on."""
        rows, done = self._window_rows, 0
        while done < len(into):
            number, offset = divmod(index + done, rows)
            left = len(into) - done
            if offset == 0 and left >= rows:  # whole windows need no copy
                count = left // rows * rows
                self._direct(index + done, into[done : done + count])
            else:
                count = min(left, rows - offset)
                into[done : done + count] = self._load(number)[offset : offset + count]
            done += count

    def _load(self, number: int) -> Array:
        if number != self._window_number:
            first = number * self._window_rows
            count = min(self._window_rows, len(self._dataset) - first)
            self._window_number = -1  # a read that fails must not leave half a window
            window = np.empty((count, *self._window.shape[1:]), self._window.dtype)
            self._direct(first, window)
            self._window, self._window_number = window, number
        return self._window

    def _direct(self, first: int, into: Array) -> None:
        self._dataset.read_direct(into, np.s_[first : first + len(into)])
        # HDF5 looks at the size at opening only, and reads zeros where a file has ended since.
        if (seen := os.fstat(self._descriptor).st_size) < self._file_bytes:
            raise OSError(f"it had {self._file_bytes} bytes when it was opened and has {seen} now")


class Recording:
    """The :class:`~ami.sources.base.Input` of an HDF5 file; see the module.

    A dataset is a field if it is of bools, integers or floats and has as many entries as
    ``timestamp``. Others are left out and listed in ``skipped``, with the reason. A dataset in a
    group is called ``group.dataset``.

    ``timestamp`` is in ns, of integers, ascending; equal ones are allowed. One of uint64 is taken
    as int64 with the same bits, because recordings have times before their zero, written unsigned.

    Raises:
        SourceError: there is no such file, it is no HDF5 or cut, or its timestamps are not such.
    """

    def __init__(self, path: Path, fields: tuple[str, ...] = ()) -> None:
        self._path = path
        self._file = _open(path)
        try:
            with _translate_errors(path):
                self._open_fields(fields)
                self.rate_hz = self._check_timestamps(len(self._times))
        except BaseException:
            self._file.close()
            raise
        facts = path.stat()
        self.content = f"hdf5 {path.resolve()} {facts.st_size} {facts.st_mtime_ns} {sorted(fields)}"

    def _open_fields(self, wanted: tuple[str, ...]) -> None:
        datasets = _datasets(self._file)
        count = self._event_count(datasets)
        self.count: int | None = count
        # HDF5 would clip a large uint64 to the largest int64, so it is read as it is stored.
        stored = datasets[TIMESTAMP].dtype
        self._stamp = np.dtype(np.uint64 if stored.kind == "u" and stored.itemsize == 8 else np.int64)
        self._times = Column(datasets[TIMESTAMP], self._stamp)
        reasons = {name: _unfit(name, data, count) for name, data in datasets.items()}
        found = [name for name in datasets if name != TIMESTAMP and not reasons[name]]
        self.skipped = tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)
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
        self.schema = Schema(tuple(_field(name, datasets[name]) for name in found))
        self._columns = {f.name: Column(datasets[f.name], f.dtype) for f in self.schema.fields}

    def _event_count(self, datasets: Mapping[str, h5py.Dataset]) -> int:
        if TIMESTAMP not in datasets:
            seen = ", ".join(datasets) or "no dataset at all"
            raise SourceError(f"{self._path}: no dataset {TIMESTAMP!r} (integers, ns); it has {seen}")
        times = datasets[TIMESTAMP]
        if times.shape is None or len(times.shape) != 1 or times.dtype.kind not in "iu":
            raise SourceError(
                f"{self._path}: {TIMESTAMP!r} is {times.dtype} of shape {times.shape}; "
                f"integers (ns) along one axis are wanted"
            )
        if not len(times):
            raise SourceError(f"{self._path}: no events: {TIMESTAMP!r} has no entry")
        return len(times)

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
            self._times.read(index, into.view(self._stamp))

    def step(self, index: int) -> Step | None:
        return None

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        into.set_valid(fields)
        for name in fields:
            column = into.columns[name]
            with _translate_errors(self._path):
                self._columns[name].read(index, column)

    def close(self) -> None:
        self._file.close()


def _open(path: Path) -> h5py.File:
    import h5py

    try:
        facts = path.stat()
        if not path.is_file():
            raise SourceError(f"{path} is no file; an HDF5 file is wanted")
        if facts.st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes); an HDF5 file is wanted")
        # Without locks: recordings lie on read-only and network file systems that have none.
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise SourceError(f"there is no file {path}; give its absolute path: hdf5:///path/file.h5") from error
    except OSError as error:
        if error.errno:
            raise SourceError(f"{path} cannot be opened: {os.strerror(error.errno)}") from error
        if "truncated" in str(error):
            raise SourceError(
                f"{path} is cut: {facts.st_size} bytes are there ({error}); copy it again"
            ) from error
        raise SourceError(f"{path} is no HDF5 file, or a damaged one: {error}") from error


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn what h5py raises on bad bytes, which is nearly anything, into an error of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} cannot be read any further, it is cut or damaged: {error}") from error


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets by field name, in the order of their names."""
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def visit(path: str, member: object) -> None:
        if not isinstance(member, h5py.Dataset):
            return
        name = path.replace("/", ".")
        if name in found:
            raise SourceError(
                f"{file.filename}: {member.name} and {found[name].name} would both be called {name!r}"
            )
        found[name] = member

    file.visititems(visit)
    return found


def _unfit(name: str, dataset: h5py.Dataset, count: int) -> str:
    """Return why a dataset cannot be a field; empty if it can."""
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        return f"{dtype} is not of bools, integers or floats of up to 8 bytes"
    if not shape:
        return "it is one value, not one for each event"
    if shape[0] != count:
        return f"it has {shape[0]} entries, {TIMESTAMP!r} has {count}"
    if 0 in shape:
        return f"its shape {shape} is empty"
    if name == SEQUENCE:
        return "every event has a sequence already"
    return ""


def _field(name: str, dataset: h5py.Dataset) -> Field:
    unit = dataset.attrs.get("units", "")
    # newbyteorder: files of other machines are read into this one's byte order. dtype.str drops
    # what h5py hangs on a dtype, such as the names of an enumeration.
    dtype = np.dtype(dataset.dtype.str).newbyteorder("=")
    return Field(name, dtype, dataset.shape[1:], unit=unit if isinstance(unit, str) else "")


def _open_input(parts: Uri) -> tuple[Input, dict[str, Any]]:
    values = parts.values({**COMMON, **OPTIONS})
    paces = [name for name in ("rate", "speed", "pace") if values[name] is not None]
    if len(paces) > 1:
        raise SourceError(f"{parts.text!r}: {' and '.join(paces)} contradict each other; give one")
    if values["pace"] == "recorded":
        values["speed"] = 1.0
    if not parts.body:
        raise SourceError(f"{parts.text!r}: which file? hdf5:///path/file.h5")
    return Recording(Path(parts.body), values["fields"]), values


PROTOCOLS: Mapping[str, Opener] = {"hdf5": _open_input}
