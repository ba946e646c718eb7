"""The nodes of a cluster talk: requests, publications, presence, over Eclipse Zenoh.

``Bus`` is the face. Pure beneath it: ``keys`` (key expressions), ``wire`` (messages), ``presence``
(who is there with what). ``directory`` keeps presence level over a ``link``, which is Zenoh's
(``zenoh_link``, the only module that imports it) or, for a node that is alone and for tests, a
network in memory (``memory``).
``identity``, ``authority`` and ``joining`` are a node's key, the cluster's certificates, and how
another node comes in. ``learning`` asks for lists that another node announces.

Imports ``model`` only; live, manager, servers, web and node may import it.
"""

from heliograph.bus.bus import Announcement, Bus, Registration, Request
from heliograph.bus.options import BusOptions, Credentials
from heliograph.bus.presence import Arrived, Changed, Event, Gone, Name

__all__ = [
    "Announcement",
    "Arrived",
    "Bus",
    "BusOptions",
    "Changed",
    "Credentials",
    "Event",
    "Gone",
    "Name",
    "Registration",
    "Request",
]
