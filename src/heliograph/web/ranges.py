"""Ranges of a file that a request asks for (RFC 9110 section 14). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from heliograph.model.errors import HelioError

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII | re.IGNORECASE)


class RangeError(HelioError):
    """Nothing of the file is in the range."""

    status = 416


def http_date(when: datetime) -> str:
    """A time as HTTP writes it."""
    return format_datetime(when, usegmt=True)


def asked(headers: Mapping[str, str], size: int, etag: str, modified: datetime) -> range | None:
    """The bytes that a request is for; None: the whole file.

    ``headers`` by small letters; ``modified`` in whole seconds. Several ranges, and what is no
    range of bytes, ask for the whole file, which a server may always give. Raises ``RangeError``.
    """
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or match.group() == "bytes=-":
        return None
    if not _same(headers.get("if-range", "").strip(), etag, modified):
        return None
    first, last = match[1], match[2]
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:  # no valid range: as if none was given
            return None
    if begin >= end:
        raise RangeError(f"the file has {size} bytes", subject="range")
    return range(begin, end)


def known(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has the file already (section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return etag in tags or "*" in tags


def _same(condition: str, etag: str, modified: datetime) -> bool:
    """Section 13.1.5: whether what the client has a part of is this file."""
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag
    try:
        return parsedate_to_datetime(condition) == modified
    except (ValueError, OverflowError):
        return False
