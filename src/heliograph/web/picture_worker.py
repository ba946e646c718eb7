"""The process that makes pictures: a key access unit in, a JPEG out.

Decoders are large programs fed with strangers' bytes. Here a crash, endless work or a bomb costs
one picture and this process, which has little memory and is made anew.

Standard input: messages of ``!B I`` (lengths of the codec's name and of the data), name, data.
Standard output for each: ``!I`` (length; 0: no picture) and the JPEG.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
from fractions import Fraction
from typing import BinaryIO

REQUEST = struct.Struct("!BI")
ANSWER = struct.Struct("!I")

WIDTH = 320
#: 8192 × 4320, the largest picture of H.265's level 6.2: what is larger is an attack.
MAX_PIXELS = 8192 * 4320
#: Address space: libraries, one picture of MAX_PIXELS with its references, and as much again.
MEMORY = 2 << 30
#: Quantiser of the JPEG, 1 (best) to 31: about 15 kB for 320 pixels of a camera.
QUALITY = 5

#: ``model.media.Codec`` → FFmpeg's decoder.
DECODERS = {
    "h264": "h264",
    "h265": "hevc",
    "vp8": "vp8",
    "vp9": "vp9",
    "av1": "libdav1d",
    "mpeg2": "mpeg2video",
}


def make_jpeg(codec: str, data: bytes) -> bytes:
    """Decode ``data`` and give a small JPEG; empty where that cannot be done."""
    import av  # late: importing takes a third of a second, and only this process needs it

    try:
        decoder = av.CodecContext.create(DECODERS[codec], "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        if not frames:
            return b""
        frame = frames[0]
        height = max(2, round(WIDTH * frame.height / frame.width / 2) * 2)
        small = frame.reformat(width=WIDTH, height=min(height, 4 * WIDTH), format="yuvj420p")
        small.pts = 0
        encoder = av.CodecContext.create("mjpeg", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height = small.width, small.height
        encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1)
        encoder.qmin = encoder.qmax = QUALITY
        return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])
    except (av.FFmpegError, KeyError, ValueError, MemoryError, ZeroDivisionError):
        return b""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the input ends."""
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        name_size, size = REQUEST.unpack(head)
        name, data = requests.read(name_size), requests.read(size)
        if len(data) < size:
            return
        jpeg = make_jpeg(name.decode("ascii", "replace"), data)
        answers.write(ANSWER.pack(len(jpeg)) + jpeg)
        answers.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)  # pictures never take the processor from the relay
    # Whatever libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
