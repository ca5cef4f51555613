"""Read the settings: one TOML file, overridden by ``AMI_*`` variables, checked once, handed on in parts.

``AMI_RING_BYTES`` overrides ``bytes`` of ``[ring]``, ``AMI_GLOBAL_STORE_PORT`` overrides ``port`` of
``[global_store]``. No other module reads the file or these variables. A setting or variable that is
not known is an error: a misspelt setting that is ignored is the worst kind. Passwords and secrets
are never settings: settings name the files that hold them, because others can read environments and
command lines.

``conf/ami.toml`` lists every setting with its default, unit and reason.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ami import setting as may
from ami.errors import ConfigError

# Variables of this prefix that are no settings: the path of the file; the interpreter, for bin/; and a short
# name of global_store.access_file, relative to the current folder.
RESERVED = ("AMI_CONFIG", "AMI_PYTHON", "AMI_ACCESS")
PROJECT_FILE = Path(__file__).resolve().parent.parent / "conf" / "ami.toml"
MAX_WORKERS = 250  # places in a ring
SOCKET_PATH_BYTES = 107  # the kernel's limit for the path of a unix socket


class _Part:
    """A section of the file: each setting that has a check passes it, however the part was made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        section = next(name for name, kind in _PARTS.items() if isinstance(self, kind))
        for one in fields(self):  # type: ignore[arg-type]  # every part is a dataclass
            if "check" in one.metadata:
                one.metadata["check"](f"{section}.{one.name}", getattr(self, one.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(_Part):
    """Who this node is and where it keeps its files."""

    cluster: str = may.be("ami", may.NAME)
    host: str = may.be("", may.NAME)  # becomes this machine's short host name
    run_dir: Path = Path("../var")  # load() makes it absolute: relative to the file's folder
    log_level: str = may.be("INFO", may.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    first_graph: str = may.be("on", may.choice("on", "off"))

    def __post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", socket.gethostname().split(".")[0])
        _Part.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RingConfig(_Part):
    """Geometry of the shared-memory event ring of a node."""

    name: str = may.be("/ami-events", may.RING_NAME)
    bytes: int = may.be(0, may.bytes_or_share)
    share: float = may.be(0.25, may.share)
    max_bytes: int = may.be(512 << 20, may.count(4096))
    max_slots: int = may.be(1 << 20, may.count(2, 1 << 31))
    entries: int = may.be(4096, may.count(4, 1 << 24))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig(_Part):
    """Where events come from, and what happens when workers are too slow for them."""

    uri: str = may.be(
        "sim://pump-probe?rate=1000", may.text("(?s).*://.*", "of the form proto://body?options")
    )
    policy: str = may.be("wait", may.choice("wait", "drop"))
    interval_s: float = may.be(0.05, may.seconds(1e-6))
    drain_s: float = may.be(10.0, may.seconds(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig(_Part):
    """How many workers there are, how much each takes at once, and when it takes over from a dead one."""

    count: int = may.be(0, may.count(0, MAX_WORKERS))
    block_events: int = may.be(8192, may.count(1, 1 << 31))
    block_bytes: int = may.be(16 << 20, may.count(1))
    arena_bytes: int = may.be(2 << 30, may.count(1 << 20))
    adopt_after_s: float = may.be(3.0, may.seconds(0))
    memory_bytes: int = may.be(4 << 30, may.count(256 << 20))
    hang_s: float = may.be(1.5, may.seconds(0.1))
    trial_s: float = may.be(0.5, may.seconds(0.01))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStoreConfig(_Part):
    """The node's own Redis, behind a unix socket."""

    server: str = ""
    socket: Path = Path("local.sock")
    max_memory_bytes: int = may.be(2 << 30, may.count(1 << 20))
    append_to: str = may.be("memory", may.APPEND_TO)
    fsync: str = may.be("no", may.FSYNC)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalStoreConfig(_Part):
    """The Redis Cluster that holds control and results."""

    server: str = ""
    host: str = may.be("127.0.0.1", may.text(r"\S+", "a host name or address"))
    port: int = may.be(7379, may.count(1, 55535))  # Redis Cluster's bus listens at port + 10000
    start_nodes: tuple[str, ...] = may.be((), may.addresses)
    replica_port: int = may.be(0, may.count(0, 55535))
    username: str = may.be("default", may.text(r"\S+", "a name without blanks"))
    password_file: Path = Path("secret")
    access_file: str = ""
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    timeout_s: float = may.be(15.0, may.seconds(0.1))
    max_memory_bytes: int = may.be(4 << 30, may.count(1 << 20))
    append_to: str = may.be("memory", may.APPEND_TO)
    fsync: str = may.be("no", may.FSYNC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReducerConfig(_Part):
    """How long reducers wait for what is missing, and what they keep."""

    grace_s: float = may.be(2.0, may.seconds(0))
    barrier_s: float = may.be(10.0, may.seconds(0))
    checkpoint_s: float = may.be(0.25, may.seconds(0.01))
    durable_s: float = may.be(10.0, may.seconds(0.01))
    large_checkpoint_s: float = may.be(5.0, may.seconds(0.01))
    history: int = may.be(1000, may.count(1, 1 << 24))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerConfig(_Part):
    """How the graph manager holds office, and what it remembers."""

    lease_s: float = may.be(5.0, may.seconds(0.1))
    keep_versions: int = may.be(1000, may.count(1, 1 << 24))
    reply_s: float = may.be(60.0, may.seconds(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorConfig(_Part):
    """When a process counts as hanging, and who restarts it."""

    heartbeat_s: float = may.be(1.0, may.seconds(0.05))
    hang_s: float = may.be(3.0, may.seconds(0.1))
    gone_s: float = may.be(10.0, may.seconds(0))
    gone_command: tuple[str, ...] = ()
    supervisor_socket: Path = Path("supervisor.sock")

    def __post_init__(self) -> None:
        _Part.__post_init__(self)
        wanted = f"more than monitor.heartbeat_s, which is {self.heartbeat_s:g}"
        may.check(self.hang_s > self.heartbeat_s, "monitor.hang_s", wanted, self.hang_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig(_Part):
    """Where results and figures go, beside the global store."""

    uris: tuple[str, ...] = may.be(("prometheus://127.0.0.1:9464",), may.uris)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig(_Part):
    """Where the page is served (``host`` "": nowhere), and under which other names of this host."""

    host: str = "127.0.0.1"
    port: int = may.be(7390, may.count(0, 65535))
    names: tuple[str, ...] = ()
    token_file: Path = Path("web-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig(_Part):
    """Whose code runs here."""

    secret_file: str = ""
    user_code: str = may.be("allowed", may.choice("allowed", "signed", "refused"))
    code_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _Part.__post_init__(self)
        wanted = "set, or security.code_from, when security.user_code is 'signed'"
        can_be = bool(self.secret_file or self.code_from)
        may.check(can_be or self.user_code != "signed", "security.secret_file", wanted, "")


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
    web: WebConfig = field(default_factory=WebConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)


_PARTS: Mapping[str, type[Any]] = get_type_hints(Config)
_TYPES: Mapping[str, Mapping[str, Any]] = {part: get_type_hints(kind) for part, kind in _PARTS.items()}


def variables() -> dict[str, tuple[str, str]]:
    """Return the name of each environment variable that is a setting, with its part and setting."""
    return {f"AMI_{part}_{name}".upper(): (part, name) for part, types in _TYPES.items() for name in types}


def find_file(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of settings: ``path``, else what ``AMI_CONFIG`` names, else the project's, if any."""
    named = environ.get("AMI_CONFIG")
    return path or (Path(named) if named else PROJECT_FILE if PROJECT_FILE.is_file() else None)


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings of ``path``, overridden by ``environ``.

    Without a file there are only defaults, as if it were ``conf/ami.toml`` below the current folder. Paths
    are made absolute here: ``node.run_dir`` is relative to the file's folder, every other one to that.

    Raises:
        ConfigError: a setting is missing, unknown or out of range, or the file cannot be read.
    """
    path = find_file(path, environ)
    settings = {} if path is None else _from_file(path)
    for part, values in _from_environment(environ).items():
        settings[part] = settings.get(part, {}) | values
    if environ.get("AMI_ACCESS"):
        settings.setdefault("global_store", {})["access_file"] = os.path.abspath(environ["AMI_ACCESS"])
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
            raise ConfigError(f"{path}: {part!r} must be a section [{part}], got {may.show(values)}")
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
        may.check(isinstance(value, int) and not isinstance(value, bool), where, "an integer", value)
        return value
    if kind is float:
        may.check(isinstance(value, int | float) and not isinstance(value, bool), where, "a number", value)
        try:
            return float(value)  # type: ignore[arg-type]  # checked in the line before
        except OverflowError as error:
            raise ConfigError(f"{where} must be a number, got {may.show(value)}") from error
    if kind == tuple[str, ...]:
        may.check(isinstance(value, list), where, "a list of strings", value)
        assert isinstance(value, list)
        return tuple(_from_toml(item, str, where) for item in value)
    may.check(isinstance(value, str), where, "a string", value)
    return _from_text(str(value), kind, where)


def _from_text(text: str, kind: Any, where: str) -> Any:
    if kind in (int, float):
        wanted = "an integer" if kind is int else "a number"
        try:
            return kind(text)
        except ValueError as error:
            raise ConfigError(f"{where} must be {wanted}, got {may.show(text)}") from error
    may.check("\0" not in text, where, "without NUL characters", text)
    if kind == tuple[str, ...]:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind is Path:
        may.check(text != "", where, "a path", text)
        return Path(text)
    return text


# Paths that may be "": none.
_FILES = (
    ("security", "secret_file"),
    *(("global_store", name) for name in ("access_file", "tls_ca_file", "tls_cert_file", "tls_key_file")),
)


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
    for part, name in _FILES:
        if given := getattr(parts[part], name):
            parts[part] = replace(parts[part], **{name: str(run_dir / os.path.expanduser(given))})
    for setting, path in (
        ("local_store.socket", parts["local_store"].socket),
        ("monitor.supervisor_socket", parts["monitor"].supervisor_socket),
    ):
        length = len(os.fsencode(path))
        wanted = f"a path of at most {SOCKET_PATH_BYTES} bytes (this one has {length}; shorten node.run_dir)"
        may.check(length <= SOCKET_PATH_BYTES, setting, wanted, str(path))
    return Config(**parts)
