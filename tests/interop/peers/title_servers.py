"""Servers of other makes with the clip on their disks, as anybody runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port

from .clip import Clip
from .gstreamer import PYTHON
from .heliograph import Server
from .program import Program, wait_until
from .proxies import NGINX

APACHE = "/usr/sbin/apache2"
HELIO = [sys.executable, "-m", "heliograph"]
#: What Apache needs for files and listings, and to be slow.
MODULES = (
    "mpm_event",
    "authz_core",
    "dir",
    "mime",
    "autoindex",
    "alias",
    "headers",
    "env",
    "ratelimit",
)
#: KiB that Apache sends in a fifth of a second when it is slow: what a probe asks for takes two.
SLOW_STEP = 48


def lay_out(clip: Clip, directory: Path) -> Path:
    """The clip as one file and cut for HLS, where servers that gave up root's rights may read."""
    root = directory / "titles"
    (root / "clip").mkdir(parents=True)
    shutil.copy(clip.opus, root / "clip.mp4")
    cut = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(clip.opus), "-c", "copy"]
    cut += ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"]
    cut += ["-hls_segment_type", "fmp4", str(root / "clip" / "index.m3u8")]
    subprocess.run(cut, check=True, timeout=60)
    for place in (root, *root.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)
    return root


def lay_out_ladder(clip: Clip, root: Path, sizes: tuple[int, ...]) -> None:
    """The clip for HLS in pictures of several heights, and what names them: ``ladder/``.
    Segments are as long as ours."""
    place = root / "ladder"
    place.mkdir()
    cut = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(clip.aac)]
    names = []
    for number, height in enumerate(sizes):
        cut += ["-map", "0:v", "-map", "0:a", f"-filter:v:{number}", f"scale=-2:{height}"]
        names.append(f"v:{number},a:{number},name:{height}")
    cut += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-sc_threshold", "0"]
    cut += ["-c:a", "copy", "-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod"]
    cut += ["-hls_segment_type", "fmp4", "-master_pl_name", "index.m3u8"]
    cut += ["-hls_fmp4_init_filename", "init-%v.mp4"]
    cut += ["-var_stream_map", " ".join(names), str(place / "%v.m3u8")]
    subprocess.run(cut, check=True, timeout=180)
    for one in (place, *place.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)


class TitleServer:
    """A server that can be killed, frozen and started again at the same port."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.port = free_port()
        self._program: Program | None = None

    def argv(self) -> list[str]:
        """The command."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ports(self) -> set[int]:
        """Those it listens on."""
        return {self.port}

    def start(self) -> None:
        """Start it, and wait until it listens."""
        program = Program(self.name, self.argv(), self.directory)
        self._program = program

        def look() -> bool:
            assert program.running, program.log
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(look, 20, f"{self.name} listens")

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        assert self._program is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program.process.pid, number)

    def kill(self) -> None:
        """End it as a crash of its machine would."""
        self.signal(signal.SIGKILL)
        assert self._program is not None
        self._program.process.wait(10)

    def stop(self) -> None:
        """End it for good."""
        if self._program is None:
            return
        self.signal(signal.SIGCONT)
        self._program.stop()
        self.signal(signal.SIGKILL)


class Nginx(TitleServer):
    """nginx with a directory."""

    def __init__(self, root: Path, directory: Path) -> None:
        super().__init__("nginx-titles", directory)
        self._root = root

    def argv(self) -> list[str]:
        """Files and their listings, and nothing else."""
        here = self.directory
        places = "".join(
            f"{name}_temp_path {here}/titles-{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = here / "nginx-titles.conf"
        config.write_text(
            f"{user}pid {here}/nginx-titles.pid;\nerror_log stderr warn;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}"
            "types { video/mp4 mp4 m4s; application/vnd.apple.mpegurl m3u8; text/html html; }\n"
            f"server {{ listen 127.0.0.1:{self.port}; root {self._root}; autoindex on;\n"
            'add_header Access-Control-Allow-Origin "*"; }\n}\n'
        )
        return [NGINX, "-c", str(config), "-p", str(here), "-g", "daemon off;"]


class Apache(TitleServer):
    """Apache with a directory."""

    def __init__(self, root: Path, directory: Path) -> None:
        super().__init__("apache-titles", directory)
        self._root = root
        self._slow = directory / "apache-titles.slow"

    def slow(self, slow: bool = True) -> None:
        """Send no more than ``SLOW_STEP`` KiB at a time from now on, as one that has too much to
        do; or as fast as it can again."""
        if slow:
            self._slow.touch()
        else:
            self._slow.unlink(missing_ok=True)

    def argv(self) -> list[str]:
        """Debian's modules, and nothing of Debian's configuration."""
        here = self.directory
        modules = "".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in MODULES
        )
        owner = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        types = here / "apache-titles.types"
        types.write_text("video/mp4 mp4 m4s\napplication/vnd.apple.mpegurl m3u8\n")
        config = here / "apache-titles.conf"
        config.write_text(
            f"{modules}ServerName localhost\nServerRoot {here}\nListen 127.0.0.1:{self.port}\n"
            f"PidFile {here}/apache-titles.pid\nErrorLog /dev/stderr\nMutex pthread\n{owner}"
            f"TypesConfig {types}\nDocumentRoot {self._root}\n"
            'Header set Access-Control-Allow-Origin "*"\n'
            f"<Directory {self._root}>\nRequire all granted\nOptions +Indexes\n</Directory>\n"
            f"<If \"-f '{self._slow}'\">\n"
            f"SetOutputFilter RATE_LIMIT\nSetEnv rate-limit {5 * SLOW_STEP}\n</If>\n"
        )
        return [APACHE, "-f", str(config), "-DFOREGROUND"]


class GStreamer(TitleServer):
    """GStreamer's RTSP server with the clip."""

    def __init__(self, clip: Clip, directory: Path) -> None:
        super().__init__("gstreamer-titles", directory)
        self._clip = clip

    def argv(self) -> list[str]:
        """By Debian's Python."""
        script = Path(__file__).with_name("gst_rtsp_server.py")
        return [PYTHON, str(script), str(self._clip.opus), str(self.port)]

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}"


class Unit(TitleServer):
    """A server of ours with a file as the title ``clip`` of its own volume."""

    def __init__(self, file: Path, directory: Path) -> None:
        super().__init__("unit-titles", directory)
        self._file = file
        self.rtsp_port = free_port()

    @property
    def ports(self) -> set[int]:
        return {self.port, self.rtsp_port}

    @property
    def rtsp(self) -> str:
        """Where it is played by RTSP."""
        return f"rtsp://127.0.0.1:{self.rtsp_port}/clip"

    def start(self) -> None:
        """Start it; the title is imported the first time."""
        settings = {"http": {"port": self.port}, "rtsp": {"port": self.rtsp_port}}
        server = Server(self.directory, [], settings=settings, name=self.name)
        self._program = server
        server.until_ready()
        if server.get("/hls/clip/index.m3u8")[0] != 200:
            key = server.state / "administrator.key"
            argv = [*HELIO, "title", "import", str(self._file), "--name", "clip"]
            argv += ["--server", self.url, "--key-file", str(key)]
            subprocess.run(argv, check=True, timeout=120, stdout=subprocess.DEVNULL)
