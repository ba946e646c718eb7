"""The media of titles on volumes: imported, checked, exported, removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, download, upload
from heliograph.cli.console import JsonOption, duration, looks, print_json, progress
from heliograph.model.errors import MalformedError, RemoteError, ResourceError

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its logical id.")]
#: Seconds between two looks at what takes long.
LOOK = 0.5
#: Bytes sent at a time.
PIECE = 256 << 10


def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Media files.")],
    name: Annotated[str, typer.Option("--name", help="Logical id; else as the file.")] = "",
    title: Annotated[str, typer.Option("--title", help="For people; else as the file.")] = "",
    volume: Annotated[str, typer.Option("--volume", help="Else the first.")] = "",
    renditions: Annotated[
        list[Path] | None,
        typer.Option(
            "--rendition", metavar="FILE", help="The same picture in another size; several times."
        ),
    ] = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make titles of media files: they are sent, cut into blocks, and played at once."""
    if len(files) > 1 and (name or title or renditions):
        raise MalformedError("options", "--name, --title and --rendition are for one file")
    done = [
        _import(
            [one, *(renditions or ())], name or logical(one), title, volume, server, key, as_json
        )
        for one in files
    ]
    if as_json:
        print_json(done)
        return
    for one in done:
        print(f"{one['name']}: {server.rstrip('/')}/watch/{quote(one['name'])}")
        for remark in one["remarks"]:
            print(f"  note: {remark}")


def verify(
    name: NameArgument,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read all of a title and check it."""
    path = f"/storage/titles/{quote(name, safe='')}/verify"
    with _bar("checking", quiet=as_json) as (bar, task):
        for _ in looks(LOOK):
            found = ask("POST", server, path, key)
            if found["ended"] is not None:
                break
            bar.update(task, completed=found["done"], total=found["total"])
    if as_json:
        print_json(found)
        return
    for fault in found["faults"]:
        where = "" if fault["block"] is None else f"block {fault['block']}: "
        print(f"  {where}{fault['reason']}")
    if found["error"]:
        raise RemoteError(found["error"], subject=name)
    if not found["good"]:
        raise ResourceError(f"{name}: {found['count']} faults", subject=name)
    print(f"{name}: {found['total']} blocks, all as they should be; sha256 {found['digest']}")


def export(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File; else NAME.mp4 here.")
    ] = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Write a title as an MP4 file, frames as they were imported."""
    target = out or Path(f"{name}.mp4")
    part = target.with_name(f".{target.name}.part")
    written = 0
    try:
        with part.open("wb") as file, _bar("receiving") as (bar, task):
            for piece in download(server, f"/titles/{quote(name, safe='')}.mp4", key, base=""):
                file.write(piece)
                written += len(piece)
                bar.update(task, completed=written)
        part.replace(target)
    except OSError as error:
        raise ResourceError(f"{target}: {error.strerror}", subject=str(target)) from None
    finally:
        part.unlink(missing_ok=True)
    print(f"{target}: {written:,} bytes")


def record(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A channel that is on air.")],
    name: NameArgument,
    title: Annotated[str, typer.Option("--title", help="For people; else the channel's.")] = "",
    volume: Annotated[str, typer.Option("--volume", help="Else the first.")] = "",
    minutes: Annotated[float, typer.Option("--minutes", help="Of media, at most.")] = 0.0,
    gigabytes: Annotated[float, typer.Option("--gigabytes", help="At most.")] = 0.0,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Record a channel into a title, which can be watched while it grows."""
    body: dict[str, Any] = {
        "channel": channel,
        "name": name,
        "title": title,
        "volume": volume,
        "max_seconds": minutes * 60,
        "max_bytes": round(gigabytes * 1e9),
    }
    begun = ask("POST", server, "/storage/recordings", key, body)
    print(f"{name}: recording {channel}; {server.rstrip('/')}/watch/{quote(name)}")
    for remark in begun["remarks"]:
        print(f"  note: {remark}")


def stop(
    name: NameArgument,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Of one that waits: forget what its volume does not have."),
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """End a recording; its title stays."""
    path = f"/storage/recordings/{quote(name, safe='')}"
    if drop:
        found = ask("DELETE", server, f"{path}?drop=true", key)
        print(f"{name}: what volume {found['volume']} does not have of it is forgotten")
        return
    found = ask("DELETE", server, path, key)
    if found["error"]:
        raise RemoteError(found["error"], subject=name)
    print(f"{name}: {duration(found['seconds'])} recorded")


def erase(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Remove a title's media from its volume, for good."""
    ask("DELETE", server, f"/storage/titles/{quote(name, safe='')}", key)
    print(f"{name}: erased")


def logical(file: Path) -> str:
    """A logical id made of a file's name."""
    found = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")[:64]
    if not found:
        raise MalformedError("file name", f"{file.name!r} gives no logical id: --name")
    return found


def _import(
    files: list[Path],
    name: str,
    title: str,
    volume: str,
    server: str,
    key: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    file, *renditions = files
    for one in files:
        _length(one)  # before anything is sent of the others
    said = {"title": title, "volume": volume, "renditions": str(len(renditions) or "")}
    begun = _send(file, f"/storage/titles/{quote(name, safe='')}/media", said, server, key, quiet)
    for one in renditions:
        _send(one, f"/storage/imports/{begun['id']}/renditions", {}, server, key, quiet)
    with _bar(f"importing {name}", quiet=quiet) as (bar, task):
        for _ in looks(LOOK):
            found = _look(server, key, begun["id"])
            if found["ended"] is not None:
                break
            bar.update(task, completed=found["media"], total=found["duration"] or None)
    if found["state"] != "done":
        raise RemoteError(f"{file.name}: {found['error'] or found['state']}", subject=name)
    return found


def _send(
    file: Path, path: str, said: dict[str, str], server: str, key: Path | None, quiet: bool
) -> dict[str, Any]:
    said = {"filename": file.name, **said}
    query = urlencode({word: value for word, value in said.items() if value})
    total = _length(file)
    try:
        source = file.open("rb")
    except OSError as error:
        raise ResourceError(f"{file}: {error.strerror}", subject=str(file)) from None
    with source, _bar(f"sending {file.name}", total, quiet=quiet) as (bar, task):

        def pieces() -> Iterator[bytes]:
            while piece := source.read(PIECE):
                yield piece
                bar.advance(task, len(piece))

        return upload(server, f"{path}?{query}", key, pieces(), total)


def _length(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise ResourceError(f"{file}: {error.strerror}", subject=str(file)) from None


def _look(server: str, key: Path | None, id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = ask("GET", server, "/storage/imports", key)["imports"]
    for one in found:
        if one["id"] == id:
            return one
    raise RemoteError(f"the server does not know import {id} any more", subject=id)


def _bar(what: str, total: float | None = None, *, quiet: bool = False) -> Any:  # noqa: ANN401
    """A progress bar with one task."""
    import contextlib

    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    @contextlib.contextmanager
    def made() -> Iterator[tuple[Any, Any]]:
        columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with progress(*columns, quiet=quiet) as bar:
            yield bar, bar.add_task("", total=total)

    return made()
