"""A whole cluster: portals with managers on one PostgreSQL, and units; each in its own network."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.interop.peers.network import Network
from tests.interop.peers.postgresql import PostgreSQL
from tests.interop.peers.program import wait_until
from tests.probe.machines import KEY, PATIENCE, Machine

DATABASE = "database"
#: What a commit has said has to be with the kernel: then nothing but the machine's death loses it.
SURE = {"synchronous_commit": "on"}


class Site:
    """The machines, and what is wrong with each."""

    def __init__(
        self,
        links: Network,
        directory: Path,
        *,
        portals: int = 2,
        units: int = 3,
        more: str = "",
        cluster: str = "",
    ) -> None:
        """``more``: further settings of all machines; ``cluster``: of that section."""
        self._cluster = cluster
        self._directory = directory
        self.links = links
        self.trouble: dict[str, set[str]] = {}
        """What was done to machines and the database, by name."""
        self._starting: dict[str, float] = {}
        self._database_peer = links.join()
        self.database = PostgreSQL(SURE, peer=self._database_peer)
        settings = more + f'[database]\nurl = "{self.database.url()}"\n'
        self.portals = [
            self._machine(f"portal-{number}", ["portal", "manager"], settings)
            for number in range(1, portals + 1)
        ]
        self.units = [
            self._machine(f"unit-{number}", ["unit"], more) for number in range(1, units + 1)
        ]
        self.machines = {one.name: one for one in (*self.portals, *self.units)}

    def _machine(self, name: str, roles: Sequence[str], more: str) -> Machine:
        peer = self.links.join()
        return Machine(
            peer,
            self._directory,
            name,
            roles=roles,
            redirect=True,
            more=more,
            cluster=self._cluster,
        )

    def start(self) -> None:
        """Begin the cluster; each machine joins by a token."""
        first, *others = self.machines.values()
        first.start()
        for machine in others:
            machine.start(*self._join(machine), "--token", first.token())
        if not self.units:
            return
        wait_until(lambda: self.up() == {one.name for one in self.units}, PATIENCE, "units are up")
        assert self.portals[0].order("POST", "/channels", {"name": "demo", "key": KEY})[0] == 201

    def _join(self, machine: Machine) -> list[str]:
        names = [f"tls/{one.peer.address}:7447" for one in self.portals if one is not machine]
        return [word for name in names for word in ("--join", name)]

    def close(self) -> None:
        """End everything, whatever was done to it."""
        for machine in self.machines.values():
            if hasattr(machine, "program"):
                with contextlib.suppress(ProcessLookupError):
                    machine.program.process.send_signal(signal.SIGCONT)
                machine.program.process.terminate()
        for machine in self.machines.values():
            if hasattr(machine, "program"):
                machine.program.stop()
        self.database.close()

    # what happens to it

    def well(self, machine: Machine) -> bool:
        """Whether nothing is wrong with a machine, as far as was done here."""
        return not self.trouble.get(machine.name) and machine.name not in self._starting

    def begin(self, what: str, name: str) -> None:
        """``kill``, ``freeze`` or ``cut`` a machine or the database."""
        self.trouble.setdefault(name, set()).add(what)
        machine = self.machines.get(name)
        match what:
            case "kill" if machine is not None:
                machine.program.kill()
            case "kill":
                self.database.stop(signal.SIGKILL)
            case "freeze" if machine is not None:
                machine.program.process.send_signal(signal.SIGSTOP)
            case "freeze":
                self.database.freeze()
            case "cut":
                (self._database_peer if machine is None else machine.peer).cut()
            case _:
                raise AssertionError(what)

    def end(self, what: str, name: str) -> None:
        """Undo it; a machine that was killed is started anew, and is well when it is ready."""
        machine = self.machines.get(name)
        match what:
            case "kill" if machine is not None:
                self._starting[name] = time.monotonic()
                machine.launch(*self._join(machine))
            case "kill":
                self.database.start()
            case "freeze" if machine is not None:
                machine.program.process.send_signal(signal.SIGCONT)
            case "freeze":
                self.database.freeze(False)
            case "cut":
                (self._database_peer if machine is None else machine.peer).mend()
        self.trouble[name].discard(what)

    def tend(self) -> None:
        """Start what ended although nobody killed it, as a supervisor would: a portal without its
        database does so. To be called again and again."""
        for name, since in [*self._starting.items()]:
            machine = self.machines[name]
            if self.trouble.get(name, set()) - {"cut"}:
                continue
            if not machine.program.running and time.monotonic() - since > 1.0:
                self._starting[name] = time.monotonic()
                machine.launch(*self._join(machine))
            elif not self.trouble.get(name) and machine.answers():
                del self._starting[name]

    @property
    def starting(self) -> set[str]:
        """Machines that are not ready yet."""
        return set(self._starting)

    def died(self) -> list[str]:
        """Machines that ended by themselves."""
        return [
            one.name
            for one in self.machines.values()
            if not one.program.running
            and "kill" not in self.trouble.get(one.name, ())
            and one.name not in self._starting
        ]

    # what is to be seen of it

    def view(self, portal: Machine) -> dict[str, Any]:
        """The manager's view by a portal; ``OSError`` without one."""
        status, view = portal.order("GET", "/cluster", timeout=5)
        if status != 200:
            raise OSError(f"{portal.name}: {status}")
        found: dict[str, Any] = view
        return found

    def up(self) -> set[str]:
        """Units that are given viewers."""
        view = self.view(self.portals[0])
        return {one["name"] for one in view["units"] if one["state"] == "up"}

    def acting(self) -> Machine | None:
        """The active manager as portals that are well see it, if they agree."""
        found = set()
        for portal in filter(self.well, self.portals):
            with contextlib.suppress(OSError):
                names = [one["name"] for one in self.view(portal)["managers"] if one["active"]]
                found.add(names[0] if len(names) == 1 else "")
        return self.machines.get(found.pop()) if len(found) == 1 else None

    def memory(self) -> Iterator[tuple[str, int, int]]:
        """Name, process id and resident bytes of all processes that run."""
        page = os.sysconf("SC_PAGE_SIZE")
        for machine in self.machines.values():
            pid = machine.program.process.pid
            with contextlib.suppress(OSError, IndexError):
                words = Path(f"/proc/{pid}/statm").read_text().split()
                if words[1] != "0":
                    yield machine.name, pid, int(words[1]) * page


def wrong(view: dict[str, Any]) -> list[str]:
    """What must never be so in a manager's view: a group given twice, a unit above its budgets."""
    found = []
    counted: dict[str, int] = {}
    for unit in view["units"]:
        taken = [
            (group[0], name) for name, groups in unit.get("groups", {}).items() for group in groups
        ]
        indices = [index for index, _ in taken]
        if len(set(indices)) != len(indices):
            found.append(f"{unit['name']} has a group twice: {sorted(taken)}")
        if len(indices) > unit["budget"]["groups"]:
            found.append(f"{unit['name']} has {len(indices)} groups of {unit['budget']['groups']}")
        if unit["viewers"] > unit["places"]:
            found.append(f"{unit['name']} has {unit['viewers']} viewers on {unit['places']} places")
        for what, used in unit["used"].items():
            if used > unit["limits"][what] and what != "cpu":  # others work on this machine
                found.append(f"{unit['name']}: {what} {used} of {unit['limits'][what]}")
        for _, name in taken:
            counted[name] = counted.get(name, 0) + 1
    for channel in view["channels"]:
        if channel["groups"] != counted.get(channel["name"], 0):
            found.append(f"{channel['name']}: {channel['groups']} groups, units have {counted}")
        units = [unit for unit, _ in channel["tree"]]
        if len(set(units)) != len(units):
            found.append(f"{channel['name']}: a unit is twice in its tree")
    return found


def small_clip(path: Path) -> Path:
    """Ten seconds of pictures and sound that every way can carry, of few bits."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
        + ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "10"]
        + ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-g", "25"]
        + ["-tune", "zerolatency", "-b:v", "200k", "-maxrate", "200k", "-bufsize", "100k"]
        + ["-pix_fmt", "yuv420p", "-c:a", "libopus", "-b:a", "32k", "-ac", "2", "-y", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    return path
