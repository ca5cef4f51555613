"""Open a socket to a Redis server, and log in.

Rejected: redis-py's connections. We used nothing else of it but these and the slot of a key, and its import,
with asyncio and ssl, took a tenth of a second of a processor from every process, each `ami status` included.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ami.errors import NotLetIn
from ami.stores.link import Command, NotDone, pack
from ami.stores.wire import Broken, Traffic, Wire

if TYPE_CHECKING:
    import ssl

OpenSocket = Callable[[], socket.socket]  # raises OSError

# The kernel asks, after half a minute of silence, three times in 5 s each whether the other machine is there.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


def over_tcp(address: tuple[str, int], timeout_s: float) -> OpenSocket:
    """Return what connects to ``address``, each address of its name in turn."""

    def connect() -> socket.socket:
        sock = socket.create_connection(address, timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return sock

    return connect


def over_tls(address: tuple[str, int], timeout_s: float, ca_file: str, ca: str) -> OpenSocket:
    """Return what connects to ``address``, encrypted, if the server's certificate is for that address.

    Args:
        ca_file, ca: the certificate that signed it: a file, or its text.
    """
    plain = over_tcp(address, timeout_s)

    def connect() -> socket.socket:
        sock = plain()
        try:
            import ssl  # costs 20 ms, which nobody pays who has no need of it

            return _context(ca_file, ca).wrap_socket(sock, server_hostname=address[0])
        except BaseException as error:
            sock.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise NotLetIn(
                    f"the server at {address[0]}:{address[1]} is not the one that it should be: "
                    f"{error.verify_message} (global_store.tls_ca_file, tls_cert_file)"
                ) from error
            raise

    return connect


@functools.cache
def _context(ca_file: str, ca: str) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file or None, cadata=ca or None)
    except (OSError, ValueError) as error:
        raise NotLetIn(
            f"global_store.tls_ca_file: {ca_file or 'the text'} cannot be used: {error}"
        ) from error


def over_unix(path: str, timeout_s: float) -> OpenSocket:
    """Return what connects to the unix socket at ``path``."""

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout_s)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return sock

    return connect


def log_in(
    connect: OpenSocket,
    answer_s: float,
    traffic: Traffic,
    *,
    login: tuple[str, str] | None,
    not_let_in: tuple[str, str],
) -> Wire:
    """Return a connection as user and password of ``login``, if there is one.

    Args:
        not_let_in: what is to be said when we are not let in, before and behind what Redis says.

    Raises:
        NotDone: nobody is there.
        NotLetIn
    """
    try:
        wire = Wire(connect, answer_s, traffic)
    except OSError as error:
        raise NotDone(str(error)) from error
    first: Command = ("PING",) if login is None else ("AUTH", *login)
    try:
        (reply,) = wire.converse(pack([first]), 1)
    except Broken as error:
        wire.close()
        raise NotDone(str(error)) from error
    # Who needs no login is connected whatever the server says (that it loads its file), but for this.
    if isinstance(reply, Exception) and (login is not None or "NOAUTH" in str(reply)):
        wire.close()
        if isinstance(reply, NotDone):
            raise reply
        said = str(reply).removeprefix("the store refused a command: ")
        raise NotLetIn(f"{not_let_in[0]} ({said}){not_let_in[1]}") from reply
    return wire
