"""What people order of the whole cluster: written down first, then decided, then acknowledged.

::

    drain    unit                   move everything away from it; progress is published
    return   unit                   let it be given things again
    remove   unit                   forget one that is drained and has nothing, or is gone
    extend   channel, groups, unit  further groups, which stay; on a unit of choice, or anywhere
    reduce   channel, groups        fewer groups that stay
    move     channel, unit          let the source enter at another unit
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from heliograph.catalogue.values import Actor
from heliograph.manager import decisions as d
from heliograph.manager.draft import Decision
from heliograph.manager.upkeep import move_source
from heliograph.manager.wire import Command
from heliograph.model.errors import UnsupportedError

if TYPE_CHECKING:
    from heliograph.manager.shell import Manager

log = structlog.get_logger(__name__)

Answer: TypeAlias = dict[str, Any]


class Commands:
    """Of the active manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._changing = asyncio.Lock()
        """What is written and what is decided have the same order."""
        self._known: dict[str, Callable[[Command], Awaitable[Answer]]] = {
            "drain": self._drain,
            "return": self._return,
            "remove": self._remove,
            "extend": self._extend,
            "reduce": self._reduce,
            "move": self._move,
        }

    async def carry_out(self, command: Command) -> Answer:
        """Do it. Errors are those of decisions; ``UnsupportedError`` for what is not known,
        ``WrongStateError`` where the lease was lost, and those of the database, with which
        nothing has changed."""
        known = self._known.get(command.command)
        if known is None:
            raise UnsupportedError(
                f"the manager has no command {command.command!r}", subject=command.command
            )
        async with self._changing:
            self._manager.require_lease()
            answer = await known(command)
        log.info("command", command=command.command, by=command.by, **command.what)
        return answer

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
        d.remove(manager.view, unit)  # may it be?
        await self._set_drained(unit, True, command)
        manager.decide(d.remove(manager.view, unit))
        return _done()

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
        manager.decide(move_source(manager.view, name, unit, manager.now()))
        return {"done": manager.view.channels[name].ingest == unit, "progress": None}

    async def _set_drained(self, unit: str, drained: bool, command: Command) -> None:
        manager = self._manager
        lease = manager.require_lease()
        await manager.desired.set_drained(unit, drained, lease, Actor(command.by))
        (manager.drained.add if drained else manager.drained.discard)(unit)
        manager.require_lease()

    async def _set_kept(self, name: str, decision: Decision, command: Command) -> None:
        manager = self._manager
        lease, kept = manager.require_lease(), decision.view.channels[name].kept
        await manager.desired.set_kept(name, kept, lease, Actor(command.by))
        manager.kept[name] = kept
        manager.require_lease()


def _done() -> Answer:
    return {"done": True, "progress": None}
