"""GStreamer's rtspsrc as a person uses a player; run by Debian's Python.

    gst_title_player.py URL TRANSPORT [ACTION NUMBER]…

Actions, one after another: ``pictures N`` waits for so many since the action before, ``pause S``
rests for so many seconds, ``seek S`` goes there, ``rate R`` plays so many times as fast from where
it is. It says ``picture PTS MD5`` of each, ``sound`` for a buffer of it, ``duration S``,
``did ACTION``, and ``end`` at the end. ``stop 0`` ends it before.
"""

import hashlib
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

url, transport, *words = sys.argv[1:]
actions = list(zip(words[::2], map(float, words[1::2]), strict=True))
Gst.init(None)
pipeline = Gst.parse_launch(
    f"rtspsrc name=source location={url} protocols={transport} latency=500 "
    "queue name=video ! rtph264depay ! h264parse ! avdec_h264 max-threads=1 "
    "! video/x-raw,format=I420 ! appsink name=pictures sync=true emit-signals=true "
    "queue name=audio ! decodebin ! appsink name=sounds sync=true emit-signals=true"
)
loop = GLib.MainLoop()
code = pictures = 0


def say(*said: object) -> None:
    sys.stdout.write(" ".join(map(str, said)) + "\n")  # in one piece: several threads do
    sys.stdout.flush()


def link(_source: Gst.Element, pad: Gst.Pad) -> None:
    media = pad.get_current_caps().get_structure(0).get_string("media")
    pad.link(pipeline.get_by_name(media).get_static_pad("sink"))


def shown(sink: Gst.Element) -> Gst.FlowReturn:
    buffer = sink.emit("pull-sample").get_buffer()
    _, data = buffer.map(Gst.MapFlags.READ)
    digest = hashlib.md5(data.data).hexdigest()
    buffer.unmap(data)
    GLib.idle_add(count, buffer.pts, digest)
    return Gst.FlowReturn.OK


def count(pts: int, digest: str) -> bool:
    global pictures
    pictures += 1
    say("picture", pts / 1e9, digest)
    if actions and actions[0][0] == "pictures" and pictures >= actions[0][1]:
        act()
    return False


def sounded(sink: Gst.Element) -> Gst.FlowReturn:
    sink.emit("pull-sample")
    say("sound")
    return Gst.FlowReturn.OK


def act() -> bool:
    """Do what comes next, up to what has to be waited for."""
    global pictures
    while actions:
        what, number = actions[0]
        if what == "pictures" and pictures < number:
            return False
        actions.pop(0)
        if what == "pictures":
            pictures = 0
            _, duration = pipeline.query_duration(Gst.Format.TIME)
            say("duration", duration / 1e9)
        elif what == "stop":
            loop.quit()
        elif what == "pause":
            pipeline.set_state(Gst.State.PAUSED)
            say("did", what)
            GLib.timeout_add(round(number * 1000), go_on)
            return False
        else:
            seek(what, number)
        say("did", what)
    return False


def seek(what: str, number: float) -> None:
    flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
    rate = 1.0
    if what == "rate":
        flags |= Gst.SeekFlags.SKIP | Gst.SeekFlags.TRICKMODE
        rate, (_, position) = number, pipeline.query_position(Gst.Format.TIME)
    else:
        position = round(number * 1e9)
    none = Gst.SeekType.NONE
    if not pipeline.seek(rate, Gst.Format.TIME, flags, Gst.SeekType.SET, position, none, -1):
        say("refused", what)


def go_on() -> bool:
    pipeline.set_state(Gst.State.PLAYING)
    act()
    return False


def heard(_bus: Gst.Bus, message: Gst.Message) -> None:
    global code
    if message.type == Gst.MessageType.ERROR:
        print(*message.parse_error(), sep="\n", file=sys.stderr, flush=True)
        code = 1
        loop.quit()
    elif message.type == Gst.MessageType.EOS:
        say("end")
        loop.quit()


pipeline.get_by_name("source").connect("pad-added", link)
pipeline.get_by_name("pictures").connect("new-sample", shown)
pipeline.get_by_name("sounds").connect("new-sample", sounded)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message", heard)
pipeline.set_state(Gst.State.PLAYING)
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, 15, loop.quit)
loop.run()
pipeline.set_state(Gst.State.NULL)
sys.exit(code)
