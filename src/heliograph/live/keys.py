"""Secrets: stream keys, and the administrator's key kept in a file of the state directory."""

from __future__ import annotations

import hmac
import secrets
from enum import Enum
from pathlib import Path

from heliograph.model.errors import ResourceError
from heliograph.model.files import write_private

#: Random bytes of a key: 128 bits cannot be guessed, and 22 characters can still be typed.
KEY_BYTES = 16
#: The administrator's key within the state directory.
ADMINISTRATOR_FILE = "administrator.key"


class Shown(Enum):
    """What a peer showed of the key asked for."""

    NONE = "none"
    WRONG = "wrong"
    GOOD = "good"


def new_key() -> str:
    """A fresh key, safe in URLs."""
    return secrets.token_urlsafe(KEY_BYTES)


def same_key(shown: str, key: str) -> bool:
    """Compare in constant time; an empty key equals nothing."""
    return bool(key) and hmac.compare_digest(
        shown.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape")
    )


def judge(shown: str | None, *keys: str) -> Shown:
    """What ``shown`` is worth where any of ``keys`` is good."""
    if not shown:
        return Shown.NONE
    matches = [same_key(shown, key) for key in keys]  # all, so that time does not tell which
    return Shown.GOOD if any(matches) else Shown.WRONG


def administrator_key(state_dir: Path) -> tuple[str, bool]:
    """The administrator's key and whether it was made just now, at the first start.

    The file is readable by its owner alone. ``ResourceError`` where it can be neither read nor
    made.
    """
    path = state_dir / ADMINISTRATOR_FILE
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        key = path.read_text("utf-8").strip() if path.exists() else ""
        if key:
            return key, False
        key = new_key()
        write_private(path, key + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ResourceError(f"administrator's key {path}: {error}", subject=str(path)) from error
    return key, True
