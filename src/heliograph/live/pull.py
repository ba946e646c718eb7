"""Sources that the server fetches itself: RTSP cameras and servers, and RTP told by an SDP file.

A pull runs until it is stopped. When its server fails or falls silent it connects anew, after a
wait that grows (bounded, with jitter); the channel's readers wait meanwhile and go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from heliograph.live.channel import Channel
from heliograph.live.options import PullOptions, Transport
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.pull_connection import PullConnection, TryTcpError
from heliograph.model.errors import (
    HelioError,
    MalformedError,
    RemoteError,
    ResourceError,
)
from heliograph.plane import PlaneLoop
from heliograph.protocols.rtsp.targets import without_credentials
from heliograph.protocols.sdp import (
    Media,
    SessionDescription,
    described_tracks,
    parse_sdp,
    rtcp_of,
    source_filters_of,
    tracks_from_sdp,
)

log = structlog.get_logger(__name__)

#: Seconds before the second attempt. A camera that drops the connection is back about then.
FIRST_WAIT = 1.0
#: Longest wait: what somebody who plugs a camera in again is ready to stand beside it.
LONGEST_WAIT = 30.0
#: A pull that delivered for so many seconds was well: its next failure begins with a short wait.
WELL_AFTER = 10.0
#: Redirections followed in one attempt; more are a loop.
MAX_REDIRECTS = 5


def wait_before(attempt: int, chance: float) -> float:
    """Seconds to wait before the ``attempt``-th try in a row (from 1); ``chance`` is 0 to 1.

    Doubles up to the bound; half of it is left to chance, so that a server that comes back is not
    asked by everybody at the same moment.
    """
    whole = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))
    return whole * (0.5 + 0.5 * chance)


class Pull:
    """Keeps one source of a channel coming."""

    def __init__(
        self,
        channel: Channel,
        options: PullOptions,
        loop: PlaneLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """``held``: whether the source is not to be fetched just now."""
        self.channel = channel
        self.options = options
        self.url = without_credentials(options.url)
        """For people: no credentials in it."""
        self.attempts = 0
        """Attempts so far."""
        self.last_error: str | None = None
        """Why the last attempt ended."""
        self._loop = loop
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._held = held
        self._tcp = options.transport is Transport.TCP
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=f"pull {self.channel.name}")

    async def stop(self) -> None:
        """End the session with the server, and the source."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """Fetch for ever; returns when the channel is closed."""
        failures = 0
        while not self.channel.closed:
            if self._held():
                await self._sleep(FIRST_WAIT)
                continue
            began = self._clock()
            self.attempts += 1
            try:
                await self._attempt()
            except TryTcpError:
                log.info("pull changes to tcp", channel=self.channel.name, url=self.url)
                self._tcp = True
                continue
            except HelioError as error:
                self.last_error = error.message
            except OSError as error:
                self.last_error = str(error)
            except Exception as error:  # a bug in one pull must not end it for good
                self.last_error = repr(error)
                log.exception("pull failed", channel=self.channel.name, url=self.url)
            failures = 1 if self._clock() - began >= WELL_AFTER else failures + 1
            wait = wait_before(failures, self._chance())
            log.warning(
                "pull ended",
                channel=self.channel.name,
                url=self.url,
                error=self.last_error,
                again_in=round(wait, 1),
            )
            await self._sleep(wait)

    async def _attempt(self) -> None:
        if not self.options.url.lower().startswith("rtsp://"):
            await self._receive_file()
            return
        url = self.options.url
        for _ in range(MAX_REDIRECTS):
            connection = PullConnection(
                self.channel, self.options, self._loop, url, tcp=self._tcp, clock=self._clock
            )
            moved = await connection.run()
            if moved is None:
                return
            url = moved
        raise RemoteError(f"more than {MAX_REDIRECTS} redirections", subject=self.url)

    async def _receive_file(self) -> None:
        path = Path(self.options.url.removeprefix("file://"))
        try:
            text = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise ResourceError(f"SDP file {path}: {error}", subject=str(path)) from error
        source = SdpSource(self.channel, parse_sdp(text), str(path), self.options.priority)
        try:
            ended = asyncio.Event()
            source.publishing.on_closed = lambda reason: ended.set()
            await ended.wait()
        finally:
            source.close()


class SdpSource:
    """Plain RTP as a description tells: bound ports, joined groups, and a source fed by them."""

    def __init__(
        self,
        channel: Channel,
        description: SessionDescription,
        peer: str,
        priority: int = 0,
        *,
        interface: str | None = None,
    ) -> None:
        """``interface``: address of the one to join groups on. ``ResourceError`` names the port
        that is taken; ``UnsupportedError`` where nothing can be played."""
        tracks = tracks_from_sdp(description)
        self._plane = channel.plane
        self._endpoints: list[int] = []
        self.publishing: Publishing = channel.publish(
            tracks, PublishKind.RTP, peer, priority=priority
        )
        try:
            input = self.publishing.add_input()
            for described in described_tracks(description):
                self._attach(
                    input,
                    described.track.id,
                    described.track.payload_type,
                    described.media,
                    description,
                    interface,
                )
        except BaseException:
            self.close()
            raise

    def _attach(
        self,
        input: int,
        track: int,
        payload_type: int,
        media: Media,
        description: SessionDescription,
        interface: str | None,
    ) -> None:
        connection = media.connection or description.connection
        address = connection.address if connection is not None else "0.0.0.0"
        group = address if _is_multicast(address) else None
        if not media.port:
            raise MalformedError("sdp", "a medium without a port")
        any_address = "::" if ":" in address else "0.0.0.0"
        rtcp = rtcp_of(media)
        try:
            endpoint, _, _ = self._plane.bind_udp(
                any_address,
                media.port,
                rtcp=rtcp is None or rtcp.port == media.port + 1,
                group=group,
                interface=interface,
            )
        except OSError as error:
            raise ResourceError(
                f"UDP port {media.port} for RTP: {error}", subject=f"udp/{media.port}"
            ) from error
        self._endpoints.append(endpoint)
        sources = [
            source
            for filter in source_filters_of(media, description)
            if filter.include and filter.destination in ("*", address)
            for source in filter.sources
        ]
        remote = sources[0] if len(sources) == 1 else None
        self._plane.attach_udp(input, track, endpoint, payload_type=payload_type, remote=remote)

    def close(self) -> None:
        """Give source and ports up."""
        self.publishing.close()
        for endpoint in self._endpoints:
            self._plane.close_endpoint(endpoint)
        self._endpoints.clear()


def _is_multicast(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_multicast
    except ValueError:
        return False
