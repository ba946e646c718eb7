"""Paced senders alone, for a measurement: many streams by UDP, fed from memory.

Prints JSON lines as ``helio-load`` does: ``playing``, ``window_start``, ``window_end``, then what
the senders counted in the window.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import struct
import time

from heliograph.plane import SenderLow, open_plane, parse_event

#: µs from picture to picture, and packets of a picture and of a key picture: 5.3 Mbit/s with sound.
PICTURE_US = 40_000
PICTURE, KEY_PICTURE = 19, 76
PAYLOAD = 1_188
#: One packet of sound each 21.3 ms, 128 kbit/s.
SOUND_US, SOUND = 21_333, 341
PICTURES_A_GROUP = 25
#: Media time of a block, near 1 MiB.
BLOCK_US = 1_520_000
TRACKS = [(0, 1, 96, 90_000, 0, 0), (1, 2, 97, 48_000, 0, 0)]
#: From the first stream's start to the window.
SETTLE_US = 2_000_000


def block(number: int, before: list[int]) -> bytes:
    """Block ``number`` of the title; ``before``, packets before it by track, is moved on."""
    begin, end = number * BLOCK_US, (number + 1) * BLOCK_US
    rows: list[tuple[int, int, int, int, int]] = []
    for picture in range(-(-begin // PICTURE_US), -(-end // PICTURE_US)):
        due = picture * PICTURE_US
        key = picture % PICTURES_A_GROUP == 0
        count = KEY_PICTURE if key else PICTURE
        for index in range(count):
            flags = key | (index == 0) << 1 | (index == count - 1) * 12
            rows.append((due, 0, flags, PAYLOAD, due * 9 // 100))
    for sound in range(-(-begin // SOUND_US), -(-end // SOUND_US)):
        due = sound * SOUND_US
        rows.append((due, 1, 15, SOUND, due * 48 // 1000))
    rows.sort(key=lambda row: row[:2])
    head = struct.pack(
        "!4sBBHIQQQQQ", b"HGB1", 1, 2, 0, len(rows), begin, end, sum(before), *before
    )
    for row in rows:
        before[row[1]] += 1
    return head + b"".join(
        struct.pack("!IBBHI", due - begin, track, flags, length, stamp & 0xFFFFFFFF) + bytes(length)
        for due, track, flags, length, stamp in rows
    )


def offset_us(index: int, count: int) -> int:
    """When a stream begins: viewers come when they like, pictures fall between others' pictures."""
    return index * 1_000_000 // count


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first-port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--at-us", type=int, required=True, help="monotonic, of the first stream")
    options = parser.parse_args()
    length_us = SETTLE_US + int(options.seconds * 1e6) + 4_000_000
    before = [0, 0]
    title = [block(number, before) for number in range(length_us // BLOCK_US + 2)]
    plane = open_plane(1)
    endpoint, _, _ = plane.bind_udp("127.0.0.1", 0)
    fed: dict[int, int] = {}
    begin: int = options.at_us
    for index in range(options.count):
        sender = plane.open_sender(TRACKS)
        port = options.first_port + index
        plane.sender_to_udp(sender, endpoint, [(t, "127.0.0.1", port, 0) for t in (0, 1)])
        plane.sender_feed(sender, title[0])
        plane.sender_start(sender, 0, at_us=begin + offset_us(index, options.count))
        fed[sender] = 1
    if plane.monotonic_us() > begin:
        raise SystemExit("the machine is too slow to open so many in time")
    say(event="playing")
    poll = select.poll()
    poll.register(plane.fileno(), select.POLLIN)

    def run_until(end_us: int) -> None:
        while (left := end_us - plane.monotonic_us()) > 0:
            poll.poll(left / 1000)
            for event in map(parse_event, plane.drain()):
                if isinstance(event, SenderLow) and fed[event.sender] < len(title):
                    plane.sender_feed(event.sender, title[fed[event.sender]])
                    fed[event.sender] += 1

    def counted() -> dict[str, int]:
        sums: dict[str, int] = {}
        for sender in fed:
            for name, value in plane.sender_stats(sender).items():
                if isinstance(value, int):
                    sums[name] = sums.get(name, 0) + value
        return sums

    def used() -> float:
        mine = resource.getrusage(resource.RUSAGE_SELF)
        return mine.ru_utime + mine.ru_stime

    run_until(begin + SETTLE_US)
    first, cpu, since = counted(), used(), time.monotonic()
    say(event="window_start")
    run_until(begin + SETTLE_US + int(options.seconds * 1e6))
    last, took = counted(), time.monotonic() - since
    say(event="window_end")
    cpu = used() - cpu
    names = ("packets", "bytes", "late_1ms", "late_5ms", "late_20ms", "late_100ms")
    more = ("underruns", "slipped_us", "send_errors")
    say(
        seconds=took,
        cpu_us=int(cpu * 1e6),
        late_max_us=max(int(plane.sender_stats(one)["late_max_us"]) for one in fed),
        **{name: last[name] - first[name] for name in (*names, *more)},
    )
    plane.close()


if __name__ == "__main__":
    main()
