"""Journals put aside: what they may have of somebody's recording did not get into its title.

They are under ``unusable`` beside the journals, by the names of their objects, each with a file
``why``.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from heliograph.model.errors import ResourceError
from heliograph.vod.recording.journal import Journal

#: The directory of those put aside.
UNUSABLE = "unusable"
#: Journals put aside that are kept, of more the newest: a disk that damages all of them must not be
#: filled, and nobody looks through more by hand.
KEPT = 32


def put_aside(journal: Journal, why: str, *, copy: bool = False) -> tuple[Path, list[Path]]:
    """Keep a journal where nobody deletes it; its new place, and what was deleted to have room.

    ``copy``: the journal is needed where it is, too. Blocking; ``ResourceError``.
    """
    root = journal.path.parent / UNUSABLE
    try:
        root.mkdir(exist_ok=True)
        made = root / f".{journal.path.name}"
        shutil.rmtree(made, ignore_errors=True)  # killed while it was copied
        try:
            if copy:
                shutil.copytree(journal.path, made)
            # First, as on a full disk this is what fails, and the journal is where it was.
            ((made if copy else journal.path) / "why").write_text(why + "\n")
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        place = next(one for one in _places(root, journal.path.name) if not one.exists())
        journal.close()
        (made if copy else journal.path).rename(place)
        kept = sorted((one for one in root.iterdir() if one != place), key=_age, reverse=True)
        for one in kept[KEPT - 1 :]:
            shutil.rmtree(one)
    except (OSError, shutil.Error) as error:
        text = getattr(error, "strerror", None) or error
        raise ResourceError(f"journal {journal.path.name} not put aside: {text}") from error
    return place, kept[KEPT - 1 :]


def _places(root: Path, name: str) -> itertools.chain[Path]:
    """One object may have several, each damaged anew."""
    more = (root / f"{name}-{count}" for count in itertools.count(2))
    return itertools.chain([root / name], more)


def _age(path: Path) -> float:
    """When it was put aside, Unix time."""
    try:
        return (path / "why").stat().st_mtime
    except OSError:  # killed before that was written
        return path.stat().st_mtime
