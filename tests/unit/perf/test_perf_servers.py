"""Configuration and commands of what is measured."""

import tomllib
from pathlib import Path

from tests.perf.servers import Floor, GStreamer, Heliograph, Place, Setting, SrtpFloor, Whep

PLACE = Place(Path("/load"), Path("/w"))


def test_configuration_names_every_channel_and_the_publisher_uses_it():
    setting = Setting("audio", tcp_interval_ms=350, channels=2)
    config = tomllib.loads(Heliograph().config(PLACE, setting))
    assert [channel["name"] for channel in config["channels"]] == ["bench", "bench1"]
    assert {channel["tcp_interval_ms"] for channel in config["channels"]} == {350}
    key = config["channels"][1]["key"]
    assert f"rtsp://any:{key}@127.0.0.1:9554/bench1" in Heliograph().publish_options(1)


def test_the_floor_joins_as_the_channel_does():
    command = Floor("sendto").command(PLACE, Setting("audio", tcp_interval_ms=350))
    assert command[command.index("--interval-ms") + 1] == "350"
    assert command[command.index("--mode") + 1] == "sendto"


def test_servers_do_not_share_ports():
    ports = {server.rtsp_port for server in (Heliograph(), GStreamer(), Floor(), SrtpFloor())}
    assert len(ports) == 4


def test_viewers_by_webrtc_watch_where_the_server_listens():
    config = tomllib.loads(Whep().config(PLACE, Setting()))
    assert config["webrtc"]["host"] == "127.0.0.1"
    options = Whep().read_options()
    port = config["http"]["port"]
    assert options[:2] == ["--url", f"http://127.0.0.1:{port}/whep/bench"]
    assert "none" in Whep(feedback=False).read_options()


def test_a_publisher_by_webrtc_shows_the_channel_s_key():
    server = Whep(by_whip=True)
    config = tomllib.loads(server.config(PLACE, Setting()))
    options = server.publish_options()
    assert server.publisher == "whip-publish"
    assert options[options.index("--key") + 1] == config["channels"][0]["key"]
    assert Whep().publish_options() == Heliograph().publish_options()


def test_the_floor_of_sealing_knows_how_many_will_come_and_where():
    command = SrtpFloor().command(PLACE, Setting(readers=70))
    assert command[command.index("--dests") + 1] == "70"
    assert command[-1] == SrtpFloor().read_options()[-1]


def test_gstreamer_relays_frames_or_packets():
    names = {way: GStreamer(way).name for way in ("frames", "packets")}
    assert names == {"frames": "gstreamer", "packets": "gstreamer (packets)"}
    assert GStreamer("packets").command(PLACE, Setting())[-1] == "packets"
