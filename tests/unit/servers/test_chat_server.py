"""The chat over real sockets: coming and going, moderation, rights, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.unit.servers.chatting import Chatter, chatting, entering, sign_in
from tests.unit.web.site import KEY, Site, running
from websockets.exceptions import ConnectionClosed, InvalidStatus

from heliograph.catalogue.values import Role
from heliograph.live.chat_entries import ChatLimits
from heliograph.live.options import ChannelOptions
from heliograph.servers import chat_server, chat_socket
from heliograph.servers.chat_server import ChatOptions

OWNER = {"additional_headers": {"authorization": f"Bearer {KEY}"}}


async def ended(chatter: Chatter) -> tuple[str, int]:
    """The reason told, and the close code."""
    end = await chatter.next("end")
    with pytest.raises(ConnectionClosed) as caught:
        await chatter.next("nothing")
    assert caught.value.rcvd is not None
    return end["reason"], caught.value.rcvd.code


async def test_what_one_says_all_see_and_late_comers_read():
    async with running() as site, chatting(site, "Anna") as anna, chatting(site, "Ben") as ben:
        assert anna.you["write"] == "yes"
        assert (await anna.say("<b>hi</b> & so"))["type"] == "done"
        told = await ben.next("message")
        assert (told["name"], told["text"], told["badge"]) == ("Anna", "<b>hi</b> & so", "guest")
        assert told["author"] == anna.you["author"]
        await anna.next("message")
        async with chatting(site) as late:
            assert list(late.lines.values()) == ["<b>hi</b> & so"]
            assert late.you["write"] == "name"


async def test_guest_is_the_same_one_when_it_comes_back():
    async with running() as site:
        async with chatting(site, "Anna") as anna:
            token, author = anna.guest, anna.you["author"]
        async with chatting(site, "Anna", guest=token) as again:
            assert (again.you["author"], again.guest) == (author, token)
        async with chatting(site, "Anna", guest="made up") as other:
            assert other.you["author"] != author
            assert other.guest not in (token, "made up")


async def test_who_comes_back_misses_nothing_and_sees_nothing_twice():
    async with running() as site, chatting(site, "Ben") as ben:
        async with chatting(site, "Anna") as anna:
            await ben.say("one")
            await anna.until(lambda: len(anna.lines) == 1)
        await ben.say("two")
        await ben.say("three")
        async with entering(site) as back:
            back.lines = dict(anna.lines)
            history = await back.hello("Anna", anna.guest, anna.cursor)
            assert not history["whole"]
            assert list(back.lines.values()) == ["one", "two", "three"]
            # What it had sent without hearing that it arrived.
            first = await back.say("mine", "n1")
        async with chatting(site, "Anna", guest=anna.guest, cursor=back.cursor) as third:
            assert await third.say("mine", "n1") == first
            await third.say("end")
            await ben.until(lambda: "end" in ben.lines.values())
        assert list(ben.lines.values()) == ["one", "two", "three", "mine", "end"]


async def test_chat_is_there_after_a_restart(tmp_path: Path):
    async with running(state_dir=tmp_path) as site, chatting(site, "Anna") as anna:
        await anna.say("kept", "n1")
        await anna.until(lambda: anna.lines)
        await site.chat.close()
        with pytest.raises(ConnectionClosed) as caught:
            await anna.next("nothing")
        assert caught.value.rcvd.code == 1012
    async with running(state_dir=tmp_path) as site, entering(site) as back:
        history = await back.hello("Anna", anna.guest, anna.cursor)
        assert history["whole"]
        assert list(back.lines.values()) == ["kept"]
        await back.say("kept", "n1")
        await back.say("new", "n2")
        await back.until(lambda: "new" in back.lines.values())
        assert list(back.lines.values()) == ["kept", "new"]


async def test_moderator_deletes_mutes_slows_and_clears():
    async with (
        running() as site,
        chatting(site, "Boss", **OWNER) as boss,
        chatting(site, "Anna") as anna,
    ):
        assert boss.you["moderator"]
        said = await anna.say("rude")
        assert (await boss.ask("delete", message=said["id"]))["type"] == "done"
        assert (await anna.next("deleted"))["message"] == said["id"]
        author = anna.you["author"]
        await boss.ask("mute", author=author, seconds=60)
        assert (await anna.next("muted"))["author"] == author
        assert (await anna.say("more"))["reason"] == "muted"
        await boss.ask("unmute", author=author)
        assert (await anna.say("thanks"))["type"] == "done"
        await boss.ask("slow", seconds=30)
        assert (await anna.next("slow"))["seconds"] == 30
        assert (await anna.say("again"))["reason"] == "slow"
        await boss.ask("clear")
        await anna.next("cleared")
        async with chatting(site) as late:
            assert late.lines == {}


async def test_what_moderators_do_is_in_the_audit_log_and_in_the_database(tmp_path: Path):
    async with running(state_dir=tmp_path) as site:
        async with chatting(site, "Boss", **OWNER) as boss:
            await boss.ask("mute", author="guest:x", seconds=60)
            await boss.ask("slow", seconds=5)
            await site.chat.close()  # writes what is left
            written = {line.action for line in await site.catalogue.audit.read()}
            assert {"chat.mute", "channel.edit"} <= written
        assert (await site.catalogue.channels.get("demo")).slow_mode == 5


async def test_message_is_seen_at_once_and_confirmed_when_it_is_safe(
    monkeypatch: pytest.MonkeyPatch,
):
    async with running() as site, chatting(site, "Anna") as anna:
        written, save = asyncio.Event(), site.catalogue.history.save

        async def slow(channel: str, **what: Any) -> None:
            await written.wait()
            await save(channel, **what)

        monkeypatch.setattr(site.catalogue.history, "save", slow)
        await anna.send(type="say", nonce="n1", text="hello")
        await anna.next("message")
        await anna.send(type="ping")
        await anna.next("pong")
        assert not [told for told in anna.told if told["type"] == "done"]
        written.set()
        assert (await anna.next("done"))["nonce"] == "n1"
        assert len((await site.catalogue.history.load("demo")).messages) == 1


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("delete", {"message": 1}),
        ("mute", {"author": "guest:x", "seconds": 60}),
        ("unmute", {"author": "guest:x"}),
        ("slow", {"seconds": 5}),
        ("clear", {}),
    ],
)
async def test_guest_moderates_nothing(what: str, values: dict[str, Any]):
    async with (
        running() as site,
        chatting(site, "Boss", **OWNER) as boss,
        chatting(site, "Anna") as anna,
    ):
        await boss.say("hello")
        assert (await anna.ask(what, **values))["reason"] == "moderate"


async def test_names_are_not_taken_and_can_be_changed():
    async with running() as site, chatting(site, "Anna"), chatting(site, "anna") as other:
        assert (await other.next("refused"))["reason"] == "name_taken"
        assert other.you["write"] == "name"
        assert (await other.say("hello"))["reason"] == "name"
        assert (await other.ask("name", name="A n n a"))["reason"] == "name_taken"
        assert (await other.ask("name", name="a\u202eb"))["reason"] == "name_bad"
        assert (await other.ask("name", name="Berta"))["type"] == "done"
        assert (other.you["name"], other.you["write"]) == ("Berta", "yes")


async def test_account_has_its_name_and_owner_moderates():
    async with running() as site:
        owner = await sign_in(site, "otto", Role.BROADCASTER)
        viewer = await sign_in(site, "vera")
        await site.catalogue.channels.give("demo", "otto")
        await site.roster.refresh("demo")
        async with (
            chatting(site, "ignored", **owner) as otto,
            chatting(site, **viewer) as vera,
            chatting(site, "Otto") as guest,
        ):
            assert (otto.you["name"], otto.you["badge"]) == ("otto", "owner")
            assert (vera.you["name"], vera.you["badge"], vera.guest) == ("vera", "", "")
            assert otto.you["moderator"]
            assert not vera.you["moderator"]
            assert (await vera.ask("name", name="Queen"))["reason"] == "account"
            # The owner's name is the owner's alone.
            assert guest.you["name"] == ""
            assert (await otto.ask("mute", author=vera.you["author"]))["type"] == "done"
            assert (await vera.say("hello"))["reason"] == "muted"


async def test_guests_read_and_do_not_write_where_they_may_not():
    async with running() as site:
        async with chatting(site, "Anna") as anna:
            await anna.say("still")
            await site.roster.update("demo", guests_chat=False)
            await anna.until(lambda: anna.you["write"] == "sign_in")
            assert (await anna.say("hello"))["reason"] == "sign_in"
        async with chatting(site, "Ben") as ben:
            assert ben.you["write"] == "sign_in"
            assert list(ben.lines.values()) == ["still"]
            assert (await ben.say("hello"))["reason"] == "sign_in"


async def test_private_channel_is_unknown_to_strangers():
    async with running() as site:
        viewer = await sign_in(site, "vera")
        async with chatting(site, "Anna") as anna:
            await site.roster.update("demo", private=True)
            assert await ended(anna) == ("unknown", 4404)
        token, _ = await site.catalogue.permits.issue("demo", "Anna", 60)
        async with entering(site, channel="no-such") as nowhere:
            unknown = await nowhere.next("end")
        for options in ({}, viewer, {"query": "?token=v1.wrong"}, {"query": "?key=wrong"}):
            async with entering(site, **options) as stranger:
                end = await stranger.next("end")
                end["message"] = end["message"].replace("demo", "no-such")
                assert end == unknown
        async with chatting(site, "Anna", query=f"?token={token}") as invited:
            assert invited.you["write"] == "yes"


async def test_viewers_key_opens_the_chat():
    async with running(ChannelOptions(key="secret", view_key="look")) as site:
        async with entering(site) as stranger:
            assert await ended(stranger) == ("sign_in", 4401)
        async with chatting(site, "Anna", query="?key=look") as anna:
            assert anna.you["write"] == "yes"


async def test_chat_ends_with_its_channel():
    async with running(state_dir=None) as site:
        site.channels.create("other")
        async with chatting(site, "Anna", channel="other") as anna:
            site.channels.subscribe(
                lambda event: (
                    event.kind == "channel-closed" and site.chat.channel_closed(event.channel)
                )
            )
            site.channels.delete("other")
            assert await ended(anna) == ("unknown", 4404)
        assert not site.chats.connections


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"subprotocols": ["helio.v1"]}, 400),
        ({"channel": "demo/more"}, 404),
    ],
)
async def test_handshakes_that_are_refused(options: dict[str, Any], status: int):
    async with running() as site:
        with pytest.raises(InvalidStatus) as caught:
            async with entering(site, **options):
                pass
        assert caught.value.response.status_code == status
        assert site.chats.counters["chat_refused"] == 1
        assert site.chats.connections == 0


async def test_cookie_is_good_from_our_own_pages_only():
    async with running() as site:
        viewer = await sign_in(site, "vera")
        async with entering(site, additional_headers=viewer["additional_headers"]) as chatter:
            assert (await ended(chatter))[1] == 4403


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("nonsense", 4400),
        ('{"type":"say","nonce":"n","text":"before hello"}', 4400),
        (b"\0\1", 4400),
        ("x" * 9000, 1009),
    ],
)
async def test_nonsense_ends_the_connection_and_nothing_else(data: str | bytes, code: int):
    async with running() as site, chatting(site, "Anna") as anna:
        async with entering(site) as bad:
            await bad.socket.send(data)
            with pytest.raises(ConnectionClosed) as caught:
                await bad.next("nothing")
            assert caught.value.rcvd.code == code
        assert (await anna.say("fine"))["type"] == "done"


async def test_text_that_is_not_utf_8_ends_the_connection():
    async with running() as site, entering(site) as bad:
        await bad.socket.send(b"\xff{", text=True)
        with pytest.raises(ConnectionClosed) as caught:
            await bad.next("nothing")
        assert caught.value.rcvd.code in (1007, 4400)


async def test_message_in_pieces_is_one():
    async with running() as site, chatting(site, "Anna") as anna:
        await anna.socket.send(['{"type":"say","nonce":"n1",', '"text":"in pieces"}'])
        await anna.next("done")
        await anna.until(lambda: anna.lines)
        assert list(anna.lines.values()) == ["in pieces"]


async def test_flood_is_bounded_and_others_go_on():
    async with running() as site, chatting(site, "Ben") as ben, entering(site) as flood:
        await flood.hello("Flood")
        with contextlib.suppress(ConnectionClosed):
            for number in range(20_000):
                await flood.send(type="say", nonce=f"f{number}", text="spam")
        with pytest.raises(ConnectionClosed):
            await flood.next("never")
        assert site.chats.counters["chat_floods"] == 1
        assert (await ben.say("still here"))["type"] == "done"
        await ben.until(lambda: "still here" in ben.lines.values())
        assert list(ben.lines.values()).count("spam") <= ChatLimits().burst


async def test_who_does_not_read_is_given_the_history_anew():
    limits = ChatLimits(burst=10_000, room_burst=100_000, queue=20, history=50)
    async with running(chat_limits=limits) as site, chatting(site, "Ben", **OWNER) as ben:
        async with entering(site, max_queue=1) as slow:
            await slow.hello()
            # asyncio's client stops reading once its queue is full, and the kernel's buffers fill.
            slow.socket.transport.pause_reading()
            hall = next(iter(site.chat._halls.values()))
            behind = next(s for s in hall.sockets if s.member is not None and not s.member.name)
            sent = behind.transport.get_extra_info("socket")
            sent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            room = hall.opened.room
            boss = next(s.member for s in hall.sockets if s.member.moderator)
            while not behind.paused or room.last - behind.member.seen <= limits.queue:
                for _ in range(5):
                    room.say(boss, "x" * 490, f"m{room.last}", 0.0)
                await asyncio.sleep(0.001)
            assert behind.transport.get_write_buffer_size() < 2 * chat_socket.MAX_WAITING
            slow.socket.transport.resume_reading()
            await slow.next("history", whole=True)
            await slow.until(lambda: max(slow.lines, default=0) == room.last)
        assert site.chats.counters["chat_resyncs"] >= 1
        await ben.until(lambda: max(ben.lines, default=0) == room.last)


async def test_places_are_bounded():
    async with running(chat_options=ChatOptions(max_connections=2)) as site:
        async with chatting(site), chatting(site):
            with pytest.raises(InvalidStatus) as caught:
                async with entering(site):
                    pass
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"]
        await site.until(lambda: site.chats.connections == 0)
        async with chatting(site):
            assert site.server.connections == 1


async def test_connections_of_one_network_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chat_server, "stranger_of", lambda peer: "192.0.2.1")
    async with running(chat_options=ChatOptions(max_per_network=1)) as site, chatting(site):
        with pytest.raises(InvalidStatus):
            async with entering(site):
                pass


async def _look(site: Site) -> None:
    """What a round of looks at all connections does."""
    for slot in site.chat._slots:
        for connection in list(slot):
            site.chat._look(connection)


async def test_dead_connection_is_cut_off_and_a_living_one_stays():
    async with running() as site, chatting(site, "Anna") as anna, chatting(site) as dead:
        dead.socket.transport.pause_reading()
        for _ in range(2):
            await _look(site)  # nothing came since the last look: asked
            pong = await anna.socket.ping()
            await pong
        await site.until(lambda: all(not s.asked for s in _sockets(site, named=True)))
        await _look(site)
        await site.until(lambda: site.chats.connections == 1)
        assert site.chats.counters["chat_timeouts"] == 1
        assert (await anna.say("hello"))["type"] == "done"
        dead.socket.transport.resume_reading()  # it would wait for an end that it cannot read


def _sockets(site: Site, *, named: bool) -> list[chat_socket.ChatSocket]:
    every = [s for slot in site.chat._slots for s in slot]
    return [s for s in every if s.member is not None and bool(s.member.name) is named]


async def test_connection_without_a_hello_is_ended():
    async with running() as site, entering(site) as silent:
        await site.until(lambda: any(hall.sockets for hall in site.chat._halls.values()))
        await _look(site)
        await _look(site)
        assert await ended(silent) == ("busy", 4408)


async def test_withdrawn_token_opens_the_chat_no_more():
    async with running() as site:
        await site.roster.update("demo", private=True)
        token, _ = await site.roster.issue_token("demo", "Anna", 60, single=True)
        async with chatting(site, "Anna", query=f"?token={token}") as anna:
            await site.chat._ask_again(_sockets(site, named=True))
            assert (await anna.say("still"))["type"] == "done"
            await asyncio.sleep(1.1)  # tokens are withdrawn by whole seconds
            await site.roster.withdraw_tokens("demo")
            await site.chat._ask_again(_sockets(site, named=True))
            assert await ended(anna) == ("unknown", 4404)


async def test_signed_out_account_is_a_guest_again():
    async with running() as site:
        viewer = await sign_in(site, "vera")
        async with chatting(site, **viewer) as vera:
            token = viewer["additional_headers"]["cookie"].partition("=")[2]
            await site.catalogue.sessions.sign_out(token)
            await site.chat._ask_again(_sockets(site, named=True))
            with pytest.raises(ConnectionClosed) as caught:
                await vera.next("nothing")
            assert caught.value.rcvd.code == 1012


async def test_pings_are_answered_both_ways():
    async with running() as site, chatting(site) as anna:
        await anna.send(type="ping")
        await anna.next("pong")
        await (await anna.socket.ping())


async def test_metrics_count_the_chat():
    async with running() as site, chatting(site, "Anna") as anna:
        await anna.say("hello")
        text = (await site.get("/metrics")).text
        assert "helio_chat_messages_total 1.0" in text
        assert "helio_chat_connections 1.0" in text
        assert "helio_chat_rooms 1.0" in text
