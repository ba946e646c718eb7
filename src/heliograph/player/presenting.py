"""What is decoded and due, brought to window, sound device and file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from av.video.frame import VideoFrame

from heliograph.model.media import Kind
from heliograph.player.decode import Decoded, Picture, Sound
from heliograph.player.streams import Stream
from heliograph.player.synchrony import Skews
from heliograph.player.video import Command
from heliograph.player.writing import Writer

#: Pictures of several streams are of one instant if they differ by less: half a frame at 60 a
#: second.
SAME = 1 / 120
#: Seconds for which pictures wait for those of the same instant of other streams: one frame at 30 a
#: second; then one that does not come stands.
HOLD = 1 / 30


class Screen(Protocol):
    """Where pictures are shown; see ``video.Window``."""

    def show(self, frames: Mapping[int, VideoFrame]) -> None: ...

    def commands(self) -> list[Command]: ...

    def close(self) -> None: ...


class Loudspeaker(Protocol):
    """Where sound is heard; see ``audio.Speaker``."""

    def add(self, sound: Sound) -> None: ...

    def pump(self, position: float, running: bool) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class Outputs(Protocol):
    """Made when it is known what is played; each may be absent."""

    def screen(self, streams: Sequence[Stream]) -> Screen | None: ...

    def loudspeaker(self, streams: Sequence[Stream]) -> Loudspeaker | None: ...

    def writer(self, streams: Sequence[Stream]) -> Writer | None: ...


class Presenter:
    """Shows pictures of one instant together and plays sound by the same clock."""

    def __init__(self, outputs: Outputs, streams: Sequence[Stream]) -> None:
        self.writer = outputs.writer(streams)
        self.screen = outputs.screen(streams)
        self.loudspeaker = outputs.loudspeaker(streams)
        self.skews = Skews()
        """Of pictures shown together."""
        self.pictures = 0
        """Pictures shown."""
        self.skipped = 0
        """Pictures left out since a later one was due too."""
        self.sounds = 0
        """Pieces of sound heard."""
        self._due: dict[int, deque[Picture]] = {
            s.index: deque() for s in streams if s.track.kind is Kind.VIDEO
        }
        self._shown: dict[int, Picture] = {}

    def take(self, items: Iterable[Decoded]) -> None:
        """What is due now: pictures at once, sound a little before."""
        for item in items:
            if self.writer is not None:
                self.writer.decoded(item)
            if isinstance(item, Picture):
                self._due[item.stream].append(item)
            else:
                self.sounds += 1
                if self.loudspeaker is not None:
                    self.loudspeaker.add(item)

    def present(self, position: float, running: bool) -> list[Command]:
        """Show what was taken; what was asked for in the window."""
        changed = self._together(position)
        if changed:
            self._shown.update(changed)
            self.pictures += len(changed)
            if len(self._shown) > 1:
                self.skews.add(picture.media for picture in self._shown.values())
            if self.screen is not None:
                self.screen.show({s: picture.frame for s, picture in changed.items()})
        if self.loudspeaker is not None:
            self.loudspeaker.pump(position, running)
        return [] if self.screen is None else self.screen.commands()

    def _together(self, position: float) -> dict[int, Picture]:
        """The newest pictures of one instant; none while one of them is being decoded."""
        waiting = {stream: due for stream, due in self._due.items() if due}
        if not waiting:
            return {}
        instant = min(due[-1].media for due in waiting.values())
        missing = [s for s in self._due if s not in waiting]
        if missing and position - instant < HOLD and self._shown.keys() >= set(missing):
            return {}
        found = {}
        for stream, due in waiting.items():
            while due and due[0].media <= instant + SAME:
                self.skipped += stream in found
                found[stream] = due.popleft()
        return found

    def clear(self) -> None:
        """Forget what is due: after a seek."""
        for due in self._due.values():
            due.clear()
        self._shown.clear()
        if self.loudspeaker is not None:
            self.loudspeaker.clear()

    def close(self) -> None:
        """Close window and sound device; the file is its owner's to end."""
        for output in (self.screen, self.loudspeaker):
            if output is not None:
                output.close()
