"""What all sections of the settings have in common: their kinds of values, and how they fail."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name

#: A stream key shorter than this can be guessed.
MIN_KEY_LENGTH = 8


def fail(message: str, *where: str | int) -> PydanticCustomError:
    """Build a validation error; ``where`` leads from the validated value to the member at fault."""
    return PydanticCustomError("setting", "{reason}", {"reason": message, "where": where})


def _address(value: object) -> object:
    if isinstance(value, str):
        try:
            return ip_address(value)
        except ValueError:
            raise fail("must be a numeric address") from None
    return value


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise fail(f"must be an address or a network such as 10.0.0.0/8: {error}") from None


def _channel_name(value: object) -> object:
    if isinstance(value, str):
        try:
            check_channel_name(value)
        except MalformedError:
            raise fail("must be 1 to 64 letters, digits, '.', '_' or '-'") from None
    return value


Port = Annotated[int, Field(ge=0, le=65535)]
Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(_address)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
# TOML has arrays and strings only; "strict" would insist on a tuple, a Path.
Networks = Annotated[tuple[Network, ...], Field(strict=False)]
PathSetting = Annotated[Path, Field(strict=False)]
ChannelName = Annotated[str, BeforeValidator(_channel_name)]
Key = Annotated[SecretStr, Field(min_length=MIN_KEY_LENGTH, max_length=128)]
Millis = Annotated[int, Field(ge=0, le=3_600_000)]

ANYWHERE: tuple[IPv4Network | IPv6Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Section(BaseModel):
    """Common to all sections: unknown keys and wrong types are refused, values never change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
