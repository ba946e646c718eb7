"""Any bytes as the manifest of a title: one that can be written again, or ``MalformedError``.

Its blocks follow each other and each key lies in its block. The columns are deflated, which a
mutation seldom survives: so the input is also taken as JSON and columns that are not.
"""

import zlib

from harness import instrumented, main

with instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.vod.encoding import decode_manifest, encode_manifest


def one_input(data: bytes) -> None:
    """As it is, and with what follows the description deflated."""
    _check(data)
    end = 20 + int.from_bytes(data[8:12], "big")
    _check(data[:end] + zlib.compress(data[end:], 1))


def _check(data: bytes) -> None:
    try:
        manifest = decode_manifest(data)
    except MalformedError:
        return
    end = 0
    for entry in manifest.blocks:
        assert 0 <= entry.due_us <= entry.end_us
        assert entry.due_us >= end
        end = entry.end_us
        assert len(entry.first) == len(manifest.tracks)
    for key in manifest.keys:
        entry = manifest.blocks[key.block]
        assert entry.due_us <= key.due_us <= entry.end_us
    assert decode_manifest(encode_manifest(manifest)) == manifest


if __name__ == "__main__":
    main("manifest", one_input)
