"""Settings: what is read, what is refused, and that conf/ami.toml tells the truth."""

import dataclasses
import ipaddress
import itertools
import re
import string
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami import config as ami_config
from ami.config import Config, GlobalStoreConfig, MonitorConfig, RingConfig, SourceConfig, load, variables
from ami.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "ami.toml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), {})
    assert config.ring == RingConfig()
    assert config.source == SourceConfig()


def test_every_setting_is_in_the_projects_file_at_its_default(tmp_path: Path) -> None:
    tables = tomllib.loads((PROJECT / "conf" / "ami.toml").read_text())
    for part in dataclasses.fields(Config):
        names = {field.name for field in dataclasses.fields(part.default_factory)}  # type: ignore[type-var,arg-type]
        assert set(tables[part.name]) == names, part.name
    assert set(tables) == {part.name for part in dataclasses.fields(Config)}
    (tmp_path / "conf").mkdir()
    copy = tmp_path / "conf" / "ami.toml"
    copy.write_text((PROJECT / "conf" / "ami.toml").read_text())
    empty = tmp_path / "conf" / "empty.toml"
    empty.touch()
    assert load(copy, {}) == load(empty, {})


def test_every_setting_in_the_projects_file_has_a_comment_before_it() -> None:
    lines = (PROJECT / "conf" / "ami.toml").read_text().splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if " = " in line and not before.startswith("#") and not line.startswith("#")
    ]
    assert bare == []


def test_an_environment_variable_goes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[source]\nuri = "static://a"\npolicy = "drop"\n[ring]\nbytes = 8192\n')
    config = load(path, {"AMI_SOURCE_URI": "static://b", "PATH": "/bin"})
    assert (config.source.uri, config.source.policy, config.ring.bytes) == ("static://b", "drop", 8192)


def test_the_variable_ami_config_names_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[ring]\nentries = 17\n")
    assert load(environ={"AMI_CONFIG": str(path)}).ring.entries == 17


def test_a_given_path_goes_before_ami_config(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[ring]\nentries = 17\n"), {"AMI_CONFIG": "/nowhere"}).ring.entries == 17


def test_without_path_or_variable_the_projects_file_is_read() -> None:
    assert load(environ={}).node.run_dir == PROJECT / "var"


def test_an_installation_without_file_has_defaults_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ami_config, "PROJECT_FILE", tmp_path / "absent")
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).node.run_dir == tmp_path / "var"


@pytest.mark.parametrize(
    ("variable", "text", "part", "name", "value"),
    [
        ("AMI_GLOBAL_STORE_PORT", "7001", "global_store", "port", 7001),
        ("AMI_GLOBAL_STORE_START_NODES", "a:1, [::1]:2,", "global_store", "start_nodes", ("a:1", "[::1]:2")),
        ("AMI_GLOBAL_STORE_START_NODES", "", "global_store", "start_nodes", ()),
        ("AMI_SOURCE_INTERVAL_S", "1e-3", "source", "interval_s", 0.001),
        ("AMI_NODE_LOG_LEVEL", "DEBUG", "node", "log_level", "DEBUG"),
    ],
)
def test_a_variable_is_read_as_its_settings_type(
    tmp_path: Path, variable: str, text: str, part: str, name: str, value: object
) -> None:
    config = load(written(tmp_path, ""), {variable: text})
    assert getattr(getattr(config, part), name) == value


def test_relative_paths_begin_at_the_run_folder_and_that_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    path = written(tmp_path / "conf", '[node]\nrun_dir = "../r"\n[security]\nsecret_file = "s"\n')
    config = load(path, {"AMI_LOCAL_STORE_SOCKET": "/abs/l.sock"})
    assert config.node.run_dir == tmp_path / "r"
    assert config.local_store.socket == Path("/abs/l.sock")
    assert config.global_store.password_file == tmp_path / "r" / "secret"
    assert config.monitor.supervisor_socket == tmp_path / "r" / "supervisor.sock"
    assert config.security.secret_file == str(tmp_path / "r" / "s")


def test_an_integer_is_accepted_where_a_number_is_wanted(tmp_path: Path) -> None:
    interval_s = load(written(tmp_path, "[source]\ninterval_s = 1"), {}).source.interval_s
    assert (interval_s, type(interval_s)) == (1.0, float)


def test_an_unknown_setting_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "[ring]\nslots = 4\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    wanted = (
        f"{path} [ring]: unknown setting 'slots'; known: name, bytes, share, max_bytes, max_slots, entries"
    )
    assert str(caught.value) == wanted


def test_an_unknown_variable_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'AMI_RING_SLOTS'; known: .*AMI_RING_MAX_SLOTS"):
        load(written(tmp_path, ""), {"AMI_RING_SLOTS": "4"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rings]\n", "unknown section 'rings'; known: node, ring,"),
        ("ring = 5\n", r"'ring' must be a section \[ring\], got 5"),
        ("[[ring]]\n", r"'ring' must be a section"),
        ("[ring]\nbytes = '8'\n", r"\[ring\]: bytes must be an integer, got '8'"),
        ("[ring]\nbytes = true\n", "bytes must be an integer, got True"),
        ("[ring]\nbytes = 1.5\n", "bytes must be an integer, got 1.5"),
        ("[ring]\nbytes = 1\n", "ring.bytes must be 0 or from 4096 to .*, got 1"),
        ("[ring]\nbytes = 0x" + "f" * 5000, "got an integer of thousands of digits"),
        ("[ring]\nname = 'ami-events'\n", "ring.name must be '/ami-'"),
        ("[ring]\nname = '/ami-a/b'\n", "ring.name must be"),
        ("[ring]\nname = '/ami-a.c1'\n", "without the ring's own endings"),
        ("[ring]\nshare = 1.0\n", "ring.share must be above 0 and at most 0.9"),
        ("[ring]\nname = 7\n", "name must be a string, got 7"),
        ("[source]\ninterval_s = nan\n", "source.interval_s must be from .* got nan"),
        ("[source]\ninterval_s = inf\n", "source.interval_s must be"),
        ("[source]\ninterval_s = 0x" + "f" * 5000, "interval_s must be a number"),
        ("[source]\ninterval_s = false\n", "must be a number, got False"),
        ("[source]\nuri = 'run7.h5'\n", "source.uri must be of the form proto://"),
        ("[source]\npolicy = 'block'\n", "source.policy must be one of wait, drop, got 'block'"),
        ('[source]\nuri = "a://\\u0000"\n', "without NUL"),
        ("[node]\nhost = 'a:b'\n", "node.host must be letters"),
        ("[node]\ncluster = ''\n", "node.cluster must be letters"),
        ("[node]\nrun_dir = ''\n", "run_dir must be a path"),
        ("[node]\nlog_level = 'LOUD'\n", "node.log_level must be one of DEBUG"),
        (
            "[node]\nrun_dir = '" + "/long" * 30 + "'\n",
            "local_store.socket must be a path of at most 107 bytes",
        ),
        ("[global_store]\nport = 55536\n", "global_store.port must be from 1 to 55535"),
        ("[global_store]\nstart_nodes = 'a:1'\n", "start_nodes must be a list of strings"),
        ("[global_store]\nstart_nodes = [1]\n", "start_nodes must be a string"),
        ("[global_store]\nstart_nodes = ['a']\n", "start_nodes must be a list of HOST:PORT, got 'a'"),
        ("[global_store]\nstart_nodes = ['a:70000']\n", "start_nodes must be a list of HOST:PORT"),
        ("[global_store]\nfsync = 'maybe'\n", "global_store.fsync must be one of"),
        ("[monitor]\nheartbeat_s = 5\n", "monitor.hang_s must be more than monitor.heartbeat_s"),
        ("[security]\nuser_code = 'signed'\n", "security.secret_file must be set"),
        ("[ring\n", "not valid TOML"),
        ("[ring]\nbytes = 1\nbytes = 2\n", "not valid TOML"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        ("a = 1979-13-45\n", "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(written(tmp_path, text), {})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = '\x00'", b"\x00" * 100, b"\xef\xbb\xbf\x80"])
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ami.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{path}: not valid TOML")):
        load(path, {})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent: cannot be read: No such file"):
        load(tmp_path / "absent", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("AMI_RING_BYTES", "8k", "AMI_RING_BYTES must be an integer, got '8k'"),
        ("AMI_RING_BYTES", "", "AMI_RING_BYTES must be an integer, got ''"),
        ("AMI_RING_BYTES", "9" * 5000, "AMI_RING_BYTES must be an integer"),
        ("AMI_SOURCE_DRAIN_S", "soon", "AMI_SOURCE_DRAIN_S must be a number, got 'soon'"),
        ("AMI_SOURCE_DRAIN_S", "nan", "source.drain_s must be from 0 to 86400 seconds, got nan"),
        ("AMI_NODE_RUN_DIR", "", "AMI_NODE_RUN_DIR must be a path"),
    ],
)
def test_a_bad_variable_is_refused_by_name(tmp_path: Path, variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(written(tmp_path, ""), {variable: text})


def test_a_host_name_is_found_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "daq07.example.org")
    assert load(environ={}).node.host == "daq07"


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(environ={}).ring.bytes = 5  # type: ignore[misc]  # that is the point


def test_no_setting_holds_a_secret_itself() -> None:
    secret = [name for name in variables() if re.search(r"PASSWORD|SECRET|TOKEN", name)]
    assert sorted(secret) == [
        "AMI_GLOBAL_STORE_PASSWORD_FILE",
        "AMI_SECURITY_SECRET_FILE",
        "AMI_WEB_TOKEN_FILE",
    ]


@given(port=st.integers(), hang_s=st.floats(), text=st.text())
def test_a_part_is_valid_or_refused(port: int, hang_s: float, text: str) -> None:
    for make in (
        lambda: GlobalStoreConfig(port=port, host=text, start_nodes=(text,)),
        lambda: MonitorConfig(hang_s=hang_s),
        lambda: RingConfig(name=text),
    ):
        try:
            made = make()
        except ConfigError:
            continue
        if isinstance(made, GlobalStoreConfig):
            assert 1 <= made.port <= 55535
        if isinstance(made, MonitorConfig):
            assert made.heartbeat_s < made.hang_s <= 86400
        if isinstance(made, RingConfig):
            assert made.name.startswith("/ami-")
            assert set(made.name[1:]) <= set(string.ascii_letters + string.digits + "._-")


@given(variable=st.sampled_from(sorted(variables())), text=st.text())
def test_any_text_in_a_variable_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, variable: str, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.toml"
    path.touch()
    try:
        config = load(path, {variable: text})
    except ConfigError as error:
        assert len(str(error)) < 1000
    else:
        assert isinstance(config, Config)


toml_values = st.recursive(
    st.none().map(lambda _: "''")
    | st.booleans().map(lambda b: str(b).lower())
    | st.integers().map(str)
    | st.floats().map(repr)
    | st.sampled_from(["1979-05-27", "07:32:00", "'x'", "''", '"\\u0007"', "'a:1'"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)


@given(setting=st.sampled_from(sorted(variables().values())), value=toml_values)
def test_any_value_in_the_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, setting: tuple[str, str], value: str
) -> None:
    part, name = setting
    path = written(tmp_path_factory.getbasetemp(), f"[{part}]\n{name} = {value}\n")
    try:
        config = load(path, {})
    except ConfigError as error:
        assert name in str(error)
    else:
        assert isinstance(config, Config)


def test_the_store_listens_on_this_machine_only_until_told_otherwise() -> None:
    assert ipaddress.ip_address(Config().global_store.host).is_loopback
