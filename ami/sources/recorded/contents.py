"""Find the datasets of an HDF5 file by the names of their fields, through links of every kind.

A link leads where it leads: to another name, group or file. What a link should lead to and does not is told
by name, as whatever else cannot be a field. A group within itself is walked once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ami.errors import SourceError

if TYPE_CHECKING:  # as of ami.sources.recorded.hdf5
    import h5py

MAX_LINKS = 1 << 17  # groups that link to each other have more names than anybody can read
MAX_DEPTH = 50


class Contents(NamedTuple):
    """Datasets, and why there is none, by names such as ``group.dataset`` in the order of names."""

    datasets: dict[str, h5py.Dataset]
    broken: dict[str, str]


def find_datasets(file: h5py.File) -> Contents:
    """Return what is in a file.

    Raises:
        SourceError: two datasets would be called the same, or there is no end of links.
    """
    found = Contents({}, {})
    _visit(file, "", (), found)
    return found


def _visit(group: h5py.Group, prefix: str, above: tuple[h5py.Group, ...], found: Contents) -> None:
    import h5py

    for key in sorted(group):
        name = f"{prefix}{key}"
        if len(found.datasets) + len(found.broken) >= MAX_LINKS:
            raise SourceError(f"{group.file.filename}: more than {MAX_LINKS} links; {name} is not the last")
        try:
            member = group[key]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            found.broken[name] = _explain(group.get(key, getlink=True), error)
            continue
        if isinstance(member, h5py.Dataset):
            other = found.datasets.setdefault(name, member)
            if other != member:
                raise SourceError(
                    f"{group.file.filename}: {member.name} and {other.name} would both be called {name!r}"
                )
        elif isinstance(member, h5py.Group) and member not in (group, *above):
            if len(above) == MAX_DEPTH:
                found.broken[name] = f"it is in more than {MAX_DEPTH} groups within each other"
            else:
                _visit(member, f"{name}.", (group, *above), found)


def _explain(link: Any, error: Exception) -> str:
    import h5py

    if isinstance(link, h5py.ExternalLink):
        return f"it is a link to {link.path} in {link.filename}, which is not there or cannot be read"
    if isinstance(link, h5py.SoftLink):
        return f"it is a link to {link.path}, which is not there"
    return f"it cannot be opened: {error}"


def unit_of(dataset: h5py.Dataset) -> str:
    """Return the unit that a dataset's attribute ``units`` tells, or nothing."""
    unit = dataset.attrs.get("units", "")
    if getattr(unit, "size", 0) == 1:  # as some languages write a text: an array of one
        unit = unit.reshape(-1)[0]
    if isinstance(unit, bytes):
        unit = unit.decode(errors="replace")
    return unit.strip() if isinstance(unit, str) else ""
