"""What is on the wire of this machine's WebRTC port, and forged copies of it. Needs to be root."""

from __future__ import annotations

import random
import socket
import struct
import threading
from dataclasses import dataclass

ETH_P_IP = 0x0800
UDP = 17
#: Datagrams remembered: some of a handshake, some of each kind of what follows.
KEPT = 2000


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram to the port."""

    source: tuple[str, int]
    data: bytes


class Tap:
    """Remembers what peers send to a UDP port, handshakes included."""

    def __init__(self, port: int) -> None:
        self.heard: list[Datagram] = []
        self.port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._stopped = threading.Event()
        self._job = threading.Thread(target=self._listen, daemon=True)
        self._job.start()

    def _listen(self) -> None:
        while not self._stopped.is_set() and len(self.heard) < KEPT:
            try:
                data, (_, _, kind, _, _) = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            if kind == socket.PACKET_OUTGOING or len(data) < 28 or data[9] != UDP:
                continue  # on the loopback all is seen twice
            begin = (data[0] & 15) * 4
            source, port = struct.unpack_from("!HH", data, begin)
            if port == self.port:
                address = socket.inet_ntoa(data[12:16])
                self.heard.append(Datagram((address, source), data[begin + 8 :]))

    def stop(self) -> None:
        self._stopped.set()
        self._job.join(5)
        self._socket.close()


class Forger:
    """Sends datagrams that say they come from somebody else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, source: tuple[str, int], data: bytes) -> None:
        """Send as if from ``source``, to the port on 127.0.0.1."""
        address = socket.inet_aton(source[0])
        to = socket.inet_aton("127.0.0.1")
        length = 28 + len(data)
        # The kernel fills in the checksum of the IP header; UDP's may be 0 (RFC 768).
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, UDP, 0, address, to)
        udp = struct.pack("!HHHH", source[1], self._port, 8 + len(data), 0)
        self._socket.sendto(head + udp + data, ("127.0.0.1", 0))

    def close(self) -> None:
        self._socket.close()


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Change a datagram: bits, bytes, its length, or not at all."""
    changed = bytearray(data)
    match dice.randrange(8):
        case 0:
            return data  # replayed
        case 1:
            return data[: dice.randrange(len(data) + 1)]
        case 2:
            return data + dice.randbytes(dice.randrange(1, 200))
        case 3:
            place = dice.randrange(len(data) + 1)
            return data[:place] + dice.randbytes(dice.randrange(1, 16)) + data[place:]
        case 4:  # a length or a type that is not true
            place = dice.randrange(max(1, min(24, len(changed) - 1)))
            changed[place : place + 2] = dice.choice((b"\xff\xff", b"\0\0", dice.randbytes(2)))
        case 5:
            return dice.randbytes(len(data))
        case _:
            for _ in range(dice.choice((1, 1, 1, 4, 16))):
                if changed:
                    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)
