"""Say which file a dataset's values are in, and which of those is away, too short or cannot be decoded.

HDF5 reads the fill value, as a rule zero, where a part of a virtual dataset is away, and zeros where an
external file is short. So each part is looked for when a recording is opened. (Rejected: to compare values
with the fill value; zero is a value, too.)
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # as of ami.sources.recorded.hdf5
    import h5py

MAX_DEPTH = 8  # of virtual datasets made of virtual datasets
FILTERS = {
    307: "bzip2", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz",
    32024: "sz3", 32026: "blosc2",
}  # fmt: skip


class Parts:
    """Looks for the parts of datasets. Each file is opened once; closed with this.

    files: those that were looked at, by dataset.
    """

    def __init__(self) -> None:
        self.files: dict[str, list[Path]] = {}
        self._open: dict[Path, h5py.File | None] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def find_fault(self, name: str, dataset: h5py.Dataset) -> str:
        """Return why the values of a dataset cannot be read, empty if they can."""
        self.files[name] = []
        return self._look(dataset, self.files[name], 0)

    def _look(self, dataset: h5py.Dataset, files: list[Path], depth: int) -> str:
        if fault := _missing_filter(dataset):
            return fault
        if dataset.is_virtual:
            return self._look_behind(dataset, files, depth)
        return _look_outside(dataset, files) if dataset.external else ""

    def _look_behind(self, dataset: h5py.Dataset, files: list[Path], depth: int) -> str:
        """Look for the sources of a virtual dataset."""
        if depth == MAX_DEPTH:
            return f"it is made of more than {MAX_DEPTH} virtual datasets within each other"
        covered = np.zeros(len(dataset) if dataset.shape else 0, np.bool_)
        for part in dataset.virtual_sources():
            rows = _selected(part.vspace, dataset.shape)
            covered |= rows[0] if rows else True
            numbers = _block_numbers(part.vspace, dataset.shape)
            if not re.search("%b", f"{part.file_name} {part.dset_name}".replace("%%", "")):
                wanted = [_count(rows)] if rows else [None]
            else:  # a source for each block
                wanted = [None] * numbers
            for number, points in enumerate(wanted):
                file_name, inside = (_fill_in(text, number) for text in (part.file_name, part.dset_name))
                fault = self._look_at(dataset.file, file_name, inside, part.src_space, points, files, depth)
                if fault:
                    return fault
        if not covered.all():
            return f"its event {int(np.argmin(covered))} is in no part of this virtual dataset"
        return ""

    def _look_at(
        self, file: h5py.File, file_name: str, inside: str, space: Any, points: int | None,
        files: list[Path], depth: int,
    ) -> str:  # fmt: skip
        import h5py

        source = file if file_name == "." else self._find(file, file_name)
        if source is None:
            return f"a part of it is in {file_name}, which is not there or cannot be read"
        files.append(Path(source.filename))
        try:
            part = source[inside]
        except (KeyError, OSError, RuntimeError, ValueError):
            part = None
        if not isinstance(part, h5py.Dataset):
            return f"a part of it is {inside} in {file_name}, where there is no such dataset"
        rows = _selected(space, part.shape)
        if not _reaches(space, part.shape) or (points is not None and rows and _count(rows) < points):
            return f"a part of it is {inside} in {file_name}, which has only the shape {part.shape}"
        fault = self._look(part, files, depth + 1)
        return f"a part of it is {inside} in {file_name}: {fault}" if fault else ""

    def _find(self, file: h5py.File, name: str) -> h5py.File | None:
        """Return the file that HDF5 would find under a name in ``file``."""
        for path in _places(Path(file.filename), name):
            if (found := self._open_once(path)) is not None:
                return found
        return None

    def _open_once(self, path: Path) -> h5py.File | None:
        import h5py

        if path not in self._open:
            self._open[path] = None
            with contextlib.suppress(OSError):
                self._open[path] = self._stack.enter_context(h5py.File(path, "r", locking=False))
        return self._open[path]


def _places(holder: Path, name: str) -> Iterator[Path]:
    """Yield where HDF5 looks for a source of a virtual dataset in the file ``holder``, in its order."""
    if os.path.isabs(name):
        yield Path(name)
        name = os.path.basename(name)
    if prefix := os.environ.get("HDF5_VDS_PREFIX"):
        yield Path(prefix.replace("${ORIGIN}", str(holder.parent.absolute()))) / name
    yield holder.parent / name
    yield Path(name)
    yield holder.resolve().parent / name


def _missing_filter(dataset: h5py.Dataset) -> str:
    """Return which filter of a dataset cannot be undone here, empty if none."""
    import h5py

    plan = dataset.id.get_create_plist()
    for place in range(plan.get_nfilters()):
        number, _, _, label = plan.get_filter(place)
        if not h5py.h5z.filter_avail(number):
            with contextlib.suppress(ImportError):
                importlib.import_module("hdf5plugin")  # which registers what it has
        if not h5py.h5z.filter_avail(number):
            known = label.decode(errors="replace").split(";")[0].strip() or FILTERS.get(number, "")
            what = f"{number} ({known})" if known else str(number)
            return (
                f"it is written through the HDF5 filter {what}, which is not installed here; "
                f"most are in the package hdf5plugin"
            )
    return ""


def _look_outside(dataset: h5py.Dataset, files: list[Path]) -> str:
    """Look for the external files of a dataset: raw values, in files beside the HDF5 file."""
    left = dataset.dtype.itemsize * int(np.prod(dataset.shape, dtype=np.int64))
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    prefix = prefix.replace("${ORIGIN}", str(Path(dataset.file.filename).parent.absolute()))
    for name, offset, size in dataset.external:
        path = Path(prefix) / name
        needed = min(left, size)
        left -= needed
        try:
            seen = path.stat().st_size
        except OSError as error:
            return f"a part of it is in {path}, which cannot be read: {os.strerror(error.errno or 0)}"
        if seen < offset + needed:
            return f"a part of it is in {path}, which has {seen} bytes of {offset + needed}"
        files.append(path)
    return ""


def _fill_in(text: str, number: int) -> str:
    return re.sub("%([%b])", lambda match: "%" if match[1] == "%" else str(number), text)


def _regular(space: Any, shape: tuple[int, ...]) -> list[tuple[int, int, int, int]] | None:
    """Return start, stride, count and block of a selection along each axis, None if it has no such order."""
    import h5py

    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return [(0, max(1, length), 1, length) for length in shape]
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    found = []
    for start, stride, count, block in zip(*space.get_regular_hyperslab(), strict=True):
        # What is unlimited is 2**64 - 1, with which int64 does not compute. One block needs no stride.
        step = stride if count > 1 else block
        found.append((start, min(step, 2**62), min(count, 2**62), min(block, 2**62)))
    return found


def _selected(space: Any, shape: tuple[int, ...]) -> list[NDArray[np.bool_]]:
    """Return which indices are selected along each axis of an array of this shape; [] if irregularly."""
    found: list[NDArray[np.bool_]] = []
    for (start, stride, count, block), length in zip(_regular(space, shape) or (), shape, strict=False):
        after = np.arange(length) - start
        found.append((after >= 0) & (after // stride < count) & (after % stride < block))
    return found


def _count(rows: list[NDArray[np.bool_]]) -> int:
    return int(np.prod([np.count_nonzero(hit) for hit in rows], dtype=np.int64))


def _block_numbers(space: Any, shape: tuple[int, ...]) -> int:
    """Return how many blocks of an unlimited selection there are in an array of this shape."""
    axes = zip(_regular(space, shape) or (), shape, strict=False)
    blocks = [-(-(length - start) // step) for (start, step, count, _), length in axes if count > length]
    return max(blocks, default=1)


def _reaches(space: Any, shape: tuple[int, ...]) -> bool:
    """Return whether all that is selected is in an array of this shape; what is unlimited is."""
    axes = _regular(space, shape)
    if axes is None:
        _, last = space.get_select_bounds()
        return all(end < length for end, length in zip(last, shape, strict=True))
    if len(axes) != len(shape):
        return False
    return all(
        count == 2**62 or block == 2**62 or start + stride * (count - 1) + block <= length
        for (start, stride, count, block), length in zip(axes, shape, strict=True)
    )
