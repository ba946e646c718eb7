"""Asks the external authority: one question at a time for the same thing, and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

from heliograph.catalogue.authority import (
    Answer,
    DecisionCache,
    Outcome,
    Question,
    Reply,
    failed,
    understand,
)

log = structlog.get_logger(__name__)

#: Sends the question's JSON by POST and gives the answer back; may raise anything.
Post: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Reply]]

#: Seconds to wait: a person stands before the door, and a slow answer is worse than a clear one.
TIMEOUT = 3.0
#: Questions under way at once: what is above is refused, so that a silent authority fills nothing.
MAX_PENDING = 256


class Authority:
    """The external authority behind a cache; fails closed."""

    def __init__(
        self,
        post: Post,
        *,
        cache: DecisionCache | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cache = cache or DecisionCache()
        self.failures = 0
        """Questions without an answer that was understood."""
        self.overflows = 0
        """Questions refused because too many were under way."""
        self._post = post
        self._timeout = timeout
        self._clock = clock
        self._pending: dict[bytes, asyncio.Task[Answer]] = {}

    async def ask(self, question: Question) -> Answer:
        """The authority's answer; never raises but for cancellation."""
        if not question.askable:
            return Answer(Outcome.DENY, reason="what was shown is too long")
        key = self.cache.key(question)
        known = self.cache.get(key, self._clock())
        if known is not None:
            return known
        task = self._pending.get(key)
        if task is None:
            if len(self._pending) >= MAX_PENDING:
                self.overflows += 1
                return failed("too many questions under way")
            task = asyncio.create_task(self._ask(key, question), name="external authority")
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        # Whoever goes away leaves the question to the others that wait for the same answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Leave questions under way."""
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: bytes, question: Question) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                answer = understand(await self._post(question.to_json()))
        except TimeoutError:
            answer = failed(f"no answer within {self._timeout:g} s")
        except Exception as error:  # whatever the way there raises, the answer is no
            answer = failed(f"{type(error).__name__}: {error}")
        if answer.outcome is Outcome.FAILED:
            self.failures += 1
            log.warning(
                "external authority failed",
                action=question.action,
                channel=question.channel,
                reason=answer.reason,
            )
        self.cache.put(key, answer, self._clock())
        return answer
