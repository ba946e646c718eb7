"""Who may read, write and moderate a chat: pure decisions, from ``catalogue.rights``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from heliograph.catalogue.names import MAX_DISPLAY_NAME
from heliograph.catalogue.rights import (
    NOTHING,
    Action,
    ChannelView,
    Person,
    Proof,
    Reason,
    decide,
    require,
)
from heliograph.catalogue.values import Account, Actor, Role
from heliograph.live.admission import Access
from heliograph.live.chat_entries import Badge
from heliograph.live.grants import Grant
from heliograph.model.errors import ForbiddenError, UnauthorizedError

#: Author of whoever shows the administrator's key and has no account.
KEY_AUTHOR = "administrator"


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides about a channel's chat; equal ones decide alike."""

    view: ChannelView
    slow: float = 0.0
    """Seconds between two messages of one author, as the channel is set."""
    access: Access = field(default_factory=Access)
    """Addresses that may watch, and so read."""
    key_needed: bool = False
    """Whether a viewer's key is asked for."""
    owner_name: str = ""
    """Name that only the owner may have here; empty: the channel has no owner."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came, with what was shown; kept while the connection lasts."""

    peer: str
    """Numeric address."""
    account: Account | None = None
    key: bool = False
    """Whether the administrator's key was shown."""
    grant: Grant | None = None
    """Why it may watch, as the gate decided; None: for no reason any more."""
    proof: Proof = NOTHING
    """What of that goes beyond the account: a key or a token."""
    net: str = ""
    """Network as a word that tells no address; empty where the address says nothing."""
    actor: Actor = field(default_factory=lambda: Actor(""))
    """For the audit log."""
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    """Headers that show the account, to look again whether they still do."""

    @property
    def may_change(self) -> bool:
        """Whether it is to be asked again who that is: accounts are signed out, tokens end."""
        token = None if self.grant is None else self.grant.token
        return self.credentials is not None or token is not None


@dataclass(frozen=True, slots=True)
class Seat:
    """What a visitor is in a chat."""

    author: str
    """Empty: a guest, who has a token of his own."""
    names: tuple[str, ...]
    """Names to take, the first that is free; empty: it chooses."""
    badge: Badge
    moderator: bool
    write: str
    """``yes``, ``sign_in`` (with an account it might), ``no``."""


def judge(policy: Policy, visitor: Visitor) -> Seat:
    """What the visitor is here.

    ``NotFoundError``, ``UnauthorizedError`` or ``ForbiddenError`` where it may not even read: the
    same as for a channel that is not there, where that is not to be told.
    """
    channel, account = policy.view, visitor.account
    person = Person.of(account)
    moderator = visitor.key or decide(Action.MODERATE, channel, person).allowed
    if not visitor.key:
        require(Action.VIEW, channel, person, visitor.proof)
        if not policy.access.permits(visitor.peer):
            raise ForbiddenError(
                f"{visitor.peer} may not watch channel {channel.name!r}", subject=channel.name
            )
        if policy.key_needed and not (visitor.proof.view_token or moderator):
            raise UnauthorizedError(
                f"a key is needed to watch channel {channel.name!r}", subject=channel.name
            )
    write = "yes"
    if not visitor.key:
        answer = decide(Action.CHAT, channel, person, visitor.proof)
        if not answer.allowed:
            write = "sign_in" if answer.reason is Reason.SIGN_IN else "no"
    if account is None:
        badge = Badge.MODERATOR if visitor.key else Badge.GUEST
        return Seat(KEY_AUTHOR if visitor.key else "", (), badge, moderator, write)
    badge = Badge.NONE
    if channel.owner is not None and account.id == channel.owner.id:
        badge = Badge.OWNER
    elif moderator or account.role is Role.ADMINISTRATOR:
        badge = Badge.MODERATOR
    return Seat(f"account:{account.id}", _names(account), badge, moderator, write)


def _names(account: Account) -> tuple[str, ...]:
    """The display name; with the account's own where somebody else has that already."""
    behind = f" ({account.name})"
    cut = account.display_name[: max(0, MAX_DISPLAY_NAME - len(behind))].rstrip()
    return (account.display_name, cut + behind if cut else account.name, account.name)
