"""Requests are signed with the cluster's secret, and one that was changed is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ami.config import SecurityConfig
from ami.errors import ConfigError, GraphError
from ami.security import SIGNATURE, sign, verify

REQUEST = {"id": "1", "client": "shift", "action": "add", "text": "results: {n: count(monitor)}"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
REQUESTS = st.dictionaries(st.text(), JSON, max_size=5)


@pytest.fixture
def secured(tmp_path: Path) -> SecurityConfig:
    return security(tmp_path, b"sixteen bytes, at the least\n")


def security(folder: Path, secret: bytes) -> SecurityConfig:
    path = folder / f"secret-{len(list(folder.iterdir()))}"
    path.write_bytes(secret)
    return SecurityConfig(secret_file=str(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS)
def test_what_was_signed_passes(secured: SecurityConfig, request: dict[str, Any]) -> None:
    verify(sign(request, secured), secured)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS, key=st.text(), value=JSON)
def test_a_request_that_was_changed_after_signing_is_refused(
    secured: SecurityConfig, request: dict[str, Any], key: str, value: Any
) -> None:
    signed = sign(request, secured)
    changed = {**signed, key: value}
    if json.dumps(changed, sort_keys=True) != json.dumps(signed, sort_keys=True):
        with pytest.raises(GraphError, match="another secret|not signed"):
            verify(changed, secured)


@pytest.mark.parametrize("name", sorted(REQUEST))
def test_a_field_that_was_taken_out_is_missed(secured: SecurityConfig, name: str) -> None:
    signed = sign(REQUEST, secured)
    del signed[name]
    with pytest.raises(GraphError, match="signed with another secret"):
        verify(signed, secured)


def test_an_unsigned_request_is_refused_and_says_what_to_do(secured: SecurityConfig) -> None:
    with pytest.raises(GraphError, match=r"not signed; set security\.secret_file"):
        verify(REQUEST, secured)


@pytest.mark.parametrize("signature", [1, b"x", ["x"], {}, "", "ä", "0" * 64, True])
def test_a_signature_of_any_other_kind_is_refused(secured: SecurityConfig, signature: Any) -> None:
    with pytest.raises(GraphError, match="signed with another secret"):
        verify({**REQUEST, SIGNATURE: signature}, secured)


def test_another_secret_signs_otherwise(tmp_path: Path, secured: SecurityConfig) -> None:
    other = security(tmp_path, b"another one of sixteen bytes")
    with pytest.raises(GraphError, match="another secret"):
        verify(sign(REQUEST, other), secured)


def test_blanks_around_the_secret_do_not_count(tmp_path: Path, secured: SecurityConfig) -> None:
    same = security(tmp_path, b"  sixteen bytes, at the least \r\n\n")
    verify(sign(REQUEST, same), secured)


def test_the_order_of_fields_does_not_count(secured: SecurityConfig) -> None:
    signed = sign(REQUEST, secured)
    verify(dict(reversed(signed.items())), secured)


def test_signing_twice_gives_the_same_as_once(secured: SecurityConfig) -> None:
    assert sign(sign(REQUEST, secured), secured) == sign(REQUEST, secured)


def test_without_a_secret_nothing_is_signed_and_everything_passes() -> None:
    config = SecurityConfig()
    assert sign(REQUEST, config) == REQUEST
    verify({**REQUEST, SIGNATURE: "whatever"}, config)


def test_a_secret_that_cannot_be_read_or_is_short_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"security\.secret_file: cannot read .*No such file"):
        sign(REQUEST, SecurityConfig(secret_file=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="has 5 bytes, at least 16"):
        verify(REQUEST, security(tmp_path, b"short\n"))


def test_the_secret_is_in_no_message_and_no_signed_request(tmp_path: Path) -> None:
    config = security(tmp_path, b"do-not-show-this-to-anybody")
    assert "do-not-show" not in repr(sign(REQUEST, config))
    with pytest.raises(GraphError) as told:
        verify({**REQUEST, SIGNATURE: "x"}, config)
    assert "do-not-show" not in str(told.value)


def test_what_json_cannot_say_is_refused_and_not_a_bug(secured: SecurityConfig) -> None:
    with pytest.raises(GraphError, match="plain data"):
        verify({**REQUEST, "text": b"bytes", SIGNATURE: "x"}, secured)
