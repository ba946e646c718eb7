"""Configuration and commands of what is measured."""

import tomllib
from pathlib import Path

from tests.perf.servers import Floor, GStreamer, Heliograph, Place, Setting

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
    ports = {server.rtsp_port for server in (Heliograph(), GStreamer(), Floor())}
    assert len(ports) == 3
