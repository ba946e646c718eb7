"""What others ask of a manager: places, the view, what is closed, and the orders of people."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.manager import wire
from heliograph.manager.commands import Commands
from heliograph.manager.upkeep import seat
from heliograph.model.errors import ConflictError, HelioError, WrongStateError

if TYPE_CHECKING:
    from heliograph.manager.shell import Manager


class Desk:
    """Of one manager; who asks a standby is told so."""

    def __init__(self, manager: Manager, bus: Bus) -> None:
        self._manager, self._bus = manager, bus
        self._commands = Commands(manager)
        self._carrying_out: set[asyncio.Task[Any]] = set()
        self._registrations: list[Registration] = []

    def open(self) -> None:
        """Answer from now on."""
        self._registrations = [
            self._bus.serve(wire.JOIN, self._join),
            self._bus.serve(wire.COMMAND, self._command),
            self._bus.serve(wire.VIEW, self._view),
            self._bus.serve(wire.CLOSED, self._closed),
        ]

    async def close(self) -> None:
        """Answer nobody more; what is being carried out has a moment to come to its end."""
        for one in self._registrations:
            one.close()
        if self._carrying_out:
            await asyncio.wait(self._carrying_out, timeout=self._manager.options.lease.timeout)
        for task in self._carrying_out:
            task.cancel()

    async def _join(self, request: Request) -> Json:
        manager = self._manager
        asked = wire.parse_asked(request.value)
        if not manager.serving:
            await manager.until_serving()
        lease = manager.require_lease()
        if asked.channel in manager.closed:
            raise ConflictError(f"channel {asked.channel!r} is closed", subject=asked.channel)
        id, now = f"{lease.epoch}-{secrets.token_urlsafe(12)}", manager.now()
        offered = () if asked.channel in manager.view.channels else manager.offered()
        try:
            joined = seat(manager.view, asked, id, now, offered)
        except HelioError:
            manager.counters["refusals"] += 1
            raise
        manager.decide(joined)
        manager.counters["joins"] += 1
        kept = joined.reservation
        # Of a group that is granted this moment his unit has to know before he comes.
        await manager.until_told(kept.unit)
        left = max(0.0, kept.expires - manager.now())
        return wire.seat_json(wire.Seat(kept.id, kept.unit, kept.index, lease.epoch, left))

    async def _command(self, request: Request) -> Json:
        command = wire.parse_command(request.value)
        await self._manager.until_serving()
        self._manager.counters["commands"] += 1
        # Half a command is worse than one whose answer nobody waits for any more.
        task = asyncio.get_running_loop().create_task(self._carry_out(command))
        self._carrying_out.add(task)
        task.add_done_callback(self._carried_out)
        return await asyncio.shield(task)

    def _carried_out(self, task: asyncio.Task[Any]) -> None:
        self._carrying_out.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits; maybe nobody does any more

    async def _carry_out(self, command: wire.Command) -> Json:
        try:
            return await self._commands.carry_out(command)
        except WrongStateError as error:
            if self._manager.lease is not None:  # the database says that it is another's
                self._manager.leader.step_down(error.message)
            raise

    async def _view(self, request: Request) -> Json:
        return self._manager.describe()

    async def _closed(self, request: Request) -> Json:
        manager = self._manager
        return wire.closed_json(manager.require_lease().epoch, manager.closed)
