"""How each server is started, fed and read."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.perf import proc

ROOT = Path(__file__).resolve().parents[2]
#: Seconds a server may take until it accepts connections.
START_S = 60.0
KEY = "bench-key-0123456789"
#: Name of the bare loops.
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario wants of the server."""

    kind: str = "video"
    """``video`` or ``audio``."""
    tcp_interval_ms: int = 0
    """Least time between two writes to one TCP reader, ms; 0: every frame at once."""
    channels: int = 1
    """Channels to be configured: ``bench``, ``bench1``, …"""
    readers: int = 0
    """Readers that will come; a floor that is asked by nobody has to know."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the harness runs things."""

    load: Path
    """The built ``helio-load``."""
    work: Path
    """Directory for logs and configuration."""
    server_core: int = 0
    """Core of the server."""
    load_core: int = 1
    """Core of readers and publisher."""


def build() -> Path:
    """Build the load generator."""
    manifest = ROOT / "rust" / "load" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(manifest)]
    subprocess.run(command, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(manifest.parent / "target"))
    return Path(target) / "release" / "helio-load"


class Server(ABC):
    """One server that can be measured."""

    name: str
    rtsp_port: int
    readers = "rtsp-readers"
    """Command of ``helio-load`` that reads from it."""
    publisher = "publish"
    """Command of ``helio-load`` that publishes to it."""
    sealed = False
    """Whether readers cannot look into packets, so that send times are told by a file."""

    @abstractmethod
    def command(self, place: Place, setting: Setting) -> list[str]:
        """Say what to run."""

    @abstractmethod
    def publish_options(self, channel: int = 0) -> list[str]:
        """Say where the publisher sends: options of ``helio-load publish``."""

    def missing(self) -> str:
        """Say why it cannot run here; empty when it can."""
        return ""

    @property
    def ready_port(self) -> int:
        """TCP port that is open once the server is ready."""
        return self.rtsp_port

    def read_options(self) -> list[str]:
        """Say where the readers read: options of the command ``readers``."""
        return ["--url", self.url]

    @property
    def url(self) -> str:
        """Address of the channel that is read."""
        return f"rtsp://127.0.0.1:{self.rtsp_port}/bench"

    @contextlib.contextmanager
    def serving(self, place: Place, setting: Setting) -> Iterator[subprocess.Popen[str]]:
        """Run the server; the context is entered once it accepts connections."""
        log = place.work / f"{self.name}.log"
        command = self.command(place, setting)
        with proc.running(command, place.server_core, log, cwd=ROOT) as process:
            deadline = time.monotonic() + START_S
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start, see {log}")
                try:
                    socket.create_connection(("127.0.0.1", self.ready_port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield process


class Heliograph(Server):
    """The server under test: ``helio serve``."""

    name = "heliograph"
    rtsp_port = 9554
    http_port = 9080

    def missing(self) -> str:
        """The command is made by the build."""
        return "" if self._helio().exists() else f"{self._helio()} is not built"

    @staticmethod
    def _helio() -> Path:
        return Path(sys.executable).parent / "helio"

    def command(self, place: Place, setting: Setting) -> list[str]:
        """Write its configuration and run it."""
        config = place.work / "helio.toml"
        config.write_text(self.config(place, setting))
        return [str(self._helio()), "serve", "--config", str(config)]

    def config(self, place: Place, setting: Setting) -> str:
        """Text of the configuration; one worker, since it has one core."""
        text = (
            f'[server]\nstate_dir = "{place.work / "state"}"\nlog_level = "warning"\n'
            f'[http]\nhost = "127.0.0.1"\nport = {self.http_port}\n'
            f'[rtsp]\nhost = "127.0.0.1"\nport = {self.rtsp_port}\nrtp_port = 9000\n'
            '[https]\nport = 0\n[rtmp]\nport = 0\n[webrtc]\nhost = "127.0.0.1"\nport = 0\n'
            "[plane]\nworkers = 1\n"
        )
        for channel in range(setting.channels):
            text += (
                f'[[channels]]\nname = "{self._channel(channel)}"\nkey = "{KEY}"\n'
                f"tcp_interval_ms = {setting.tcp_interval_ms}\n"
            )
        return text

    @staticmethod
    def _channel(number: int) -> str:
        return f"bench{number or ''}"

    def publish_options(self, channel: int = 0) -> list[str]:
        """Publish by RTSP RECORD over UDP, so that packets come as they do to the others."""
        name = self._channel(channel)
        url = f"rtsp://any:{KEY}@127.0.0.1:{self.rtsp_port}/{name}"
        return ["--url", url, "--transport", "udp"]


class Whep(Heliograph):
    """The server under test, watched by WebRTC; published to by RTSP, or by WebRTC too."""

    readers = "whep-viewers"
    sealed = True

    def __init__(self, *, by_whip: bool = False, feedback: bool = True) -> None:
        self.name = "heliograph" if feedback else "heliograph (no feedback)"
        self._feedback = feedback
        if by_whip:
            self.publisher = "whip-publish"

    @property
    def ready_port(self) -> int:
        """HTTP comes after RTSP."""
        return self.http_port

    def read_options(self) -> list[str]:
        """Watch by WHEP."""
        url = f"http://127.0.0.1:{self.http_port}/whep/bench"
        return ["--url", url, "--feedback", "transport" if self._feedback else "none"]

    def publish_options(self, channel: int = 0) -> list[str]:
        """Publish by WHIP where that is what is measured."""
        if self.publisher == "publish":
            return super().publish_options(channel)
        url = f"http://127.0.0.1:{self.http_port}/whip/{self._channel(channel)}"
        return ["--url", url, "--key", KEY]


class GStreamer(Server):
    """GStreamer's RTSP server from Debian.

    ``frames`` takes the stream apart and packs it again, and so writes a frame at once;
    ``packets`` hands packets on as they come.
    """

    rtsp_port = 8754

    def __init__(self, way: str = "frames") -> None:
        self.name = "gstreamer" if way == "frames" else f"gstreamer ({way})"
        self._way = way

    def missing(self) -> str:
        """Ask Debian's Python for the bindings."""
        code = "import gi; gi.require_version('GstRtspServer', '1.0')"
        with contextlib.suppress(OSError):
            asked = subprocess.run(
                ["/usr/bin/python3", "-c", code], capture_output=True, check=False
            )
            if asked.returncode == 0:
                return ""
        return "gir1.2-gst-rtsp-server-1.0 is not installed"

    def command(self, place: Place, setting: Setting) -> list[str]:
        """Run the small relay script."""
        script = Path(__file__).with_name("gst_server.py")
        return ["/usr/bin/python3", str(script), str(self.rtsp_port), "8756"] + [
            setting.kind,
            self._way,
        ]

    def publish_options(self, channel: int = 0) -> list[str]:
        """Plain RTP."""
        return ["--url", "udp://127.0.0.1:8756"]


class Floor(Server):
    """The bare loop of ``helio-load floor``."""

    rtsp_port = 8654

    def __init__(self, mode: str = "segment") -> None:
        self.mode = mode
        self.name = "floor" if mode == "segment" else f"floor ({mode})"

    def command(self, place: Place, setting: Setting) -> list[str]:
        """Run the loop in one of its modes."""
        options = {
            "rtsp-port": self.rtsp_port,
            "rtp-port": 8100,
            "mode": self.mode,
            "kind": setting.kind,
            "interval-ms": setting.tcp_interval_ms,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [str(place.load), "floor", *words]

    def publish_options(self, channel: int = 0) -> list[str]:
        """Plain RTP."""
        return ["--url", "udp://127.0.0.1:8100"]


class SrtpFloor(Server):
    """The bare loop of ``helio-load floor-srtp``: sealed and sent, and nothing else."""

    name = FLOOR
    rtsp_port = 8854
    readers = "whep-viewers"
    sealed = True
    #: Where the readers wait.
    FIRST_PORT = 20_000

    def command(self, place: Place, setting: Setting) -> list[str]:
        """Run the loop for as many readers as will come."""
        options = {
            "rtp-port": 8856,
            "ready-port": self.rtsp_port,
            "dests": setting.readers,
            "first-port": self.FIRST_PORT,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [str(place.load), "floor-srtp", *words]

    def read_options(self) -> list[str]:
        """Wait at known ports."""
        return ["--plain", "--first-port", str(self.FIRST_PORT)]

    def publish_options(self, channel: int = 0) -> list[str]:
        """Plain RTP."""
        return ["--url", "udp://127.0.0.1:8856"]
