"""Viewers and a publisher who go on by themselves, as people's players and pages do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.interop.peers.network import PREFIX
from tests.probe.machines import KEY, Machine

#: Seconds between two packets that are a gap worth a note: a keyframe a second, and slow cores.
NOTED = 1.0


class Watcher:
    """When something came to one viewer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.sessions = 0
        self.last = time.monotonic()
        self.gaps: list[tuple[float, float]] = []
        """(since when, until when) nothing came."""

    def came(self, count: int = 1) -> None:
        now = time.monotonic()
        if now - self.last > NOTED:
            self.gaps.append((self.last, now))
        self.last = now
        self.count += count

    @property
    def silent(self) -> float:
        """Seconds since the last packet."""
        return time.monotonic() - self.last

    def longest(self, since: float) -> float:
        """Longest time without a packet that ended, or goes on, after ``since``."""
        found = [until - begun for begun, until in self.gaps if until > since]
        return max([*found, self.silent, 0.0])


class RtspWatcher(Watcher):
    """A player by RTSP that is started again when it ends: it ends by itself after some silence."""

    def __init__(self, name: str, portals: Sequence[Machine], turn: int, log: Path) -> None:
        super().__init__(name)
        self._urls = [one.rtsp for one in portals]
        self._turn = turn
        self._log = log
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            url = self._urls[self._turn % len(self._urls)]
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-timeout", "2000000"]
                    + ["-fflags", "nobuffer", "-analyzeduration", "500000", "-i", url]
                    + ["-map", "0:v", "-c", "copy", "-f", "framecrc", "-flush_packets", "1", "-"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            assert self._process.stdout is not None
            self.sessions += 1
            with self._process.stdout as lines:
                for line in lines:
                    if not line.startswith("#"):
                        self.came()
            self._process.wait()
            self._turn += 1
            self._stopped.wait(0.3)

    def stop(self) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
            self._thread.join(0.2)


class WhepWatchers:
    """Viewers by WebRTC, in a process of their own."""

    def __init__(self, count: int, portals: Sequence[Machine], log: Path) -> None:
        self.watchers = [Watcher(f"webrtc-{number}") for number in range(count)]
        command = [sys.executable, "-m", "tests.probe.whep", f"{PREFIX}.2", str(count)]
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                command + [one.http for one in portals],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                _, number, packets, sessions = line.split()
                watcher = self.watchers[int(number)]
                watcher.came(int(packets) - watcher.count)
                watcher.sessions = int(sessions)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(5)


class Publisher:
    """An encoder that enters at another node when its own is no more."""

    #: Seconds for which a node may be unwell until its encoder looks for another.
    PATIENCE = 1.0

    def __init__(self, clip: Path, where: Callable[[], Sequence[Machine]], log: Path) -> None:
        """``where``: nodes that are well, the best first."""
        self._command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
        self._command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
        self._where = where
        self._log = log
        self.starts = 0
        self.at: Machine | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="publisher")
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            found = self._where()
            if not found:
                self._stopped.wait(0.2)
                continue
            self.at = found[0]
            self.starts += 1
            url = f"rtsp://me:{KEY}@{self.at.peer.address}:8554/demo"
            with self._log.open("a") as log:
                process = subprocess.Popen(
                    [*self._command, url], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            unwell: float | None = None
            while process.poll() is None and not self._stopped.is_set():
                now = time.monotonic()
                unwell = None if self.at in self._where() else (unwell or now)
                if unwell is not None and now - unwell > self.PATIENCE:
                    break
                self._stopped.wait(0.1)
            if process.poll() is None:
                process.kill()
            process.wait()
            self._stopped.wait(0.5)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)
