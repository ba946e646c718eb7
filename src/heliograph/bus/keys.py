"""How nodes, methods, topics and names are written as key expressions.

::

    helio/here/NODE/SESSION            liveliness token: this node is there
    helio/book/NODE/SESSION            asked: all that the node has announced
    helio/news/NODE/SESSION            published: one change of that
    helio/seen/NODE/SESSION            asked: the sessions that this one sees
    helio/call/METHOD/NODE             asked: a request to one node, or to ``*``
    helio/talk/NODE/TOPIC              published; a topic has one or more parts

A key is parts between ``/``; in a pattern ``*`` stands for one part and ``**`` for any number.
"""

from __future__ import annotations

import re
from functools import lru_cache

from heliograph.model.errors import MalformedError

#: Before every key, so that other users of the same network are told apart.
ROOT = "helio"
#: Characters of one part: channel names, the longest of what is announced, have 64.
MAX_PART = 64
#: Parts of a topic; more are a sign of data in the name.
MAX_PARTS = 8

_PART = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_PART}}}", re.ASCII)


def check_part(what: str, text: str) -> str:
    """``text`` if it can be one part of a key; ``what`` names it in the ``MalformedError``."""
    if not _PART.fullmatch(text):
        raise MalformedError(what, f"{text[:80]!r}: 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def check_topic(text: str, *, pattern: bool = False) -> str:
    """``text`` if it is a topic; with ``pattern`` parts may be ``*`` or ``**``."""
    parts = text.split("/")
    if len(parts) > MAX_PARTS:
        raise MalformedError("topic", f"more than {MAX_PARTS} parts")
    for before, part in zip(["", *parts], parts, strict=False):
        if pattern and part in ("*", "**"):
            # The one canonical spelling: ``**/**`` and ``**/*`` have others.
            if before == "**":
                raise MalformedError("topic", "nothing but a name may follow '**'")
            continue
        check_part("topic", part)
    return text


def here(node: str = "*", session: str = "*") -> str:
    """The token of a node's session."""
    return f"{ROOT}/here/{node}/{session}"


def book(node: str, session: str) -> str:
    """Where a session's announcements are asked for."""
    return f"{ROOT}/book/{node}/{session}"


def news(node: str = "*", session: str = "*") -> str:
    """Where a session tells changes of its announcements."""
    return f"{ROOT}/news/{node}/{session}"


def seen(node: str, session: str) -> str:
    """Where a session is asked whom it sees."""
    return f"{ROOT}/seen/{node}/{session}"


def call(method: str, node: str = "*") -> str:
    """Where a method of a node is called."""
    return f"{ROOT}/call/{method}/{node}"


def talk(topic: str, node: str = "*") -> str:
    """Where a node publishes."""
    return f"{ROOT}/talk/{node}/{topic}"


def node_and_session(key: str) -> tuple[str, str]:
    """Of a key of ``here``, ``book``, ``news`` or ``seen``; ``MalformedError`` where it is none."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != ROOT:
        raise MalformedError("bus key", key[:200])
    return parts[2], parts[3]


def answering_node(key: str) -> str:
    """The last part of a key of ``call``."""
    return key.rpartition("/")[2]


def node_and_topic(key: str) -> tuple[str, str]:
    """Of a key of ``talk``; ``MalformedError`` where it is none."""
    parts = key.split("/", 3)
    if len(parts) != 4 or parts[:2] != [ROOT, "talk"]:
        raise MalformedError("bus key", key[:200])
    return parts[2], parts[3]


def matches(pattern: str, key: str) -> bool:
    """Whether a key without wild cards is one of those the pattern stands for."""
    return _expression(pattern).fullmatch("/" + key) is not None


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    """For keys with a slash before each part, the first one's too."""
    text = {"*": r"/[^/]+", "**": r"(?:/[^/]+)*"}
    return re.compile("".join(text.get(p, "/" + re.escape(p)) for p in pattern.split("/")))
