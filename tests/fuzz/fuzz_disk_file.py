"""Any bytes as a file of a disk, as they are and with a right digest: a label or ``CorruptError``;
a label is read again as it was written."""

from __future__ import annotations

import harness

with harness.instrumented():
    import xxhash

    from heliograph.storage.disks.format import DIGEST, HEADER, Label, seal, unseal
    from heliograph.storage.errors import CorruptError


def read(data: bytes) -> Label | None:
    try:
        return unseal(data[:HEADER], data[HEADER:], "file")
    except CorruptError:
        return None


def one_input(data: bytes) -> None:
    """Read it; give it a digest, read what it says and write that again."""
    read(data)
    summed, payload = data[: HEADER - DIGEST].ljust(HEADER - DIGEST, b"\0"), data[HEADER:]
    whole = summed + xxhash.xxh3_128(summed + payload).digest() + payload
    label = read(whole)
    if label is None:
        return
    assert read(seal(label, payload) + payload) == label
    for at in range(0, len(whole), 13):
        assert read(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is None


if __name__ == "__main__":
    harness.main("disk_file", one_input)
