"""Notes when datagrams of media come in at a network's link: python sniff.py INTERFACE MIN_BYTES.

Writes the time of each, in ms by the kernel's clock since 1970, as a line. Run inside the namespace
that is listened to.
"""

from __future__ import annotations

import socket
import struct
import sys

ETH_P_ALL = 3
UDP = 17
#: From Linux's ``asm-generic/socket.h``; Python does not name it.
SO_TIMESTAMPNS = 35
#: Seconds and nanoseconds.
STAMP = struct.Struct("@qq")


def main() -> None:
    interface, least = sys.argv[1], int(sys.argv[2])
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    listener.bind((interface, 0))
    while True:
        data, ((_, _, stamp),), _, (_, _, kind, _, _) = listener.recvmsg(2048, 64)
        if kind == socket.PACKET_OUTGOING or len(data) < max(least, 34) or data[23] != UDP:
            continue
        seconds, nanoseconds = STAMP.unpack(stamp)
        sys.stdout.write(f"{seconds * 1000 + nanoseconds / 1e6:.3f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
