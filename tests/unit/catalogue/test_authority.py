"""The external authority: its answers, what is remembered, and that mistakes refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue import external
from heliograph.catalogue.authority import (
    FAILURE_TTL,
    MAX_TTL,
    REFUSAL_TTL,
    Answer,
    DecisionCache,
    Outcome,
    Question,
    Reply,
    understand,
)
from heliograph.catalogue.external import Authority

ASKED = Question("view", "demo", address="192.0.2.1", protocol="whep", token="secret")


def body(**values: object) -> bytes:
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(200), Answer(Outcome.ALLOW)),
        (Reply(204, b"\n"), Answer(Outcome.ALLOW)),
        (Reply(200, b"{}"), Answer(Outcome.ALLOW)),
        (
            Reply(200, body(allow=True, ttl=30, subject="anna")),
            Answer(Outcome.ALLOW, 30, subject="anna"),
        ),
        (Reply(200, body(allow=True, ttl=1e9)), Answer(Outcome.ALLOW, MAX_TTL)),
        (Reply(200, body(allow=True, ttl=-5)), Answer(Outcome.ALLOW, 0)),
        (Reply(200, b'{"allow": true, "ttl": NaN}'), Answer(Outcome.ALLOW, 0)),
        (Reply(200, b'{"allow": true, "ttl": Infinity}'), Answer(Outcome.ALLOW, 0)),
        (Reply(200, body(allow=True, ttl="9")), Answer(Outcome.ALLOW, 0)),
        (
            Reply(200, body(allow=False, reason="not paid")),
            Answer(Outcome.DENY, REFUSAL_TTL, reason="not paid"),
        ),
        (Reply(401), Answer(Outcome.DENY, REFUSAL_TTL)),
        (Reply(403, body(ttl=60)), Answer(Outcome.DENY, 60)),
        (Reply(403, body(allow=True)), Answer(Outcome.DENY, REFUSAL_TTL)),
    ],
)
def test_answers(reply: Reply, answer: Answer) -> None:
    assert understand(reply) == answer


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(302),
        Reply(404, body(allow=True)),
        Reply(199),
        Reply(200, b"yes"),
        Reply(200, b"true"),
        Reply(200, b"[]"),
        Reply(200, body(allow="true")),
        Reply(200, body(allow=1)),
        Reply(200, body(allow=None)),
        Reply(200, b'{"allow": true, "x": "' + b"x" * 20_000 + b'"}'),
        Reply(200, b"[" * 10_000),
        Reply(200, b"\xff"),
    ],
)
def test_what_is_not_understood_refuses_for_a_moment(reply: Reply) -> None:
    answer = understand(reply)
    assert answer.outcome is Outcome.FAILED
    assert not answer.allowed
    assert answer.ttl == FAILURE_TTL


@given(st.integers(100, 599), st.binary(max_size=100))
def test_nothing_grants_but_a_clear_yes(status: int, data: bytes) -> None:
    answer = understand(Reply(status, data))
    assert not answer.allowed or (
        200 <= status < 300 and (not data.strip() or isinstance(json.loads(data), dict))
    )


def test_question_leaves_out_what_is_not_known() -> None:
    assert ASKED.to_json() == {
        "action": "view",
        "channel": "demo",
        "address": "192.0.2.1",
        "protocol": "whep",
        "token": "secret",
    }
    assert "secret" not in repr(ASKED)


def test_cache_knows_each_question_apart_and_forgets_in_time() -> None:
    cache = DecisionCache()
    key = cache.key(ASKED)
    cache.put(key, Answer(Outcome.ALLOW, 10), 100.0)
    assert cache.get(key, 109.9) is not None
    assert cache.get(key, 110.0) is None
    others = [
        Question("publish", "demo", address="192.0.2.1", protocol="whep", token="secret"),
        Question("view", "demo", address="192.0.2.2", protocol="whep", token="secret"),
        Question("view", "demo", address="192.0.2.1", protocol="whep", password="secret"),
        Question("view", "demo", address="192.0.2.1", protocol="whep", token="secret2"),
    ]
    assert len({cache.key(question) for question in others} | {key}) == 5
    assert b"secret" not in key
    assert DecisionCache().key(ASKED) != key


def test_cache_is_bounded_and_what_has_no_life_is_not_kept() -> None:
    cache = DecisionCache(max_entries=3)
    for number in range(5):
        cache.put(bytes([number]), Answer(Outcome.ALLOW, 10), 0.0)
    cache.put(b"none", Answer(Outcome.ALLOW), 0.0)
    assert len(cache) == 3
    assert cache.evicted == 2
    assert cache.get(b"\0", 1.0) is None
    assert cache.get(b"\4", 1.0) is not None
    cache.put(b"\4", Answer(Outcome.DENY), 1.0)
    assert cache.get(b"\4", 1.0) is None


class Judge:
    """An authority that answers when it is told to."""

    def __init__(self, reply: Reply | Exception) -> None:
        self.reply = reply
        self.asked: list[Mapping[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, question: Mapping[str, str]) -> Reply:
        self.asked.append(question)
        await self.gate.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


async def test_many_with_the_same_question_ask_once() -> None:
    judge = Judge(Reply(200, body(allow=True, ttl=5)))
    judge.gate.clear()
    authority = Authority(judge)
    asking = [asyncio.create_task(authority.ask(ASKED)) for _ in range(50)]
    await asyncio.sleep(0)  # all of them ask, …
    await asyncio.sleep(0)  # … and the question is under way
    assert judge.asked
    asking[0].cancel()  # who asked first goes away
    judge.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(answer, Answer) and answer.allowed for answer in answers) == 49
    assert (await authority.ask(ASKED)).allowed
    assert len(judge.asked) == 1


@pytest.mark.parametrize("error", [OSError("refused"), ValueError("x"), RuntimeError("y")])
async def test_errors_refuse(error: Exception) -> None:
    authority = Authority(Judge(error))
    assert (await authority.ask(ASKED)).outcome is Outcome.FAILED
    assert authority.failures == 1


async def test_silence_refuses() -> None:
    judge = Judge(Reply(200))
    judge.gate.clear()
    authority = Authority(judge, timeout=0.01)
    answer = await authority.ask(ASKED)
    assert answer.outcome is Outcome.FAILED
    assert "0.01 s" in answer.reason


async def test_failure_is_over_when_the_authority_is_back() -> None:
    now = [0.0]
    judge = Judge(Reply(503))
    authority = Authority(judge, clock=lambda: now[0])
    assert not (await authority.ask(ASKED)).allowed
    judge.reply = Reply(200)
    assert not (await authority.ask(ASKED)).allowed
    now[0] += FAILURE_TTL
    assert (await authority.ask(ASKED)).allowed


async def test_questions_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "MAX_PENDING", 2)
    judge = Judge(Reply(200))
    judge.gate.clear()
    authority = Authority(judge)
    waiting = [
        asyncio.create_task(authority.ask(Question("view", f"c{number}"))) for number in range(2)
    ]
    await asyncio.sleep(0)
    assert (await authority.ask(Question("view", "c2"))).outcome is Outcome.FAILED
    assert authority.overflows == 1
    await authority.close()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_oversized_credentials_are_refused_unasked() -> None:
    judge = Judge(Reply(200))
    assert not (await Authority(judge).ask(Question("view", "demo", token="x" * 5000))).allowed
    assert not judge.asked
