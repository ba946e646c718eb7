"""GStreamer's webrtcbin puts a file on air by WHIP: gst_whip.py URL KEY FILE [PEM].

Runs in Debian's Python. With ``PEM`` the peer is the one of that certificate and key, without it
the one of GStreamer's own making, which is RSA.

It is this system's webrtcbin, older than the one of ``whip_client.py``. As that does, it sends its
candidates later, by PATCH.
"""

from __future__ import annotations

import hashlib
import re
import signal
import ssl
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PIPELINE = """
webrtcbin name=out bundle-policy=max-bundle
filesrc location={file} ! qtdemux name=demux
demux.video_0 ! queue ! clocksync ! h264parse config-interval=-1
! rtph264pay aggregate-mode=zero-latency mtu=1200 pt=96
! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000 ! out.
demux.audio_0 ! queue ! clocksync ! opusparse ! rtpopuspay pt=97
! application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000 ! out.
"""


class Publisher:
    """One session."""

    def __init__(self, url: str, key: str, file: str, pem: str = "") -> None:
        self._url = url
        self._key = key
        self._session = ""
        self._etag = ""
        self._candidates: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        self._pipeline = Gst.parse_launch(PIPELINE.format(file=file))
        self._pem = pem and Path(pem).read_text()
        self._pipeline.connect("deep-element-added", self._added)
        self._peer = self._pipeline.get_by_name("out")
        self._peer.connect("on-negotiation-needed", self._needed)
        self._peer.connect("on-ice-candidate", self._candidate)
        self._peer.connect("notify::connection-state", self._state)
        self._pipeline.set_state(Gst.State.PLAYING)

    def _added(self, _pipeline, _bin, element) -> None:
        made_by = element.get_factory()
        if self._pem and made_by and made_by.get_name() == "dtlssrtpdec":
            element.set_property("pem", self._pem)

    def _needed(self, peer) -> None:
        for index in range(2):
            sending = peer.emit("get-transceiver", index)
            sending.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offer, None))

    def _offer(self, promise, _) -> None:
        reply = promise.get_reply()  # the offer lives as long as this
        offer = reply.get_value("offer")
        self._peer.emit("set-local-description", offer, Gst.Promise.new())
        text = self._with_fingerprint(offer.sdp.as_text())
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self._url, text.encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
            session = urllib.parse.urljoin(self._url, answer.headers["Location"])
            etag = answer.headers["ETag"]
        _, sdp = GstSdp.SDPMessage.new_from_text(body.decode())
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        described = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self._peer.emit("set-remote-description", described, Gst.Promise.new())
        names = [
            line for line in text.splitlines() if line.startswith(("a=ice-ufrag", "a=ice-pwd"))
        ]
        with self._lock:
            self._names = names[:2]
            self._session, self._etag = session, etag
        self._trickle()

    def _with_fingerprint(self, offer: str) -> str:
        """Name the certificate that is used: the offer names the one made before it was given."""
        if not self._pem:
            return offer
        certificate = self._pem[self._pem.index("-----BEGIN CERTIFICATE") :]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
        print_ = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
        return re.sub(r"(?m)^a=fingerprint:.*?(\r?)$", f"a=fingerprint:sha-256 {print_}\\1", offer)

    def _candidate(self, _peer, place: int, candidate: str) -> None:
        with self._lock:
            self._candidates.append((place, candidate))
        GLib.timeout_add(50, self._trickle)

    def _trickle(self) -> bool:
        with self._lock:
            if not self._session or not self._candidates:
                return False
            lines = [*self._names, "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:video0"]
            lines += [f"a={candidate}" for _, candidate in self._candidates]
            self._candidates.clear()
        headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": self._etag}
        body = "\r\n".join([*lines, ""]).encode()
        request = urllib.request.Request(self._session, body, headers, method="PATCH")
        with urllib.request.urlopen(request, timeout=10) as answer:
            print("trickled", answer.status, flush=True)
        return False

    def _state(self, peer, _) -> None:
        print(peer.get_property("connection-state").value_nick, flush=True)

    def leave(self) -> None:
        """End the session."""
        self._pipeline.set_state(Gst.State.NULL)
        if self._session:
            urllib.request.urlopen(
                urllib.request.Request(self._session, method="DELETE"), timeout=5
            ).close()


def main() -> None:
    """Publish until told to stop."""
    Gst.init(None)
    publisher = Publisher(*sys.argv[1:5])
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    loop.run()
    publisher.leave()


main()
