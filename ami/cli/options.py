"""Give every command the same three options, and one way to answer: as text or as JSON."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ami.config import Config, load

if TYPE_CHECKING:
    from ami.client import Client

DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Session:
    """What the options of a command say."""

    config_file: Path | None
    timeout_s: float | None  # None: not asked for; a command that waits for people then waits for ever
    as_json: bool
    access_file: Path | None = None

    @property
    def patience_s(self) -> float:
        """How long one call over the network may take, seconds."""
        return DEFAULT_TIMEOUT_S if self.timeout_s is None else self.timeout_s

    def config(self) -> Config:
        """Return the settings.

        Raises:
            ConfigError: they are wrong, or --config names no file.
        """
        config = load(self.config_file)
        if not self.access_file:
            return config
        store = replace(config.global_store, access_file=str(self.access_file.absolute()))
        return replace(config, global_store=store)

    def connect(self) -> Client:
        """Return a client of the cluster; close it after use.

        Raises:
            ConfigError, StoreUnavailable
        """
        from ami.client import connect

        return connect(self.config(), timeout_s=self.patience_s)

    def answer(self, content: Callable[[], Any], text: Callable[[], str]) -> None:
        """Print ``content()`` as one line of JSON when that was asked for, else ``text()``.

        Both are called only when they are printed: an image as lists of numbers takes longer than all else.
        """
        click.echo(to_json(content()) if self.as_json else text())


def say(text: str) -> None:
    """Tell a person what goes on: on stderr, where no program takes it for the answer."""
    click.echo(text, err=True)


def to_json(content: Any) -> str:
    """Return ``content`` on one line: NaN and infinities as null, bytes by their number and beginning."""
    from ami.values import plain

    return json.dumps(plain(content), allow_nan=False)


def _seconds(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    # click's own FloatRange lets NaN pass, which would then wait for ever.
    if value is not None and not (math.isfinite(value) and 0 < value <= 86400):
        raise click.BadParameter("must be more than 0 and at most 86400 seconds")
    return value


def as_uri(_context: click.Context, _argument: click.Parameter, value: str | None) -> str | None:
    """Return the URI of a source that is given as one, or as the path of a recording."""
    from ami.sources.uri import of_file

    return None if value is None else of_file(value)


def option(
    flags: str, kind: Any, text: str, **more: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for an option with a value; a default stands in its help."""
    return click.option(*flags.split(), type=kind, help=text, show_default="default" in more, **more)


def with_session(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --config, --access, --timeout and --json: a Session, its first argument."""

    default = "[default: the one that AMI_CONFIG names, else conf/ami.toml]"
    account = "[default: the one that AMI_ACCESS names; without a node here, ~/.config/ami/access]"
    patience = "How long to wait for an answer or an update, seconds."

    @option(
        "--config config_file", click.Path(path_type=Path, dir_okay=False), f"File of settings. {default}"
    )
    @option(
        "--access access_file", click.Path(path_type=Path, dir_okay=False), f"File of an account. {account}"
    )
    @option("--timeout timeout_s", float, patience, callback=_seconds, metavar="S")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
    @functools.wraps(function)
    def command(
        *arguments: Any,
        config_file: Path | None,
        access_file: Path | None,
        timeout_s: float | None,
        as_json: bool,
        **named: Any,
    ) -> None:
        function(Session(config_file, timeout_s, as_json, access_file), *arguments, **named)

    return command
