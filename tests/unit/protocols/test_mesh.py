"""What reflectors say to each other: every message there and back, and nothing else."""

from __future__ import annotations

import json

import pytest

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import mesh
from heliograph.protocols.mesh import (
    Ended,
    Finished,
    Layout,
    Mark,
    Path,
    Refused,
    Started,
    Subscribe,
    Unsubscribe,
)

A, B = "a" * 16, "b" * 16
VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90000, 96, fmtp={"packetization-mode": "1"})
AUDIO = Track(1, Kind.AUDIO, Codec.OPUS, 48000, 97, channels=2, encoding="opus")

MESSAGES = [
    Subscribe(7, "show", A, True, (Mark(0, 3, 1 << 63), Mark(1, 3, 0))),
    Subscribe(0, "show", B),
    Unsubscribe(65_535),
    Layout(7, (VIDEO, AUDIO), (A, B)),
    Layout(7, (), ()),
    Path(7, (A,)),
    Refused(7, "no free place", 10.0),
    Ended(7, "channel closed"),
    Finished("show", (A,), (B,)),
    Started("show"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message):
    assert mesh.decode(mesh.encode(message)) == message


def test_what_a_newer_neighbour_adds_is_left_unread():
    body = json.loads(mesh.encode(Unsubscribe(3))) | {"colour": "red"}
    assert mesh.decode(json.dumps(body).encode()) == Unsubscribe(3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[" * 30_000, "not JSON"),
        ("[]", "unknown type"),
        ('{"type": ["path"]}', "unknown type"),
        ('{"type": "hello"}', "unknown type"),
        ('{"type": "subscribe", "wire": 1}', "something is missing"),
        ('{"type": "subscribe", "wire": 65536, "channel": "a"}', "wire is not valid"),
        ('{"type": "subscribe", "wire": true, "channel": "a"}', "wire is not valid"),
        ('{"type": "subscribe", "wire": 1, "channel": "a", "after": [[0, 1]]}', "after"),
        ('{"type": "subscribe", "wire": 1, "channel": "a", "home": "A"}', "home is not valid"),
        ('{"type": "subscribe", "wire": 1, "channel": "../a"}', "channel name"),
        ('{"type": "subscribe", "wire": 1, "channel": "a", "ready": 1}', "ready is not valid"),
        ('{"type": "path", "wire": 1, "path": ["A"]}', "path is not valid"),
        ('{"type": "path", "wire": 1, "path": "aaaaaaaaaaaaaaaa"}', "path is not valid"),
        ('{"type": "layout", "wire": 1, "path": [], "tracks": [{}]}', "tracks is not valid"),
        ('{"type": "refused", "wire": 1, "reason": "x", "retry_after": NaN}', "retry_after"),
    ],
)
def test_what_is_no_message_is_refused_with_what_is_wrong(text, said):
    with pytest.raises(MalformedError, match=said):
        mesh.decode(text.encode())


def test_a_message_beyond_the_bound_is_not_looked_into():
    with pytest.raises(MalformedError, match="at most"):
        mesh.decode(b" " * (mesh.MAX_MESSAGE + 1))
