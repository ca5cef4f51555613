"""What must outlive the machine: written whole, and never half believed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ami.daemons.process import durable
from ami.stores.codec import equal

VALUE = {"version": 3, "sums": np.arange(1000.0), "text": "mean"}


def test_a_value_is_read_back_as_it_was_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    assert durable.read(path, "windows") is None
    durable.store(path, "windows", VALUE)
    assert equal(durable.read(path, "windows"), VALUE)
    durable.store(path, "windows", 4)
    assert durable.read(path, "windows") == 4
    assert [one.name for one in path.parent.iterdir()] == ["state"]
    assert path.stat().st_mode & 0o077 == 0


def test_who_cannot_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    durable.store(path, "windows", 4)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.store(path, "windows", VALUE)
    assert durable.read(path, "windows") == 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw[:-1], "it was cut: 8"),
        (lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:], "the checksum differs"),
        (lambda raw: raw[:50], "it was cut: 0 bytes"),
        (lambda raw: b"", "should begin with 'ami-durable-1 windows'"),
        (lambda raw: raw.replace(b"windows", b"other"), "begins with 'ami-durable-1 other'"),
        (lambda raw: b"PK\x03\x04" + raw, "should begin with"),
    ],
)
def test_a_file_that_is_cut_or_foreign_is_passed_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object, said: str
) -> None:
    path = tmp_path / "state"
    durable.store(path, "windows", VALUE)
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    assert durable.read(path, "windows") is None
    assert said in caplog.text
    assert str(path) in caplog.text
