"""GStreamer's RTSP server with films from files, each viewer's for itself. Runs in Debian's Python.

Arguments: RTSP port, then the files, which are ``/t0``, ``/t1`` and so on.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    '( filesrc location="{file}" ! qtdemux name=film '
    "film.video_0 ! queue ! rtph264pay name=pay0 pt=96 mtu=1200 "
    "film.audio_0 ! queue ! rtpmp4gpay name=pay1 pt=97 )"
)


def main() -> None:
    """Serve until killed."""
    rtsp_port, *files = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(rtsp_port)
    server.set_backlog(512)
    for number, file in enumerate(files):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(LAUNCH.format(file=file))
        factory.set_latency(0)
        server.get_mount_points().add_factory(f"/t{number}", factory)
    server.attach(None)
    GLib.MainLoop().run()


main()
