"""The command ``helio``: one module a sub-command, imported only when it is called.

To add a command: write ``heliograph/cli/NAME.py`` with either ``command``, a function that typer
can read, or ``app``, made by ``console.new_app`` when it has sub-commands of its own; and give it
a line in ``COMMANDS``. Errors of ``heliograph.model.errors`` may simply be raised.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from heliograph.model.errors import HelioError, PeerError, RemoteError, SettingsError

if TYPE_CHECKING:
    import typer

#: Name → one line for ``helio --help``, so that showing it imports none of them.
COMMANDS = {
    "serve": "Run the server.",
    "channels": "Show the channels of a running server, extend and shrink them.",
    "account": "Show, make and change accounts of a running server.",
    "token": "Make a token by which a machine joins the cluster.",
    "tree": "Draw the nodes by which a channel reaches its viewers.",
    "unit": "Show the units of the cluster, drain, remove and return them.",
    "report": "Show what was asked for and played.",
    "server": "Show, add, drain, remove and scan servers that hold titles.",
    "title": "Show, add and remove titles; import, check and export their media.",
    "file": "Show, add and remove the copies of titles on servers.",
    "volume": "Show, make and change volumes, on whose disks titles lie.",
    "disk": "Show, add, remove and replace the disks of volumes.",
    "catalogue": "Import and export servers, titles and files.",
    "logs": "Show or follow the log events of all nodes.",
    "names": "Show what the nodes of the cluster announce.",
    "publish": "Send a file, a device or a test pattern to a channel.",
    "play": "Watch and hear channels and titles, in a window or into a file.",
    "probe": "Measure an RTSP source: tracks, rate, loss, jitter, delay.",
    "bench": "Measure how many viewers a server carries.",
    "placement": "Compare how placements spread blocks over disks.",
    "config": "Show or check the settings.",
    "version": "Show the version and what it runs on.",
}

OK = 0
FAILED = 1
USAGE = 2
REFUSED = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def exit_code(error: HelioError) -> int:
    """Tell the exit code for an error: what has to be changed, here or at the other end."""
    if isinstance(error, SettingsError):
        return USAGE
    if isinstance(error, PeerError | RemoteError):
        return REFUSED
    return FAILED


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; what ``helio`` starts."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _dispatch(arguments)
    except HelioError as error:
        _complain(error.message)
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left, as `head` does. Python would complain again at exit.
        sys.stdout = None
        return FAILED
    except OSError as error:
        _complain(str(error))
        return FAILED


def _complain(message: str) -> None:
    for line in message.splitlines() or [""]:
        print(f"helio: {line}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-h", "help"):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return OK if arguments else USAGE
    if first == "--version":
        first, arguments = "version", ["version"]
    if first not in available():
        _complain(_unknown(first))
        return USAGE
    return _run(_load(first), f"helio {first}", arguments[1:])


def available() -> list[str]:
    """Name the commands that this installation has."""
    return [name for name in COMMANDS if importlib.util.find_spec(f"{__name__}.{name}")]


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {COMMANDS[name]}" for name in available())
    return (
        "Usage: helio COMMAND [OPTIONS] [ARGUMENTS]\n\n"
        "Live channels for anyone, carried by a network of reflectors.\n\n"
        f"Commands:\n{rows}\n\n"
        "helio COMMAND --help tells more; helio --version shows the version."
    )


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, available(), n=1)
    what = "option" if name.startswith("-") else "command"
    hint = f"did you mean {near[0]!r}?" if near else "see helio --help"
    return f"no such {what}: {name}; {hint}"


def _load(name: str) -> typer.Typer:
    from heliograph.cli.console import new_app

    module = importlib.import_module(f"{__name__}.{name}")
    app: typer.Typer | None = getattr(module, "app", None)
    if app is None:
        app = new_app()
        app.command(name, help=module.command.__doc__ or COMMANDS[name])(module.command)
    return app


def _run(app: typer.Typer, name: str, arguments: list[str]) -> int:
    try:
        app(arguments, prog_name=name)
    except SystemExit as stop:
        if stop.code is None:
            return OK
        return stop.code if isinstance(stop.code, int) else FAILED
    return OK
