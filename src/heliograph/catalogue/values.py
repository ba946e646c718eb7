"""What the catalogue tells, as frozen values. Times are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from heliograph.catalogue.keys import stream_fingerprint


class Role(StrEnum):
    """What an account is for; each role may do all that the ones above it may."""

    VIEWER = "viewer"
    """Watches, takes part in chats."""
    BROADCASTER = "broadcaster"
    """Has channels of its own."""
    ADMINISTRATOR = "administrator"
    """Everything, on every channel and account."""

    @property
    def rank(self) -> int:
        """0 for the least; a higher one includes the lower."""
        return list(Role).index(self)


class ViewAccess(StrEnum):
    """Who may watch a channel that is not private."""

    EVERYONE = "everyone"
    ACCOUNTS = "accounts"
    """Whoever is signed in."""
    INVITED = "invited"
    """Who shows a view token, the owner and administrators."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, for the audit log."""

    name: str
    """An account's name, or ``system``, ``settings``, ``api-key``."""
    address: str = ""
    """Numeric address it came from; empty where it came from no network."""


#: The server itself.
SYSTEM = Actor("system")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    id: int
    name: str
    """Lower case, unique; what is typed to sign in."""
    display_name: str
    """What others see."""
    role: Role
    created: datetime
    disabled: datetime | None = None
    """Since when it may not sign in; None: it may."""
    domains: tuple[str, ...] = ()
    """Groups of units that it administers, by name; administrators administer all there are."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that signed in."""

    id: int
    account: Account
    created: datetime
    expires: datetime
    """Moved on while the session is used."""
    last_seen: datetime
    """Exact to ``sessions.TOUCH_EVERY``."""
    address: str
    """Where it signed in from."""
    agent: str
    """What the browser calls itself, cut."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session and its token, which is told once and stored nowhere."""

    token: str = field(repr=False)
    session: Session


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """A channel as it is stored."""

    id: int
    name: str
    """Part of its addresses; unique, also where only the case of letters differs."""
    title: str
    """For people; the name stands in where it is empty."""
    owner: Account | None
    """None: a channel of the server itself."""
    private: bool
    """Whether it is unknown to everybody who may not watch it."""
    view_access: ViewAccess
    options: Mapping[str, Any]
    """What ``live.options.ChannelOptions.to_json`` gave."""
    guests_chat: bool
    """Whether who has no account may write in the chat."""
    slow_mode: float
    """Seconds between two messages of one author in the chat; 0: as the server allows."""
    created: datetime
    configured: bool = False
    """Whether it was made for a channel of the settings, which then has its options there."""
    settings_of: str = ""
    """Of which node's settings, where several share the database; empty where they do not."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel with all that decides about it, so that it is judged without the database."""

    record: ChannelRecord
    keys: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Ids of the stream keys that are good, by their hashes."""
    tokens_from: int = 0
    """View tokens issued before, in seconds since 1970, are good no more."""

    def key_id(self, key: str) -> int | None:
        """Which stream key this is; None where it may not publish on this channel.

        One look into a table by hash: see ``keys`` for why one SHA-256 is enough.
        """
        return self.keys.get(stream_fingerprint(self.record.name, key))


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A key that may publish on one channel; the key itself is not stored."""

    id: int
    channel: str
    """The channel's name."""
    label: str
    """What its owner calls it (“studio”, “phone”)."""
    hint: str
    """The key's last four characters, to tell several apart; empty for a short one."""
    created: datetime
    last_used: datetime | None
    """Exact to a minute or so."""
    revoked: datetime | None


@dataclass(frozen=True, slots=True)
class NewStreamKey:
    """A key just made, told once."""

    key: str = field(repr=False)
    record: StreamKey


@dataclass(frozen=True, slots=True)
class ChatEntry:
    """One message of a channel's chat as it is stored."""

    seq: int
    """Place in the channel's chat; grows, with gaps."""
    author: str
    """Who said it, in a form that stays (``account:7``, ``guest:…``)."""
    name: str
    """The author's name at that time."""
    text: str
    """Plain text; empty once deleted."""
    nonce: str
    """The client's own id of the message, unique for its author."""
    at: datetime
    badge: str = ""
    """``owner``, ``moderator`` or empty."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ChatMute:
    """An author who may read and not write."""

    author: str
    until: datetime | None
    """None: until unmuted."""


@dataclass(frozen=True, slots=True)
class JoinTokenRecord:
    """A token by which a node joins the cluster; the token itself is not stored."""

    id: str
    created: datetime
    expires: datetime
    node: str | None
    """Id of the node that used it; None: nobody yet."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    """``account.create``, ``channel.edit``, ``key.revoke``, …"""
    subject: str
    """Name of what it was done to."""
    address: str
    detail: Mapping[str, Any]
