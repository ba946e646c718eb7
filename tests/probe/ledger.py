"""What people were told that it is done: it has to be so, whatever happened since."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from tests.probe.machines import KEY, Machine

#: Channels that people have at most beside the one that is watched.
MOST = 20
#: Groups that they keep for that one, and keys that they make.
MOST_KEPT, MOST_KEYS = 6, 10


class Ledger:
    """What each thing may be: one value after a change that was acknowledged, two after one of
    which nobody knows."""

    def __init__(self) -> None:
        self.may: dict[Hashable, set[Any]] = {}

    def done(self, thing: Hashable, value: Any) -> None:
        """It was acknowledged."""
        self.may[thing] = {value}

    def unknown(self, thing: Hashable, *values: Any) -> None:
        """It may have been done."""
        self.may.setdefault(thing, {None}).update(values)

    def is_sure(self, thing: Hashable) -> bool:
        return len(self.may.get(thing, {None})) == 1

    def value(self, thing: Hashable) -> Any:
        """What is so; None for what never was, and where nobody knows."""
        found = self.may.get(thing, {None})
        return next(iter(found)) if len(found) == 1 else None

    def wrong(self, seen: Callable[[Hashable], Any]) -> list[str]:
        """Things that are not what they may be."""
        found = []
        for thing, may in self.may.items():
            is_now = seen(thing)
            if is_now not in may:
                found.append(f"{thing} is {is_now!r}, not {sorted(map(str, may))}")
        return found

    def learn(self, seen: Callable[[Hashable], Any]) -> None:
        """Where nobody knew, what is so now counts."""
        for thing in self.may:
            if len(self.may[thing]) > 1:
                self.may[thing] = {seen(thing)}


class People:
    """Change things by the API as long as they are let, and write down what they were told."""

    def __init__(self, portals: list[Machine], units: list[Machine], seed: str) -> None:
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.may_drain = True
        self.refused: list[str] = []
        self._portals, self._units = portals, units
        self._random = random.Random(seed)
        self._made = 0
        self.hand = threading.RLock()
        """Held while something is changed."""
        self._stopped = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="people")

    def start(self) -> None:
        self.ledger.done(("kept", "demo"), 1)
        for unit in self._units:
            self.ledger.done(("drained", unit.name), False)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)

    def drained(self) -> set[str]:
        """Units that may be drained."""
        return {one.name for one in self._units if self.ledger.may["drained", one.name] != {False}}

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._random.uniform(0.5, 3.0)):
                with self.hand:
                    self.change()
        except BaseException as error:
            self.failure = error

    def change(self) -> None:
        """One change, of whatever kind."""
        kinds = [self._create, self._title, self._delete, self._key, self._revoke]
        kinds += [self._extend, self._shrink, self._drain, self._return, self._return]
        self._random.choice(kinds)()

    def give_back(self) -> None:
        """Return all units, so that whatever comes next finds room."""
        for unit in self._units:
            if self.ledger.may["drained", unit.name] != {False}:
                self._order_unit(unit, False)

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[str, Any]:
        """``done``, ``refused`` (it was not done) or ``unknown``, and the answer."""
        portal = self._random.choice(self._portals)
        try:
            status, answer = portal.order(method, path, body)
        except ConnectionRefusedError:
            self.counts["no portal"] += 1
            return "refused", None
        except OSError as error:
            if "refused" in str(error) or "No route" in str(error):
                self.counts["no portal"] += 1
                return "refused", None
            self.counts["unknown"] += 1
            return "unknown", None
        if status < 300:
            self.counts["done"] += 1
            return "done", answer
        if status < 500:
            self.counts["refused"] += 1
            self.refused.append(f"{method} {path} {status} {answer}")
            del self.refused[:-20]
            return "refused", answer
        self.counts[f"refused with {status}"] += 1
        return "unknown", answer

    def _note(self, outcome: str, thing: Hashable, value: Any) -> None:
        if outcome == "done":
            self.ledger.done(thing, value)
        elif outcome == "unknown":
            self.ledger.unknown(thing, value)

    def _channels(self) -> list[str]:
        """That are there, as far as people know."""
        may = self.ledger.may.items()
        return [
            thing[1]
            for thing, values in may
            if isinstance(thing, tuple) and thing[0] == "channel" and values != {None}
        ]

    def _create(self) -> None:
        if len(self._channels()) >= MOST:
            self._delete()
            return
        self._made += 1
        name, title = f"c{self._made}", f"Made as number {self._made}"
        outcome, _ = self._ask("POST", "/channels", {"name": name, "title": title, "key": KEY})
        self._note(outcome, ("channel", name), title)

    def _title(self) -> None:
        if names := self._channels():
            name, title = self._random.choice(names), f"Title {self._random.random():.6f}"
            outcome, _ = self._ask("PATCH", f"/channels/{name}", {"title": title})
            self._note(outcome, ("channel", name), title)

    def _delete(self) -> None:
        if names := self._channels():
            name = self._random.choice(names)
            outcome, _ = self._ask("DELETE", f"/channels/{name}")
            self._note(outcome, ("channel", name), None)
            for thing in [*self.ledger.may]:
                if outcome != "refused" and isinstance(thing, tuple) and thing[:2] == ("key", name):
                    del self.ledger.may[thing]

    def _key(self) -> None:
        names = [name for name in self._channels() if self.ledger.is_sure(("channel", name))]
        keys = [one for one in self.ledger.may if isinstance(one, tuple) and one[0] == "key"]
        if names and len(keys) < MOST_KEYS:
            name = self._random.choice(names)
            outcome, answer = self._ask("POST", f"/channels/{name}/keys", {"label": "of the test"})
            if outcome == "done":
                self.ledger.done(("key", name, answer["id"]), True)

    def _revoke(self) -> None:
        keys = [
            thing
            for thing, values in self.ledger.may.items()
            if isinstance(thing, tuple) and thing[0] == "key" and values != {False}
        ]
        if keys:
            thing = self._random.choice(keys)
            outcome, _ = self._ask("DELETE", f"/channels/{thing[1]}/keys/{thing[2]}")
            self._note(outcome, thing, False)

    def _extend(self) -> None:
        if (self.ledger.value(("kept", "demo")) or 0) < MOST_KEPT:
            self._order_groups("extend", lambda kept: kept >= 2)

    def _shrink(self) -> None:
        self._order_groups("shrink", lambda kept: kept >= 1)

    def _order_groups(self, what: str, may_be: Callable[[int], bool]) -> None:
        """How many are kept then depends on how many there are: the view says that."""
        outcome, _ = self._ask("POST", f"/channels/demo/{what}", {"groups": 1})
        if outcome == "refused":
            return
        self.ledger.may.pop(("kept", "demo"), None)
        if outcome == "done":
            for portal in self._portals:
                with contextlib.suppress(OSError, StopIteration):
                    status, view = portal.order("GET", "/cluster", timeout=5)
                    if status != 200:
                        continue
                    kept = next(one["kept"] for one in view["channels"] if one["name"] == "demo")
                    assert may_be(kept), f"{what} was done, and {kept} groups are kept"
                    self.ledger.done(("kept", "demo"), kept)
                    return

    def _drain(self) -> None:
        if self.may_drain and not self.drained():
            self._order_unit(self._random.choice(self._units), True)

    def _return(self) -> None:
        for unit in self._units:
            if unit.name in self.drained():
                self._order_unit(unit, False)

    def _order_unit(self, unit: Machine, drain: bool) -> None:
        what = "drain" if drain else "return"
        outcome, _ = self._ask("POST", f"/units/{unit.node}/{what}")
        self._note(outcome, ("drained", unit.name), drain)
