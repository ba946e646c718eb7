"""Settings of the dispatcher: how servers are chosen for those who ask for titles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from heliograph.dispatcher.policies import DEFAULT, POLICIES
from heliograph.node.settings.base import Section, fail

FormatName = Literal["mp4", "hls", "rtsp", "whep"]


class DispatcherSettings(Section):
    """Which server a request for a title is sent to. See [dispatcher](dispatcher.md). Read again at
    SIGHUP."""

    policy: str = DEFAULT
    """How one of several servers is chosen for titles that name no policy: `power-of-two`,
    `least-response-time`, `round-robin`, `weighted`, `least-sessions`, `rendezvous` or
    `nearest`."""
    formats: Annotated[tuple[FormatName, ...], Field(strict=False, min_length=1)] = (
        "mp4",
        "hls",
        "rtsp",
        "whep",
    )
    """What those are given who take anything, the first that there is; formats left out are for
    those only who name them by `?format=`."""
    decay_s: float = Field(default=300.0, ge=1, le=86_400)
    """Seconds in which what a decision committed of a server's bandwidth falls to 37 %: about as
    long as people stay."""
    steering_ttl_s: int = Field(default=10, ge=1, le=3600)
    """Seconds until players of HLS ask again which server to use."""

    @field_validator("policy")
    @classmethod
    def _check_policy(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise fail(f"is none of {', '.join(POLICIES)}")
        return policy

    @field_validator("formats")
    @classmethod
    def _check_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(formats)) < len(formats):
            raise fail("names a format twice")
        return formats
