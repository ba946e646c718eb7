"""Any bytes as a block of a title: all of its packets, or ``MalformedError``.

What was read adds up: numbers follow each other by track, nothing is due before what stands before
it, and the packets written again give the same bytes.
"""

from harness import instrumented, main

with instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.vod import blocks


def one_input(data: bytes) -> None:
    """Read, count, and write again."""
    try:
        block = blocks.read(data)
    except MalformedError:
        return
    header = block.header
    assert len(block.records) == header.packets > 0
    numbers = list(header.first)
    due = header.due_us
    again = bytearray(data[: header.size])
    for record in block:
        assert record.number == numbers[record.track]
        assert due <= record.due_us <= header.end_us
        numbers[record.track] += 1
        due = record.due_us
        again += blocks.RECORD.pack(
            record.due_us - header.due_us,
            record.track,
            record.flags,
            len(record.payload),
            record.timestamp,
        )
        again += record.payload
    assert bytes(again) == data


if __name__ == "__main__":
    main("block", one_input)
