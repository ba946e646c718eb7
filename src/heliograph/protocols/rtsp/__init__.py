"""RTSP 1.0 (RFC 2326) with the parts of 2.0 (RFC 7826) that clients use; no input or output.

``messages`` cuts bytes into messages, ``headers``, ``targets`` and ``auth`` read what they say,
``states`` holds the tables, ``server`` and ``client`` are the two machines, ``events`` what they
tell their adapters. The server's machine asks ``requests``, ``addressing``, ``negotiation`` and
``guard`` and ``playing``, the client's ``replies`` and ``sharing``.
"""

from heliograph.protocols.rtsp.auth import Authenticator, Verdict
from heliograph.protocols.rtsp.client import ClientSession
from heliograph.protocols.rtsp.headers import LIVE, Range, RtpInfo, Transport
from heliograph.protocols.rtsp.messages import (
    Headers,
    InterleavedFrame,
    MessageParser,
    Request,
    Response,
)
from heliograph.protocols.rtsp.playing import Section, npt, pause_point, section
from heliograph.protocols.rtsp.server import ServerSession
from heliograph.protocols.rtsp.states import BANDWIDTH, RANGE, State
from heliograph.protocols.rtsp.targets import Target

__all__ = [
    "BANDWIDTH",
    "LIVE",
    "RANGE",
    "Authenticator",
    "ClientSession",
    "Headers",
    "InterleavedFrame",
    "MessageParser",
    "Range",
    "Request",
    "Response",
    "RtpInfo",
    "Section",
    "ServerSession",
    "State",
    "Target",
    "Transport",
    "Verdict",
    "npt",
    "pause_point",
    "section",
]
