"""What the commands share for talking to a person or to a program.

Convention: results go to standard output, everything else to standard error. ``--json``
(``JsonOption``) makes the result one JSON document, or one object a line while something goes on,
and silences progress.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file; else ./heliograph.toml, /etc/heliograph.toml."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; may be repeated."),
]


#: Seconds to the second of several looks: a person takes it for at once.
FIRST_LOOK = 0.05


def _channel(value: str) -> str:
    try:
        return check_channel_name(value)
    except MalformedError as error:
        raise typer.BadParameter(error.reason) from None


ChannelArgument = Annotated[
    str, typer.Argument(metavar="CHANNEL", callback=_channel, help="Name of a channel.")
]


def new_app(help: str | None = None) -> typer.Typer:
    """Make a typer application that leaves errors to ``main`` and help plain and quick."""
    return typer.Typer(
        help=help,
        add_completion=False,
        no_args_is_help=help is not None,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def stdout() -> Console:
    """Make a console for results; markup is off since names come from outside."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def stderr() -> Console:
    """Make a console for progress and remarks."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_json(value: object, *, line: bool = False) -> None:
    """Print a result as JSON: indented, or in one line where many follow each other."""
    text = json.dumps(value, ensure_ascii=False, indent=None if line else 2, default=str)
    print(text, flush=line)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print a table; the columns named in ``right`` hold numbers.

    Where nobody looks (a pipe) the cells are parted by tabs and nothing is cut.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *texts]:
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    stdout().print(table)


@contextmanager
def progress(*columns: Any, quiet: bool = False) -> Iterator[Progress]:  # noqa: ANN401 - rich's
    """Show progress on standard error while the block runs; silent without a terminal."""
    from rich.progress import Progress

    console = stderr()
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        yield bar


def rate(bits: float) -> str:
    """Write bits a second as people do: ``2.1 Mbit/s``."""
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= size:
            return f"{bits / size:.1f} {unit}"
    return f"{bits:.0f} bit/s"


def duration(seconds: float) -> str:
    """Write a time span: ``4.2 s``, ``3:07``, ``1:02:03``, ``2 d 1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def size(count: float) -> str:
    """Bytes for people: ``4.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def looks(most: float) -> Iterator[None]:
    """Give the times to look how far something is: soon at first, as much is done at once, then
    every ``most`` seconds."""
    pause = FIRST_LOOK
    while True:
        yield
        time.sleep(pause)
        pause = min(2 * pause, most)
