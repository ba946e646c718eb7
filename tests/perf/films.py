"""Films for measurements, and servers that have them: ours on a volume of four disks, GStreamer."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.perf.servers import GStreamer, Heliograph, Place, Setting

#: Seconds that are encoded, unless more is asked for; longer films repeat them.
ENCODED = 30
#: Seconds until all films are imported: the disk of a busy machine takes some.
IMPORT_S = 240.0
DISKS = "abcd"


def make(work: Path, seconds: int, kbit: int = 5100, scene_s: int = ENCODED) -> Path:
    """A film with pictures of so many kbit/s (as usual: 5.3 Mbit/s in all) and sound of 128.

    It has no B-frames: its time stamps say when a packet is due. ``scene_s``: after how many
    seconds it repeats itself.
    """
    scene, film = work / "scene.mp4", work / "film.mp4"
    picture = "testsrc2=size=640x360:rate=25,noise=alls=20:allf=t"
    line = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi"]
    line += ["-i", "sine=sample_rate=48000", "-t", str(scene_s), "-c:v", "libx264"]
    line += ["-preset", "ultrafast", "-b:v", f"{kbit}k", "-maxrate", f"{kbit}k"]
    line += ["-bufsize", f"{kbit * 2 // 5}k"]
    line += ["-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k"]
    _run([*line, "-ac", "2", str(scene)])
    again = str(max(0, -(-seconds // scene_s) - 1))
    line = ["ffmpeg", "-v", "error", "-y", "-stream_loop", again, "-i", str(scene), "-c", "copy"]
    _run([*line, "-t", str(seconds), "-movflags", "+faststart", str(film)])
    return film


def _run(line: list[str]) -> None:
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL, timeout=180)


class FilmServer(Heliograph):
    """The server under test, with titles ``t0``, ``t1`` and so on; started again it has them."""

    def __init__(self, titles: int) -> None:
        self.titles = titles

    def config(self, place: Place, setting: Setting) -> str:
        """Promises as many streams as come: what it can do is what is measured."""
        # Blocks are wanted from the disk: no more memory than what is shared by chance.
        more = "[storage]\nport = 0\nnetwork_bps = 100000000000\ncache_bytes = 67108864\n"
        return super().config(place, Setting(channels=0)) + more

    @property
    def ready_port(self) -> int:
        """The API comes last."""
        return self.http_port

    @property
    def url(self) -> str:
        """All titles, as the readers take them."""
        return _urls(self.rtsp_port, self.titles)

    def blocks(self, place: Place) -> list[Path]:
        """Files of the blocks on all disks."""
        disks = [place.work / f"disk-{letter}" for letter in DISKS]
        return [one for disk in disks for one in sorted((disk / "blocks").rglob("*-0?"))]

    def fill(self, place: Place, film: Path) -> float:
        """Make the volume and import the film as each of the titles; seconds it took."""
        disks = [{"path": str(place.work / f"disk-{letter}")} for letter in DISKS]
        self.ask(
            place, "POST", "/volumes", {"name": "films", "data": 3, "parity": 1} | {"disks": disks}
        )
        began = time.monotonic()
        for number in range(self.titles):
            self.ask(place, "PUT", f"/titles/t{number}/media?filename=t{number}.mp4", film)
        while True:
            states = [one["state"] for one in self.ask(place, "GET", "/imports")["imports"]]
            if states == ["done"] * self.titles:
                return time.monotonic() - began
            if "failed" in states or time.monotonic() > began + IMPORT_S:
                raise RuntimeError(f"films are not imported: {states}")
            time.sleep(0.2)

    def ask(self, place: Place, method: str, path: str, body: Any = None) -> Any:
        """The API below ``/api/v1/storage``; a path as the body is the file to be sent."""
        key = (place.work / "state" / "administrator.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body, default=str).encode()
        if isinstance(body, Path):
            headers["Content-Length"] = str(body.stat().st_size)
            data = body.open("rb")  # type: ignore[assignment]
        address = f"http://127.0.0.1:{self.http_port}/api/v1/storage{path}"
        asked = urllib.request.Request(address, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return json.load(answer)
        finally:
            if isinstance(body, Path):
                data.close()  # type: ignore[union-attr]

    def counted(self) -> dict[str, float]:
        """What it counted of titles by RTSP since its start."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as it:
            lines = it.read().decode().splitlines()
        head = "helio_titles_rtsp_"
        pairs = (line.removeprefix(head).split() for line in lines if line.startswith(head))
        return {name.removesuffix("_total"): float(value) for name, value in pairs}


class GStreamerFilms(GStreamer):
    """GStreamer's RTSP server from Debian, with the same film from the same file system."""

    name = "gstreamer"

    def __init__(self, titles: int, film: Path) -> None:
        self.titles = titles
        self._film = film

    def files(self, place: Place) -> list[Path]:
        """A file of its own for each title, as others have."""
        found = []
        for number in range(self.titles):
            path = place.work / f"t{number}.mp4"
            if not path.exists():
                subprocess.run(["cp", str(self._film), str(path)], check=True, timeout=120)
            found.append(path)
        return found

    def command(self, place: Place, setting: Setting) -> list[str]:
        """Run the small script."""
        script = Path(__file__).with_name("gst_titles.py")
        files = [str(path) for path in self.files(place)]
        return ["/usr/bin/python3", str(script), str(self.rtsp_port), *files]

    @property
    def url(self) -> str:
        """All titles, as the readers take them."""
        return _urls(self.rtsp_port, self.titles)


def _urls(port: int, titles: int) -> str:
    return ",".join(f"rtsp://127.0.0.1:{port}/t{number}" for number in range(titles))
