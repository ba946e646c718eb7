"""What the active manager tells people, when it changed: the view, how far commands are, and what
there is no room for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any

import structlog

from heliograph.bus import Bus
from heliograph.bus.wire import Json
from heliograph.manager import wire
from heliograph.manager.describe import describe, describe_removed
from heliograph.manager.transitions import Refuse
from heliograph.manager.view import View
from heliograph.model.errors import TooLargeError

log = structlog.get_logger(__name__)


class Telling:
    """Of one manager."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus, self._name = bus, name
        self._view: Json = None
        """The last that was published."""
        self._progress: dict[tuple[str, str], Json] = {}
        """The last of each command that goes on."""
        self._lost: dict[str, int] = {}
        """Groups added by hand for which there is no room now, by channel."""

    def view(
        self, view: View, epoch: int, closed: Collection[str], removed: Collection[str]
    ) -> None:
        """Publish the cluster, where somebody listens and that is not what was said last."""
        if not self._bus.present(wire.WATCHERS):
            return
        shown = self._described(view, epoch, closed, removed)
        if shown == self._view:
            return
        self._view = shown
        self._bus.publish(wire.VIEWS, self._packed(shown, view, epoch, closed, removed))

    def asked(
        self, view: View, epoch: int, closed: Collection[str], removed: Collection[str]
    ) -> Json:
        """The cluster, for whoever asks."""
        shown = self._described(view, epoch, closed, removed)
        return self._packed(shown, view, epoch, closed, removed)

    def _packed(
        self,
        shown: dict[str, Any],
        view: View,
        epoch: int,
        closed: Collection[str],
        removed: Collection[str],
    ) -> Json:
        at = round(time.time(), 3)
        packed = wire.pack({**shown, "at": at})
        if packed is None:
            numbers = self._described(view, epoch, closed, removed, whole=False)
            packed = wire.pack({**numbers, "at": at})
        if packed is None:
            raise TooLargeError("the cluster is too large to be told of")
        return packed

    def progress(self, command: str, subject: str, found: dict[str, Any]) -> None:
        """Publish how far a command is, where that is not what was said last."""
        said = {"command": command, "subject": subject, **found}
        if self._progress.get((command, subject)) != said:
            self._progress[command, subject] = said
            self._bus.publish(wire.PROGRESS, said)

    def lost_groups(self, name: str, refusals: Iterable[Refuse]) -> None:
        """Log that groups added by hand are nowhere to be had, where that is not what was said last
        of the channel."""
        lost = sum(one.count for one in refusals if one.budget == "groups")
        if lost and self._lost.get(name) != lost:
            log.warning("no room for groups added by hand", channel=name, groups=lost)
        self._lost.pop(name, None)
        if lost:
            self._lost[name] = lost

    def forget(self, command: str, subject: str) -> None:
        """A command is over."""
        self._progress.pop((command, subject), None)

    def clear(self) -> None:
        """Nothing was said by this manager."""
        self._view = None
        self._progress.clear()
        self._lost.clear()

    def _described(
        self,
        view: View,
        epoch: int,
        closed: Collection[str],
        removed: Collection[str],
        *,
        whole: bool = True,
    ) -> dict[str, Any]:
        found = describe(
            view, epoch=epoch, manager=self._name, at=0.0, whole=whole, removed=removed
        )
        return {**found, "closed": sorted(closed), "removed": describe_removed(view, removed)}
