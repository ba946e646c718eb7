"""Logs: readable on a terminal, JSON for collectors, without secrets.

Lines are written by a thread of their own from a bounded queue, so that a full disk, a stalled
network file system or a pipe nobody reads never blocks or fails the server. What could not be
written is counted (``lost_lines``), and said when writing works again.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import logging
import os
import queue
import re
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

#: Lines that wait for a slow disk: at 200 bytes a line 2 MB, a second of the worst flood.
QUEUE_LINES = 10_000
#: Longest line written: an attacker's text must not fill the disk a megabyte at a time.
MAX_LINE = 16_384
#: After a failure the target is left alone for so long, so that a full disk costs next to nothing.
RETRY_S = 1.0
#: How long a stop waits for lines still queued.
FLUSH_S = 2.0
#: A limited event passes so often in each window; the rest are counted.
LIMIT_BURST = 5
LIMIT_WINDOW_S = 10.0
#: Limits are named in the code, a few dozen; names made from input must not fill the memory.
MAX_LIMITS = 1024

#: Events kept in memory for who asks for them later: some minutes of a busy node.
RING_EVENTS = 2000
#: Characters of one text in them, and of all fields of one: a traceback has two thousand.
MAX_TEXT, MAX_ENTRY = 4000, 8000

MASK = "***"
_SECRET_KEY = re.compile(r"(^|[_-])(key|password|passwd|token|authorization|secret)$", re.I)
_SECRET_QUERY = re.compile(r"([?&;](?:view_)?(?:key|token|password|secret)=)[^&;\s\"'<>]+", re.I)
# Repetitions are bounded: the text may be a peer's, and must not cost more than its length.
_URL_USER = re.compile(r"([a-z][a-z0-9+.-]{0,15}://)[^\s/\"']{0,512}@", re.I)
_AUTH_HEADER = re.compile(r"((?:proxy-)?authorization\s*[:=]\s*)[^\r\n]+", re.I)
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_HEAD = ("timestamp", "level", "event", "logger")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

EventDict = MutableMapping[str, Any]


# secrets


def scrub_text(text: str) -> str:
    """Mask keys and passwords in URLs and headers within ``text``."""
    text = _SECRET_QUERY.sub(rf"\1{MASK}", text)
    text = _URL_USER.sub(rf"\1{MASK}@", text)
    return _AUTH_HEADER.sub(rf"\1{MASK}", text)


def _scrub(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return scrub_text(_shorten(value))
    if isinstance(value, bytes | bytearray):
        return scrub_text(bytes(value[:MAX_LINE]).decode("utf-8", "backslashreplace"))
    if depth < 4 and isinstance(value, Mapping):
        return {
            str(key): MASK if member and _SECRET_KEY.search(str(key)) else _scrub(member, depth + 1)
            for key, member in value.items()
        }
    if depth < 4 and isinstance(value, list | tuple | set | frozenset):
        return [_scrub(member, depth + 1) for member in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub_text(_shorten(str(value)))


def _shorten(text: str) -> str:
    """Keep both ends of a long text: a traceback says what happened in its last line."""
    if len(text) <= MAX_LINE:
        return text
    return f"{text[: MAX_LINE // 2]}…{text[-MAX_LINE // 2 :]}"


def scrub(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Mask secrets in all that is logged, by name of the key and by form of the text."""
    return {
        key: MASK if value and _SECRET_KEY.search(key) else _scrub(value)
        for key, value in event.items()
    }


# repeated events


class RateLimit:
    """Pass ``LIMIT_BURST`` events of a named limit in each window and count the others.

    A call asks for it with ``limit="name"``; the next event that passes says ``suppressed=N``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int, int]] = {}  # begin, passed, suppressed
        self._lock = threading.Lock()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        name = event.pop("limit", None)
        if name is None:
            return event
        now = self._clock()
        with self._lock:
            begin, passed, suppressed = self._windows.pop(str(name), (now, 0, 0))
            if now - begin >= LIMIT_WINDOW_S:
                begin, passed = now, 0
            allowed = passed < LIMIT_BURST
            if len(self._windows) >= MAX_LIMITS:
                self._windows.pop(next(iter(self._windows)))
            self._windows[str(name)] = (
                (begin, passed + 1, 0) if allowed else (begin, passed, suppressed + 1)
            )
        if not allowed:
            raise structlog.DropEvent
        if suppressed:
            event["suppressed"] = suppressed
        return event


# rendering


def printable(text: str) -> str:
    """Escape what could forge a line or steer a terminal."""
    return _UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def _value(value: object) -> str:
    text = printable(value if isinstance(value, str) else str(value))
    return f'"{text}"' if not text or " " in text or "=" in text else text


class TextRenderer:
    """``12:00:01.123 info     reader joined                  channel=demo reader=7``."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        when = str(event.pop("timestamp", ""))
        level = str(event.pop("level", "info"))
        what = printable(str(event.pop("event", "")))
        trace = event.pop("exception", None)
        event.pop("logger", None)
        parts = [
            self._paint("2", when),
            self._paint(_COLOURS.get(level, "0"), f"{level:<8}"),
            self._paint("1", f"{what:<36}" if event else what),
            *(f"{self._paint('36', printable(key))}={_value(v)}" for key, v in event.items()),
        ]
        line = " ".join(parts)[:MAX_LINE]
        if trace:
            line += "".join(f"\n    {printable(row)}" for row in str(trace).splitlines())
        return line


def _render_json(_logger: object, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    line = json.dumps({**first, **event}, ensure_ascii=False, default=str)
    if len(line) > MAX_LINE:
        line = json.dumps({**first, "event": str(first.get("event"))[:1000], "truncated": True})
    return line


# writing


class Target:
    """A descriptor or a rotated file that lines go to. Used by the writer's thread only."""

    def __init__(
        self,
        *,
        fd: int | None = None,
        path: Path | None = None,
        max_bytes: int = 16 << 20,
        keep: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fd = fd
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._clock = clock
        self._retry_at = 0.0
        self._size = 0
        self._torn = False
        self._unsaid = 0
        self.lost = 0
        """Lines this target did not take."""

    def write(self, line: str, notice: Callable[[int], str]) -> None:
        """Write a line or count it as lost; after a gap ``notice`` with the number goes first."""
        if self._clock() < self._retry_at:
            self._lose()
            return
        try:
            if self._unsaid:
                self._put(notice(self._unsaid))
                self._unsaid = 0
            self._put(line)
        except (OSError, ValueError):
            self._retry_at = self._clock() + RETRY_S
            self._lose()

    def _lose(self) -> None:
        self.lost += 1
        self._unsaid += 1

    def _put(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._torn:
            data = b"\n" + data
        if self._path is not None:
            self._rotate(len(data))
        if self._fd is None:
            raise OSError("not open")
        while data:
            count = os.write(self._fd, data)
            self._size += count
            data = data[count:]
            self._torn = bool(data)

    def _rotate(self, coming: int) -> None:
        """Open the file when it is not, and begin a new one when it would grow too large."""
        assert self._path is not None
        if self._fd is not None and self._size and self._size + coming > self._max_bytes:
            os.close(self._fd)
            self._fd = None
            for number in range(self._keep, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                newer = self._path.with_name(f"{self._path.name}.{number - 1}")
                with contextlib.suppress(FileNotFoundError):
                    (newer if number > 1 else self._path).replace(older)
            if not self._keep:
                self._path.unlink(missing_ok=True)
        if self._fd is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o640)
            self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the file; a descriptor that was given stays open."""
        if self._path is not None and self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Writer:
    """Takes rendered lines from any thread and writes them from its own."""

    def __init__(self, targets: list[tuple[Target, structlog.typing.Processor]]) -> None:
        self._targets = targets
        self._queue: queue.Queue[EventDict | None] = queue.Queue(QUEUE_LINES)
        self._overflowed = 0
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines lost at the target that lost most, and by the queue."""
        return self._overflowed + max((target.lost for target, _ in self._targets), default=0)

    def put(self, event: EventDict) -> None:
        """Queue an event, or count it as lost. Never waits."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._overflowed += 1

    def _run(self) -> None:
        said = 0
        while (event := self._queue.get()) is not None:
            if self._overflowed > said:
                missing, said = self._overflowed - said, self._overflowed
                self._write(_notice(missing))
            self._write(event)

    def _write(self, event: EventDict) -> None:
        for target, render in self._targets:
            # A value whose str() fails is our bug and must not end the thread.
            with contextlib.suppress(Exception):
                target.write(
                    str(render(None, "", dict(event))),
                    lambda lost, render=render: str(render(None, "", _notice(lost))),  # type: ignore[misc]
                )

    def close(self) -> None:
        """Write what is queued, for at most ``FLUSH_S`` seconds."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=FLUSH_S)
        self._thread.join(FLUSH_S)
        if not self._thread.is_alive():
            for target, _ in self._targets:
                target.close()


def _notice(lost: int) -> EventDict:
    return {"timestamp": _now(), "level": "warning", "event": "log lines were lost", "lost": lost}


def _now() -> str:
    now = time.time()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{seconds}.{int(now % 1 * 1000):03d}Z"


# the newest, for who asks later


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as others may have it: scrubbed, bounded, without what steers a terminal."""

    number: int
    """Microseconds since 1970, and above that of the entry before: orders those of one node, also
    over its restarts unless its clock went back."""
    at: str
    """ISO 8601, UTC."""
    level: str
    event: str
    fields: Mapping[str, object]
    """Texts, numbers and truths."""
    index: int
    """How many came before it in this process."""


class Ring:
    """The newest entries. Used by any thread."""

    def __init__(self, size: int = RING_EVENTS, clock: Callable[[], float] = time.time) -> None:
        self.run = secrets.randbits(52)
        """Tells this ring from that of an earlier process of the node."""
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=size)
        self._last = 0
        self._count = 0

    def put(self, event: Mapping[str, object]) -> None:
        """Keep an event that was scrubbed; the oldest goes."""
        at, level, what = (str(event.get(key, "")) for key in ("timestamp", "level", "event"))
        fields = _bounded({k: v for k, v in event.items() if k not in _HEAD})
        with self._lock:
            self._last = max(self._last + 1, int(self._clock() * 1e6))
            what = printable(what[:MAX_TEXT])
            self._entries.append(Entry(self._last, at, level, what, fields, self._count))
            self._count += 1

    def after(self, number: int) -> list[Entry]:
        """Entries above a number that are still here, the oldest first."""
        with self._lock:
            found = [*itertools.takewhile(lambda e: e.number > number, reversed(self._entries))]
        return found[::-1]


def _bounded(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields of an entry; what is beyond ``MAX_ENTRY`` characters is left out."""
    found: dict[str, object] = {}
    room = MAX_ENTRY
    for key, value in fields.items():
        if value is None or isinstance(value, bool | int):
            kept: object = value
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            # A traceback says what happened in its last line.
            text = text if len(text) <= MAX_TEXT else f"{text[:500]}…{text[500 - MAX_TEXT :]}"
            kept = "\n".join(map(printable, text.split("\n")))
        room -= len(key) + len(str(kept))
        if room < 0:
            found["truncated"] = True
            break
        found[printable(key[:64])] = kept
    return found


#: Of this process.
recent = Ring()


# the whole

_writer: Writer | None = None


def lost_lines() -> int:
    """Count the log lines that could not be written since ``configure``."""
    return _writer.lost if _writer is not None else 0


def _hand_over(_logger: object, _method: str, event: EventDict) -> str:
    if _writer is not None:
        _writer.put(event)
        recent.put(event)
    raise structlog.DropEvent


def _stamp(_logger: object, method: str, event: EventDict) -> EventDict:
    event["timestamp"] = _now()
    event["level"] = {"warn": "warning", "exception": "error"}.get(method, method)
    return event


class _Forward(logging.Handler):
    """Brings what libraries log by ``logging`` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            log = structlog.get_logger(record.name)
            level = record.levelname.lower()
            log.log(
                LEVELS.get(level, 20),
                record.getMessage(),
                library=record.name,
                exc_info=record.exc_info,
                limit=f"library {record.name}" if record.levelno < logging.ERROR else None,
            )


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "text", "json"] = "auto",
    file: Path | None = None,
    file_bytes: int = 16 << 20,
    file_keep: int = 3,
    fd: int | None = None,
) -> None:
    """Set up logging for the process: to ``fd`` (standard error), and to ``file`` where given."""
    global _writer
    close()
    fd = sys.stderr.fileno() if fd is None else fd
    colours = os.isatty(fd) and not os.environ.get("NO_COLOR")
    plain: structlog.typing.Processor = (
        _render_json if format == "json" else TextRenderer(colours=False)
    )
    targets: list[tuple[Target, structlog.typing.Processor]] = [
        (Target(fd=fd), TextRenderer(colours=True) if colours and format != "json" else plain)
    ]
    if file is not None:
        targets.append((Target(path=file, max_bytes=file_bytes, keep=file_keep), plain))
    _writer = Writer(targets)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _stamp,
            RateLimit(),
            structlog.processors.format_exc_info,
            scrub,
            _hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, _Forward)] + [_Forward()]
    # Libraries' chatter (httpx tells every request) is wanted when looking for faults only.
    root.setLevel(LEVELS[level] if level == "debug" else max(LEVELS[level], logging.WARNING))


def close() -> None:
    """Write what is queued and stop the writer; later lines are dropped until ``configure``."""
    global _writer
    writer, _writer = _writer, None
    if writer is not None:
        writer.close()
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, _Forward)]


atexit.register(close)
