"""GStreamer's rtspsrc into two descriptors; run by Debian's Python.

    gst_rtsp_player.py URL TRANSPORT VIDEO_FD AUDIO_FD [USER PASSWORD]

gst-launch would do, but its delayed links look for a free pad without a lock: when both tracks
appear in the same moment, as they do on a channel that begins with a burst, one may stay unlinked.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

url, transport, video_fd, audio_fd = sys.argv[1:5]
Gst.init(None)
login = f"user-id={sys.argv[5]} user-pw={sys.argv[6]}" if len(sys.argv) > 5 else ""
pipeline = Gst.parse_launch(
    f"rtspsrc name=source location={url} protocols={transport} latency=200 {login} "
    "queue name=video ! rtph264depay ! h264parse ! avdec_h264 max-threads=1 "
    f"! video/x-raw,format=I420 ! fdsink fd={video_fd} sync=false "
    "queue name=audio ! rtpopusdepay ! opusdec ! audioconvert ! audioresample "
    f"! audio/x-raw,format=S16LE,rate=48000,channels=1 ! fdsink fd={audio_fd} sync=false"
)
loop = GLib.MainLoop()
code = 0


def link(_source: Gst.Element, pad: Gst.Pad) -> None:
    media = pad.get_current_caps().get_structure(0).get_string("media")
    pad.link(pipeline.get_by_name(media).get_static_pad("sink"))


def heard(_bus: Gst.Bus, message: Gst.Message) -> None:
    global code
    if message.type == Gst.MessageType.ERROR:
        print(*message.parse_error(), sep="\n", file=sys.stderr, flush=True)
        code = 1
        loop.quit()
    elif message.type == Gst.MessageType.EOS:
        print("end of stream", flush=True)
        loop.quit()


pipeline.get_by_name("source").connect("pad-added", link)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message", heard)
pipeline.set_state(Gst.State.PLAYING)
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, 15, loop.quit)
loop.run()
pipeline.set_state(Gst.State.NULL)
sys.exit(code)
