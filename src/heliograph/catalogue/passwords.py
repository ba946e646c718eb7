"""Passwords: what they must be, and their Argon2id hashes (RFC 9106), off the event loop."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from heliograph.model.errors import BusyError, MalformedError, TooLargeError

T = TypeVar("T")

#: Characters of a password. Ten, with slowed guesses and Argon2, leave a guesser nothing; nobody
#: is made to use special characters.
MIN_PASSWORD = 10
#: Room for a long sentence, and no room for a megabyte to be hashed.
MAX_PASSWORD = 256
#: Hashes at once: each takes 64 MiB and a core for some tens of milliseconds.
WORKERS = 2
#: Hashes waited for: about two seconds of work. Above it who signs in is asked to come again.
MAX_WAITING = 64


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of comparing a password."""

    good: bool
    rehash: str | None = None
    """The hash to store from now on, where the parameters have changed since."""


class Passwords:
    """Makes and compares hashes in threads of its own."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        # Argon2-cffi's own parameters are the second recommended by RFC 9106 §4: 64 MiB, t = 3.
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2")
        self._waiting = 0
        self._decoy: str | None = None
        self.overflows = 0
        """Comparisons refused because too many waited."""

    async def hash(self, password: str) -> str:
        """The hash of a new password; an error as of ``check_password``."""
        return await self._run(lambda: self._hasher.hash(check_password(password)))

    async def verify(self, stored: str | None, password: str) -> Checked:
        """Whether the password is right. Without a stored hash it is not, after the same time."""
        return await self._run(lambda: self._verify(stored, password))

    def close(self) -> None:
        """End the threads once their work is done."""
        self._threads.shutdown(wait=False)

    def _verify(self, stored: str | None, password: str) -> Checked:
        if stored is None:
            if self._decoy is None:
                self._decoy = self._hasher.hash("a password that nobody has")
            self._compare(self._decoy, password)
            return Checked(False)
        if not self._compare(stored, password):
            return Checked(False)
        if self._hasher.check_needs_rehash(stored):
            return Checked(True, self._hasher.hash(normal(password)))
        return Checked(True)

    def _compare(self, stored: str, password: str) -> bool:
        try:
            # Cut, and hashed all the same: the time tells nothing about the length that is allowed.
            return self._hasher.verify(stored, normal(password)[: MAX_PASSWORD + 1])
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            self.overflows += 1
            raise BusyError("too many people sign in", subject="passwords", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def normal(password: str) -> str:
    """The same characters however a keyboard composes them (NFKC, as RFC 8265 §4.2 asks)."""
    return unicodedata.normalize("NFKC", password[: 4 * MAX_PASSWORD])


def check_password(password: str) -> str:
    """The password as it is hashed; an error says what is wrong with it, without repeating it."""
    if len(password) > MAX_PASSWORD:
        raise TooLargeError(
            f"the password is longer than {MAX_PASSWORD} characters", subject="password"
        )
    text = normal(password)
    if len(text) < MIN_PASSWORD:
        raise MalformedError("password", f"it has fewer than {MIN_PASSWORD} characters")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise MalformedError("password", "it has control characters")
    return text
