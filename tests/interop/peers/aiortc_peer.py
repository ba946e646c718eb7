"""aiortc as a program: puts a file on air by WHIP, or watches by WHEP.

    python -P aiortc_peer.py publish URL KEY FILE ADDRESS [FORM]
    python -P aiortc_peer.py watch URL KEY ADDRESS VIDEO AUDIO [relay]

``publish`` sends the file's H.264 and Opus as they are, over and over in real time; ``FORM`` may be
``obs``: an offer as OBS writes it. ``watch`` writes I420 pictures and 16 bit mono samples to two
descriptors; with ``relay`` it takes the TURN server that the answer to a first offer names.
``ADDRESS`` is the one of this machine to use.
"""

from __future__ import annotations

import asyncio
import fractions
import os
import re
import signal
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import aioice.ice
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

#: Lines that OBS writes once for the whole session.
_SESSION = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:")


def as_obs(offer: str) -> str:
    """Write an offer in the form of libdatachannel: transport once, candidates not at all."""
    head, *media = re.split(r"(?m)^(?=m=)", offer)
    session = [
        next(line for line in media[0].splitlines() if line.startswith(name)) for name in _SESSION
    ]
    lines = [line for line in head.splitlines() if not line.startswith("a=")]
    mids = " ".join(re.findall(r"(?m)^a=mid:(\S+)", offer))
    lines += [f"a=group:BUNDLE {mids}", f"a=group:LS {mids}", "a=msid-semantic:WMS *"]
    lines += [*session, "a=ice-options:ice2,trickle"]
    for part in media:
        left_out = (*_SESSION, "a=candidate:", "a=end-of-candidates", "a=rtcp:", "a=extmap:")
        lines += [line for line in part.splitlines() if not line.startswith(left_out)]
    return "\r\n".join(lines) + "\r\n"


def without_estimates(offer: str) -> str:
    """Offer no estimates of the rate: where its process waits for a core, it takes that for a
    narrow path, and is then rightly sent no pictures for a while."""
    left_out = r"(?m)^a=(rtcp-fb:\d+ goog-remb|extmap:\d+ \S*abs-send-time)\r?\n"
    return re.sub(left_out, "", offer)


class Encoded(MediaStreamTrack):
    """A file's packets, unchanged, in real time and over and over."""

    def __init__(self, kind: str, file: str, rate: int) -> None:
        super().__init__()
        self.kind = kind
        self._rate = rate
        self._packets = self._read(file)
        self._begun: float | None = None

    def _read(self, file: str) -> Iterator[tuple[bytes, int]]:
        begin = 0
        while True:
            with av.open(file) as container:
                stream = getattr(container.streams, self.kind)[0]
                end = 0
                annex_b = None
                if self.kind == "video":
                    annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
                for packet in container.demux(stream):
                    if packet.pts is None:
                        continue
                    at = round(packet.pts * packet.time_base * self._rate)
                    end = at + round((packet.duration or 0) * packet.time_base * self._rate)
                    for part in annex_b.filter(packet) if annex_b else (packet,):
                        yield bytes(part), begin + at
            begin += end

    async def recv(self) -> av.Packet:
        data, at = next(self._packets)
        loop = asyncio.get_running_loop()
        if self._begun is None:
            self._begun = loop.time() - at / self._rate
        await asyncio.sleep(max(0.0, self._begun + at / self._rate - loop.time()))
        packet = av.Packet(data)
        packet.pts = at
        packet.time_base = fractions.Fraction(1, self._rate)
        return packet


async def offer(pc: RTCPeerConnection, url: str, key: str, form: Callable[[str], str]) -> str:
    """Make the offer, take the answer; the session's path."""
    await pc.setLocalDescription(await pc.createOffer())
    headers = {"Content-Type": "application/sdp"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    body = form(pc.localDescription.sdp).encode()
    request = urllib.request.Request(url, body, headers)

    def post() -> tuple[str, str]:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers["Location"], answer.read().decode()

    location, text = await asyncio.to_thread(post)
    await pc.setRemoteDescription(RTCSessionDescription(text, "answer"))
    return location


def prefer_h264(pc: RTCPeerConnection) -> None:
    for transceiver in pc.getTransceivers():
        if transceiver.kind == "video":
            known = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([c for c in known if c.mimeType == "video/H264"])


async def publish(url: str, key: str, file: str, form: str) -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver(Encoded("audio", file, 48_000), direction="sendonly")
    pc.addTransceiver(Encoded("video", file, 90_000), direction="sendonly")
    prefer_h264(pc)
    await run(pc, url, key, as_obs if form == "obs" else str)


async def relays(url: str) -> list[RTCIceServer]:
    """The TURN servers that a viewer is told of: aiortc wants them before it makes its offer."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in ("audio", "video"):
        pc.addTransceiver(kind, direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    body = pc.localDescription.sdp.encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/sdp"})

    def ask() -> list[str]:
        with urllib.request.urlopen(request, timeout=10) as answer:
            session = urllib.parse.urljoin(url, answer.headers["Location"])
            links: list[str] = answer.headers.get_all("Link", [])
        gone = urllib.request.Request(session, method="DELETE")
        urllib.request.urlopen(gone, timeout=10).close()
        return links

    form = re.compile(r'<(turn:[^>]+)>; rel="ice-server"; username="(.*?)"; credential="(.*?)"')
    links = await asyncio.to_thread(ask)
    await pc.close()
    return [RTCIceServer(*found.groups()) for link in links if (found := form.match(link))]


async def watch(url: str, key: str, video: int, audio: int, relayed: bool) -> None:
    servers = await relays(url) if relayed else []
    pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
    jobs = []

    def picture(frame: av.VideoFrame) -> None:
        _whole(video, frame.reformat(format="yuv420p").to_ndarray().tobytes())

    def samples(frame: av.AudioFrame) -> None:
        both = frame.to_ndarray().reshape(-1, 2).astype(np.int32)
        _whole(audio, (both.sum(axis=1) // 2).astype(np.int16).tobytes())

    async def take(track: MediaStreamTrack) -> None:
        put = picture if track.kind == "video" else samples
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            await asyncio.to_thread(put, frame)

    pc.on("track", lambda track: jobs.append(asyncio.ensure_future(take(track))))
    for kind in ("audio", "video"):
        pc.addTransceiver(kind, direction="recvonly")
    await run(pc, url, key, without_estimates)


def _whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def run(pc: RTCPeerConnection, url: str, key: str, form: Callable[[str], str]) -> None:
    """Go on until told to stop, or until the session fails."""
    ended = asyncio.Event()
    states: list[str] = []

    def changed() -> None:
        states.append(pc.connectionState)
        print(pc.connectionState, flush=True)
        if pc.connectionState in ("failed", "closed"):
            ended.set()

    pc.on("connectionstatechange", changed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    location = await offer(pc, url, key, form)
    print(location, flush=True)
    await ended.wait()
    if states[-1:] == ["failed"]:
        raise SystemExit(1)
    request = urllib.request.Request(
        "/".join(url.split("/")[:3]) + location.partition("?")[0], method="DELETE"
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=5).close())
    await pc.close()


def main() -> None:
    what, url, key, *rest = sys.argv[1:]
    address = rest[1] if what == "publish" else rest[0]
    # It leaves out the loopback, where the tests are.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]
    if what == "publish":
        asyncio.run(publish(url, key, rest[0], rest[2] if len(rest) > 2 else "plain"))
    else:
        asyncio.run(watch(url, key, int(rest[1]), int(rest[2]), "relay" in rest[3:]))


if __name__ == "__main__":
    main()
