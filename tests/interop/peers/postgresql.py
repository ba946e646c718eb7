"""PostgreSQL's server with a port and a directory of its own; nothing on the disk is made safe."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.ports import free_port

from .network import PREFIX, Peer
from .program import Program

#: Where distributions keep what only the server's packages call; the newest version is taken.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
#: Seconds a server has to start, or to end.
PATIENCE = 30.0
#: What makes it quick, and as small as a test needs it.
QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "200",
    "autovacuum": "off",
    "max_wal_size": "256MB",
}


def tool(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    places = [
        place
        for pattern in PLACES
        for place in sorted(Path("/").glob(pattern[1:]), key=_version, reverse=True)
    ]
    found = shutil.which(name) or next(
        (str(place / name) for place in places if (place / name).exists()), None
    )
    assert found, f"{name} of PostgreSQL is not installed"
    return found


def _version(place: Path) -> tuple[int, ...]:
    return tuple(
        int(part) for part in "".join(c if c.isdigit() else " " for c in str(place)).split()
    )


class PostgreSQL:
    """A server with an administrator ``heliograph`` who needs no password."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, peer: Peer | None = None
    ) -> None:
        """``peer``: the network it is in, for all that are joined to it; else this machine's."""
        self._peer = peer
        self.host = "127.0.0.1" if peer is None else peer.address
        # Not in pytest's directory: whoever runs the server could not enter that of root.
        self.directory = Path(tempfile.mkdtemp(prefix="heliograph-postgresql-"))
        self.data = self.directory / "data"
        self.port = free_port()
        self._settings = {**QUICK, **(settings or {})}
        self._numbers = itertools.count()
        self._program: Program | None = None
        self._user: tuple[str, ...] = ()
        if os.geteuid() == 0:  # the server refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            name = "postgres" if "postgres" in names else "nobody"
            entry = pwd.getpwnam(name)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            ids = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
            # Nobody ends it where the tests are killed.
            self._user = ("setpriv", *ids, "--pdeathsig=QUIT", "--")
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        command = [tool("initdb"), "-D", str(self.data), "-U", "heliograph", "-A", "trust"]
        command += ["-E", "UTF8", "--no-sync", "--no-instructions", "--locale=C.UTF-8"]
        if "--icu-locale" in self._run(tool("initdb"), "--help"):  # from version 15 on
            # Texts in the order of a language, as most servers have it, and not of their bytes.
            command += ["--locale-provider=icu", "--icu-locale=en"]
        self._run(*self._user, *command)
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {PREFIX}.0/24 trust\n")

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self._launch()
            while self._running() and time.monotonic() < deadline:
                if self._answers():
                    return
                time.sleep(0.02)
            # Killed a moment ago, its children may still hold what is shared.
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def _launch(self) -> None:
        options = {
            **self._settings,
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": str(self.directory),
        }
        argv = [*self._user, tool("postgres"), "-D", str(self.data)]
        argv += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        namespace = None if self._peer is None else self._peer.name
        self._program = Program("postgresql", argv, self.directory, namespace=namespace)

    def _running(self) -> bool:
        return self._program is not None and self._program.running

    def _answers(self) -> bool:
        command = [tool("pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0

    @property
    def log(self) -> str:
        return self._program.log if self._program is not None else ""

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT at once, SIGINT in order, SIGKILL as a machine that dies."""
        if self._program is None:
            return
        if how is signal.SIGKILL:
            self._signal_all(how)
        process, self._program = self._program.process, None
        process.send_signal(how)
        process.wait(PATIENCE)

    def freeze(self, frozen: bool = True) -> None:
        """Let its processes stand still, or go on: connections stay, and nothing answers."""
        self._signal_all(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _signal_all(self, what: signal.Signals) -> None:
        """Also to the processes of its connections, each of which has a session of its own."""
        assert self._program is not None
        pid = self._program.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, what)

    def close(self) -> None:
        """End it, and remove all that it wrote."""
        if self._running():
            self.freeze(False)
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    # databases

    def url(self, database: str = "postgres") -> str:
        """What the setting ``database.url`` says of one of its databases."""
        return f"postgresql://heliograph@{self.host}:{self.port}/{database}"

    def create(self, template: str = "template1") -> str:
        """Make a database like another one, to which nobody may be connected; its name."""
        name = f"d{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Let ``psql`` do one statement; what it shows."""
        command = [tool("psql"), "-X", "-A", "-t", "-q", "-d", self.url(database)]
        return self._run(*command, "-c", statement).strip()
