"""View tokens at the gate: which of those that somebody shows opens a channel."""

from __future__ import annotations

from collections import Counter

from heliograph.catalogue.permits import Permits
from heliograph.catalogue.rights import Action, Reason
from heliograph.catalogue.tokens import Fault, ViewToken
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.model.errors import NotFoundError, UnauthorizedError

#: View tokens of one request that are looked at: by address, by header, by cookie.
MAX_TOKENS = 3


class ViewTokens:
    """Judges tokens, and uses up those that are good once."""

    def __init__(self, permits: Permits | None, counters: Counter[str]) -> None:
        """``permits``: None: no token is good. ``counters``: of the gate."""
        self.any = permits is not None
        """Whether a token can be good."""
        self._permits = permits
        self._counters = counters

    def known(self, channel: Channel, tokens: tuple[str, ...]) -> bool:
        """Whether one of them is good, also if only once; none is used up by this."""
        if self._permits is None or channel.standing is None:
            return False
        since = channel.standing.tokens_from
        return any(
            isinstance(self._permits.judge(channel.name, text, since), ViewToken)
            for text in tokens[:MAX_TOKENS]
        )

    def find(self, channel: Channel, tokens: tuple[str, ...]) -> tuple[ViewToken, str] | None:
        """The first token that is good for more than once, and its text."""
        if self._permits is None or channel.standing is None:
            return None
        for text in tokens[:MAX_TOKENS]:
            verdict = self._permits.judge(channel.name, text, channel.standing.tokens_from)
            if isinstance(verdict, ViewToken) and not verdict.single:
                return verdict, text
        return None

    def grant(self, channel: Channel, tokens: tuple[str, ...]) -> Grant | None:
        """What that token grants; None: there is none."""
        found = self.find(channel, tokens)
        if found is None:
            return None
        self._counters["tokens_accepted"] += 1
        return Grant(Action.VIEW, Reason.TOKEN, token=found[0], carried=found[1])

    def holds(self, channel: Channel, token: ViewToken) -> bool:
        """Whether a token that was good is so still."""
        since = 0 if channel.standing is None else channel.standing.tokens_from
        return self._permits is None or self._permits.holds(token, since)

    def sign(self, channel: Channel, subject: str, lifetime: int) -> str:
        """A token for further requests of one session, good for ``lifetime`` seconds; empty: none
        would be."""
        if self._permits is None or channel.standing is None:
            return ""
        return self._permits.sign(channel.name, subject, lifetime, channel.standing.tokens_from)

    async def spend(self, channel: Channel, tokens: tuple[str, ...]) -> Grant:
        """Use up a token that is good once, or find one that another process signed.

        ``UnauthorizedError`` says what is wrong with them; ``NotFoundError`` for private channels.
        """
        assert self._permits is not None
        fault = ""
        for text in tokens[:MAX_TOKENS]:
            since = 0 if channel.standing is None else channel.standing.tokens_from
            verdict = self._permits.judge(channel.name, text, since)
            if isinstance(verdict, Fault) and verdict is not Fault.SIGNATURE:
                fault = fault or verdict.value
                continue
            try:
                token = await self._permits.verify(channel.name, text)
            except UnauthorizedError as error:
                fault = fault or error.subject or ""
                continue
            self._counters["tokens_accepted"] += 1
            carried = self._permits.carry(token) if token.single else text
            return Grant(Action.VIEW, Reason.TOKEN, token=token, carried=carried)
        self._counters["tokens_refused"] += 1
        standing = channel.standing
        if standing is not None and standing.record.private:
            raise unknown(channel.name)
        raise UnauthorizedError(f"view token: {fault}", subject=channel.name)


def unknown(name: str) -> NotFoundError:
    """What is said of a channel that is not there, or that somebody is not to know of."""
    return NotFoundError(f"no channel {name[:80]!r}", subject=name[:80])
