"""One precedence, and every mistake told with its key and its place."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import SettingsError
from heliograph.node.options import rtsp_options
from heliograph.node.settings import Settings, diff, load
from heliograph.node.settings.places import find, key_lines
from heliograph.node.settings.reference import effective, markdown, masked

REFERENCE = Path(__file__).parents[3] / "docs/operate/settings.md"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "heliograph.toml"
        file.write_text(text)
        return file

    return write


def problems(**sources) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(default_files=(), **{"env": {}, **sources})
    return caught.value.message.splitlines()


class TestPrecedence:
    def test_defaults_when_nothing_is_set(self):
        loaded = load(env={}, default_files=())
        assert loaded.settings.rtsp.port == 8554
        assert loaded.origin("rtsp.port") == "default"
        assert loaded.file is None

    def test_each_source_beats_the_one_before(self, write):
        file = write("[rtsp]\nport = 1001\n")
        env = {"HELIO_RTSP__PORT": "1002"}
        steps = [
            (load(file, env={}), 1001, f"{file}:2"),
            (load(file, env=env), 1002, "environment HELIO_RTSP__PORT"),
            (load(file, env=env, sets=["rtsp.port=1003"]), 1003, "command line --set rtsp.port"),
            (
                load(file, env=env, sets=["rtsp.port=1"], options={"rtsp.port": ("--port", 1004)}),
                1004,
                "command line --port",
            ),
        ]
        for loaded, port, origin in steps:
            assert loaded.settings.rtsp.port == port
            assert loaded.origin("rtsp.port") == origin

    def test_the_first_default_file_that_exists_is_read_alone(self, tmp_path: Path):
        first, second = tmp_path / "a.toml", tmp_path / "b.toml"
        second.write_text("[http]\nport = 2\n")
        loaded = load(env={}, default_files=(first, second))
        assert (loaded.settings.http.port, loaded.file) == (2, second)
        first.write_text("[rtsp]\nport = 1\n")
        loaded = load(env={}, default_files=(first, second))
        assert (loaded.settings.http.port, loaded.file) == (8080, first)

    def test_a_list_is_replaced_as_a_whole(self, write):
        file = write('[[channels]]\nname = "a"\n[[channels]]\nname = "b"\n')
        loaded = load(file, env={}, sets=['channels=[{name="c"}]'])
        assert [channel.name for channel in loaded.settings.channels] == ["c"]


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("true", True), ("1", True), ("on", True), ("no", False), ("0", False)],
    )
    def test_booleans(self, text, value):
        assert load(env={"HELIO_DEMO": text}, default_files=()).settings.demo is value

    def test_lists_are_words_or_toml(self):
        for text in ("10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]'):
            settings = load(sets=[f"access.view_from={text}"], env={}, default_files=()).settings
            assert settings.access.view_from == (
                ipaddress.ip_network("10.0.0.0/8"),
                ipaddress.ip_network("::1"),
            )

    def test_empty_text_unsets_what_may_be_missing(self):
        loaded = load(sets=["server.log_file="], env={}, default_files=())
        assert loaded.settings.server.log_file is None

    def test_floats_and_underscores(self):
        loaded = load(
            sets=["http.head_timeout_s=2.5", "plane.max_ring_bytes=1_000_000"],
            env={},
            default_files=(),
        )
        assert loaded.settings.http.head_timeout_s == 2.5
        assert loaded.settings.plane.max_ring_bytes == 1_000_000

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("rtsp.port", "rtsp.port: must be KEY=VALUE (command line --set)"),
            ("rtsp.port=many", "a whole number, not 'many' (command line --set rtsp.port)"),
            ("demo=maybe", "demo: must be true or false, not 'maybe'"),
            ("rtsp=5", "rtsp: is a section; set its members one by one"),
            ("channels=[{", "channels: not a valid TOML array"),
            ("channels.0.name=x", "channels"),
        ],
    )
    def test_texts_that_do_not_fit(self, text, told):
        assert told in problems(sets=[text])[0]


class TestMistakes:
    def test_the_line_in_the_file(self, write):
        file = write('# comment\n\n[http]\nhost = "::"\n\n[rtsp]\nport = 99999\n')
        assert problems(config=file) == [
            f"rtsp.port: must be less than or equal to 65535, not 99999 ({file}:7)"
        ]

    def test_the_environment_variable(self):
        assert problems(env={"HELIO_RTSP__PORT": "-1"}) == [
            "rtsp.port: must be greater than or equal to 0, not -1 (environment HELIO_RTSP__PORT)"
        ]

    def test_where_commands_find_a_server_is_no_setting(self):
        found = load(env={"HELIO_SERVER": "http://127.0.0.1:8080"}, default_files=())
        assert found.settings == load(env={}, default_files=()).settings

    def test_all_mistakes_are_told_at_once(self, write):
        file = write('[http]\nport = "80"\n[server]\nlog_level = "loud"\n')
        told = problems(config=file, sets=["plane.workers=99"])
        assert len(told) == 3
        assert any("http.port" in line and "integer" in line for line in told)
        assert any("'debug'" in line and f"{file}:4" in line for line in told)

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("rtps.port", "did you mean rtsp.port?"),
            ("rtsp.prot", "did you mean rtsp.port?"),
            ("http.realm", "did you mean rtsp.realm?"),
            ("access.zzz", "known here: publish_from"),
        ],
    )
    def test_unknown_keys_suggest_the_nearest(self, key, hint):
        section, name = key.split(".")
        assert hint in problems(sets=[f"{key}=1"])[0]
        assert hint in problems(env={f"HELIO_{section}__{name}".upper(): "1"})[0]

    def test_unknown_keys_of_a_file(self, write):
        file = write('[rtsp]\nprot = 1\n[[channels]]\nname = "a"\ntitel = "b"\n')
        assert problems(config=file) == [
            f"rtsp.prot: unknown; did you mean rtsp.port? ({file}:2)",
            f"channels[0].titel: unknown; did you mean channels[0].title? ({file}:5)",
        ]

    def test_a_single_underscore_is_told_but_foreign_variables_are_not(self):
        assert "did you mean HELIO_RTSP__PORT?" in problems(env={"HELIO_RTSP_PORT": "1"})[0]
        load(env={"HELIO_SERVICE_HOST": "10.0.0.1", "HELIO_PORT": "tcp://x"}, default_files=())

    def test_invalid_toml_names_its_line(self, write):
        file = write("[rtsp]\nport = = 1\n")
        (told,) = problems(config=file)
        assert told.startswith(f"{file}:2: not valid TOML")

    def test_a_file_that_cannot_be_read(self, tmp_path: Path):
        (told,) = problems(config=tmp_path / "none.toml")
        assert told == f"{tmp_path}/none.toml: cannot be read: No such file or directory"

    def test_a_file_that_is_not_text(self, tmp_path: Path):
        file = tmp_path / "x.toml"
        file.write_bytes(b"a = 1\n\xff")
        assert problems(config=file) == [f"{file}: not UTF-8 at byte 6"]

    def test_a_section_that_is_no_table(self, write):
        file = write("rtsp = 3\n")
        (told,) = problems(config=file)
        assert told.startswith("rtsp: ")
        assert told.endswith(f"({file}:1)")

    def test_scalar_in_a_file_and_member_in_the_environment(self, write):
        (told,) = problems(config=write("rtsp = 3\n"), env={"HELIO_RTSP__PORT": "5"})
        assert told.startswith("rtsp: ")

    def test_channel_names(self, write):
        file = write('[[channels]]\nname = "a"\n\n[[channels]]\nname = "a"\n')
        assert problems(config=file) == [f"channels[1].name: 'a' is there twice ({file}:5)"]
        file = write('[[channels]]\nname = "a/b"\n')
        assert f"({file}:2)" in problems(config=file)[0]
        file = write('[[channels]]\ntitle = "t"\n')
        assert problems(config=file) == [f"channels[0].name: is missing ({file}:1)"]

    def test_nested_tables_of_a_channel(self, write):
        file = write(
            '[[channels]]\nname = "a"\n[[channels.sources]]\nurl = "rtsp://cam/1"\n'
            '[[channels]]\nname = "b"\n[[channels.sources]]\nurl = "rtsp://cam/1"\n'
            '[[channels.sources]]\nurl = "http://cam/1"\n'
        )
        (told,) = problems(config=file)
        assert told.startswith("channels[1].sources[1].url: must begin with rtsp://")
        assert told.endswith(f"({file}:10)")

    @pytest.mark.parametrize("url", ["rtsp://", "rtsp://h:port/", "rtsp://[::1/", "movie.mp4"])
    def test_sources_that_cannot_be(self, url):
        told = problems(sets=[f'channels=[{{name="a", sources=[{{url="{url}"}}]}}]'])
        assert told[0].startswith("channels[0].sources[0].url: ")

    def test_secrets_are_never_shown(self, write):
        file = write('[[channels]]\nname = "a"\nkey = "hunter2"\n')
        (told,) = problems(config=file)
        assert told.startswith("channels[0].key: must have at least 8 characters")
        assert "hunter2" not in told

    @pytest.mark.parametrize(
        ("sets", "key"),
        [
            (["rtsp.rtp_port=8001"], "rtsp.rtp_port"),
            (["rtsp.multicast_port=0"], "rtsp.multicast_port"),
            (["rtsp.multicast_base=10.0.0.1"], "rtsp.multicast_base"),
            (["plane.lag_ms=5000"], "plane.lag_ms"),
            (["storage.ahead_bps=1_000_000_001"], "storage.ahead_bps"),
            (["rtsp.port=8080"], "rtsp.port"),
            (["rtmp.port=8080"], "rtmp.port"),
            (["rtmp.port=8554"], "rtmp.port"),
            (["https.port=8080"], "https.port"),
            (["https.port=1935"], "https.port"),
            (["https.key=key.pem"], "https.key"),
            (["http.trusted_proxies=10.0.0.1/8"], "http.trusted_proxies[0]"),
            (["demo=1", 'channels=[{name="demo"}]'], "demo"),
            (["access.publish_from=10.0.0.1/8"], "access.publish_from[0]"),
        ],
    )
    def test_values_that_do_not_go_together(self, sets, key):
        (told,) = problems(sets=sets)
        assert told.startswith(f"{key}: ")
        assert "command line --set" in told

    @given(st.binary(max_size=200))
    def test_any_file_gives_settings_or_the_documented_error(self, tmp_path_factory, data):
        file = tmp_path_factory.mktemp("any") / "any.toml"
        file.write_bytes(data)
        with contextlib.suppress(SettingsError):
            load(file, env={})

    @given(st.text(max_size=60))
    def test_any_override_gives_settings_or_the_documented_error(self, text):
        for key in ("", "rtsp.port=", "channels=", "access.view_from=", "rtsp.realm="):
            with contextlib.suppress(SettingsError):
                load(env={}, sets=[key + text], default_files=())


class TestPlaces:
    def test_strings_and_arrays_over_several_lines_are_passed_over(self):
        text = (
            '[server]\nname = """\n[rtsp]\nport = 1\n"""\n\n'
            "[access]\nview_from = [\n  '10.0.0.0/8',\n]\n[rtsp] # here\n 'port' = 5\n"
        )
        lines = key_lines(text)
        assert lines[("server", "name")] == 2
        assert lines[("access", "view_from")] == 8
        assert lines[("rtsp",)] == 11
        assert lines[("rtsp", "port")] == 12

    def test_dotted_keys_and_inline_tables(self):
        lines = key_lines("rtsp.port = 1\nhttp = { port = 2 }\n")
        assert lines[("rtsp", "port")] == 1
        assert find(lines, ("http", "port")) == 2
        assert find(lines, ("plane", "workers")) is None


class TestShowing:
    SETS = (
        'channels=[{name="a", key="very-secret", sources=[{url="rtsp://me:pw@cam/x?key=abc"}]}]',
    )

    def test_secrets_are_masked(self):
        loaded = load(env={}, sets=self.SETS, default_files=())
        shown = f"{list(effective(loaded))} {masked(loaded.settings)} {loaded.settings!r}"
        assert "very-secret" not in shown
        values = {key: value for key, value, _ in effective(loaded)}
        assert values["channels[0].sources[0].url"] == "rtsp://***@cam/x?key=***"
        assert values["channels[0].key"] == "**********"

    def test_every_setting_appears_with_its_origin(self):
        rows = {key: at for key, _, at in effective(load(env={}, sets=self.SETS))}
        assert rows["channels[0].name"] == "command line --set channels"
        assert rows["plane.depth_ms"] == "default"
        assert "access.view_from" in rows

    def test_the_reference_in_the_documentation_is_current(self):
        assert markdown().strip() in REFERENCE.read_text(), "helio config reference"


class TestCluster:
    def test_join_switches_the_cluster_on(self):
        assert not load(env={}, default_files=()).settings.cluster.active
        joined = load(
            env={}, sets=("cluster.join=tls/a.example:7447,tls/[::1]:1",)
        ).settings.cluster
        assert joined.active
        assert joined.places() == [("a.example", 7447), ("[::1]", 1)]

    @pytest.mark.parametrize(
        "place", ["", "a:1", "tcp/a:1", "tls/a", "tls/a:0", "tls/a:70000", "tls/a b:1", "tls/::1:1"]
    )
    def test_places_are_checked(self, place: str):
        with pytest.raises(SettingsError, match=r"cluster\.join\[0\]|cluster\.join"):
            load(env={}, options={"cluster.join": ("--join", [place])}, default_files=())

    def test_links_are_of_a_kind_that_is_sealed(self):
        settings = load(env={}, sets=("mesh.connection=chacha/tcp",), default_files=()).settings
        assert str(settings.mesh.kind) == "chacha/tcp"
        for wrong in ("udp", "plain/udp", "crypto/multicast/udp"):
            with pytest.raises(SettingsError, match=r"mesh\.connection: must be like"):
                load(env={}, sets=(f"mesh.connection={wrong}",), default_files=())

    def test_a_channel_may_leave_out_what_is_to_be_as_the_node_is_set(self):
        channels = 'channels=[{name="a",connection="chacha/multicast"}]'
        (channel,) = load(env={}, sets=(channels,), default_files=()).settings.channels
        assert channel.connection == "chacha/multicast"
        wrong = channels.replace("chacha/multicast", "udp/chacha")
        with pytest.raises(SettingsError, match=r"channels\[0\]\.connection: .*below udp"):
            load(env={}, sets=(wrong,), default_files=())

    def test_its_port_is_its_own_where_there_is_a_network(self):
        load(env={}, sets=("cluster.port=8080",), default_files=())
        with pytest.raises(SettingsError, match=r"cluster\.port"):
            load(env={}, sets=("cluster.port=8080", "cluster.enabled=true"), default_files=())

    def test_the_token_is_not_shown(self):
        loaded = load(env={"HELIO_CLUSTER__TOKEN": "heliosecret"}, default_files=())
        shown = f"{list(effective(loaded))} {masked(loaded.settings)} {loaded.settings!r}"
        assert "heliosecret" not in shown


class TestDiff:
    @staticmethod
    def settings(*channels: dict) -> Settings:
        return Settings.model_validate({"channels": list(channels)})

    def test_nothing_changed(self):
        old = self.settings({"name": "a", "key": "12345678"}, {"name": "b"})
        new = self.settings({"name": "b"}, {"name": "a", "key": "12345678"})
        assert not diff(old, new)

    def test_added_removed_changed(self):
        old = self.settings({"name": "a"}, {"name": "b"}, {"name": "c", "key": "12345678"})
        new = self.settings({"name": "d"}, {"name": "c", "key": "87654321"}, {"name": "a"})
        changes = diff(old, new)
        assert [channel.name for channel in changes.added] == ["d"]
        assert [channel.name for channel in changes.removed] == ["b"]
        assert [(was.name, now.name) for was, now in changes.changed] == [("c", "c")]


def test_workers_follow_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert Settings().plane.worker_count() == 8
    assert Settings.model_validate({"plane": {"workers": 3}}).plane.worker_count() == 3


def test_authentication_methods_reach_the_rtsp_server():
    settings = Settings.model_validate({"access": {"auth_methods": ["basic"]}})
    assert rtsp_options(settings).auth_methods == ("basic",)


class TestIceServers:
    FILE = """[[webrtc.ice_servers]]
url = "stun:stun.example.net"

[[webrtc.ice_servers]]
url = "turn:turn.example.net"
username = "anna"
credential = "%s"
"""

    def test_they_are_read_and_their_credential_is_masked(self, write):
        loaded = load(write(self.FILE % "opensesame"), env={})
        servers = [one.server() for one in loaded.settings.webrtc.ice_servers]
        urls = [server.url for server in servers]
        assert urls == ["stun:stun.example.net", "turn:turn.example.net"]
        assert servers[1].credential == "opensesame"
        shown = repr([masked(loaded.settings), [*effective(loaded)], loaded.settings])
        assert "turn.example.net" in shown
        assert "opensesame" not in shown

    def test_nonsense_is_told_with_its_line_and_without_the_credential(self, write):
        file = write(self.FILE % "öpensesame")
        assert problems(config=file) == [
            "webrtc.ice_servers[1].url: must have a username and a credential of ASCII letters "
            f"and signs ({file}:5)"
        ]
