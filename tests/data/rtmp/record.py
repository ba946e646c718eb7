"""Record what real publishers send to an RTMP server: ``python tests/data/rtmp/record.py``.

Writes ``NAME.bin`` beside this file: all bytes of the client, handshake included. ffmpeg sends
H.264 and AAC in plain FLV; PyAV's FFmpeg 8 sends what needs Enhanced RTMP.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from heliograph.protocols.rtmp import ServerSession, events

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, RATE, SECONDS = 160, 90, 15, 1.5
#: Codecs and the encoder's options by name of the capture.
ENHANCED = {
    "pyav-hevc-aac": (
        "libx265",
        "aac",
        {"preset": "ultrafast", "x265-params": "bframes=2:keyint=15:log-level=error"},
    ),
    "pyav-av1-opus": ("libsvtav1", "libopus", {"preset": "11"}),
    "pyav-vp9-opus": ("libvpx-vp9", "libopus", {"deadline": "realtime", "cpu-used": "8"}),
    "pyav-h264-aac": ("libx264", "aac", {"preset": "veryfast", "bf": "2"}),
}


def ffmpeg(url: str) -> list[str]:
    """ffmpeg 5.1 of Debian, as most people publish."""
    return [
        *("ffmpeg", "-hide_banner", "-loglevel", "error", "-re"),
        *("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", str(SECONDS)),
        *("-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", str(RATE)),
        *("-b:v", "100k", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k", "-ac", "2"),
        *("-f", "flv", url),
    ]


def publish(url: str, name: str) -> None:
    """PyAV as the publisher."""
    video_codec, audio_codec, options = ENHANCED[name]
    with av.open(url, "w", format="flv") as container:
        video = container.add_stream(video_codec, rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.gop_size = RATE
        video.bit_rate = 100_000
        audio = container.add_stream(audio_codec, rate=48_000, layout="stereo")
        graph = av.filter.Graph()
        source = graph.add("testsrc2", f"size={WIDTH}x{HEIGHT}:rate={RATE}")
        source.link_to(graph.add("buffersink"))
        graph.configure()
        samples = 0
        for number in range(int(RATE * SECONDS)):
            frame = graph.pull().reformat(format="yuv420p")
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, RATE), 0
            container.mux(video.encode(frame))
            while samples / 48_000 < (number + 1) / RATE:
                wave = np.sin(np.arange(samples, samples + 960) * 2 * np.pi * 440 / 48_000)
                stereo = np.repeat((wave * 8000).astype(np.int16), 2).reshape(1, -1)
                sound = av.AudioFrame.from_ndarray(stereo, format="s16", layout="stereo")
                sound.sample_rate, sound.pts = 48_000, samples
                sound.time_base = Fraction(1, 48_000)
                container.mux(audio.encode(sound))
                samples += 960
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


async def record(name: str) -> None:
    """Run one publisher against a server of one connection."""
    captured = bytearray()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = ServerSession(random=os.urandom, now=time.monotonic())
        while not session.closing and (data := await reader.read(1 << 16)):
            captured.extend(data)
            session.receive_data(data, time.monotonic())
            while (event := session.next_event()) is not None:
                if isinstance(event, events.PublishRequested):
                    session.accept()
            writer.write(session.data_to_send())
            await writer.drain()
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/camera?key=secret"
    command = [sys.executable, __file__, name, url] if name in ENHANCED else ffmpeg(url)
    process = await asyncio.create_subprocess_exec(*command)
    await asyncio.wait_for(asyncio.gather(process.wait(), over.wait()), 60)
    (HERE / f"{name}.bin").write_bytes(captured)
    print(name, len(captured))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        publish(sys.argv[2], sys.argv[1])
    else:
        for capture in ("ffmpeg-h264-aac", *ENHANCED):
            asyncio.run(record(capture))
