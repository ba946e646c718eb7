"""The chat beside a channel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.live.chat import Room
from heliograph.live.chat_entries import (
    Backlog,
    Badge,
    ChatLimits,
    Cleared,
    Deleted,
    Entry,
    Member,
    Message,
    Muted,
    Slow,
    Unmuted,
)
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    PeerError,
    TooLargeError,
)

FREE = ChatLimits(burst=1000)


@dataclass
class Client:
    """A page: it keeps what it was shown, and the cursor of the last entry."""

    room: Room
    author: str
    name: str
    moderator: bool = False
    shown: dict[int, str] = field(default_factory=dict)
    cursor: str = ""
    member: Member | None = None
    net: str = ""
    wholes: int = 0
    now: float = 0.0

    def come(self) -> Client:
        badge = Badge.OWNER if self.moderator else Badge.GUEST
        self.member, backlog = self.room.join(
            self.author,
            self.name,
            self.now,
            cursor=self.cursor,
            badge=badge,
            moderator=self.moderator,
            net=self.net,
        )
        self.take_backlog(backlog)
        return self

    def take_backlog(self, backlog: Backlog) -> None:
        if backlog.whole:
            self.shown.clear()
            self.wholes += 1
        for entry in backlog.entries:
            self.show(entry)
        self.cursor = backlog.cursor

    def show(self, entry: Entry) -> None:
        if isinstance(entry, Message):
            assert entry.id not in self.shown, "shown twice"
            self.shown[entry.id] = entry.text
        elif isinstance(entry, Deleted):
            self.shown.pop(entry.message, None)
        elif isinstance(entry, Cleared):
            self.shown.clear()

    def take(self) -> tuple[Entry, ...]:
        """What is new for it, as a server sends it; the whole history where that is too much."""
        assert self.member is not None
        entries = self.room.after(self.member.seen)
        if entries is None:
            self.take_backlog(self.room.resume(self.member, self.now))
            return ()
        self.member.seen = self.room.last
        self.cursor = self.room.cursor
        return entries

    def read(self) -> None:
        for entry in self.take():
            self.show(entry)

    def go(self) -> None:
        assert self.member is not None
        self.room.leave(self.member)
        self.member = None

    def say(self, text: str, nonce: str = "", now: float = 0.0) -> Message:
        assert self.member is not None
        self.now = now
        nonce = nonce or f"{self.author[-1]}-{self.room.cursor[17:]}"
        return self.room.say(self.member, text, nonce, now).message


def lobby(limits: ChatLimits = FREE) -> tuple[Room, Client, Client]:
    room = Room(limits)
    owner = Client(room, "account:1", "Owner", moderator=True).come()
    return room, owner, Client(room, "guest:a", "Anna").come()


def test_what_one_says_all_see_in_order() -> None:
    _, owner, anna = lobby()
    anna.say("hello")
    owner.say("welcome")
    for client in (owner, anna):
        client.read()
        assert list(client.shown.values()) == ["hello", "welcome"]


def test_message_says_who_when_and_in_which_standing() -> None:
    _, owner, anna = lobby()
    message = anna.say("hello", "n1", now=5.0)
    assert message == Message(1, "guest:a", "Anna", "hello", 5.0, "n1", Badge.GUEST)
    assert owner.say("hi").badge is Badge.OWNER


def test_late_comer_reads_the_history() -> None:
    room, _, anna = lobby(replace(FREE, history=3))
    for number in range(5):
        anna.say(str(number))
    late = Client(room, "guest:b", "Berta").come()
    assert list(late.shown.values()) == ["2", "3", "4"]


def test_who_comes_back_misses_nothing_and_sees_nothing_twice() -> None:
    _, owner, anna = lobby()
    anna.say("one")
    owner.read()
    owner.go()
    first = anna.say("two")
    anna.say("three")
    anna.room.delete(anna.member, first.id)
    owner.come()
    assert list(owner.shown.values()) == ["one", "three"]
    assert owner.wholes == 1


def test_who_was_away_for_too_long_gets_the_whole() -> None:
    _, owner, anna = lobby(replace(FREE, history=3))
    anna.say("seen")
    owner.read()
    owner.go()
    for number in range(4):
        anna.say(str(number))
    owner.come()
    assert list(owner.shown.values()) == ["1", "2", "3"]
    assert owner.wholes == 2


@pytest.mark.parametrize("cursor", ["", "x", "0" * 16 + ".1", "{epoch}.99", "{epoch}.-1", "x" * 99])
def test_cursor_that_is_not_of_this_room_gets_the_whole(cursor: str) -> None:
    room, _, anna = lobby()
    anna.say("hello")
    visitor = Client(room, "guest:b", "Berta", cursor=cursor.format(epoch=room.epoch)).come()
    assert visitor.wholes == 1
    assert list(visitor.shown.values()) == ["hello"]


def test_room_made_anew_goes_on_where_it_was() -> None:
    room, _, anna = lobby()
    said = [anna.say("one", "n1"), anna.say("two", "n2")]
    again = Room(FREE, past=said, mutes=[("guest:z", "", None)])
    back = Client(again, "guest:a", "Anna", cursor=room.cursor).come()
    assert list(back.shown.values()) == ["one", "two"]
    # Sent again because the answer was lost with the server: there once.
    assert back.say("two", "n2") == said[1]
    assert back.say("three", "n3").id == 3
    muted = Client(again, "guest:z", "Zoe").come()
    with pytest.raises(ForbiddenError):
        muted.say("hello")


def test_message_sent_again_is_there_once() -> None:
    room, owner, anna = lobby()
    first = room.say(anna.member, "hello", "n1", 0.0)
    anna.go()
    anna.come()
    second = room.say(anna.member, "hello", "n1", 1.0)
    assert (first.repeated, second.repeated) == (False, True)
    assert first.message == second.message
    owner.say("same id, another author", "n1")
    owner.read()
    assert len(owner.shown) == 2


def test_deleted_message_does_not_come_back_when_sent_again() -> None:
    room, owner, anna = lobby()
    message = anna.say("rude", "n1")
    room.delete(owner.member, message.id)
    again = room.say(anna.member, "rude", "n1", 1.0)
    assert again.repeated
    assert again.message.text == ""
    owner.read()
    assert owner.shown == {}


@pytest.mark.parametrize("nonce", ["", "a b", "x" * 65, "ü", "<b>", "a\n"])
def test_message_without_an_id_is_refused(nonce: str) -> None:
    room, _, anna = lobby()
    with pytest.raises(MalformedError):
        room.say(anna.member, "hello", nonce, 0.0)


@pytest.mark.parametrize(
    ("text", "error"),
    [("", MalformedError), (" \n\u200b", MalformedError), ("x" * 501, TooLargeError)],
)
def test_texts_out_of_bounds(text: str, error: type[PeerError]) -> None:
    room, _, anna = lobby()
    with pytest.raises(error):
        anna.say(text)
    assert room.refused == 1


def test_text_stays_text() -> None:
    _, _, anna = lobby()
    text = "<img src=x onerror=alert(1)> & \"'"
    assert anna.say(text).text == text


def test_flood_is_refused_and_others_are_not() -> None:
    room, owner, anna = lobby(ChatLimits(burst=3, refill=2.0))
    for _ in range(3):
        anna.say("spam")
    with pytest.raises(BusyError) as caught:
        anna.say("spam")
    assert (caught.value.subject, caught.value.retry_after) == ("rate", 2)
    owner.say("I am heard")
    # A new connection is the same author.
    anna.go()
    anna.come()
    with pytest.raises(BusyError):
        anna.say("spam")
    anna.say("after a while", now=2.0)
    with pytest.raises(BusyError):
        anna.say("spam", now=3.9)
    assert room.refused == 3


def test_flood_of_bad_texts_is_a_flood() -> None:
    _, _, anna = lobby(ChatLimits(burst=3))
    for _ in range(3):
        with pytest.raises(TooLargeError):
            anna.say("x" * 10_000)
    with pytest.raises(BusyError):
        anna.say("hello")


def test_clock_that_goes_back_locks_nobody_out() -> None:
    _, _, anna = lobby(ChatLimits(burst=1))
    anna.say("one", now=1000.0)
    with pytest.raises(BusyError):
        anna.say("two", now=0.0)
    anna.say("two", now=1.0)


def test_slow_mode_holds_for_all_but_moderators() -> None:
    room, owner, anna = lobby()
    room.set_slow(owner.member, 10)
    anna.say("one", now=100.0)
    with pytest.raises(BusyError) as caught:
        anna.say("two", now=103.0)
    assert (caught.value.subject, caught.value.retry_after) == ("slow", 7)
    anna.say("two", now=110.0)
    for _ in range(3):
        owner.say("order", now=100.0)
    assert room.resume(anna.member, 110.0).slow == 10
    assert [e for e in anna.take() if isinstance(e, Slow)] == []
    room.set_slow(owner.member, 0)
    anna.say("three", now=110.5)


def test_muted_author_reads_and_does_not_write() -> None:
    room, owner, anna = lobby()
    room.mute(owner.member, "guest:a", 0.0, seconds=60)
    with pytest.raises(ForbiddenError) as caught:
        anna.say("hello", now=59.0)
    assert caught.value.subject == "muted"
    owner.say("peace")
    anna.read()
    assert "peace" in anna.shown.values()
    anna.go()
    anna.come()
    with pytest.raises(ForbiddenError):
        anna.say("hello again", now=59.0)
    anna.say("hello", now=60.0)


def test_unmuted_author_writes_again_and_all_are_told() -> None:
    room, owner, anna = lobby()
    room.mute(owner.member, "guest:a", 0.0)
    assert room.resume(anna.member, 1e9).muted_until == float("inf")
    assert room.unmute(owner.member, "guest:a") is not None
    assert room.unmute(owner.member, "guest:a") is None
    anna.say("thanks")
    kinds = [type(entry) for entry in owner.take()]
    assert kinds == [Muted, Unmuted, Message]


def test_who_is_no_moderator_moderates_nothing() -> None:
    room, owner, anna = lobby()
    message = owner.say("hello")
    acts: list[Callable[[], object]] = [
        lambda: room.delete(anna.member, message.id),
        lambda: room.delete(anna.member, 12345),
        lambda: room.mute(anna.member, "account:1", 0.0),
        lambda: room.unmute(anna.member, "guest:a"),
        lambda: room.set_slow(anna.member, 5),
        lambda: room.clear(anna.member),
    ]
    for act in acts:
        with pytest.raises(ForbiddenError):
            act()
    with pytest.raises(ForbiddenError):
        room.mute(owner.member, "account:1", 0.0)


def test_author_takes_back_his_own() -> None:
    room, owner, anna = lobby()
    room.delete(anna.member, anna.say("oops").id)
    owner.read()
    assert owner.shown == {}
    with pytest.raises(NotFoundError):
        room.delete(owner.member, 1)


def test_deleted_text_is_not_sent_to_those_that_were_slow() -> None:
    room, owner, anna = lobby()
    room.delete(owner.member, anna.say("rude").id)
    assert [type(entry) for entry in anna.take()] == [Deleted]


def test_slow_member_resynchronises_and_others_notice_nothing() -> None:
    _, owner, anna = lobby(replace(FREE, queue=10, history=50))
    for number in range(200):
        owner.say(str(number))
        owner.read()
    assert anna.take() == ()  # the history as a whole
    assert anna.wholes == 2
    assert list(anna.shown.values()) == [str(number) for number in range(150, 200)]
    owner.say("live again")
    anna.read()
    assert list(anna.shown.values())[-2:] == ["199", "live again"]
    assert (len(owner.shown), owner.wholes) == (200, 1)


def test_news_are_told_once_an_entry_is_there() -> None:
    seen: list[int] = []
    room = Room(FREE, news=lambda: seen.append(room.last))
    anna = Client(room, "guest:a", "Anna").come()
    assert seen == []
    anna.say("one")
    anna.say("two")
    assert seen == [1, 2]


def test_member_that_left_hears_and_says_nothing() -> None:
    room, owner, anna = lobby()
    member = anna.member
    anna.go()
    room.leave(member)
    owner.say("hello")
    assert room.members == 1
    with pytest.raises(ForbiddenError):
        room.say(member, "ghost", "n1", 0.0)


@pytest.mark.parametrize("name", ["Anna", "anna", "Аnnа", "A n n a", "Ａnna"])
def test_nobody_takes_the_name_of_another_here(name: str) -> None:
    room, _, anna = lobby()
    with pytest.raises(ConflictError):
        Client(room, "guest:b", name).come()
    Client(room, "guest:a", name).come()  # another window of hers
    anna.go()
    with pytest.raises(ConflictError):
        Client(room, "guest:b", name).come()


def test_name_is_free_again_when_all_windows_are_gone() -> None:
    room, _, anna = lobby()
    second = Client(room, "guest:a", "Anna").come()
    anna.go()
    second.go()
    Client(room, "guest:b", "Anna").come()


def test_owners_name_is_kept_for_the_owner() -> None:
    room = Room()
    room.reserve("account:1", "Owner")
    with pytest.raises(ConflictError):
        Client(room, "guest:a", "0wner").come()
    Client(room, "account:1", "Owner").come()


@pytest.mark.parametrize("name", [" ", "a\u202eb", "x\n\0", "\u200b"])
def test_names_with_tricks_do_not_come_in(name: str) -> None:
    room = Room()
    with pytest.raises(MalformedError):
        Client(room, "guest:a", name).come()
    assert room.members == 0


def test_places_and_windows_are_bounded() -> None:
    room = Room(ChatLimits(max_members=5, max_per_author=2))
    Client(room, "guest:a", "Anna").come()
    Client(room, "guest:a", "Anna").come()
    with pytest.raises(BusyError, match="windows"):
        Client(room, "guest:a", "Anna").come()
    for number in range(3):
        Client(room, f"guest:{number}", f"N{number}x").come()
    with pytest.raises(BusyError, match="place"):
        Client(room, "guest:z", "Zoe").come()


def test_tables_are_bounded() -> None:
    limits = ChatLimits(history=10, authors=10, nonces=10, mutes=10, unsaved=10)
    room = Room(limits)
    owner = Client(room, "account:1", "Owner", moderator=True).come()
    for number in range(50):
        visitor = Client(room, f"guest:{number}", f"N{number}x").come()
        visitor.say("hello")
        visitor.go()
        room.mute(owner.member, f"guest:{number}", 0.0)
    for table in (room._entries, room._rates, room._nonces, room._mutes, room._unsaved):
        assert len(table) == 10
    assert len(room._nets) <= 10
    assert room.unsaved_lost == 90
    assert not room._names.keys() - {"owner"}


def test_what_is_to_be_written_down_is_told_once() -> None:
    room, owner, anna = lobby()
    anna.say("one")
    room.mute(owner.member, "guest:a", 0.0)
    assert [type(entry) for entry in room.take_unsaved()] == [Message, Muted]
    assert room.take_unsaved() == ()


def test_who_has_no_name_reads_and_writes_once_it_has_one() -> None:
    room, owner, _ = lobby()
    reader = Client(room, "guest:r", "").come()
    owner.say("hello")
    reader.read()
    assert "hello" in reader.shown.values()
    with pytest.raises(ForbiddenError) as caught:
        reader.say("hello")
    assert caught.value.subject == "name"
    with pytest.raises(ConflictError):
        room.rename(reader.member, "anna", 0.0)
    room.rename(reader.member, "Rita", 0.0)
    assert reader.say("hello").name == "Rita"
    # Any number may read without one.
    Client(room, "guest:s", "").come()


def test_name_given_up_is_free() -> None:
    room, _, anna = lobby()
    room.rename(anna.member, "Annette", 0.0)
    Client(room, "guest:b", "Anna").come()
    with pytest.raises(ConflictError):
        room.rename(anna.member, "Anna", 0.0)
    assert anna.member.name == "Annette"


def test_flood_of_names_is_a_flood() -> None:
    room, _, anna = lobby(ChatLimits(burst=3))
    for number in range(3):
        room.rename(anna.member, f"Anna {number}x", 0.0)
    with pytest.raises(BusyError):
        room.rename(anna.member, "Anna", 0.0)


def test_clear_takes_all_messages_and_none_comes_back() -> None:
    room, owner, anna = lobby()
    anna.say("one", "n1")
    owner.say("two")
    owner.read()
    room.clear(owner.member)
    anna.say("three")
    owner.read()
    assert list(owner.shown.values()) == ["three"]
    assert list(Client(room, "guest:b", "Berta").come().shown.values()) == ["three"]
    again = room.say(anna.member, "one", "n1", 1.0)
    assert (again.repeated, again.message.text) == (True, "")


def test_deleted_messages_of_the_past_are_known_and_not_shown() -> None:
    past = [
        Message(3, "guest:a", "Anna", "", 0.0, "n3"),
        Message(7, "guest:a", "Anna", "kept", 0.0, "n7"),
        Message(9, "guest:a", "Anna", "", 0.0, "n9"),
    ]
    room = Room(FREE, past=past)
    anna = Client(room, "guest:a", "Anna").come()
    assert anna.shown == {7: "kept"}
    assert room.say(anna.member, "again", "n9", 0.0).repeated
    assert anna.say("next", "n10").id == 10


def test_muted_guest_does_not_come_back_as_another() -> None:
    room, owner, _ = lobby()
    troll = Client(room, "guest:t", "Troll", net="home").come()
    troll.say("rude")
    room.mute(owner.member, "guest:t", 0.0, seconds=60)
    troll.go()
    other = Client(room, "guest:u", "Other", net="home").come()
    with pytest.raises(ForbiddenError):
        other.say("rude again", now=1.0)
    Client(room, "guest:v", "Far away", net="elsewhere").come().say("hello", now=1.0)
    # Who has an account answers for himself.
    member = Client(room, "account:5", "Emil", net="home", moderator=True).come()
    member.say("hello", now=1.0)
    room.unmute(owner.member, "guest:t")
    other.say("thanks", now=2.0)


def test_mute_of_a_network_holds_in_a_room_made_anew() -> None:
    room, owner, _ = lobby()
    troll = Client(room, "guest:t", "Troll", net="home").come()
    troll.say("rude")
    muted = room.mute(owner.member, "guest:t", 0.0, seconds=60)
    again = Room(FREE, mutes=[(muted.author, muted.net, muted.until)])
    other = Client(again, "guest:u", "Other", net="home").come()
    with pytest.raises(ForbiddenError):
        other.say("rude again", now=59.0)
    other.say("hello", now=60.0)


def test_guests_of_one_network_share_a_rate_and_others_have_their_own() -> None:
    room, owner, _ = lobby(ChatLimits(burst=5, net_burst=8))
    for number in range(2):
        guest = Client(room, f"guest:{number}", f"N{number}x", net="home").come()
        said = 0
        with contextlib.suppress(BusyError):
            for _ in range(10):
                guest.say("spam")
                said += 1
        assert said == (5, 3)[number]
    Client(room, "guest:b", "Berta", net="elsewhere").come().say("hello")
    owner.say("hello")


def test_whole_room_has_a_rate_that_moderators_are_free_of() -> None:
    room, owner, _ = lobby(ChatLimits(room_burst=20))
    said = 0
    with contextlib.suppress(BusyError):
        for number in range(100):
            Client(room, f"guest:{number}", f"N{number}x").come().say("spam")
            said += 1
    assert said == 20
    owner.say("order")


STEP = st.tuples(
    st.sampled_from(["say", "again", "delete", "read", "go", "come"]), st.integers(0, 3)
)


@settings(max_examples=200)
@given(st.lists(STEP, max_size=80), st.integers(1, 30), st.integers(1, 8))
def test_whatever_happens_all_see_the_same(
    steps: list[tuple[str, int]], history: int, queue: int
) -> None:
    """Against a naive model: a list of all messages, without what was deleted."""
    room = Room(replace(FREE, history=history, queue=queue))
    clients = [
        Client(room, f"guest:{n}", f"Name {chr(65 + n)}", moderator=n == 0).come() for n in range(4)
    ]
    model: dict[int, str] = {}
    nonces: dict[int, tuple[str, str]] = {}
    for count, (act, who) in enumerate(steps):
        client = clients[who]
        if client.member is None:
            client.come()
        elif act == "say":
            message = client.say(f"text {count}", f"n{count}")
            model[message.id] = message.text
            nonces[who] = (f"text {count}", f"n{count}")
        elif act == "again" and who in nonces:
            client.say(*nonces[who])
        elif act == "delete" and model:
            newest = max(model)
            with contextlib.suppress(ForbiddenError, NotFoundError):
                room.delete(client.member, newest)
                del model[newest]
        elif act == "read":
            client.read()
        elif act == "go":
            client.go()
    kept = {entry.id for entry in room._entries if isinstance(entry, Message)}
    for client in clients:
        if client.member is None:
            client.come()
        client.read()
        # Older ones than the history may still be on a page that never went away.
        assert {n: text for n, text in client.shown.items() if n in kept} == {
            n: text for n, text in model.items() if n in kept
        }
        assert client.shown.items() <= model.items()
