"""Chat: whatever texts two clients send, one a line, a room takes them or refuses them.

Invariants: nothing but ``PeerError`` comes of it; entries are numbered without a gap; who joins
late is given the same messages as who was told each one; whatever is told can be written as JSON.
"""

from __future__ import annotations

import harness

with harness.instrumented():
    from heliograph.live import chat_wire as wire
    from heliograph.live.chat import Room
    from heliograph.live.chat_entries import Badge, Cleared, Deleted, Entry, Member, Message
    from heliograph.model.errors import PeerError


def one_input(data: bytes) -> None:
    room = Room()
    owner, _ = room.join("account:1", "Owner", 0.0, badge=Badge.OWNER, moderator=True)
    guest, _ = room.join("guest:a", "", 0.0, badge=Badge.GUEST, net="home")
    shown: dict[int, str] = {}
    for number, line in enumerate(data.split(b"\n")[:100]):
        last = room.last
        try:
            request = wire.parse(line[: wire.MAX_MESSAGE])
            _do(room, (owner, guest)[number % 2], request, float(number))
        except PeerError as error:
            wire.refused("n", error)
            wire.end(error)
        assert room.last - last <= 1
    entries = room.after(0) if room.last <= room.limits.queue else None
    for entry in entries or ():
        assert wire.entry(entry)
        _show(shown, entry)
    _, backlog = room.join("guest:late", "", 200.0)
    assert wire.history(backlog)
    late: dict[int, str] = {}
    for entry in backlog.entries:
        _show(late, entry)
    assert entries is None or late == shown


def _do(room: Room, member: Member, request: wire.Request | None, now: float) -> None:
    match request:
        case wire.Hello(_, name, cursor):
            room.leave(room.join("guest:b", name, now, cursor=cursor)[0])
        case wire.Say(nonce, text):
            room.say(member, text, nonce, now)
        case wire.Name(_, name):
            room.rename(member, name, now)
        case wire.Delete(_, message):
            room.delete(member, message)
        case wire.Mute(_, author, seconds):
            room.mute(member, author, now, seconds=seconds)
        case wire.Unmute(_, author):
            room.unmute(member, author)
        case wire.SetSlow(_, seconds):
            room.set_slow(member, seconds)
        case wire.Clear():
            room.clear(member)


def _show(shown: dict[int, str], entry: Entry) -> None:
    if isinstance(entry, Message):
        shown[entry.id] = entry.text
    elif isinstance(entry, Deleted):
        shown.pop(entry.message, None)
    elif isinstance(entry, Cleared):
        shown.clear()


if __name__ == "__main__":
    harness.main("chat", one_input)
