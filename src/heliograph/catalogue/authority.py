"""An external authority: what it is asked, how its answer is understood, what is remembered.

The question is a JSON object sent by POST. An answer of status 2xx grants where its body is empty
or a JSON object whose ``allow`` is true or missing; 401 and 403 refuse; everything else (another
status, a body that is not understood, no answer) refuses as well, as a failure, and is asked again
soon. Nothing is ever granted because of a mistake.

Pure; ``external`` does the asking.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

#: Seconds an answer holds at most, whatever it says: a right withdrawn ends within it.
MAX_TTL = 3600.0
#: Seconds a refusal holds where it does not say: a corrected key works soon.
REFUSAL_TTL = 2.0
#: Seconds a failure holds: spares an authority in trouble, and is over when it is.
FAILURE_TTL = 1.0
#: Bytes of an answer that are looked at.
MAX_BODY = 16 << 10
#: Characters of each value of a question; longer ones are refused unasked.
MAX_VALUE = 4096
#: Characters of a reason or subject taken from an answer.
MAX_TEXT = 200


class Outcome(Enum):
    """What came of asking."""

    ALLOW = "allow"
    DENY = "deny"
    FAILED = "failed"
    """No answer, or none that is understood; counts as a refusal."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the authority is asked. Empty: not known, or not shown."""

    action: str
    """``publish``, ``view``, ``chat``, ``moderate``, ``edit``, ``list``."""
    channel: str
    address: str = ""
    """Numeric address of who asks."""
    protocol: str = ""
    """``rtsp``, ``rtmp``, ``whip``, ``whep``, ``hls``, ``websocket``, ``api``."""
    user: str = ""
    """Name shown, or of the account signed in with."""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Bearer token or stream key."""
    query: str = field(default="", repr=False)
    """Query part of the address asked for."""

    def to_json(self) -> dict[str, str]:
        """The body of the request; what is empty is left out."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def askable(self) -> bool:
        """Whether every value is of a length that can be asked."""
        return all(len(value) <= MAX_VALUE for value in asdict(self).values())


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the authority said."""

    outcome: Outcome
    ttl: float = 0.0
    """Seconds for which the same question has the same answer; 0: ask each time."""
    subject: str = ""
    """What the authority calls who asked; for the log."""
    reason: str = ""

    @property
    def allowed(self) -> bool:
        return self.outcome is Outcome.ALLOW


def failed(reason: str) -> Answer:
    """The answer where there was none."""
    return Answer(Outcome.FAILED, FAILURE_TTL, reason=reason[:MAX_TEXT])


def understand(reply: Reply) -> Answer:
    """What an HTTP answer means."""
    if reply.status in (401, 403):
        values = _object(reply.body) or {}
        return Answer(
            Outcome.DENY,
            _ttl(values, REFUSAL_TTL),
            _text(values, "subject"),
            _text(values, "reason"),
        )
    if not 200 <= reply.status < 300:
        return failed(f"status {reply.status}")
    if len(reply.body) > MAX_BODY:
        return failed("the answer is too long")
    if not reply.body.strip():
        return Answer(Outcome.ALLOW)
    found = _object(reply.body)
    if found is None:
        return failed("the answer is no JSON object")
    allow = found.get("allow", True)
    if not isinstance(allow, bool):
        return failed("“allow” is neither true nor false")
    subject, reason = _text(found, "subject"), _text(found, "reason")
    if allow:
        return Answer(Outcome.ALLOW, _ttl(found, 0.0), subject, reason)
    return Answer(Outcome.DENY, _ttl(found, REFUSAL_TTL), subject, reason)


class DecisionCache:
    """Answers that still hold, a bounded number; what was shown is kept as a keyed hash only."""

    __slots__ = ("_answers", "_max", "_pepper", "evicted", "hits", "misses")

    def __init__(self, max_entries: int = 10_000) -> None:
        self._answers: OrderedDict[bytes, tuple[Answer, float]] = OrderedDict()
        self._max = max_entries
        self._pepper = secrets.token_bytes(32)
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, question: Question) -> bytes:
        """What stands for the question: nobody can tell a password from it."""
        text = json.dumps(question.to_json(), sort_keys=True).encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, text, hashlib.sha256)

    def get(self, key: bytes, now: float) -> Answer | None:
        """The answer, if one holds."""
        found = self._answers.get(key)
        if found is not None and now < found[1]:
            self.hits += 1
            self._answers.move_to_end(key)
            return found[0]
        if found is not None:
            del self._answers[key]
        self.misses += 1
        return None

    def put(self, key: bytes, answer: Answer, now: float) -> None:
        """Remember an answer for as long as it says."""
        self._answers.pop(key, None)
        if answer.ttl <= 0:
            return
        while len(self._answers) >= self._max:
            self._answers.popitem(last=False)
            self.evicted += 1
        self._answers[key] = (answer, now + answer.ttl)

    def clear(self) -> None:
        """Forget everything, when rights were changed."""
        self._answers.clear()


def _object(body: bytes) -> Mapping[str, Any] | None:
    if len(body) > MAX_BODY:
        return None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _ttl(values: Mapping[str, Any], default: float) -> float:
    value = values.get("ttl", default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    # Written so that NaN, for which no comparison holds, gives 0.
    return min(float(value), MAX_TTL) if 0 < value < float("inf") else 0.0


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "")
    return value[:MAX_TEXT] if isinstance(value, str) else ""
