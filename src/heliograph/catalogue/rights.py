"""Who may do what: pure decisions over views of a person, a channel and what was shown.

``decide`` answers with a reason, ``require`` raises the error that fits it. A private channel is
unknown to whoever may not watch it: the answer is then “no such channel”, for every action.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from heliograph.catalogue.values import Account, ChannelRecord, Role, ViewAccess
from heliograph.model.errors import ForbiddenError, NotFoundError, UnauthorizedError


class Action(StrEnum):
    """What somebody wants to do with a channel."""

    LIST = "list"
    """See that it exists: name, title, picture, viewers."""
    VIEW = "view"
    CHAT = "chat"
    """Say something; who may view may read."""
    PUBLISH = "publish"
    MODERATE = "moderate"
    EDIT = "edit"
    """Change it, make and revoke keys and tokens, delete it."""


class Reason(Enum):
    """Why the answer is what it is."""

    ADMINISTRATOR = "administrator"
    OWNER = "owner"
    KEY = "key"
    TOKEN = "token"
    SIGNED_IN = "signed in"
    PUBLIC = "public"
    AUTHORITY = "external authority"
    """Granted by whoever is asked beside these rules, never by ``decide``."""
    HIDDEN = "hidden"
    """Refused, and even the channel's being is not told."""
    SIGN_IN = "sign in"
    """Refused; with an account, a key or a token it might be granted."""
    NO_RIGHT = "no right"
    """Refused to this person whatever is shown."""
    OWNER_GONE = "owner disabled"
    """Refused: the channel's owner may not broadcast any more."""


#: Reasons that grant.
GRANTS = frozenset(
    {
        Reason.ADMINISTRATOR,
        Reason.OWNER,
        Reason.KEY,
        Reason.TOKEN,
        Reason.SIGNED_IN,
        Reason.PUBLIC,
        Reason.AUTHORITY,
    }
)


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks; None in its place is somebody who is not signed in."""

    id: int
    role: Role
    disabled: bool = False

    @classmethod
    def of(cls, account: Account | None) -> Person | None:
        if account is None:
            return None
        return cls(account.id, account.role, account.disabled is not None)


@dataclass(frozen=True, slots=True)
class ChannelView:
    """What decides about a channel."""

    name: str
    owner: Person | None = None
    private: bool = False
    view_access: ViewAccess = ViewAccess.EVERYONE
    guests_chat: bool = True
    """Whether somebody without an account may write in the chat."""

    @classmethod
    def of(cls, channel: ChannelRecord) -> ChannelView:
        return cls(
            channel.name,
            Person.of(channel.owner),
            channel.private,
            channel.view_access,
            channel.guests_chat,
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What was shown beside an account, already checked for this very channel."""

    stream_key: bool = False
    view_token: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and why."""

    reason: Reason

    @property
    def allowed(self) -> bool:
        return self.reason in GRANTS


NOTHING = Proof()


def decide(
    action: Action, channel: ChannelView, person: Person | None, proof: Proof = NOTHING
) -> Decision:
    """Whether ``person`` may do ``action`` on ``channel``."""
    if person is not None and person.disabled:
        person = None
    if person is not None and person.role is Role.ADMINISTRATOR:
        return Decision(Reason.ADMINISTRATOR)
    view = _view(channel, person, proof)
    if action is Action.VIEW:
        return Decision(_told(channel, view))
    if action is Action.LIST:
        # A channel for the invited may be seen from outside; a private one may not.
        return Decision(_told(channel, view) if channel.private else Reason.PUBLIC)
    if action is Action.CHAT:
        return Decision(_told(channel, _chat(channel, person, view)))
    if action is Action.PUBLISH:
        publish = _own(channel, person)
        if publish not in GRANTS and proof.stream_key:
            publish = Reason.KEY if _owner_broadcasts(channel) else Reason.OWNER_GONE
        # Who shows a stream key knows the channel already.
        return Decision(publish if proof.stream_key else _told(channel, publish, view))
    return Decision(_told(channel, _own(channel, person), view))


def require(
    action: Action, channel: ChannelView, person: Person | None, proof: Proof = NOTHING
) -> Reason:
    """The reason for granting; ``NotFoundError``, ``UnauthorizedError`` or ``ForbiddenError``."""
    decision = decide(action, channel, person, proof)
    if decision.allowed:
        return decision.reason
    name = channel.name
    if decision.reason is Reason.HIDDEN:
        raise NotFoundError(f"no channel {name[:80]!r}", subject=name[:80])
    if decision.reason is Reason.SIGN_IN:
        raise UnauthorizedError(f"sign in to {action} channel {name!r}", subject=name)
    if decision.reason is Reason.OWNER_GONE:
        raise ForbiddenError(f"the owner of channel {name!r} may not broadcast", subject=name)
    raise ForbiddenError(f"you may not {action} channel {name!r}", subject=name)


def may_create_channels(person: Person | None) -> bool:
    """Whether somebody may have channels."""
    return person is not None and not person.disabled and person.role.rank >= Role.BROADCASTER.rank


def may_administer(person: Person | None) -> bool:
    """Whether somebody may change accounts and the server, and read the audit log."""
    return person is not None and not person.disabled and person.role is Role.ADMINISTRATOR


def _view(channel: ChannelView, person: Person | None, proof: Proof) -> Reason:
    if person is not None and channel.owner is not None and person.id == channel.owner.id:
        return Reason.OWNER
    if proof.view_token:
        return Reason.TOKEN
    if not channel.private:
        if channel.view_access is ViewAccess.EVERYONE:
            return Reason.PUBLIC
        if channel.view_access is ViewAccess.ACCOUNTS and person is not None:
            return Reason.SIGNED_IN
    return Reason.SIGN_IN if person is None else Reason.NO_RIGHT


def _chat(channel: ChannelView, person: Person | None, view: Reason) -> Reason:
    if view not in GRANTS:
        return view
    if person is None and not channel.guests_chat:
        return Reason.SIGN_IN
    return view


def _own(channel: ChannelView, person: Person | None) -> Reason:
    if person is None:
        return Reason.SIGN_IN
    if channel.owner is not None and person.id == channel.owner.id:
        return Reason.OWNER if _owner_broadcasts(channel) else Reason.NO_RIGHT
    return Reason.NO_RIGHT


def _owner_broadcasts(channel: ChannelView) -> bool:
    return channel.owner is None or may_create_channels(channel.owner)


def _told(channel: ChannelView, reason: Reason, view: Reason | None = None) -> Reason:
    """``reason``, or that there is no such channel, to whom a private one is unknown."""
    seen = reason if view is None else view
    if reason not in GRANTS and channel.private and seen not in GRANTS:
        return Reason.HIDDEN
    return reason
