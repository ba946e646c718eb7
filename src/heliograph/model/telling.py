"""Errors as plain values, by which one node tells them to another."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from heliograph.model import errors
from heliograph.model.errors import HelioError, MalformedError, RemoteError

#: Characters of a text: what people read, and no dump of anything.
MAX_TEXT = 1000

#: What an error has beside its text and subject, and what it must be.
_EXTRAS: Mapping[str, type] = {
    "status": int,
    "retry_after": int,
    "protocol": str,
    "reason": str,
    "offset": int,
}
#: Set where the other side left it out, so that every error has the members of its class.
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "MalformedError": {"protocol": "", "reason": "", "offset": None},
    "BusyError": {"retry_after": None},
    "TooManyError": {"retry_after": None},
}


class Teller:
    """Tells errors of ``model.errors``, and of the modules that it is given."""

    def __init__(
        self,
        protocol: str,
        *modules: ModuleType,
        extras: Mapping[str, type] | None = None,
        defaults: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """``protocol`` names what is malformed where an error cannot be read. ``extras``: what
        errors of the modules have besides; ``defaults``: by class, where that was left out."""
        self._protocol = protocol
        self._extras = {**_EXTRAS, **(extras or {})}
        self._defaults = {**_DEFAULTS, **(defaults or {})}
        self.kinds: Mapping[str, type[HelioError]] = {
            name: value
            for module in (errors, *modules)
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, HelioError)
        }
        """Errors by their kind, the name of their class."""

    def tell(self, error: BaseException) -> dict[str, Any]:
        """What went wrong, as others may know it: nothing of errors that are not ours."""
        if not isinstance(error, HelioError):
            error = RemoteError("the node failed to do it")
        # The nearest class that every node knows: others derive their own from those.
        kinds = (one.__name__ for one in type(error).__mro__ if self.kinds.get(one.__name__) is one)
        told: dict[str, Any] = {"kind": next(kinds), "message": _text(error.message)}
        if error.subject is not None:
            told["subject"] = _text(error.subject)
        for name, wanted in self._extras.items():
            value = vars(error).get(name)
            if type(value) is wanted:
                told[name] = _text(value) if isinstance(value, str) else value
        return told

    def read(self, told: Mapping[str, Any]) -> HelioError:
        """The error that was told; ``MalformedError`` where it was none."""
        message, subject = told.get("message"), told.get("subject")
        if not isinstance(message, str):
            raise MalformedError(self._protocol, "an error without a text")
        kind = self.kinds.get(str(told.get("kind")), RemoteError)
        error = kind.__new__(kind)
        # Their initialisers make the text of other things; what they made once is given as it is.
        HelioError.__init__(error, message, subject=subject if isinstance(subject, str) else None)
        for name, default in self._defaults.get(kind.__name__, {}).items():
            setattr(error, name, default)
        for name, wanted in self._extras.items():
            if type(told.get(name)) is wanted:
                setattr(error, name, told[name])
        return error


def _text(value: str) -> str:
    """Bounded, and such that UTF-8 can say it."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
