"""Make the payload fixtures beside this file, with ffmpeg, GStreamer and PyAV (FFmpeg 8, for AV1).

For each case ``CODEC-CASE.rtp`` holds the packets as they were sent, each behind its length (16
bits), and ``CODEC-CASE.units`` what the encoder made: for each access unit its RTP timestamp
relative to the first (32 bits), a key byte, its length (32 bits) and its bytes, big endian.
``CODEC-CASE.sets`` holds parameter sets sent out of band, like packets. The units come from the
elementary stream file, never from the packets.
"""

import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av

HERE = Path(__file__).parent
PICTURE = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=15", "-pix_fmt", "yuv420p"]
TONE = ["-f", "lavfi", "-i", "sine=440:r=48000:duration=0.5"]
QUIET = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg to its end."""
    subprocess.run([*QUIET, *arguments], check=True)


def gstreamer(pipeline: str, target: Path) -> None:
    """Payload a file; ``rtpstreampay`` writes the length before each packet (RFC 4571)."""
    line = f"{pipeline} ! rtpstreampay ! filesink location={target}"
    subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True)


def capture(send: Callable[[int], None], target: Path) -> None:
    """Keep what ``send`` sends to a port of the loopback interface."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(1.0)
    packets: list[bytes] = []

    def receive() -> None:
        while True:
            try:
                packets.append(receiver.recv(65536))
            except TimeoutError:
                if packets:
                    return

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    send(receiver.getsockname()[1])
    thread.join()
    target.write_bytes(b"".join(struct.pack(">H", len(p)) + p for p in packets))


def ffmpeg_rtp(source: Path, *options: str, size: int = 400) -> Callable[[int], None]:
    """Send a file with ffmpeg's RTP muxer, without its RTCP."""

    def send(port: int) -> None:
        url = f"rtp://127.0.0.1:{port}?pkt_size={size}&rtcpport={unused_port()}"
        output = [*options, "-f", "rtp", "-sdp_file", "/dev/null", url]
        ffmpeg("-i", str(source), "-c", "copy", *output)

    return send


def pyav_rtp(source: Path, size: int = 400) -> Callable[[int], None]:
    """Send a file with the RTP muxer of PyAV's FFmpeg."""

    def send(port: int) -> None:
        url = f"rtp://127.0.0.1:{port}?pkt_size={size}&rtcpport={unused_port()}"
        with (
            av.open(str(source)) as given,
            av.open(url, "w", format="rtp", options={"strict": "experimental"}) as sent,
        ):
            stream = sent.add_stream_from_template(given.streams[0], opaque=True)
            for packet in given.demux():
                if packet.size:
                    packet.stream = stream
                    sent.mux(packet)

    return send


def unused_port() -> int:
    """A port where RTCP disturbs nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def annex_b(data: bytes) -> bytes:
    """Write all start codes with four bytes."""
    nals = [nal.rstrip(b"\0") for nal in data.split(b"\0\0\1")]
    return b"".join(b"\0\0\0\1" + nal for nal in nals if nal)


def sets_first(data: bytes) -> bytes:
    """Put SPS and PPS where H.264 section 7.4.1.2.3 wants them; ffmpeg inserts them behind SEI."""
    nals = annex_b(data).split(b"\0\0\0\1")[1:]
    nals.sort(key=lambda nal: nal[0] & 31 not in (7, 8))
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def without_temporal_delimiters(data: bytes) -> bytes:
    """Drop AV1 OBUs of type 2."""
    kept, at = b"", 0
    while at < len(data):
        begin, header = at, data[at]
        at += 2 if header & 4 else 1
        size = shift = 0
        while True:
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        at += size
        if header >> 3 & 15 != 2:
            kept += data[begin:at]
    return kept


def adts(data: bytes) -> bytes:
    """Drop the ADTS header."""
    return data[7 if data[1] & 1 else 9 :] if data[:1] == b"\xff" else data


def units(source: Path, rate: int, change: Callable[[bytes], bytes] = bytes) -> bytes:
    """The access units of an elementary stream, times in ``rate``."""
    made: list[tuple[int, bool, bytes]] = []
    with av.open(str(source)) as given:
        for packet in given.demux():
            if packet.size:
                ticks = packet.pts or 0
                time = round(ticks * packet.time_base * rate)
                made.append((time, packet.is_keyframe, change(bytes(packet))))
    first = made[0][0]
    return b"".join(
        struct.pack(">IBI", (time - first) & 0xFFFFFFFF, key, len(data)) + data
        for time, key, data in made
    )


def parameter_sets(path: Path) -> Iterator[bytes]:
    """SPS and PPS of an MP4 file (``avcC``)."""
    with av.open(str(path)) as given:
        record = bytes(given.streams[0].codec_context.extradata or b"")
    at = 5
    for mask in (31, 255):
        count, at = record[at] & mask, at + 1
        for _ in range(count):
            (size,) = struct.unpack_from(">H", record, at)
            yield record[at + 2 : at + 2 + size]
            at += 2 + size


def video(work: Path) -> None:
    """Pictures."""
    frames = [*PICTURE, "-frames:v", "12"]
    x264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "6", "-b:v", "150k"]
    params = "slices=2:repeat-headers=1:aud=1"
    ffmpeg(*frames, *x264, "-bf", "0", "-x264-params", params, f"{work}/a.h264")
    params = "intra-refresh=1:repeat-headers=1"
    ffmpeg(*frames, *x264, "-bf", "0", "-x264-params", params, f"{work}/refresh.h264")
    ffmpeg(*frames, *x264, "-bf", "2", "-flags", "+global_header", f"{work}/oob.mp4")
    ffmpeg("-i", f"{work}/oob.mp4", "-c", "copy", f"{work}/oob.h264")
    params = "keyint=6:bframes=2:repeat-headers=1:log-level=error"
    x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-b:v", "150k", "-x265-params", params]
    ffmpeg(*frames, *x265, f"{work}/a.hevc")
    vpx = ["-g", "6", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "150k"]
    ffmpeg(*frames, "-c:v", "libvpx", *vpx, f"{work}/vp8.ivf")
    ffmpeg(*frames, "-c:v", "libvpx-vp9", *vpx, f"{work}/vp9.ivf")
    aom = ["-c:v", "libaom-av1", "-g", "6", "-usage", "realtime", "-cpu-used", "8"]
    ffmpeg(*frames, *aom, "-b:v", "100k", f"{work}/a.obu")
    mpeg2 = ["-c:v", "mpeg2video", "-r", "25", "-g", "6", "-bf", "0", "-b:v", "250k"]
    ffmpeg(*frames, *mpeg2, "-f", "mpeg2video", f"{work}/a.m2v")

    cases: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
        ("h264", "a.h264", annex_b, "h264parse ! rtph264pay aggregate-mode=zero-latency"),
        ("h265", "a.hevc", annex_b, "h265parse ! rtph265pay aggregate-mode=zero-latency"),
        ("vp8", "vp8.ivf", bytes, "ivfparse ! rtpvp8pay picture-id-mode=2"),
        ("vp9", "vp9.ivf", bytes, "ivfparse ! vp9parse ! rtpvp9pay picture-id-mode=2"),
        ("mpeg2", "a.m2v", bytes, "mpegvideoparse ! rtpmpvpay"),
    ]
    for codec, name, change, payload in cases:
        made = units(work / name, 90000, change)
        for by in ("ffmpeg", "gstreamer"):
            (HERE / f"{codec}-{by}.units").write_bytes(made)
        gstreamer(
            f"filesrc location={work}/{name} ! {payload} mtu=400", HERE / f"{codec}-gstreamer.rtp"
        )
        options = ["-strict", "experimental"]
        capture(ffmpeg_rtp(work / name, *options), HERE / f"{codec}-ffmpeg.rtp")

    made = units(work / "a.obu", 90000, without_temporal_delimiters)
    (HERE / "av1-ffmpeg.units").write_bytes(made)
    capture(pyav_rtp(work / "a.obu"), HERE / "av1-ffmpeg.rtp")
    made = units(work / "refresh.h264", 90000, annex_b)
    (HERE / "h264-intra-refresh.units").write_bytes(made)
    capture(ffmpeg_rtp(work / "refresh.h264"), HERE / "h264-intra-refresh.rtp")
    made = units(work / "oob.h264", 90000, sets_first)
    (HERE / "h264-out-of-band.units").write_bytes(made)
    capture(ffmpeg_rtp(work / "oob.mp4", size=1200), HERE / "h264-out-of-band.rtp")
    (HERE / "h264-out-of-band.sets").write_bytes(
        b"".join(struct.pack(">H", len(nal)) + nal for nal in parameter_sets(work / "oob.mp4"))
    )


def audio(work: Path) -> None:
    """Sound."""
    ffmpeg(*TONE, "-c:a", "aac", "-b:a", "48k", "-f", "adts", f"{work}/a.aac")
    ffmpeg("-i", f"{work}/a.aac", "-c", "copy", f"{work}/a.m4a")
    ffmpeg(*TONE, "-c:a", "libopus", "-b:a", "32k", f"{work}/a.ogg")
    aac = units(work / "a.aac", 48000, adts)
    for case in ("aac-ffmpeg", "aac-gstreamer", "latm-ffmpeg", "latm-gstreamer"):
        (HERE / f"{case}.units").write_bytes(aac)
    capture(ffmpeg_rtp(work / "a.m4a", size=1200), HERE / "aac-ffmpeg.rtp")
    latm = ["-rtpflags", "latm"]
    capture(ffmpeg_rtp(work / "a.m4a", *latm, size=120), HERE / "latm-ffmpeg.rtp")
    source = f"filesrc location={work}/a.aac ! aacparse"
    gstreamer(f"{source} ! rtpmp4gpay mtu=100", HERE / "aac-gstreamer.rtp")
    gstreamer(f"{source} ! rtpmp4apay mtu=100", HERE / "latm-gstreamer.rtp")
    (HERE / "opus-gstreamer.units").write_bytes(units(work / "a.ogg", 48000))
    source = f"filesrc location={work}/a.ogg ! oggdemux ! opusparse"
    gstreamer(f"{source} ! rtpopuspay", HERE / "opus-gstreamer.rtp")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        video(Path(name))
        audio(Path(name))
    sys.exit(0)
