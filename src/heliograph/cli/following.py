"""Following an order to a cluster until it is done: ``unit drain``, ``channels close``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from heliograph.cli.api import events
from heliograph.cli.console import progress, stderr
from heliograph.model.errors import ConflictError, RemoteError

#: Seconds without a manager, or without the server, after which an order is followed no more.
GIVE_UP = 60.0
#: Seconds between two attempts to listen.
RETRY = 1.0

Answer: TypeAlias = dict[str, Any]
#: What is left, in words: a member of the progress, its name for one and for several.
Parts: TypeAlias = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """An order that takes a while."""

    subject: str
    """The unit's id, or the channel's name."""
    title: str
    """For people."""
    order: Callable[[], Answer]
    """Orders it, which again does no harm."""
    over: Callable[[Answer], bool]
    """Whether a view of the cluster looks as if it were done."""
    parts: Parts
    counted: tuple[str, ...]
    """Members of the progress whose sum is what is left."""
    stands: Callable[[Answer], bool] | None = None
    """Whether a view says that the order stands; None: that is not looked at."""

    def left(self, found: Mapping[str, Any]) -> int:
        return sum(found.get(name, 0) for name in self.counted)

    def words(self, found: Mapping[str, Any]) -> str:
        """What is left; empty: nothing."""
        parts = [
            f"{found[name]} {one if found[name] == 1 else many}"
            for name, one, many in self.parts
            if found.get(name)
        ]
        return ", ".join(parts) + " to go" if parts else ""


def follow(server: str, key: Path | None, what: Followed, answer: Answer, *, quiet: bool) -> Answer:
    """Show how far an order is, over changes of managers; its last answer."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
    )
    most = 1
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task(what.title, words="", total=1.0)
        for now in _answers(server, key, what, answer):
            found = now.get("progress") or {}
            left = what.left(found)
            most = max(most, left)
            bar.update(task, total=most, completed=most - left, words=what.words(found))
            if now["done"]:
                return now
    return answer


def _answers(server: str, key: Path | None, what: Followed, answer: Answer) -> Iterator[Answer]:
    """How far an order is, again and again.

    After a break it is ordered anew: the manager may be another.
    """
    good, stood = time.monotonic(), False
    yield answer
    while True:
        try:
            for name, value in events(server, "/cluster/events", key):
                good = time.monotonic()
                if name == "progress" and value.get("subject") == what.subject:
                    yield {"done": value["done"], "progress": value.get("progress")}
                elif name == "view" and what.stands is not None and stood != what.stands(value):
                    if stood:
                        raise ConflictError(
                            f"{what.subject} was opened again", subject=what.subject
                        )
                    stood = True
                elif name == "view" and what.over(value):
                    yield what.order()
            yield what.order()
        except RemoteError as error:
            if time.monotonic() - good > GIVE_UP:
                raise
            stderr().print(f"{error.message}; trying again", soft_wrap=True)
        time.sleep(RETRY)
