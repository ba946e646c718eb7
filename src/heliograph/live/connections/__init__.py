"""Connections: messages between two ends or within a group, by whatever carries them.

One small interface, ``Connection``; which kind it is is chosen when it is made and not known after
(Kon et al. section 3, R3). ``Udp``, ``Tcp`` and ``Multicast`` carry bytes; ``Sealed`` is put over
any of them. Media of channels between nodes go by the plane's links and casts, which are the same
kinds composed the same way; these here are for what Python itself sends. Imports ``model`` only.
"""

from heliograph.live.connections.base import MAX_MESSAGE, Connection
from heliograph.live.connections.datagrams import Multicast, Udp
from heliograph.live.connections.sealed import KEY_BYTES, Sealed
from heliograph.live.connections.stream import Tcp

__all__ = ["KEY_BYTES", "MAX_MESSAGE", "Connection", "Multicast", "Sealed", "Tcp", "Udp"]
