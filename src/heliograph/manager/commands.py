"""What people order of the whole cluster: written down first, then decided, then acknowledged.

::

    drain    unit                   move everything away from it; progress is published
    return   unit                   let it be given things again
    remove   unit                   forget one that is gone, or show one that is drained and has
                                    nothing no more; refused while it carries anything. What comes
                                    back is given nothing until it is returned
    open     channel                let everybody in again, and grant a first group where the source
                                    is expected, before anybody comes; one that was closed is opened
                                    even where nobody has a group for it yet
    close    channel                end it everywhere, and let nobody in until it is opened; its
                                    progress is published
    extend   channel, groups, unit  further groups, which stay; on a unit of choice, or anywhere
    reduce   channel, groups        fewer groups that stay
    move     channel, unit          let the source enter at another unit
    forget   channel, home, lifted  it was deleted: another of that name is given no groups for what
                                    it was, and is not closed either where an administrator did it

Who administers domains alone orders what touches no unit of others (``domains``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from heliograph.catalogue.desired import Closing
from heliograph.manager import decisions as d
from heliograph.manager.describe import describe_opened
from heliograph.manager.domains import outside
from heliograph.manager.draft import Decision
from heliograph.manager.refusals import Refusals
from heliograph.manager.upkeep import begin, move_source
from heliograph.manager.wire import Command
from heliograph.model.errors import BusyError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from heliograph.manager.shell import Manager

log = structlog.get_logger(__name__)

#: Commands that are carried out or wait for that: people do not give so many, programs may.
MAX_WAITING = 64
#: Seconds after which one that was refused may be given again.
RETRY_AFTER = 2

Answer: TypeAlias = dict[str, Any]


class Commands:
    """Of the active manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._changing = asyncio.Lock()
        """What is written and what is decided have the same order."""
        self._waiting = 0
        self._refusals = Refusals(manager)
        self._known: dict[str, Callable[[Command], Awaitable[Answer]]] = {
            "drain": self._drain,
            "return": self._return,
            "remove": self._remove,
            "open": self._open,
            "close": self._close,
            "extend": self._extend,
            "reduce": self._reduce,
            "move": self._move,
            "forget": self._forget,
        }

    async def carry_out(self, command: Command) -> Answer:
        """Do it. Errors are those of decisions; ``ForbiddenError`` for what whoever orders it may
        not order, which the audit log tells; ``UnsupportedError`` for what is not known,
        ``WrongStateError`` where the lease was lost, and those of the database, with which
        nothing has changed."""
        known = self._known.get(command.command)
        if known is None:
            raise UnsupportedError(
                f"the manager has no command {command.command!r}", subject=command.command
            )
        if self._waiting >= MAX_WAITING:
            raise BusyError("too many orders wait", subject="manager", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            async with self._changing:
                self._manager.require_lease()
                refused = outside(self._manager.view, command)
                answer = {} if refused else await self._in_time(known(command))
        finally:
            self._waiting -= 1
        if refused is not None:
            await self._refusals.note(command)
            raise refused
        by = command.by
        log.info("command", command=command.command, by=by.name, peer=by.address, **command.what)
        return answer

    async def _in_time(self, work: Awaitable[Answer]) -> Answer:
        """What a command comes to. A database that says neither yes nor no must not hold up those
        that come after; what it did in truth is known to who has the lease next."""
        try:
            async with asyncio.timeout(self._manager.options.command):
                return await work
        except TimeoutError:
            self._manager.leader.step_down("the database does not answer")
            raise BusyError(
                "the database did not answer; whether it was done is not known",
                subject="database",
                retry_after=RETRY_AFTER,
            ) from None

    async def _drain(self, command: Command) -> Answer:
        unit, manager = command.text("unit"), self._manager
        d.progress(manager.view, unit)  # it has to be known
        await self._set_drained(unit, True, command)
        manager.decide(d.drain(manager.view, unit, manager.now()))
        return manager.progress(unit)

    async def _return(self, command: Command) -> Answer:
        unit, manager = command.text("unit"), self._manager
        if unit not in manager.drained:
            d.progress(manager.view, unit)
        await self._set_drained(unit, False, command)
        manager.bring_back(unit)
        return _done()

    async def _remove(self, command: Command) -> Answer:
        unit, manager = command.text("unit"), self._manager
        if unit not in manager.removed:
            d.remove(manager.view, unit)  # may it be?
            await self._set_drained(unit, True, command, removed=True)
            manager.remove(unit)
        return _done()

    async def _open(self, command: Command) -> Answer:
        name, manager = command.text("channel"), self._manager
        self._check_known(name)
        if name in manager.closed:
            await self._set_closed(name, False, command)
            manager.open_channel(name)
            if name not in manager.view.channels and name not in manager.offered():
                return _done()  # it was deleted, or its node is away
            try:
                decision = begin(manager.view, name, manager.now())
            except BusyError:
                return _done()  # whoever comes is given a group as soon as there is one
        else:
            if begin(manager.view, name, manager.now()).transitions:
                await self._note("channel.open", name, command)
            decision = begin(manager.view, name, manager.now())
        manager.decide(decision)
        opened = decision.view.channels[name]
        if opened.ingest is not None:
            await manager.until_told(opened.ingest)
        return {"done": True, "progress": describe_opened(opened)}

    async def _close(self, command: Command) -> Answer:
        name, manager = command.text("channel"), self._manager
        self._check_known(name)
        await self._set_closed(name, True, command)
        manager.close_channel(name)
        return manager.closing(name)

    def _check_known(self, name: str) -> None:
        manager = self._manager
        known = name in manager.view.channels or name in manager.closed
        if not known and name not in manager.offered():
            raise NotFoundError(f"no channel {name[:80]!r} in the cluster", subject=name[:80])

    async def _extend(self, command: Command) -> Answer:
        name, groups = command.text("channel"), command.whole("groups", 1)
        unit, manager = command.text("unit", "") or None, self._manager

        def decide() -> Decision:
            return d.extend(manager.view, name, manager.now(), groups, unit)

        await self._set_kept(name, decide(), command)
        manager.decide(decide())
        return _done()

    async def _reduce(self, command: Command) -> Answer:
        name, groups = command.text("channel"), command.whole("groups", 1)
        manager = self._manager

        def decide() -> Decision:
            return d.reduce(manager.view, name, groups)

        await self._set_kept(name, decide(), command)
        manager.decide(decide())
        return _done()

    async def _move(self, command: Command) -> Answer:
        name, unit, manager = command.text("channel"), command.text("unit"), self._manager

        def decide() -> Decision:
            return move_source(manager.view, name, unit, manager.now())

        if decide().transitions:
            before = manager.view.channels[name].ingest or ""
            await self._note("channel.move", name, command, unit=unit, before=before)
        manager.decide(decide())
        return {"done": manager.view.channels[name].ingest == unit, "progress": None}

    async def _forget(self, command: Command) -> Answer:
        name, home, manager = command.text("channel"), command.text("home"), self._manager
        if manager.homes(name).issubset({home}):  # else another node keeps one of that name
            closing = Closing.LIFTED if command.whole("lifted", 0) else Closing.KEPT
            await manager.desired.forget(name, closing, manager.require_lease(), command.by)
            manager.forget(name, closing)
            manager.require_lease()
        return _done()

    async def _set_drained(
        self, unit: str, drained: bool, command: Command, *, removed: bool = False
    ) -> None:
        manager = self._manager
        lease = manager.require_lease()
        await manager.desired.set_drained(unit, drained, lease, command.by, removed=removed)
        (manager.drained.add if drained else manager.drained.discard)(unit)
        if not drained:
            manager.removed.discard(unit)
        manager.require_lease()

    async def _set_closed(self, name: str, closed: bool, command: Command) -> None:
        manager = self._manager
        lease = manager.require_lease()
        await manager.desired.set_closed(name, closed, lease, command.by)
        (manager.closed.add if closed else manager.closed.discard)(name)
        manager.announce()  # whatever comes of the rest: nodes compare lists with what is announced
        manager.require_lease()

    async def _note(self, action: str, subject: str, command: Command, **detail: str) -> None:
        manager = self._manager
        await manager.desired.note(action, subject, manager.require_lease(), command.by, **detail)
        manager.require_lease()

    async def _set_kept(self, name: str, decision: Decision, command: Command) -> None:
        manager = self._manager
        lease, kept = manager.require_lease(), decision.view.channels[name].kept
        await manager.desired.set_kept(name, kept, lease, command.by)
        manager.kept[name] = kept
        manager.require_lease()


def _done() -> Answer:
    return {"done": True, "progress": None}
