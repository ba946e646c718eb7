"""What the link over Zenoh does where Zenoh, or the other threads, are in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import zenoh

from heliograph.bus import inbox, zenoh_link
from heliograph.bus.inbox import Inbox
from heliograph.bus.link import Question
from heliograph.bus.options import BusOptions
from heliograph.bus.zenoh_link import ZenohLink
from heliograph.model.nodes import NodeId


class Session:
    """Notes what is declared, and fails where it is told to."""

    def __init__(self, most: int = 100) -> None:
        self.declared: list[str] = []
        self.closed = False
        self.callbacks: list[Callable[[Any], None]] = []
        self._most = most

    def _declare(self, kind: str, key: str) -> Session:
        if len(self.declared) >= self._most:
            raise zenoh.ZError("session closed")
        self.declared.append(f"{kind} {key}")
        return self

    def declare_subscriber(self, key: str, callback: object) -> Session:
        return self._declare("hear", key)

    def declare_queryable(self, key: str, callback: Any, *, complete: bool) -> Session:
        self.callbacks.append(callback)
        return self._declare("serve", key)

    def declare_token(self, key: str) -> Session:
        return self._declare("token", key)

    def liveliness(self) -> Session:
        return self

    def undeclare(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


async def opened(monkeypatch: pytest.MonkeyPatch, *sessions: Session) -> ZenohLink:
    """A link that is given these sessions one after the other."""
    others = iter(sessions)
    monkeypatch.setattr(zenoh_link, "configuration", lambda options: {})
    monkeypatch.setattr(zenoh, "open", lambda config: next(others))
    monkeypatch.setattr(zenoh_link, "AGAIN", 0.001)
    # It remembers what it is told to call, where it has to be called by a test.
    monkeypatch.setattr(zenoh_link, "Callback", lambda call, *drop, indirect: call)
    link = ZenohLink(BusOptions(NodeId("a" * 16)))
    await link.open()
    return link


async def test_a_new_session_that_breaks_while_it_is_declared_is_begun_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = [Session(), Session(1), Session(3), Session()]
    link = await opened(monkeypatch, *sessions)
    try:
        link.serve("one", lambda question: None)
        link.subscribe("two", lambda key, payload: None)
        link.declare("here")
        link.serve("three", lambda question: None)
        async with asyncio.timeout(10):
            await link.renew()
        assert [one.closed for one in sessions] == [True, True, True, False]
        assert sorted(sessions[-1].declared) == [
            "hear two",
            "serve one",
            "serve three",
            "token here",
        ]
        assert link.counters()["renewals"] == 3
        link.serve("four", lambda question: None)
        assert sessions[-1].declared[-1] == "serve four"
    finally:
        await link.close()
    assert sessions[-1].closed


class Query:
    """A question, as Zenoh has it."""

    key_expr, payload = "one", None

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.dropped = False

    def reply(self, key: str, payload: bytes) -> None:
        self.answers.append(key)

    def drop(self) -> None:
        self.dropped = True


def answer(question: Question) -> None:
    question.reply("one", b"")
    question.end()


async def test_a_question_that_was_taken_is_answered_though_another_found_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of Zenoh's threads asks by itself: another's may be lost while one is taken."""
    session = Session()
    link = await opened(monkeypatch, session)
    try:
        link.serve("one", answer)
        (ask,) = session.callbacks
        post = Inbox.post

        def taken(self: Inbox, job: Callable[[], None], *, surely: bool = False) -> bool:
            done = post(self, job, surely=surely)
            self.lost += 1  # as another thread does
            return done

        query = Query()
        with monkeypatch.context() as busy:
            busy.setattr(Inbox, "post", taken)
            await asyncio.to_thread(ask, query)
        async with asyncio.timeout(10):
            while not query.dropped:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert query.answers == ["one"]
    finally:
        await link.close()


async def test_a_question_for_which_there_is_no_room_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Session()
    link = await opened(monkeypatch, session)
    try:
        link.serve("one", answer)
        (ask,) = session.callbacks
        monkeypatch.setattr(inbox, "MAX_WAITING", 1)
        first, second = Query(), Query()
        ask(first)
        ask(second)
        assert (first.dropped, second.dropped) == (False, True)
        assert link.counters()["lost"] == 1
    finally:
        await link.close()
