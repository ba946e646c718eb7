"""RTMP 1.0 (Adobe, 2012) and Enhanced RTMP v2 (Veovera), the side that takes publishers.

No input or output: ``handshake``, ``chunks``, ``amf`` and ``commands`` read and write the wire,
``flv`` and ``media`` make access units of audio and video messages, ``server`` is the machine,
``events`` what it tells its adapter.
"""

from heliograph.protocols.rtmp.server import ServerSession, State

__all__ = ["ServerSession", "State"]
