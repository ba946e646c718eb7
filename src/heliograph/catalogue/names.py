"""What may stand as a name, a title or a message: plain text without tricks.

Nothing here escapes anything: text stays text, and a page escapes it where it is shown. What is
refused or taken out are characters that hide, turn or overprint other text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.model.nodes import DOMAIN, MAX_DOMAIN, MAX_DOMAINS

#: Names to sign in with: ASCII, so that no two look alike.
ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")
#: Characters of a name that others see: it stands before each line of a chat.
MAX_DISPLAY_NAME = 32
#: Characters that may be put upon one another: Vietnamese and Hebrew need two or three.
MAX_MARKS = 3

#: Joiners are format characters, and Persian and joined emoji need them in running text.
_JOINERS = frozenset("\u200c\u200d")
#: Letters without a shape, and fillers: blank, yet not spaces by Unicode's category.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
#: Control, format (among them all that turn the direction), surrogate, private, line ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def check_account_name(name: str) -> str:
    """The name in lower case; ``MalformedError`` where it cannot be one."""
    lowered = name.strip().lower()
    if not ACCOUNT_NAME.fullmatch(lowered):
        raise MalformedError(
            "account name", "2 to 32 letters a–z, digits, dots, dashes or underscores"
        )
    return lowered


def check_domains(names: Iterable[str]) -> tuple[str, ...]:
    """Names of domains of units, each once and sorted; ``MalformedError`` where one cannot be a
    name, or there are too many."""
    found = sorted(set(names))
    for one in found:
        if not re.fullmatch(DOMAIN, one):
            raise MalformedError("domain", f"1 to {MAX_DOMAIN} letters a–z, digits or dashes")
    if len(found) > MAX_DOMAINS:
        raise MalformedError("domains", f"more than {MAX_DOMAINS}")
    return tuple(found)


def account_key(name: str) -> str:
    """What a shown account name is looked up by; empty where no account can have it.

    One account has one such key: it counts guesses as well.
    """
    lowered = name[:64].strip().lower()
    return lowered if ACCOUNT_NAME.fullmatch(lowered) else ""


def clean_name(name: str, *, limit: int = MAX_DISPLAY_NAME, what: str = "name") -> str:
    """A name as others see it: NFKC, one space between words.

    Raises ``TooLargeError`` above ``limit`` characters, ``MalformedError`` where it is empty or has
    characters that are not seen.
    """
    _check_raw(name, limit, what)
    normal = " ".join(unicodedata.normalize("NFKC", name).split(" "))
    normal = " ".join(normal.split())
    if any(_hidden(char) for char in name if char not in "\t\n\r"):
        raise MalformedError(what, "it has characters that are not seen")
    if not any(unicodedata.category(char)[0] in "LNPSC" for char in normal):
        raise MalformedError(what, "it is empty")
    if len(normal) > limit:
        raise TooLargeError(f"{what} longer than {limit} characters", subject=what)
    if _stacked(normal):
        raise MalformedError(what, f"more than {MAX_MARKS} marks on one letter")
    return normal


def clean_line(text: str, *, limit: int, what: str = "text") -> str:
    """A line of text: NFC; what is not seen is taken out, a line's end becomes a space.

    An empty line comes back empty. Raises ``TooLargeError`` above ``limit`` characters.
    """
    _check_raw(text, limit, what)
    kept: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        if char in "\t\n\r\v\f\u2028\u2029\x85":
            char = " "
        elif _hidden(char) and char not in _JOINERS:
            continue
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(char)
    line = unicodedata.normalize("NFC", " ".join("".join(kept).split()))
    if not line.strip("".join(_JOINERS) + " "):
        return ""
    if len(line) > limit:
        raise TooLargeError(f"{what} longer than {limit} characters", subject=what)
    return line


def likeness(name: str) -> str:
    """What two names have in common that a hasty reader takes for the same: case and marks gone."""
    folded = unicodedata.normalize("NFKD", name.casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return "".join(bare.split()).translate(_ALIKE)


#: Cyrillic and Greek letters, and digits, that look like Latin ones: the commonest, not Unicode's
#: whole table of confusables.
_ALIKE = str.maketrans(
    "аеорсухіјѕԁһкмтвнɡαορνικτ01",
    "aeopcyxijsdhkmtbhgaopvikto" + "l",
)


def _check_raw(text: str, limit: int, what: str) -> None:
    # Normalising costs time with the length, and shrinks at most fourfold what people type.
    if len(text) > 4 * limit:
        raise TooLargeError(f"{what} longer than {limit} characters", subject=what)


def _hidden(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cn":
        # Unassigned in Python's tables: emoji of next year, which are seen, and what never will be
        # a character or is kept for invisible ones (Unicode §23.7, Default_Ignorable_Code_Point).
        code = ord(char)
        return (
            code & 0xFFFE == 0xFFFE
            or 0xFDD0 <= code <= 0xFDEF
            or 0xE0000 <= code <= 0xE0FFF
            or 0xFFF0 <= code <= 0xFFF8
            or code == 0x2065
        )
    return char in _BLANK or category in _HIDDEN


def _stacked(text: str) -> bool:
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks > MAX_MARKS:
            return True
    return False
