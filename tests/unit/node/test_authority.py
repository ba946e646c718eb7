"""The external authority of the settings, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from heliograph.catalogue.authority import MAX_BODY, Outcome, Question
from heliograph.catalogue.rights import Action
from heliograph.node.authority import open_authority
from heliograph.node.settings import Settings

QUESTION = Question("view", "yard", address="192.0.2.1", protocol="hls", token="t")


@dataclass
class Judge:
    """An HTTP server that answers as it is told."""

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    heads: list[str] = field(default_factory=list)
    bodies: list[object] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        self.heads.append(head)
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.answer:
            writer.write(self.answer)
        else:
            await reader.read()
        writer.close()


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    found = Judge()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/may"
    yield found
    server.close()
    await server.wait_closed()


def settings(judge: Judge, **more: object) -> Settings:
    return Settings.model_validate({"authority": {"url": judge.url, **more}})


async def ask(judge: Judge, **more: object) -> Outcome:
    found = open_authority(settings(judge, **more))
    assert found is not None
    try:
        return (await found.authority.ask(QUESTION)).outcome
    finally:
        await found.close()


def test_nobody_is_asked_where_no_address_is_set() -> None:
    assert open_authority(Settings()) is None


async def test_question_and_key_arrive(judge: Judge) -> None:
    assert await ask(judge, key="shown-to-it") is Outcome.ALLOW
    assert judge.bodies == [QUESTION.to_json()]
    assert "authorization: bearer shown-to-it" in judge.heads[0]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Outcome.DENY),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"allow": false}', Outcome.DENY),
        (b"HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Outcome.FAILED),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", Outcome.FAILED),
        (b"nonsense\r\n\r\n", Outcome.FAILED),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_BODY)
            + b" " * (2 * MAX_BODY),
            Outcome.FAILED,
        ),
        (b"", Outcome.FAILED),
    ],
)
async def test_what_answers_mean(judge: Judge, answer: bytes, outcome: Outcome) -> None:
    judge.answer = answer
    assert await ask(judge, timeout_s=0.5) is outcome


async def test_nobody_there_grants_nothing() -> None:
    gone = Judge(url="http://127.0.0.1:1/may")
    assert await ask(gone) is Outcome.FAILED


async def test_policy_is_as_set(judge: Judge) -> None:
    found = open_authority(settings(judge, actions=["publish"], policy="extend"))
    assert found is not None
    assert found.policy.actions == frozenset({Action.PUBLISH})
    assert found.policy.extends
    await found.close()
