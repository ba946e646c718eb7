"""A player made by hand of titles that several nodes send: it counts packets by the extension."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass

#: Seconds that an answer may take on a busy machine.
PATIENCE = 20.0


class Rtsp:
    """A control connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        host, port = url.removeprefix("rtsp://").split("/")[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._file = self._socket.makefile("rb")
        self._cseq = 0

    def ask(self, method: str, url: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer; ``ConnectionError`` where none comes."""
        self._cseq += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self._cseq}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        first = self._file.readline().decode()
        if not first:
            raise ConnectionError("no answer")
        found: dict[str, str] = {}
        while (line := self._file.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        body = self._file.read(int(found.get("content-length", "0"))).decode()
        return int(first.split()[1]), found, body

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@dataclass(frozen=True)
class Packet:
    """What came."""

    at: float
    total: int
    """Packet of the title."""
    node: int
    number: int
    """Packet of the node."""
    ssrc: int
    sequence: int
    timestamp: int


class Player:
    """Plays ``NAME`` of a server by UDP; packets are collected in a thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rtsp = Rtsp(url)
        self.session = ""
        self.nodes: dict[int, tuple[str, int, int, int]] = {}
        """By number: host, RTSP port, RTP port, RTCP port."""
        self.clock = 0
        self.ssrcs: list[int] = []
        self.packets: list[Packet] = []
        self.strangers = 0
        self.byes: Counter[int] = Counter()
        self.drop: set[int] = set()
        """Packets of the title that are lost on their way the first time."""
        self._media, self._control = _pair()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive, daemon=True),
            threading.Thread(target=self._report, daemon=True),
        ]

    def begin(self, tracks: int = 2) -> None:
        """Set up and play."""
        supported = {"Supported": "heliograph.bipartite"}
        status, _, sdp = self.rtsp.ask("DESCRIBE", Accept="application/sdp", **supported)
        assert status == 200
        assert sdp.count("a=extmap:1 urn:heliograph:bipartite") == tracks
        ports = f"{self._media.getsockname()[1]}-{self._control.getsockname()[1]}"
        for track in range(tracks):
            shown = {"Session": self.session} if self.session else {}
            status, found, _ = self.rtsp.ask(
                "SETUP",
                f"{self.url}/trackID={track}",
                Transport=f"RTP/AVP;unicast;client_port={ports}",
                **supported,
                **shown,
            )
            assert status == 200, found
            assert found["supported"] == "heliograph.bipartite"
            self.session = found["session"].partition(";")[0]
            self._take(found)
            ssrc = re.search(r"ssrc=([0-9A-F]{8})", found["transport"], re.IGNORECASE)
            assert ssrc is not None
            self.ssrcs.append(int(ssrc[1], 16))
        assert re.fullmatch("[0-9a-f]{32}", self.session)
        for thread in self._threads:
            thread.start()

    def ask(self, method: str, **headers: str) -> dict[str, str]:
        """A request of the session that is granted."""
        status, found, _ = self.rtsp.ask(method, Session=self.session, **headers)
        assert status == 200, (method, status, found)
        self._take(found)
        return found

    def move(self, url: str) -> dict[str, str]:
        """Go on with the session by another connection, or another node."""
        self.rtsp.close()
        self.url = url
        self.rtsp = Rtsp(url)
        return self.ask("GET_PARAMETER")

    def again(self, node: int, *numbers: int) -> None:
        """Ask a node for packets again."""
        host, _, _, port = self.nodes[node]
        head = struct.pack("!BBHI4s", 0x80, 204, 2 + len(numbers), 7, b"HBIP")
        asked = b"".join(one.to_bytes(4) for one in numbers)
        self._control.sendto(_REPORT + head + asked, (host, port))

    def totals(self) -> list[int]:
        """Packets of the title that came, each once, in order."""
        return sorted({one.total for one in self.packets})

    def missing(self) -> list[int]:
        """Those of the title that did not come, between the first and the last."""
        found = self.totals()
        return sorted({*range(found[0], found[-1] + 1)} - {*found})

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)
        self.rtsp.close()
        self._media.close()
        self._control.close()

    def _take(self, found: dict[str, str]) -> None:
        if "bipartite" not in found:
            return
        shown = re.fullmatch(
            r'clock=(\d+), nodes="([^"]*)", ahead=0(?:, line="[0-9@*.]+")?', found["bipartite"]
        )
        assert shown is not None, found["bipartite"]
        self.clock = int(shown[1])
        self.nodes = {}
        for one in shown[2].split(";"):
            part = re.fullmatch(r"(\d+)=([^/]+):(\d+)/(\d+)-(\d+)", one)
            assert part is not None, one
            number, host, *ports = part.groups()
            rtsp, rtp, rtcp = map(int, ports)
            self.nodes[int(number)] = host, rtsp, rtp, rtcp

    def _receive(self) -> None:
        self._media.settimeout(0.2)
        self._control.settimeout(0.0)
        while not self._over.is_set():
            try:
                data, source = self._media.recvfrom(2048)
            except TimeoutError:
                self._receive_control()
                continue
            now = time.monotonic()
            # One element of the one-byte form, of ten bytes, and its padding (RFC 8285).
            assert data[0] == 0x90, data[:2]
            assert data[12:17] == bytes([0xBE, 0xDE, 0, 3, 0x19])
            _, _, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
            total, node, number = struct.unpack("!IHI", data[17:27])
            known = self.nodes.get(node)
            if known is not None and source != (known[0], known[2]):
                self.strangers += 1
            if total in self.drop:
                self.drop.discard(total)
                self.lost = node, number
                continue
            self.packets.append(Packet(now, total, node, number, ssrc, sequence, timestamp))
            self._receive_control()

    def _receive_control(self) -> None:
        while True:
            try:
                data, source = self._control.recvfrom(2048)
            except (TimeoutError, BlockingIOError):
                return
            while len(data) >= 4:
                size = 4 + 4 * int.from_bytes(data[2:4])
                if data[1] == 203:
                    self.byes[source[1]] += 1
                data = data[size:]

    def _report(self) -> None:
        while not self._over.wait(1):
            for host, _, _, rtcp in [*self.nodes.values()]:
                self._control.sendto(_REPORT, (host, rtcp))


_REPORT = struct.pack("!BBHI", 0x80, 201, 1, 7)


def _pair() -> tuple[socket.socket, socket.socket]:
    """An even port and the next."""
    while True:
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if port % 2 == 0:
                second.bind(("127.0.0.1", port + 1))
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
