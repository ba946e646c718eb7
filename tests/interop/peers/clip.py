"""The clip and what a right decoder makes of it."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

MAKE = Path(__file__).parents[2] / "data" / "clips" / "make.py"
CACHE = Path(__file__).parents[3] / ".cache" / "clips"


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clip_make", MAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _maker()
PICTURE_BYTES = make.WIDTH * make.HEIGHT * 3 // 2


class Clip:
    """The files to publish and the reference to compare with."""

    def __init__(self) -> None:
        version = hashlib.sha256(MAKE.read_bytes()).hexdigest()[:12]
        directory = CACHE / version
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "reference.npz").exists():
                subprocess.run([sys.executable, str(MAKE), str(directory)], check=True)
        self.opus = directory / "clip.opus.mp4"
        self.aac = directory / "clip.aac.mp4"
        with np.load(directory / "reference.npz") as reference:
            self._digests = [str(digest) for digest in reference["digests"]]
            self._smalls = reference["smalls"]

    def number(self, picture: bytes) -> int | None:
        """Number of an I420 picture; None where it cannot be read."""
        luma = np.frombuffer(picture, np.uint8, make.WIDTH * make.HEIGHT)
        number: int | None = make.read_number(luma.reshape(make.HEIGHT, make.WIDTH))
        return number

    def is_exact(self, picture: bytes, number: int) -> bool:
        """Whether an I420 picture is bit by bit what the decoder of the reference made."""
        return hashlib.md5(picture).hexdigest() == self._digests[number]

    def psnr(self, small_luma: bytes, number: int) -> float:
        """Likeness, in dB, of a luma picture of the small size without the rows of the code."""
        rows = make.SMALL_HEIGHT - make.SMALL_HEIGHT * make.CODE_ROWS // make.HEIGHT
        shape = make.SMALL_HEIGHT, make.SMALL_WIDTH
        seen = np.frombuffer(small_luma, np.uint8).reshape(shape)[:rows].astype(float)
        error = float(np.mean((seen - self._smalls[number][:rows]) ** 2))
        return math.inf if error == 0 else 10 * math.log10(255**2 / error)
