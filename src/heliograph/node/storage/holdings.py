"""The volumes of a node: held as their states say, and told of to the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from heliograph.bus import Announcement, Bus
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import Volumes
from heliograph.model.errors import ConflictError, HelioError
from heliograph.node.periodic import Periodic
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.runs import Runs
from heliograph.node.storage.states import HERE, States, held, holders
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.volume.progress import Event, Settled
from heliograph.storage.volume.state import DiskState, VolumeState

if TYPE_CHECKING:  # takes a while to load, and most nodes begin without a volume
    from heliograph.node.storage.holding import Holding

log = structlog.get_logger(__name__)

#: Seconds that an order waits until all nodes of its volume go by it: who writes at once must find
#: them ready. Those that are away learn of it later.
KNOWN = 3.0
#: Seconds between two looks whether a change is done everywhere, and disks that were away are back.
LOOK_PERIOD = 2.0


class Holdings:
    """Started when the bus and the database are there."""

    def __init__(
        self,
        bus: Bus,
        volumes: Volumes | None,
        disks: LocalDisks,
        connected: Connected,
        blocks: SharedBlocks,
        *,
        changed: Callable[[], None],
    ) -> None:
        """``volumes`` as of ``States``. ``changed``: a volume came, went or has another state."""
        self._bus = bus
        self._disks = disks
        self._connected = connected
        self._blocks = blocks
        self._changed = changed
        self.all: dict[str, Holding] = {}
        """By name of the volume."""
        self.states = States(bus, volumes, self._told)
        self._runs = Runs(bus)
        self._here: dict[str, Announcement] = {}
        self._telling = True
        self._done: dict[str, int] = {}
        self._updates: dict[str, asyncio.Task[None]] = {}
        self._looks = Periodic("changes of volumes", LOOK_PERIOD, self._look)

    async def start(self) -> None:
        """Begin with what the disks of this node know of their volumes."""
        self._runs.start()
        for state in await self._disks.states():
            self.states.take(state)
        await self.states.start()

    def look(self) -> None:
        """Look from time to time."""
        self._looks.start()

    async def stop_looking(self) -> None:
        """Look no more, and tell nobody of what is here."""
        await self._looks.stop()
        self._telling = False
        for announcement in self._here.values():
            announcement.close()
        self._here.clear()
        self._runs.close()

    async def stop_following(self) -> None:
        """Stay with the states that are known."""
        await self.states.close()
        for task in [*self._updates.values()]:
            task.cancel()
        await asyncio.gather(*self._updates.values(), return_exceptions=True)

    async def close(self) -> None:
        """Close all volumes."""
        for holding in self.all.values():
            await holding.close()

    async def settle(self, name: str) -> None:
        """Wait until this node's view is what is known, and for others who are there, a while."""
        task = self._updates.get(name)
        if task is not None:
            await asyncio.wait([task])
        state = self.states.known.get(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOWN):
                while state is not None and not self._known(state):  # noqa: ASYNC110 - of others
                    await asyncio.sleep(0.02)

    def _told(self, name: str, state: VolumeState | None) -> None:
        """A state is new: one after the other for each volume, and the newest counts."""
        before = self._updates.get(name)
        if before is None or before.done():

            def over(done: asyncio.Task[None]) -> None:
                if self._updates.get(name) is done:
                    del self._updates[name]

            task = asyncio.get_running_loop().create_task(self._follow(name), name="volume update")
            self._updates[name] = task
            task.add_done_callback(over)

    async def _follow(self, name: str) -> None:
        """Go on until this node's view is what is known."""
        try:
            while True:
                state, holding = self.states.known.get(name), self.all.get(name)
                if holding is not None and (state is None or state.seed != holding.state.seed):
                    await self._drop(holding)
                elif state is None:
                    return
                elif holding is None:
                    self.all[name] = self._hold(state)
                    await self.all[name].begin()
                    self._tell(name)
                elif holding.followed < state.version:
                    await holding.update(state)
                    self._tell(name)
                else:
                    self._changed()
                    return
        except Exception:
            log.exception("volume not followed", volume=name)

    async def _drop(self, holding: Holding) -> None:
        """A volume is no more, though another may have its name."""
        name = holding.name
        del self.all[name]
        if (here := self._here.pop(name, None)) is not None:
            here.close()
        await holding.close()
        self._done.pop(name, None)  # what it still did while it closed is not the next one's
        for disk in [*self._disks.of(name)]:
            if holding.state.disk(disk) is not None:
                await self._disks.release(disk)

    def _known(self, state: VolumeState) -> bool:
        """Whether all nodes of a volume go by its state."""
        here = holders(self._bus, state)
        return all(here.get(node, (0, 0))[0] >= state.version for node in state.nodes)

    def _tell(self, name: str) -> None:
        if not self._telling:
            return
        value = held(self.all[name].state, self._done.get(name, 0))
        here = self._here.get(name)
        if here is None:
            self._here[name] = self._bus.announce(HERE, name, value)
        else:
            here.update(value)

    def _hold(self, state: VolumeState) -> Holding:
        from heliograph.node.storage.holding import Holding

        name = state.name

        async def newest() -> VolumeState:
            return await self.states.newest(name)

        return Holding(
            self._bus.node,
            state,
            self._disks,
            self._connected.of(name),
            self._blocks,
            self._runs.claims(),
            newest,
            self._happened,
        )

    def _happened(self, volume: str, event: Event) -> None:
        if isinstance(event, Settled):
            self._done[volume] = event.version
            if volume in self._here:
                self._tell(volume)

    async def _look(self) -> None:
        """Settle what is done at all nodes, and take back disks that were away."""
        if self._disks.faults and await self._disks.retry():
            for state in await self._disks.states():
                self.states.learn(state)
            for holding in self.all.values():
                await holding.refresh()
        if not self.states.keeps:
            return
        for name, state in [*self.states.known.items()]:
            leaving = any(one.state is not DiskState.ACTIVE for one in state.disks)
            if not state.before and not leaving:
                continue
            here = holders(self._bus, state)
            if state.nodes and all(
                here.get(one, (0, 0))[1] == state.version for one in state.nodes
            ):
                order: dict[str, Json] = {"do": "settled", "version": state.version}
                try:
                    await self.states.change(name, order, Actor("storage", ""))
                except ConflictError:
                    pass  # somebody else did it, or it goes on
                except HelioError as error:  # the others are settled all the same
                    log.info("volume not settled yet", volume=name, error=error.message)
