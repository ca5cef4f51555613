"""Read the settings: one TOML file, overridden by ``AMI_*`` variables, checked once, handed on in parts.

``AMI_RING_BYTES`` overrides ``bytes`` of ``[ring]``, ``AMI_GLOBAL_STORE_PORT`` overrides ``port`` of
``[global_store]``. No other module reads the file or these variables. A setting or variable that is
not known is an error: a misspelt setting that is ignored is the worst kind. Passwords and secrets
are never settings: settings name the files that hold them, because others can read environments and
command lines.

``conf/ami.toml`` lists every setting with its default, unit and reason.
"""

from __future__ import annotations

import math
import os
import re
import socket
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ami.errors import ConfigError

# Variables of this prefix that are no settings: the path of the file; the interpreter, for bin/.
RESERVED = ("AMI_CONFIG", "AMI_PYTHON")
PROJECT_FILE = Path(__file__).resolve().parent.parent / "conf" / "ami.toml"
SOCKET_PATH_BYTES = 107  # the kernel's limit for the path of a unix socket

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # no ":" or braces: these part a Redis key
# Leaked segments are found by this prefix; the length leaves room for the semaphores' suffixes.
_RING_NAME = re.compile(r"/ami-[A-Za-z0-9._-]{1,100}")
_ADDRESS = re.compile(r"([^\s:]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")


def _check(condition: bool, setting: str, wanted: str, got: object) -> None:
    if not condition:
        raise ConfigError(f"{setting} must be {wanted}, got {_shown(got)}")


def _shown(value: object) -> str:
    try:
        return textwrap.shorten(repr(value), 200)
    except ValueError:  # Python refuses to write an integer of more than 4300 digits
        return "an integer of thousands of digits"


def _check_count(setting: str, got: int, low: int, high: int = 1 << 46) -> None:
    _check(low <= got <= high, setting, f"from {low} to {high}", got)


def _check_seconds(setting: str, got: float, low: float, high: float = 86400.0) -> None:
    # Written so that NaN fails.
    _check(math.isfinite(got) and low <= got <= high, setting, f"from {low:g} to {high:g} seconds", got)


def _check_choice(setting: str, got: str, choices: tuple[str, ...]) -> None:
    _check(got in choices, setting, f"one of {', '.join(choices)}", got)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Who this node is and where it keeps its files."""

    cluster: str = "ami"
    host: str = ""  # becomes this machine's short host name
    run_dir: Path = Path("../var")  # load() makes it absolute: relative to the file's folder
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", socket.gethostname().split(".")[0])
        for name in ("cluster", "host"):
            got = getattr(self, name)
            wanted = "letters, digits, '.', '_' and '-', at most 63"
            _check(_NAME.fullmatch(got) is not None, f"node.{name}", wanted, got)
        _check_choice("node.log_level", self.log_level, ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RingConfig:
    """Geometry of the shared-memory event ring of a node."""

    name: str = "/ami-events"
    bytes: int = 256 << 20
    max_slots: int = 1 << 20
    entries: int = 4096

    def __post_init__(self) -> None:
        wanted = "'/ami-' and up to 100 letters, digits, '.', '_' and '-'"
        _check(_RING_NAME.fullmatch(self.name) is not None, "ring.name", wanted, self.name)
        _check_count("ring.bytes", self.bytes, 4096)
        _check_count("ring.max_slots", self.max_slots, 2, 1 << 31)
        _check_count("ring.entries", self.entries, 4, 1 << 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Where events come from, and what happens when workers are too slow for them."""

    uri: str = "sim://pump-probe?rate=1000"
    policy: str = "wait"
    interval_s: float = 0.05
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        _check("://" in self.uri, "source.uri", "of the form proto://body?options", self.uri)
        _check_choice("source.policy", self.policy, ("wait", "drop"))
        _check_seconds("source.interval_s", self.interval_s, 1e-6)
        _check_seconds("source.drain_s", self.drain_s, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How much a worker takes at once, and when it takes over from a dead one."""

    block_events: int = 8192
    block_bytes: int = 16 << 20
    adopt_after_s: float = 3.0
    hang_s: float = 1.5
    trial_s: float = 0.5

    def __post_init__(self) -> None:
        _check_count("worker.block_events", self.block_events, 1, 1 << 31)
        _check_count("worker.block_bytes", self.block_bytes, 1)
        _check_seconds("worker.adopt_after_s", self.adopt_after_s, 0)
        _check_seconds("worker.hang_s", self.hang_s, 0.1)
        _check_seconds("worker.trial_s", self.trial_s, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStoreConfig:
    """The node's own Redis, behind a unix socket."""

    server: str = ""
    socket: Path = Path("local.sock")
    max_memory_bytes: int = 2 << 30
    fsync: str = "no"

    def __post_init__(self) -> None:
        _check_count("local_store.max_memory_bytes", self.max_memory_bytes, 1 << 20)
        _check_choice("local_store.fsync", self.fsync, ("no", "everysec", "always"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalStoreConfig:
    """The Redis Cluster that holds control and results."""

    server: str = ""
    host: str = "127.0.0.1"
    port: int = 7379
    start_nodes: tuple[str, ...] = ()
    username: str = "default"
    password_file: Path = Path("secret")
    timeout_s: float = 15.0
    max_memory_bytes: int = 2 << 30
    fsync: str = "no"

    def __post_init__(self) -> None:
        wanted = "a host name or address"
        _check(re.fullmatch(r"\S+", self.host) is not None, "global_store.host", wanted, self.host)
        # Redis Cluster's bus listens at port + 10000.
        _check_count("global_store.port", self.port, 1, 55535)
        for node in self.start_nodes:
            match = _ADDRESS.fullmatch(node)
            good = match is not None and 1 <= int(match[2]) <= 65535
            _check(good, "global_store.start_nodes", "a list of HOST:PORT", node)
        wanted = "a name without blanks"
        _check(
            re.fullmatch(r"\S+", self.username) is not None, "global_store.username", wanted, self.username
        )
        _check_seconds("global_store.timeout_s", self.timeout_s, 0.1)
        _check_count("global_store.max_memory_bytes", self.max_memory_bytes, 1 << 20)
        _check_choice("global_store.fsync", self.fsync, ("no", "everysec", "always"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReducerConfig:
    """How long reducers wait for what is missing, and what they keep."""

    grace_s: float = 2.0
    barrier_s: float = 10.0
    checkpoint_s: float = 0.25
    history: int = 1000

    def __post_init__(self) -> None:
        _check_seconds("reducer.grace_s", self.grace_s, 0)
        _check_seconds("reducer.barrier_s", self.barrier_s, 0)
        _check_seconds("reducer.checkpoint_s", self.checkpoint_s, 0.01)
        _check_count("reducer.history", self.history, 1, 1 << 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerConfig:
    """How the graph manager holds office, and what it remembers."""

    lease_s: float = 5.0
    keep_versions: int = 1000
    reply_s: float = 60.0

    def __post_init__(self) -> None:
        _check_seconds("manager.lease_s", self.lease_s, 0.1)
        _check_count("manager.keep_versions", self.keep_versions, 1, 1 << 24)
        _check_seconds("manager.reply_s", self.reply_s, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorConfig:
    """When a process counts as hanging, and who restarts it."""

    heartbeat_s: float = 1.0
    hang_s: float = 3.0
    supervisor_socket: Path = Path("supervisor.sock")

    def __post_init__(self) -> None:
        _check_seconds("monitor.heartbeat_s", self.heartbeat_s, 0.05)
        _check_seconds("monitor.hang_s", self.hang_s, 0.1)
        wanted = f"more than monitor.heartbeat_s, which is {self.heartbeat_s:g}"
        _check(self.hang_s > self.heartbeat_s, "monitor.hang_s", wanted, self.hang_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Where results and figures go, beside the global store."""

    uris: tuple[str, ...] = ("prometheus://127.0.0.1:9464",)

    def __post_init__(self) -> None:
        for uri in self.uris:
            _check("://" in uri, "export.uris", "a list of proto://body?options", uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """Whose code runs here."""

    secret_file: str = ""
    user_code: str = "allowed"

    def __post_init__(self) -> None:
        _check_choice("security.user_code", self.user_code, ("allowed", "signed", "refused"))
        wanted = "set when security.user_code is 'signed'"
        _check(bool(self.secret_file) or self.user_code != "signed", "security.secret_file", wanted, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a node. A part of ami is given the part of this that it needs."""

    node: NodeConfig = field(default_factory=NodeConfig)
    ring: RingConfig = field(default_factory=RingConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    local_store: LocalStoreConfig = field(default_factory=LocalStoreConfig)
    global_store: GlobalStoreConfig = field(default_factory=GlobalStoreConfig)
    reducer: ReducerConfig = field(default_factory=ReducerConfig)
    manager: ManagerConfig = field(default_factory=ManagerConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)


_PARTS: Mapping[str, type[Any]] = get_type_hints(Config)
_TYPES: Mapping[str, Mapping[str, Any]] = {part: get_type_hints(kind) for part, kind in _PARTS.items()}


def variables() -> dict[str, tuple[str, str]]:
    """Return the name of each environment variable that is a setting, with its part and setting."""
    return {f"AMI_{part}_{name}".upper(): (part, name) for part, types in _TYPES.items() for name in types}


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings of ``path``, overridden by ``environ``.

    Without ``path``, the file is the one that ``AMI_CONFIG`` names, else the project's
    ``conf/ami.toml``, else (in an installation without one) there are only defaults, as if the
    file were ``conf/ami.toml`` below the current folder.

    Relative paths are made absolute here: ``node.run_dir`` is relative to the file's folder, every
    other one to ``node.run_dir``.

    Raises:
        ConfigError: a setting is missing, unknown or out of range, or the file cannot be read.
    """
    if path is None:
        named = environ.get("AMI_CONFIG")
        path = Path(named) if named else PROJECT_FILE if PROJECT_FILE.is_file() else None
    settings = {} if path is None else _from_file(path)
    for part, values in _from_environment(environ).items():
        settings[part] = settings.get(part, {}) | values
    config = Config(**{part: kind(**settings.get(part, {})) for part, kind in _PARTS.items()})
    # As supervisord does for %(here)s, symbolic links are not followed.
    folder = Path(os.path.abspath(path)).parent if path else Path.cwd() / "conf"
    return _with_absolute_paths(config, folder)


def _from_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, absurd nesting or numbers
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    settings: dict[str, dict[str, Any]] = {}
    for part, values in tables.items():
        if part not in _PARTS:
            raise ConfigError(f"{path}: unknown section {part!r}; known: {', '.join(_PARTS)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {part!r} must be a section [{part}], got {_shown(values)}")
        settings[part] = {}
        for name, value in values.items():
            if name not in _TYPES[part]:
                known = ", ".join(_TYPES[part])
                raise ConfigError(f"{path} [{part}]: unknown setting {name!r}; known: {known}")
            settings[part][name] = _from_toml(value, _TYPES[part][name], f"{path} [{part}]: {name}")
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    known = variables()
    settings: dict[str, dict[str, Any]] = {}
    for variable in sorted(environ):
        if not variable.startswith("AMI_") or variable in RESERVED:
            continue
        if variable not in known:
            raise ConfigError(
                f"environment: unknown variable {variable!r}; known: {', '.join((*RESERVED, *known))}"
            )
        part, name = known[variable]
        value = _from_text(environ[variable], _TYPES[part][name], variable)
        settings.setdefault(part, {})[name] = value
    return settings


def _from_toml(value: object, kind: Any, where: str) -> Any:
    """Return ``value`` as ``kind``. TOML has types, so nothing but int to float is converted."""
    if kind is int:
        _check(isinstance(value, int) and not isinstance(value, bool), where, "an integer", value)
        return value
    if kind is float:
        _check(isinstance(value, int | float) and not isinstance(value, bool), where, "a number", value)
        try:
            return float(value)  # type: ignore[arg-type]  # checked in the line before
        except OverflowError as error:
            raise ConfigError(f"{where} must be a number, got {_shown(value)}") from error
    if kind == tuple[str, ...]:
        _check(isinstance(value, list), where, "a list of strings", value)
        assert isinstance(value, list)
        return tuple(_from_toml(item, str, where) for item in value)
    _check(isinstance(value, str), where, "a string", value)
    return _from_text(str(value), kind, where)


def _from_text(text: str, kind: Any, where: str) -> Any:
    if kind in (int, float):
        wanted = "an integer" if kind is int else "a number"
        try:
            return kind(text)
        except ValueError as error:
            raise ConfigError(f"{where} must be {wanted}, got {_shown(text)}") from error
    _check("\0" not in text, where, "without NUL characters", text)
    if kind == tuple[str, ...]:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind is Path:
        _check(text != "", where, "a path", text)
        return Path(text)
    return text


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    run_dir = Path(os.path.abspath(folder / config.node.run_dir))
    parts: dict[str, Any] = {}
    for part in _PARTS:
        values = getattr(config, part)
        paths = {
            f.name: run_dir / getattr(values, f.name) for f in fields(values) if _TYPES[part][f.name] is Path
        }
        parts[part] = replace(values, **paths)
    parts["node"] = replace(config.node, run_dir=run_dir)
    if config.security.secret_file:
        secret_file = str(run_dir / config.security.secret_file)
        parts["security"] = replace(config.security, secret_file=secret_file)
    for setting, path in (
        ("local_store.socket", parts["local_store"].socket),
        ("monitor.supervisor_socket", parts["monitor"].supervisor_socket),
    ):
        length = len(os.fsencode(path))
        wanted = f"a path of at most {SOCKET_PATH_BYTES} bytes (this one has {length}; shorten node.run_dir)"
        _check(length <= SOCKET_PATH_BYTES, setting, wanted, str(path))
    return Config(**parts)
