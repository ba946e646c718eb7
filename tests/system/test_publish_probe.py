"""``helio publish`` into a running ``helio serve``, watched by ``helio probe``: real processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from tests.ports import free_port

from heliograph.cli.probing.session import Probe
from heliograph.cli.publishing.barcode import read_frame_number
from heliograph.cli.publishing.publisher import Publisher
from heliograph.cli.publishing.sources import Options, PatternSource
from heliograph.model.errors import RemoteError

KEY = "a-stream-key-for-tests"
#: Seconds that a server or a command may take to start on a busy machine.
PATIENCE = 45.0
SMALL = ("--width", "320", "--height", "180", "--bitrate", "400")
#: Channels of a server: each test has one to itself.
CHANNELS = [f"c{number}" for number in range(12)]


class Service:
    """A server's settings and its process."""

    def __init__(self, path: Path):
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}"
        self.file = path / "heliograph.toml"
        self.file.write_text(
            f'[server]\nstate_dir = "{path}"\n[http]\nport = 0\nhost = "127.0.0.1"\n'
            f'[rtsp]\nport = {self.port}\nrtp_port = 0\nhost = "127.0.0.1"\n'
            "[https]\nport = 0\n[rtmp]\nport = 0\n[webrtc]\nport = 0\n"
            + "".join(f'[[channels]]\nname = "{name}"\nkey = "{KEY}"\n' for name in CHANNELS)
        )
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "heliograph", "serve", "-c", str(self.file)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            assert self.process.poll() is None
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Site:
    """A channel of a server, and the programs started at it."""

    def __init__(self, service: Service, channel: str = CHANNELS[0]):
        self.service = service
        self.channel = channel
        self.server = service.url
        self.url = f"{self.server}/{channel}"
        self.processes = []

    async def helio(self, *arguments, stderr=asyncio.subprocess.PIPE, key=KEY):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "heliograph",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "HELIO_KEY": key},
        )
        self.processes.append(process)
        return process

    async def start(self):
        await asyncio.to_thread(self.service.start)

    async def kill(self):
        await asyncio.to_thread(self.service.kill)

    async def publish(self, *options, key=KEY, as_json=True):
        more = ("--json",) if as_json else ()
        return await self.helio(
            *("publish", "pattern", self.channel, "--url", self.server, *more, *SMALL, *options),
            key=key,
        )

    async def close(self):
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A server that nobody kills, and its channels that nobody has used."""
    service = Service(tmp_path_factory.mktemp("server"))
    try:
        service.start()
        yield service, iter(CHANNELS)
        assert service.process.poll() is None
    finally:
        service.kill()


@pytest.fixture
async def site(service):
    server, channels = service
    site = Site(server, next(channels))
    yield site
    await site.close()


@pytest.fixture
async def own(tmp_path):
    """A server that may be killed; it is not started yet."""
    site = Site(Service(tmp_path))
    yield site
    await site.close()
    await site.kill()


async def status(publisher, wanted):
    """The publisher's next status that is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while line := await publisher.stdout.readline():
            found = json.loads(line)
            if wanted(found):
                return found
    raise AssertionError((await publisher.stderr.read()).decode())


def sending(found):
    return found["state"] == "publishing" and found["packets"] > 20


def numbers(units):
    decoder = av.CodecContext.create("h264", "r")
    frames = [f for u in units for f in decoder.decode(av.Packet(u.data))] + decoder.decode(None)
    return [read_frame_number(frame.to_ndarray(format="gray")) for frame in frames]


@pytest.mark.alone
@pytest.mark.parametrize("into", ["tcp", "udp"])
@pytest.mark.parametrize("out_of", ["tcp", "udp"])
async def test_every_frame_published_is_the_frame_received(site, into, out_of):
    publisher = await site.publish("--transport", into)
    await status(publisher, sending)
    probe = Probe(site.url, collect=True)
    report = await probe.run(3.0, out_of)
    assert report.transport == out_of
    assert report.remarks == ()
    video, audio = report.tracks
    assert (video.codec, audio.codec) == ("h264", "opus")
    assert report.sizes == {0: (320, 180)}
    assert (video.lost, audio.lost, video.malformed, audio.malformed) == (0, 0, 0, 0)
    assert video.rate == pytest.approx(25, abs=1)
    assert audio.rate == pytest.approx(50, abs=2)
    assert video.keyframe_interval == pytest.approx(1.0, abs=0.05)
    assert video.sender_reports
    assert video.same_clock
    assert abs(report.av_offset_ms) < 60
    seen = numbers(probe.units[0])
    assert len(seen) >= 70
    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.alone
async def test_interrupted_a_publisher_says_goodbye(site):
    publisher = await site.publish()
    await status(publisher, sending)
    publisher.send_signal(signal.SIGINT)
    rest, complaint = await asyncio.wait_for(publisher.communicate(), PATIENCE)
    assert publisher.returncode == 0
    assert json.loads(rest.splitlines()[-1])["state"] == "ended"
    assert complaint == b""


@pytest.mark.alone
async def test_a_duration_ends_by_itself(site):
    publisher = await site.publish("--duration", "1")
    rest, _ = await asyncio.wait_for(publisher.communicate(), PATIENCE)
    assert publisher.returncode == 0
    assert json.loads(rest.splitlines()[-1])["packets"] >= 60


async def test_a_publisher_comes_back_at_the_live_position(own):
    await own.start()
    publisher = await own.publish()
    await status(publisher, sending)
    await own.kill()
    gone = await status(publisher, lambda found: found["state"] == "away")
    assert gone["reason"]
    await own.start()
    back = await status(publisher, lambda found: found["reconnects"] == 1)
    await status(publisher, lambda found: found["packets"] > back["packets"])
    probe = Probe(own.url, collect=True)
    await probe.run(1.0, "tcp")
    seen = numbers(probe.units[0])
    # The programme went on meanwhile: what is seen now is as old as the publisher's clock says.
    assert seen[-1] / 25 > gone["seconds"] + 0.5
    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.alone
async def test_a_wrong_key_is_refused_once_and_for_all(site):
    publisher = await site.publish(key="wrong", as_json=False)
    _, complaint = await asyncio.wait_for(publisher.communicate(), PATIENCE)
    assert publisher.returncode == 3
    assert b"401" in complaint
    assert b"Traceback" not in complaint


async def test_a_server_that_is_not_there_is_said(own):
    process = await own.helio("probe", own.url)
    _, complaint = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 3
    text = complaint.decode()
    assert text == f"helio: cannot reach 127.0.0.1:{own.service.port}: Connection refused\n"


async def test_a_publisher_waits_for_a_server_that_starts_later(own):
    publisher = await own.publish()
    waiting = await status(publisher, lambda found: found["state"] == "away")
    assert waiting["reason"] == f"cannot reach 127.0.0.1:{own.service.port}: Connection refused"
    await own.start()
    assert (await status(publisher, sending))["reconnects"] == 0


async def test_a_publisher_that_waits_says_so_and_can_be_interrupted(own):
    publisher = await own.publish(as_json=False)
    line = await asyncio.wait_for(publisher.stderr.readline(), PATIENCE)
    reason = f"cannot reach 127.0.0.1:{own.service.port}: Connection refused"
    assert line.decode() == f"waiting for the server ({reason})\n"
    publisher.send_signal(signal.SIGINT)
    _, complaint = await asyncio.wait_for(publisher.communicate(), PATIENCE)
    assert publisher.returncode == 0
    assert b"Traceback" not in complaint


async def test_a_publisher_does_not_wait_for_ever():
    source = PatternSource(Options(width=160, height=120), clock=time.monotonic)
    seen = []
    publisher = Publisher(
        f"rtsp://127.0.0.1:{free_port()}/demo", source, patience=0.6, on_status=seen.append
    )
    try:
        async with asyncio.timeout(10):
            with pytest.raises(RemoteError, match="Connection refused"):
                await publisher.run()
    finally:
        source.close()
    assert "away" in [found.state for found in seen]


@pytest.mark.alone
async def test_probe_prints_one_document_and_a_table(site):
    publisher = await site.publish()
    await status(publisher, sending)
    probe = await site.helio("probe", site.url, "--seconds", "1", "--json")
    text, _ = await asyncio.wait_for(probe.communicate(), PATIENCE)
    found = json.loads(text)
    assert found["lost"] == 0
    assert [track["codec"] for track in found["tracks"]] == ["h264", "opus"]
    assert (found["tracks"][0]["width"], found["tracks"][0]["height"]) == (320, 180)
    table = await site.helio("probe", site.url, "--seconds", "1")
    text, _ = await asyncio.wait_for(table.communicate(), PATIENCE)
    assert "320×180" in text.decode()


@pytest.mark.alone
async def test_a_channel_without_a_source_is_refused(site):
    probe = await site.helio("probe", site.url)
    _, complaint = await asyncio.wait_for(probe.communicate(), PATIENCE)
    assert probe.returncode == 3
    assert b"404" in complaint
