"""Why somebody was let in: kept with what was opened, so that it ends with the right to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from heliograph.catalogue.rights import GRANTS, Action, Person, Reason
from heliograph.catalogue.tokens import ViewToken
from heliograph.catalogue.values import Role
from heliograph.model.errors import MalformedError

_PROTOCOL = "grant"
#: Of somebody whom accounts let in: those of another node are not known here.
_BY_ACCOUNT = frozenset({Reason.ADMINISTRATOR, Reason.OWNER, Reason.SIGNED_IN})
#: Any number: what every reader of JSON has exactly.
_MAX_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class Grant:
    """A decision of ``gate.Gate`` to let somebody in."""

    action: Action
    """``PUBLISH`` or ``VIEW``."""
    reason: Reason
    key: int | None = None
    """Id of the stream key that was shown; None where it was none, or one of the settings."""
    token: ViewToken | None = None
    """The view token that was shown."""
    person: Person | None = None
    """Who is signed in."""
    carried: str = field(default="", repr=False)
    """A view token that further requests of the same session may show: the one that was shown, or
    what stands in for a single one, which is used up by now."""
    reservation: str = field(default="", repr=False)
    """Names a place that is kept for him at this node; empty: none is."""


class Guest(Protocol):
    """Somebody who watches by a channel's rules what does not come from its ring, such as what was
    recorded of it; ends as readers do."""

    @property
    def grant(self) -> Grant | None:
        """Why he was let in; None: nobody asked."""

    def kick(self, reason: str) -> None:
        """End it."""


def tell(grant: Grant) -> dict[str, Any]:
    """A grant as another node is told it, as short as it goes: what allows nothing more
    there than to see when the right to it has gone."""
    said: dict[str, Any] = {"r": grant.reason.value}
    if grant.action is not Action.VIEW:
        said["a"] = grant.action.value
    if grant.key is not None:
        said["k"] = grant.key
    if grant.person is not None:
        said["p"] = grant.person.id
    if (token := grant.token) is not None:
        said["t"] = [token.issued, token.not_before, token.expires, token.id, int(token.single)]
    return said


def told(value: object, channel: str) -> Grant:
    """The grant for ``channel`` that ``tell`` wrote; ``MalformedError`` for nonsense.

    Of a person it has the id alone.
    """
    if not isinstance(value, Mapping):
        raise MalformedError(_PROTOCOL, "no object")
    try:
        reason = Reason(value["r"])
        if reason not in GRANTS:
            raise ValueError(reason.value)
        key, id = value.get("k"), value.get("p")
        return Grant(
            Action(value.get("a", Action.VIEW)),
            reason,
            key=None if key is None else _number(key),
            token=_token(value["t"], channel) if reason is Reason.TOKEN else None,
            person=None if id is None else Person(_number(id), Role.VIEWER),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(_PROTOCOL, f"{type(error).__name__} in what was said") from None


def by_account(grant: Grant) -> bool:
    """Whether an account let him in, so that only nodes with those accounts can judge it."""
    return grant.reason in _BY_ACCOUNT


def vouched(value: object, channel: str, action: Action = Action.VIEW) -> Grant:
    """The grant for ``channel`` that another node tells; ``MalformedError`` for nonsense, and for
    one to do something else.

    Whom an account let in there, this node takes at the other's word: it may have other accounts,
    and asks those who have them now and then (``vouching``).
    """
    grant = told(value, channel)
    if grant.action is not action:
        raise MalformedError(_PROTOCOL, f"to {grant.action}, not to {action}")
    if by_account(grant):
        return Grant(action, Reason.AUTHORITY)
    return replace(grant, person=None)


def _token(value: Any, channel: str) -> ViewToken:  # noqa: ANN401 - whatever JSON has
    issued, not_before, expires, id, single = value
    if not isinstance(id, str) or len(id) > 32:
        raise ValueError("id")
    times = (_number(issued), _number(not_before), _number(expires))
    return ViewToken(channel, "", *times, id, single == 1)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise ValueError("number")
    return value
