"""Notes when datagrams of media come in at a network's link: python sniff.py INTERFACE MIN_BYTES.

Writes the time of each, in ms, as a line. Run inside the namespace that is listened to.
"""

from __future__ import annotations

import socket
import sys
import time

ETH_P_ALL = 3
UDP = 17


def main() -> None:
    interface, least = sys.argv[1], int(sys.argv[2])
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    listener.bind((interface, 0))
    while True:
        data, (_, _, kind, _, _) = listener.recvfrom(2048)
        if kind == socket.PACKET_OUTGOING or len(data) < max(least, 34) or data[23] != UDP:
            continue
        sys.stdout.write(f"{time.monotonic() * 1000:.3f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
