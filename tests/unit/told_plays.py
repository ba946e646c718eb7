"""What is told of plays, kept by the test."""

from __future__ import annotations

from datetime import datetime

from heliograph.catalogue.contents.statistics import Play


class Told(list[Play]):
    """The words of plays, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0
        """Plays that began, and whose end was not told."""
        self.notes: dict[str, tuple[int, int]] = {}
        """Bytes and stalls noted of each since its last word."""
        self.lived: datetime | None = None
        """Until when they are known to play."""

    def begun(self) -> None:
        self.under_way += 1

    def played(self, play: Play) -> None:
        self.notes.pop(play.id, None)
        self.append(play)

    def noted(self, id: str, sent_bytes: int, stalls: int) -> None:
        self.notes[id] = sent_bytes, stalls

    def alive(self, at: datetime) -> None:
        self.lived = at

    def ended(self, play: Play | None) -> None:
        self.under_way -= 1
        if play is not None:
            self.played(play)
