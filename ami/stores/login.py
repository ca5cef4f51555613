"""Connect to a Redis server and log in: the only module that touches redis-py.

What we use of it: its connections (sockets, TLS, time-outs, logging in), and its slot of a key. Errors of the
library end here, as ours. Its import takes a tenth of a second.
"""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from ami.errors import NotLetIn
from ami.stores.link import NotDone
from ami.stores.wire import Traffic, Wire

Connection: TypeAlias = Any  # redis-py's, which is annotated in parts only
Settings: TypeAlias = Mapping[str, Any]  # of one

# The kernel asks, after half a minute of silence, three times in 5 s each whether the other machine is there.
_KEEP_ALIVE: Final = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


def over_unix(path: str) -> Settings:
    """Return how to connect to the unix socket at ``path``."""
    return {"kind": redis.UnixDomainSocketConnection, "path": path}


def over_tcp(address: tuple[str, int], connect_s: float) -> Settings:
    """Return how to connect to ``address``."""
    return {
        "kind": redis.Connection,
        "host": address[0],
        "port": address[1],
        "socket_connect_timeout": connect_s,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEP_ALIVE,
        "driver_info": None,  # to tell the server of redis-py is a command that few roles may use
    }


def over_tls(address: tuple[str, int], connect_s: float, ca_file: str, ca: str) -> Settings:
    """Return how to connect to ``address``, encrypted, if the server's certificate is for that address.

    Args:
        ca_file, ca: the certificate that signed it: a file, or its text.

    Raises:
        NotLetIn: that cannot be read.
    """
    _check(ca_file, ca)
    return {
        **over_tcp(address, connect_s),
        "kind": redis.SSLConnection,
        "ssl_ca_certs": ca_file or None,
        "ssl_ca_data": ca or None,
    }


@functools.cache
def _check(ca_file: str, ca: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file or None, cadata=ca or None)
    except (OSError, ValueError) as error:
        raise NotLetIn(
            f"global_store.tls_ca_file: {ca_file or 'the text'} cannot be used: {error}"
        ) from error


def log_in(
    settings: Settings,
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
    kind, how = settings["kind"], {name: one for name, one in settings.items() if name != "kind"}
    if login is not None:
        how |= {"username": login[0], "password": login[1]}
    retry = Retry(NoBackoff(), 0)
    connection: Connection = kind(socket_timeout=answer_s, retry=retry, protocol=2, **how)
    try:
        connection.connect()
    except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
        raise NotLetIn(f"{not_let_in[0]} ({error}){not_let_in[1]}") from error
    except (exceptions.RedisError, OSError) as error:
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            raise NotLetIn(
                f"the server at {how['host']}:{how['port']} is not the one that it should be: "
                f"{error.__context__.verify_message} (global_store.tls_ca_file, tls_cert_file)"
            ) from error
        raise NotDone(str(error)) from error

    def close_it() -> None:
        with suppress(Exception):  # closing what is broken already
            connection.disconnect()

    # The one private name of redis-py that we use; setup.cfg pins its major version.
    return Wire(connection._sock, answer_s, close_it, traffic)


def find_slot(key: str) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode("utf-8", "surrogateescape")))
