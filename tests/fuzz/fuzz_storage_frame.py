"""Any bytes from another storage node: frames or ``MalformedError``.

What is a frame is written and read again to the same; what it says is read as any message and as an
error, and gives values or ``MalformedError``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import harness

with harness.instrumented():
    from heliograph.model.errors import HelioError, MalformedError
    from heliograph.storage.remote import messages
    from heliograph.storage.remote.wire import HEADER, Frame, Kind, Reader, encode


def one_input(data: bytes) -> None:
    """As a connection would bring it; then as the body of a frame that is right."""
    cut = data[0] if data else 0
    reader = Reader()
    with contextlib.suppress(MalformedError):
        for part in (data[:cut], data[cut:]):
            for frame in reader.feed(part):
                check(frame)
    payload = data[1:]
    sent = b"".join(bytes(part) for part in encode(Frame(Kind.ANSWER, cut, {}, payload)))
    (found,) = Reader().feed(sent)
    assert bytes(found.payload) == payload
    body(payload)


def check(frame: Frame) -> None:
    """Written and read again."""
    sent = b"".join(bytes(part) for part in encode(frame))
    assert len(sent) >= HEADER
    (again,) = Reader().feed(sent)
    assert (again.kind, again.number, again.meta) == (frame.kind, frame.number, frame.meta)
    assert bytes(again.payload) == bytes(frame.payload)
    fields = messages.Fields(frame.meta)
    reads: tuple[Callable[[], object], ...] = (
        fields.disk,
        fields.key,
        fields.group,
        fields.lengths,
        lambda: fields.deadline(1.0),
        lambda: fields.flag("complete"),
        lambda: messages.usage_read(frame.meta),
    )
    for read in reads:
        with contextlib.suppress(MalformedError):
            read()
    with contextlib.suppress(MalformedError):
        error = messages.error_read(frame.meta)
        assert isinstance(error, HelioError)
        assert messages.error_told(error)["message"] is not None


def body(payload: bytes) -> None:
    """Listings."""
    with contextlib.suppress(MalformedError):
        assert messages.held_told(messages.held_read(payload)) == payload
    with contextlib.suppress(MalformedError):
        assert messages.heads_told(messages.heads_read(payload)) == payload


if __name__ == "__main__":
    harness.main("storage_frame", one_input)
