"""Any bytes as an import file: what it says, ``MalformedError`` or ``TooLargeError``.

What the catalogue would take is written as CSV and as JSON and read again to the same.
"""

from harness import instrumented, main

with instrumented():
    from heliograph.catalogue.contents.exchange import (
        CsvWriter,
        JsonWriter,
        as_objects,
        read,
        take_objects,
    )
    from heliograph.catalogue.contents.fields import Kind, Record, clean
    from heliograph.model.errors import MalformedError, TooLargeError


def one_input(data: bytes) -> None:
    """Read, check, write in each way, read again."""
    try:
        reading = read(data.decode("utf-8", "replace"), kind=Kind.TITLE)
    except (MalformedError, TooLargeError):
        return
    assert reading.rejected >= len(reading.told)
    good = []
    for record in reading.records:
        try:
            good.append(Record(record.kind, clean(record.kind, record.fields)))
        except (MalformedError, TooLargeError):
            continue
    for writer in (CsvWriter(), JsonWriter()):
        text = "".join((writer.begin(), *map(writer.line, good), writer.end()))
        again = read(text)
        assert not again.rejected
        assert [said(one) for one in again.records] == [said(one) for one in good]
    sent = take_objects(as_objects(good))
    assert [said(one) for one in sent.records] == [said(one) for one in good]


def said(record: Record) -> tuple[object, ...]:
    """A record's fields."""
    return record.kind, clean(record.kind, record.fields)


if __name__ == "__main__":
    main("exchange", one_input)
