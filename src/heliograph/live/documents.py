"""A channel as one node tells it to another: what it is called, how it is to be, who may do what.

It goes only to nodes of the cluster, over the bus. Keys go as hashes, so that a node that is taken
over gives away no key to publish with; the key to watch with is compared in clear and goes as it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from heliograph.catalogue.keys import stream_fingerprint
from heliograph.catalogue.values import Account, ChannelRecord, Role, Standing, ViewAccess
from heliograph.live.channel import Channel
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import check_node_id

_PROTOCOL = "channel document"
#: Stream keys of one channel; the catalogue has a bound of its own far below.
MAX_KEYS = 10_000


def write(channel: Channel, home: str) -> dict[str, Any]:
    """A channel that is kept here, with its home, as JSON values."""
    options, standing = channel.options, channel.standing
    keys = {} if standing is None else dict(standing.keys)
    if options.key:
        keys[stream_fingerprint(channel.name, options.key)] = 0
    told = replace(options, key="", pulls=())  # what is pulled is pulled by one node
    return {
        "name": channel.name,
        "home": home,
        "title": channel.title,
        "options": told.to_json(),
        "keys": keys,
        "tokens_from": 0 if standing is None else standing.tokens_from,
        "record": None if standing is None else _record(standing.record),
    }


@dataclass(frozen=True, slots=True)
class Document:
    """What another node told."""

    name: str
    home: str
    options: ChannelOptions
    standing: Standing


def read(value: object) -> Document:
    """What another node told; ``MalformedError`` for nonsense."""
    try:
        if not isinstance(value, Mapping):
            raise TypeError("no object")
        name, home = check_channel_name(value["name"]), check_node_id(value["home"])
        options = ChannelOptions.from_json({**value["options"], "title": str(value["title"])})
        keys = {str(key): int(id) for key, id in value["keys"].items()}
        if len(keys) > MAX_KEYS:
            raise ValueError("too many keys")
        standing = Standing(_read_record(name, value), keys, int(value["tokens_from"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(_PROTOCOL, f"{type(error).__name__}: {error}"[:200]) from None
    return Document(name, home, options, standing)


def _record(record: ChannelRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "owner": None if record.owner is None else _account(record.owner),
        "private": record.private,
        "view_access": record.view_access.value,
        "guests_chat": record.guests_chat,
        "slow_mode": record.slow_mode,
        "created": record.created.isoformat(),
    }


def _account(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "display_name": account.display_name,
        "role": account.role.value,
        "created": account.created.isoformat(),
    }


def _read_record(name: str, value: Mapping[str, Any]) -> ChannelRecord:
    record = value["record"]
    if record is None:
        created = datetime.fromtimestamp(0).astimezone()
        return ChannelRecord(
            0, name, str(value["title"]), None, False, ViewAccess.EVERYONE, {}, True, 0.0, created
        )
    owner = record["owner"]
    return ChannelRecord(
        int(record["id"]),
        name,
        str(value["title"]),
        None if owner is None else _read_account(owner),
        record["private"] is not False,
        ViewAccess(record["view_access"]),
        {},
        record["guests_chat"] is True,
        float(record["slow_mode"]),
        datetime.fromisoformat(record["created"]),
    )


def _read_account(value: Mapping[str, Any]) -> Account:
    return Account(
        int(value["id"]),
        str(value["name"]),
        str(value["display_name"]),
        Role(value["role"]),
        datetime.fromisoformat(value["created"]),
    )
