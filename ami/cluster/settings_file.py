"""Change settings in the operator's file, and nothing else of it: his comments and order stay."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from ami.errors import ConfigError

Setting: TypeAlias = str | int | list[str]
Settings: TypeAlias = Mapping[str, Mapping[str, Setting]]
_SECTION: Final = re.compile(r"\s*\[([A-Za-z_]+)\]\s*(#.*)?$")
_LINE: Final = re.compile(r"\s*([A-Za-z_]+)\s*=")


def change(path: Path, settings: Settings) -> list[str]:
    """Write ``settings`` (by section and name) into a file; return in words which it had otherwise.

    Raises:
        ConfigError: the file cannot be read or written, or a variable goes before it.
    """
    for section, values in settings.items():
        for name, value in values.items():
            variable = f"AMI_{section}_{name}".upper()
            if os.environ.get(variable, _text(value)) != _text(value):
                raise ConfigError(
                    f"{variable}={os.environ[variable]} goes before {path}, which is to say {_text(value)!r}:"
                    f" unset it, here and where the node is started"
                )
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        old = tomllib.loads(text)
        changed = [
            f"{section}.{name} = {json.dumps(value)}"
            for section, values in settings.items()
            for name, value in values.items()
            if old.get(section, {}).get(name) != value
        ]
        if changed:
            _replace(path, with_settings(text, settings))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be changed: {error}") from error
    return changed


def with_settings(text: str, settings: Settings) -> str:
    """Return a file of settings with others, each in the line where it was, or first in its section.

    Raises:
        ValueError: the file is written in a way that this does not understand.
    """
    lines = text.splitlines()
    for section, values in settings.items():
        for name, value in values.items():
            _put(lines, section, name, f"{name} = {json.dumps(value)}")
    text = "\n".join(lines).lstrip("\n") + "\n"
    got = tomllib.loads(text)
    for section, values in settings.items():
        for name, value in values.items():
            if got.get(section, {}).get(name) != value:
                raise ValueError(
                    f"{section}.{name} is written in a way that is not known here; set it by hand"
                )
    return text


def _put(lines: list[str], section: str, name: str, new: str) -> None:
    """Put a setting's line where the old one is, at the head of its section, or behind all."""
    heads = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    begin = next((number for number in heads if _SECTION.match(lines[number])[1] == section), None)  # type: ignore[index]  # it matched above
    if begin is None:
        lines += ["", f"[{section}]", new]
        return
    end = min((number for number in heads if number > begin), default=len(lines))
    for number in range(begin + 1, end):
        found = _LINE.match(lines[number])
        if found and found[1] == name:
            last = number
            if lines[number].partition("=")[2].strip().startswith("["):  # a list, perhaps of several lines
                last = next(n for n in range(number, end) if "]" in lines[n].partition("#")[0])
            lines[number : last + 1] = [new]
            return
    lines.insert(begin + 1, new)


def _text(value: Setting) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _replace(path: Path, text: str) -> None:
    """Put a file in the place of another: at no moment is there half of one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    if path.exists():
        new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)
