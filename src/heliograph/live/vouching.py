"""Whether there is still a right to the sessions that portals opened at a unit.

Only nodes that have the accounts know what somebody may do whom an account let in. The unit keeps
why each was let in, and has it judged anew now and then by the portal that sent him, or by any
other with the same accounts; so that nothing hangs on what a portal remembers, and one that was
started anew judges as well. Where nobody has answered for a minute, whom an account let in is sent
away; all others the unit judges itself as well (``gate.Gate``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog

from heliograph.bus import Bus, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.rights import Reason
from heliograph.catalogue.values import Account
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant, by_account, told
from heliograph.live.placing import home_of
from heliograph.live.registry import Channels
from heliograph.live.roster import ENDED
from heliograph.live.webrtc import RtcSession
from heliograph.model.errors import BusyError, HelioError, MalformedError, NotFoundError

log = structlog.get_logger(__name__)

VOUCH = "whep.vouch"
"""The bus's method that judges grants by account again."""

#: Seconds between two looks.
EVERY = 15.0
#: Looks in a row, a minute, in which nobody answered for a session. They are counted and not timed:
#: a unit that was frozen meanwhile has asked nobody.
AWAY = 4
#: Seconds that a portal has to answer.
TIMEOUT = 2.0
#: Grants in one request: half a kilobyte each at most, and a message has a megabyte.
MAX_ASKED = 1000

Holds = Callable[[Channel, Grant, Mapping[int, Account]], bool]
"""``Gate.holds``."""
People = Callable[[Collection[int]], Awaitable[Mapping[int, Account]]]
"""``Accounts.people``."""


@dataclass(slots=True, eq=False)
class _Kept:
    """Why somebody was let in, as it was told."""

    session: RtcSession
    home: str
    """Of the channel."""
    voucher: str
    """Node that answers for it."""
    accounts: str
    """Whose accounts are meant."""
    grant: Json = field(repr=False)
    missed: int = 0
    """Looks in a row in which nobody answered."""

    def asked(self) -> Json:
        return [self.session.channel.name, self.home, self.grant]

    def end(self, why: str) -> None:
        log.info("viewer's right has ended", channel=self.session.channel.name, why=why)
        if self.session.reader is not None:
            self.session.reader.kick(ENDED)
        else:
            self.session.end(ENDED)


class Vouched:
    """The unit's side: the sessions that others answer for."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: list[_Kept] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep(
        self, session: RtcSession, *, home: str, voucher: str, accounts: str, grant: Json
    ) -> None:
        """Have a session judged from now on. One that everybody may watch is not: the unit knows
        itself when that is over."""
        if told(grant, session.channel.name).reason is Reason.PUBLIC:
            return
        self._kept.append(_Kept(session, home, voucher, accounts, grant))
        if self._task is None or self._task.done():
            work = self._watch()
            self._task = asyncio.get_running_loop().create_task(work, name="vouched sessions")

    def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while self._kept:
            await asyncio.sleep(EVERY)
            try:
                await self.look_after()
            except Exception:
                log.exception("vouched sessions not looked after")

    async def look_after(self) -> None:
        """Have all judged once, and end those whose right is gone."""
        self._kept = [one for one in self._kept if not one.session.ended]
        groups: dict[tuple[str, str], list[_Kept]] = {}
        for one in self._kept:
            groups.setdefault((one.voucher, one.accounts), []).append(one)
        for (voucher, accounts), group in groups.items():
            await self._look_at(voucher, accounts, group)

    async def _look_at(self, voucher: str, accounts: str, group: list[_Kept]) -> None:
        there: str | None = voucher
        for first in range(0, len(group), MAX_ASKED):
            some = group[first : first + MAX_ASKED]
            verdicts: list[bool] = []
            if there is not None:
                there, verdicts = await self._judge(there, accounts, some)
            if there is None:
                self._miss(some)
                continue
            for one, good in zip(some, verdicts, strict=True):
                one.voucher, one.missed = there, 0
                if not good:
                    one.end("revoked")

    def _miss(self, some: list[_Kept]) -> None:
        for one in some:
            one.missed += 1
            if one.missed >= AWAY and by_account(told(one.grant, one.session.channel.name)):
                one.end("nobody answers for it")

    async def _judge(
        self, voucher: str, accounts: str, some: list[_Kept]
    ) -> tuple[str | None, list[bool]]:
        """Who answered, None where nobody did, and whether each holds."""
        asked: Json = {"accounts": accounts, "grants": [one.asked() for one in some]}
        try:
            answer = await self._bus.call(voucher, VOUCH, asked, TIMEOUT)
            found = _verdicts(answer, len(some))
        except BusyError:  # it is there, and nobody is sent away because it has too much to do
            found = [True] * len(some)
        except HelioError:
            found = None
        if found is not None:
            return voucher, found
        try:
            answers = await self._bus.ask(VOUCH, asked, TIMEOUT)
        except BusyError:
            return voucher, [True] * len(some)
        except HelioError:
            answers = []
        for node, answer in answers:
            found = _verdicts(answer, len(some))
            if found is not None:
                return node, found
        return None, []


def _verdicts(answer: Json, count: int) -> list[bool] | None:
    if not isinstance(answer, list) or len(answer) != count:
        return None
    return [one is not False for one in answer]


class Voucher:
    """A portal's side: answers for those whom its accounts let in."""

    def __init__(
        self, bus: Bus, channels: Channels, holds: Holds, people: People, accounts: str = ""
    ) -> None:
        """``accounts``: id of the database that has them, empty where it is this node's own."""
        self._bus = bus
        self._channels = channels
        self._holds, self._people = holds, people
        self._accounts = accounts or bus.node
        self._registration = bus.serve(VOUCH, self._vouch)

    def close(self) -> None:
        """Answer no more."""
        self._registration.close()

    async def _vouch(self, request: Request) -> Json:
        asked = _asked(request.value)
        if asked is None:
            raise MalformedError("grants", "not a list of channels and grants, or too long")
        accounts, grants = asked
        if accounts != self._accounts:
            raise NotFoundError("these accounts are not known here", subject=accounts[:80])
        found = [(name, home, told(grant, name)) for name, home, grant in grants]
        ids = {grant.person.id for _, _, grant in found if grant.person is not None}
        people: Mapping[int, Account] | None = {}
        if ids:
            try:
                people = await self._people(ids)
            except HelioError as error:  # the database is away: what memory knows counts
                log.info("accounts are not known now", error=error.message, limit="vouching")
                people = None
        return [self._good(name, home, grant, people) for name, home, grant in found]

    def _good(
        self, name: str, home: str, grant: Grant, people: Mapping[int, Account] | None
    ) -> bool:
        channel = self._channels.find(name)
        if channel is None or home_of(self._bus, channel) != home:
            return True  # the unit's channel ends by itself
        if people is None:
            if grant.person is not None:
                return True
            people = {}
        return self._holds(channel, grant, people)


def _asked(value: Json) -> tuple[str, list[tuple[str, str, Json]]] | None:
    """Whose accounts are meant; names and homes of channels, and grants."""
    said = value if isinstance(value, Mapping) else {}
    accounts, grants = said.get("accounts"), said.get("grants")
    if not isinstance(accounts, str) or not isinstance(grants, list) or len(grants) > MAX_ASKED:
        return None
    found: list[tuple[str, str, Json]] = []
    for one in grants:
        match one:
            case [str(name), str(home), grant]:
                found.append((name, home, grant))
            case _:
                return None
    return accounts, found
