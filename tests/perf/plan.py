"""How thorough to measure, and the running of trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.perf import trial
from tests.perf.servers import Place, Server, Setting
from tests.perf.trial import Load, Trial


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough to be."""

    place: Place
    """Where things run."""
    servers: tuple[Server, ...]
    """Who is measured."""
    quick: bool
    """Smaller, shorter, once: to see that it works, not to be quoted."""
    runs: int
    """Runs of which the median is taken."""
    say: Callable[[str], None]
    """Shows progress."""
    others: list[float] = field(default_factory=list)
    """Share of the server's core that others took, of each trial."""
    loads: list[float] = field(default_factory=list)
    """Cores the readers used, of each trial."""

    @property
    def window_s(self) -> float:
        """Length of a measured window, s."""
        return 1.5 if self.quick else 6.0

    @property
    def essential(self) -> tuple[Server, ...]:
        """Whom no bound compares with is left out where there is little time."""
        if not self.quick:
            return self.servers
        return tuple(server for server in self.servers if server.name != "gstreamer")

    def with_server(self, name: str, instead: Sequence[Server]) -> tuple[Server, ...]:
        """All servers without those of a name, and others in their place."""
        kept = [server for server in self.servers if server.name != name]
        had = len(kept) < len(self.servers)
        return (*kept, *(instead if had else ()))

    def trials(
        self,
        server: Server,
        setting: Setting,
        load: Load,
        runs: int | None = None,
        beside: tuple[str, ...] = (),
    ) -> list[Trial]:
        """Run a trial several times; those that failed are left out.

        ``beside`` is a further command that runs while the readers do.
        """
        done = []
        for number in range(runs or self.runs):
            result = trial.run(self.place, server, setting, load, beside)
            self.say(
                f"  {server.name}: {load.readers} {load.transport} #{number + 1}: {_line(result)}"
            )
            if result is not None:
                done.append(result)
                self.others.append(result.core_busy - result.cpu)
                self.loads.append(result.load_cpu)
        return done


def _line(result: Trial | None) -> str:
    if result is None:
        return "did not end in time"
    p95 = result.delay_us["p95"]
    others = result.core_busy - result.cpu
    return (
        f"{result.playing} playing, {result.cpu:.2f} cores, lost {result.lost}, "
        f"p95 {'-' if p95 is None else f'{p95 / 1000:.1f} ms'}, load {result.load_cpu:.2f}"
        + (f", others on the core {others:.2f}" if others > 0.05 else "")
        + (f", {'; '.join(result.failures)}" if result.failures else "")
    )


def ms(value: float | None) -> float | None:
    """Milliseconds from microseconds, where there are any."""
    return None if value is None else value / 1000
