"""Chromium's own WebRTC on a page of the server: it goes on air, it watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .chromium import Chromium
from .clip import make
from .heliograph import Server
from .program import wait_until

_PUBLISH = """
async ([url, key, codec, scales]) => {
  const [width, height] = scales.length ? [1280, 720] : [640, 480];
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { width, height, frameRate: 30 }, audio: true });
  const pc = (window.pc = new RTCPeerConnection());
  const sendEncodings = scales.map(([rid, by]) => (
    { rid, scaleResolutionDownBy: by, maxBitrate: 2_400_000 / by ** 2 }));
  for (const track of stream.getTracks()) {
    const video = track.kind === "video";
    const layers = video && scales.length ? { sendEncodings } : {};
    const transceiver = pc.addTransceiver(track, { direction: "sendonly", ...layers });
    if (!video) continue;
    const known = RTCRtpSender.getCapabilities("video").codecs;
    const first = known.filter((one) => one.mimeType === codec);
    transceiver.setCodecPreferences([...first, ...known.filter((one) => !first.includes(one))]);
  }
  await pc.setLocalDescription();
  const answer = await fetch(url, { method: "POST", body: pc.localDescription.sdp,
    headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${key}` } });
  window.session = answer.headers.get("Location");
  const sdp = await answer.text();
  if (answer.ok) await pc.setRemoteDescription({ type: "answer", sdp });
  return answer.status;
}
"""

_WATCH = """
async ([url, blocks, codeRows, height]) => {
  const pc = (window.pc = new RTCPeerConnection());
  for (const kind of ["video", "audio"]) pc.addTransceiver(kind, { direction: "recvonly" });
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true, srcObject: new MediaStream() });
  document.body.append(video);
  pc.ontrack = (event) => video.srcObject.addTrack(event.track);
  const seen = (window.seen = { numbers: [], frames: 0 });
  const strip = new OffscreenCanvas(blocks, 1).getContext("2d", { willReadFrequently: true });
  strip.imageSmoothingEnabled = false;
  const look = () => {
    video.requestVideoFrameCallback(look);
    seen.frames++;
    const rows = (video.videoHeight * codeRows) / height;
    strip.drawImage(video, 0, video.videoHeight - rows / 2, video.videoWidth, 1, 0, 0, blocks, 1);
    const data = strip.getImageData(0, 0, blocks, 1).data;
    let [number, check] = [0, 0];
    for (let i = 0; i < blocks / 2; i++) number = number * 2 + (data[i * 4] >= 128 ? 1 : 0);
    for (let i = blocks / 2; i < blocks; i++) check = check * 2 + (data[i * 4] >= 128 ? 1 : 0);
    if ((number ^ check) === 0xffff && number !== seen.numbers.at(-1)) seen.numbers.push(number);
  };
  video.requestVideoFrameCallback(look);
  await pc.setLocalDescription();
  const answer = await fetch(url, { method: "POST", body: pc.localDescription.sdp,
    headers: { "Content-Type": "application/sdp" } });
  window.session = answer.headers.get("Location");
  const sdp = await answer.text();
  if (answer.ok) await pc.setRemoteDescription({ type: "answer", sdp });
  return answer.status;
}
"""

_STATS = """
async (type) => {
  const found = {};
  for (const one of (await pc.getStats()).values()) if (one.type === type) found[one.kind] = one;
  return found;
}
"""


_TONE = """
async () => {
  const track = pc.getReceivers().find((one) => one.track.kind === "audio").track;
  const context = (window.context ??= new AudioContext());
  const analyser = context.createAnalyser();
  Object.assign(analyser, { fftSize: 16384, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  await context.resume();
  await new Promise((done) => setTimeout(done, 1000));
  const levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  const loudest = levels.indexOf(Math.max(...levels));
  return [(loudest * context.sampleRate) / analyser.fftSize, levels[loudest]];
}
"""

#: The protocol of the path that ICE chose, as the browser's own candidate has it.
_PROTOCOL = """
async () => {
  const all = [...(await pc.getStats()).values()];
  const by = (id) => all.find((one) => one.id === id);
  const transport = all.find((one) => one.type === "transport");
  const pair = by(transport?.selectedCandidatePairId);
  return by(pair?.localCandidateId)?.protocol ?? "";
}
"""


class Page(Protocol):
    """A page of whatever browser."""

    def evaluate(self, script: str, argument: object = None) -> Any:
        """Call a function of the page's language."""

    def close(self) -> None:
        """Leave the page."""


class Peer:
    """A page with one peer connection."""

    def __init__(self, tab: Page, status: int) -> None:
        self.tab = tab
        self.status = status
        """Of the answer to the offer."""

    def stats(self, type: str) -> dict[str, dict[str, Any]]:
        """``getStats`` of one type (``inbound-rtp``, ``outbound-rtp``), by kind of media."""
        found: dict[str, dict[str, Any]] = self.tab.evaluate(_STATS, type)
        return found

    def tone(self) -> tuple[float, float]:
        """What is heard: the loudest frequency, Hz, and its level, dB of full scale."""
        frequency, level = self.tab.evaluate(_TONE)
        return frequency, level

    @property
    def session(self) -> str:
        """Path of the session."""
        found: str = self.tab.evaluate("() => window.session")
        return found

    @property
    def state(self) -> str:
        found: str = self.tab.evaluate("() => pc.connectionState")
        return found

    @property
    def dtls(self) -> str:
        """State of the DTLS transport; ``closed`` once the server has said goodbye."""
        found: str = self.tab.evaluate("() => pc.getTransceivers()[0].receiver.transport.state")
        return found

    @property
    def protocol(self) -> str:
        """``udp`` or ``tcp``, once connected."""
        found: str = self.tab.evaluate(_PROTOCOL)
        return found

    @property
    def frames(self) -> int:
        """Pictures shown so far."""
        found: int = self.tab.evaluate("() => seen.frames")
        return found

    @property
    def numbers(self) -> list[int]:
        """Numbers of the clip's pictures shown so far."""
        found: list[int] = self.tab.evaluate("() => seen.numbers")
        return found

    def wait_frames(self, count: int, seconds: float) -> None:
        """Wait until ``count`` more pictures were shown."""
        begin = self.frames
        wait_until(lambda: self.frames - begin >= count, seconds, f"{count} pictures by WebRTC")

    def close(self) -> None:
        self.tab.close()


def publish(
    chromium: Chromium,
    server: Server,
    channel: str,
    key: str,
    codec: str = "video/H264",
    scales: Mapping[str, int] | None = None,
) -> Peer:
    """Go on air with the fake camera; ``scales``: simulcast layers in the order offered, and what
    the picture is scaled down by for each."""
    tab = chromium.open(f"{server.http}/", permissions=["camera", "microphone"])
    return publish_from(tab, server, channel, key, codec, scales)


def publish_from(
    page: Page,
    server: Server,
    channel: str,
    key: str,
    codec: str,
    scales: Mapping[str, int] | None = None,
) -> Peer:
    """Go on air with the camera of a page's browser."""
    given = [f"{server.http}/whip/{channel}", key, codec, list((scales or {}).items())]
    return Peer(page, page.evaluate(_PUBLISH, given))


def watch(chromium: Chromium, server: Server, channel: str) -> Peer:
    """Watch a channel."""
    return watch_in(chromium.open(f"{server.http}/"), server, channel)


def watch_in(page: Page, server: Server, channel: str) -> Peer:
    """Watch a channel in a page."""
    sizes = [make.BLOCKS, make.CODE_ROWS, make.HEIGHT]
    return Peer(page, page.evaluate(_WATCH, [f"{server.http}/whep/{channel}", *sizes]))
