"""GStreamer's RTSP server as a relay: plain RTP in, RTSP out. Runs in Debian's Python.

Arguments: RTSP port, RTP port, ``video`` or ``audio``, ``frames`` (taken apart and packed again) or
``packets`` (handed on as they come).
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

VIDEO_CAPS = "application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96"
AUDIO_CAPS = "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=97"
SOURCE = 'udpsrc address=127.0.0.1 port={{port}} buffer-size=4194304 caps="{caps}"'
VIDEO = (
    f"( {SOURCE.format(caps=VIDEO_CAPS)} ! rtph264depay ! "
    "video/x-h264,stream-format=avc,alignment=au ! "
    "rtph264pay name=pay0 pt=96 mtu=1200 aggregate-mode=none )"
)
AUDIO = f"( {SOURCE.format(caps=AUDIO_CAPS)} ! rtpopusdepay ! rtpopuspay name=pay0 pt=97 )"
# A payloader is whatever is called pay0 and has RTP at its source pad.
PACKETS = "( " + SOURCE + " ! identity name=pay0 )"
#: By kind and way.
LAUNCH = {
    ("video", "frames"): VIDEO,
    ("audio", "frames"): AUDIO,
    ("video", "packets"): PACKETS.format(caps=VIDEO_CAPS),
    ("audio", "packets"): PACKETS.format(caps=AUDIO_CAPS),
}


def main() -> None:
    """Serve ``/bench`` until killed."""
    rtsp_port, rtp_port, kind, way = sys.argv[1:5]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(rtsp_port)
    server.set_backlog(512)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH[kind, way].format(port=rtp_port))
    factory.set_shared(True)
    factory.set_latency(0)
    server.get_mount_points().add_factory("/bench", factory)
    server.attach(None)
    GLib.MainLoop().run()


main()
