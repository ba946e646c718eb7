"""A page by HTTPS from another address than localhost, as a phone on the network opens it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import load_pem_x509_certificate

from heliograph.node.addresses import interfaces

from .peers.chromium import Chromium, Tab
from .peers.heliograph import KEY, Server
from .test_on_air import SHOTS, plays, press

pytestmark = [pytest.mark.interop, pytest.mark.browser]

_SECURE = "() => [isSecureContext, 'VideoDecoder' in window, 'mediaDevices' in navigator]"


def test_a_phone_goes_on_air_and_another_watches_by_websocket_over_tls(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    address = next(one for one in interfaces() if one.version == 4 and not one.is_loopback)
    server = serve(
        {"name": "clip", "title": "From a phone", "key": KEY},
        settings={"http": {"host": "0.0.0.0"}, "https": {"host": "0.0.0.0"}},
    )
    # What a person reads at the start is where to go and what to compare.
    place = f"{address}:{server.https_port}"
    assert f"https://{place}/" in server.log
    told = re.search(r"SHA-256 ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", server.log)
    shown = ssl.get_server_certificate((str(address), server.https_port))
    digest = load_pem_x509_certificate(shown.encode()).fingerprint(hashes.SHA256())
    assert told
    assert told[1] == digest.hex(":").upper()

    plain = chromium.open(f"http://{address}:{server.http_port}/live/clip")
    assert plain.evaluate(_SECURE) == [False, False, False], "the control"
    plain.close()

    def open_page(path: str) -> Tab:
        return chromium.open(
            f"https://{place}{path}",
            permissions=["camera", "microphone"],
            ignore_https_errors=True,
        )

    phone = open_page(f"/live/clip#key={KEY}")
    assert phone.evaluate(_SECURE) == [True, True, True]
    press(phone, "Start")
    server.until_state("clip", "on_air", 30)
    viewer = open_page("/watch/clip?way=websocket")
    plays(viewer, "websocket")
    metrics = server.get("/metrics")[1]
    assert "\nhelio_https_websockets_total 1.0\n" in metrics
    phone.screenshot(SHOTS / "https-on-air.png")
    viewer.screenshot(SHOTS / "https-watched.png")
    press(phone, "Stop")
    server.until_state("clip", "waiting")
    for tab in (phone, viewer):
        assert tab.complaints == []
        tab.close()
