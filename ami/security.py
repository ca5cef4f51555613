"""Sign and check requests with the cluster's secret, where one is configured.

The signature covers the request without itself, as canonical JSON. The secret is in a file that
only its owner reads; it is never an argument, a variable or a word in a log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ami.config import SecurityConfig
from ami.errors import ConfigError, GraphError

SIGNATURE = "signature"


def sign(request: Mapping[str, Any], config: SecurityConfig) -> dict[str, Any]:
    """Return ``request`` with its signature, or as it is when no secret is configured.

    Raises:
        GraphError: the request is no plain data.
        ConfigError: the secret's file cannot be read.
    """
    unsigned = {name: value for name, value in request.items() if name != SIGNATURE}
    if not config.secret_file:
        return unsigned
    return {**unsigned, SIGNATURE: _signature(unsigned, _secret(config))}


def verify(request: Mapping[str, Any], config: SecurityConfig) -> None:
    """Refuse a request that is not signed with the cluster's secret, when one is configured.

    Raises:
        GraphError: the signature is missing or wrong, or the request is no plain data.
        ConfigError: the secret's file cannot be read.
    """
    if not config.secret_file:
        return
    unsigned = {name: value for name, value in request.items() if name != SIGNATURE}
    given = request.get(SIGNATURE)
    right = _signature(unsigned, _secret(config))
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), right.encode()):
        seen = "not signed" if given is None else "signed with another secret"
        raise GraphError(f"the request is {seen}; set security.secret_file to a copy of the cluster's secret")


def _secret(config: SecurityConfig) -> bytes:
    path = Path(config.secret_file)
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"security.secret_file: cannot read {str(path)!r}: {error.strerror}") from error
    if len(secret) < 16:
        raise ConfigError(
            f"security.secret_file: {str(path)!r} has {len(secret)} bytes, at least 16 are needed"
        )
    return secret


def _signature(unsigned: Mapping[str, Any], secret: bytes) -> str:
    try:
        text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise GraphError(f"only plain data can be signed: {error}") from error
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
