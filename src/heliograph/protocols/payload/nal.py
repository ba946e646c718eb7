"""What H.264 and H.265 share: NAL units in byte streams, parameter sets, whole access units."""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections.abc import Iterable

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import FrameAssembler

START_CODE = b"\x00\x00\x00\x01"
#: A 4K picture cut into slices of 1 200 bytes at MAX_UNIT_SIZE has 7 000; more is an attack on the
#: memory every object costs.
MAX_NALS = 8192
#: Encoders write one or two; H.264 allows 32 SPS and 256 PPS, and no stream met has more than 16.
MAX_PARAMETER_SETS = 64
#: Real ones are below 200 bytes; scaling lists make them a few hundred.
MAX_PARAMETER_SET_SIZE = 4096

_SHORT_START = re.compile(rb"\x00\x00\x01")


def split_annexb(data: bytes) -> list[bytes]:
    """NAL units of a byte stream (H.264 Annex B), without start codes and trailing zeros.

    Bytes before the first start code are ignored, as Annex B has decoders do.
    """
    starts = [match.end() for match in _SHORT_START.finditer(data)]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    nals = (data[start:end].rstrip(b"\x00") for start, end in zip(starts, ends, strict=False))
    return [nal for nal in nals if nal]


def join_annexb(nals: Iterable[bytes]) -> bytes:
    """A byte stream with four-byte start codes."""
    return b"".join(START_CODE + nal for nal in nals)


def split_lengths(data: bytes, length_size: int, protocol: str) -> list[bytes]:
    """NAL units that each follow their length, as MP4 and Matroska keep them."""
    nals = []
    at = 0
    while at < len(data):
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise MalformedError(protocol, "NAL unit reaches beyond the sample", offset=start)
        if at > start:
            nals.append(data[start:at])
    return nals


def looks_like_annexb(data: bytes) -> bool:
    """Whether bytes begin with a start code (avcC and hvcC begin with a 1)."""
    return data.startswith((b"\x00\x00\x01", START_CODE))


class NalAssembler(FrameAssembler):
    """Collects NAL units; ``_add`` of a format calls ``_append`` and ``_fragment``."""

    #: NAL types of parameter sets in the order in which they are written.
    set_types: tuple[int, ...] = ()
    delimiter_type = -1

    def __init__(self, parameter_sets: Iterable[bytes] = ()) -> None:
        super().__init__()
        self._nals: list[bytes] = []
        self._bytes = 0
        self._partial: bytearray | None = None
        self._checked_start = True
        self._sets: dict[tuple[int, int], bytes] = {}
        for nal in parameter_sets:
            self._remember(nal)

    @property
    def parameter_sets(self) -> list[bytes]:
        """Those known now, from SDP or from the stream, in the order to write them."""
        return [self._sets[key] for key in sorted(self._sets)]

    @abstractmethod
    def _type(self, nal: bytes) -> int:
        """The NAL unit's type."""

    @abstractmethod
    def _set_id(self, nal: bytes) -> int:
        """The id of a parameter set; raises ``MalformedError``."""

    @abstractmethod
    def _is_slice(self, nal: bytes) -> bool:
        """Whether the NAL unit carries picture data."""

    @abstractmethod
    def _is_first_slice(self, nal: bytes) -> bool:
        """Whether the slice is a picture's first."""

    @abstractmethod
    def _is_key(self, nals: list[bytes]) -> bool:
        """Whether decoding can begin with a unit of these NAL units."""

    def _begins(self, payload: bytes) -> bool:
        # A packet does not say whether it is a unit's first; the first slice does, see _finish.
        self._checked_start = False
        return True

    def _append(self, nal: bytes) -> None:
        if not nal:
            raise self._malformed("empty NAL unit")
        if len(self._nals) >= MAX_NALS:
            raise self._malformed(f"more than {MAX_NALS} NAL units in a unit")
        if self._type(nal) in self.set_types:
            # An ill-formed one goes through, to be judged by the decoder; it is not kept.
            with contextlib.suppress(MalformedError):
                self._remember(nal)
        self._nals.append(nal)
        self._bytes += len(START_CODE) + len(nal)

    def _fragment(self, header: bytes, data: bytes, *, start: bool, end: bool) -> bool:
        """Take a fragment of a NAL unit; False if its beginning is not there."""
        if start and end:
            raise self._malformed("a fragment that is both the first and the last")
        if start:
            if self._partial is not None:
                raise self._malformed("a NAL unit begins within another")
            self._partial = bytearray(header)
        elif self._partial is None:
            return False
        self._partial += data
        if end:
            nal, self._partial = bytes(self._partial), None
            self._append(nal)
        return True

    def _finish(self) -> tuple[bytes, bool] | None:
        if self._partial is not None:
            return None
        nals = self._nals
        slices = [nal for nal in nals if self._is_slice(nal)]
        if not slices:  # parameter sets sent on their own: remembered already
            return b"", False
        if not (self._checked_start or self._is_first_slice(slices[0])):
            return None
        key = self._is_key(nals)
        return join_annexb(self._with_sets(nals) if key else nals), key

    def _with_sets(self, nals: list[bytes]) -> list[bytes]:
        present = {self._type(nal) for nal in nals}
        missing = [nal for nal in self.parameter_sets if self._type(nal) not in present]
        if not missing:
            return nals
        own = [nal for nal in nals if self._type(nal) in self.set_types]
        rest = [nal for nal in nals if self._type(nal) not in self.set_types]
        at = 1 if rest and self._type(rest[0]) == self.delimiter_type else 0
        return rest[:at] + sorted(own + missing, key=self._type) + rest[at:]

    def _remember(self, nal: bytes) -> None:
        kind = self._type(nal)
        if kind not in self.set_types or len(nal) > MAX_PARAMETER_SET_SIZE:
            raise self._malformed(f"parameter set of type {kind} and {len(nal)} bytes")
        key = (kind, self._set_id(nal))
        if key not in self._sets and len(self._sets) >= MAX_PARAMETER_SETS:
            raise self._malformed(f"more than {MAX_PARAMETER_SETS} parameter sets")
        self._sets[key] = nal

    def _size(self) -> int:
        return self._bytes + len(self._partial or b"")

    def _reset(self) -> None:
        self._nals = []
        self._bytes = 0
        self._partial = None
        self._checked_start = True
