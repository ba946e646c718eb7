"""What units say, as a view: for managers, active or not, and for whoever must choose alone.

Only units that are present count: what one said before it went is not news. A unit whose serial
goes back was started anew; what it had is gone, as when it had died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from heliograph.bus import Bus, Event, Gone, Registration
from heliograph.bus.wire import Json
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.decisions import absorb
from heliograph.manager.draft import Draft, apply
from heliograph.manager.reports import Report
from heliograph.manager.view import View
from heliograph.model.errors import HelioError
from heliograph.model.nodes import NodeId

log = structlog.get_logger(__name__)


class Hearing:
    """Listens to reports and keeps a view of them, which its owner may take further."""

    def __init__(
        self,
        bus: Bus,
        clock: Callable[[], float],
        heard: Callable[[Report, Report | None], None] | None = None,
        gone: Callable[[str], None] | None = None,
    ) -> None:
        """``heard``: told a report that is in the view by now, and the one before it. ``gone``:
        takes a unit out of the view; without one it is just lost."""
        self.view = View()
        self.reports: dict[str, Report] = {}
        """The last of each unit that is present."""
        self.present: dict[str, float] = {}
        """Units that are there, and when they came."""
        self._bus = bus
        self._clock = clock
        self._heard = heard
        self._gone = gone or self.lose
        self._counters: Counter[str] = Counter(reports=0, unread=0, absent=0, restarted=0)
        self._registrations: list[Registration] = []

    def start(self) -> None:
        """Listen from now on."""
        self._registrations = [
            self._bus.watch(wire.UNIT, self._seen),
            self._bus.subscribe(wire.REPORTS, self._reported),
        ]

    def close(self) -> None:
        """Listen no more."""
        for one in self._registrations:
            one.close()

    def counters(self) -> Mapping[str, int]:
        """Since the start."""
        return dict(self._counters)

    def silent(self, since: float) -> list[str]:
        """Units that are present and have said nothing since then, or came before and nothing."""
        return [
            unit
            for unit, came in self.present.items()
            if (self.reports[unit].at if unit in self.reports else came) < since
        ]

    def unheard(self, since: float = 0.0) -> list[str]:
        """Units that came since then and have not reported yet."""
        return [
            unit
            for unit, came in self.present.items()
            if unit not in self.reports and came >= since
        ]

    def rebuild(self) -> None:
        """Make the view anew of nothing but reports: what was decided and not done is not there."""
        serial = self.view.serial
        view = apply(View(), *map(t.Observe, self.reports.values()))
        self.view = replace(view, serial=max(serial, view.serial))

    def recall(self, unit: str) -> None:
        """Know a unit again that is there and was forgotten."""
        if unit in self.reports and unit not in self.view.units:
            self.view = absorb(self.view, self.reports[unit]).view

    def believe(self, unit: str) -> None:
        """Take the unit's next report whole: what was ordered and not done never will be."""
        known = self.view.units.get(unit)
        if known is not None and known.ordered:
            units = {**self.view.units, unit: replace(known, ordered=0)}
            self.view = replace(self.view, units=units)

    def lose(self, unit: str) -> None:
        """A unit is gone, and the channels that only it had."""
        if unit not in self.view.units:
            return
        draft = Draft(self.view)
        names = draft.units[unit].carries
        draft.do(t.Lose(unit), t.Forget(unit))
        for name in names:
            if not draft.channels[name].branches:
                draft.do(t.CloseChannel(name))
        self.view = draft.decision().view

    def _seen(self, event: Event) -> None:
        unit = event.name.node
        if not isinstance(event, Gone):
            self.present.setdefault(unit, self._clock())
        elif self.present.pop(unit, None) is not None:
            self.reports.pop(unit, None)
            self._gone(unit)

    def _reported(self, node: NodeId, _topic: str, value: Json) -> None:
        try:
            report = sift(wire.parse_report(value, node, self._clock()))
            if node not in self.present:
                self._counters["absent"] += 1
                return
            before = self.reports.get(node)
            if before is not None and report.serial < before.serial:
                self._counters["restarted"] += 1
                log.info("unit was started anew", unit=node)
                self._gone(node)
                before = None
            self.view = absorb(self.view, report).view
        except HelioError as error:
            self._counters["unread"] += 1
            log.debug("report not understood", unit=node, error=error.message)
            return
        self._counters["reports"] += 1
        self.reports[node] = report
        if self._heard is not None:
            self._heard(report, before)


def sift(report: Report) -> Report:
    """Without channels that are only held open there: nothing enters, and nobody watches.

    Every node of a cluster knows every channel; as branches they would be orphans to be linked.
    """
    watched = {group.channel for group in report.groups}
    branches = tuple(
        one
        for one in report.branches
        if one.ingest or one.source is not None or one.channel in watched
    )
    return report if len(branches) == len(report.branches) else replace(report, branches=branches)
