"""Not ordering the same again and again where it does not come about."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from heliograph.manager import transitions as t

#: Seconds before the same is ordered again; doubled each time, up to the second.
FIRST, MOST = 2.0, 30.0
#: Subjects remembered; the oldest are forgotten, and are ordered once more.
MAX_SUBJECTS = 5000


class Patience:
    """What was ordered last of each channel or unit, and until when the same is let be.

    A unit that cannot do what it is told says so by its reports alone: decisions come to the same
    orders each second then.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[Hashable, float, float]] = {}
        """Orders, the pause after them, and its end."""

    def may(self, subject: str, now: float) -> bool:
        """Whether something may be ordered of it."""
        last = self._last.get(subject)
        return last is None or now >= last[2]

    def ordered(self, subject: str, transitions: Iterable[t.Transition], now: float) -> None:
        """Note what was ordered; nothing at all means that all is well."""
        orders = frozenset(map(_essence, filter(_is_order, transitions)))
        last = self._last.pop(subject, None)
        if not orders:
            return
        again = last is not None and last[0] == orders
        pause = min(MOST, last[1] * 2 or FIRST) if again and last is not None else 0.0
        self._last[subject] = (orders, pause, now + pause)
        if len(self._last) > MAX_SUBJECTS:
            del self._last[next(iter(self._last))]


def _is_order(one: t.Transition) -> bool:
    return isinstance(one, t.ORDERS)


def _essence(one: t.Transition) -> Hashable:
    """Without what is another each time."""
    match one:
        case t.Grant(channel, unit, index):
            return ("grant", channel, unit, index)
        case t.MoveIngest(channel, source, target):
            return ("move-ingest", channel, source, target)
        case t.MoveViewers(channel=channel, source=source, target=target, count=count):
            return ("move-viewers", channel, source, target, count)
    return one
