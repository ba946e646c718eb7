"""The service address comes and goes as it is told, whatever its programs do."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Sequence

import pytest
import structlog
from tests.unit.manager.waiting import until

from heliograph.manager import service_address
from heliograph.manager.service_address import (
    CommandedAddress,
    HeldAddress,
    VirtualAddress,
    announcements,
    run_program,
)
from heliograph.model.errors import MalformedError, ResourceError, SettingsError

ADDRESS = VirtualAddress.parse("192.0.2.10/24 dev eth0")
HARDWARE = bytes.fromhex("020000000001")


class Recorder:
    """Runs nothing, and remembers what it was to run."""

    def __init__(self) -> None:
        self.done: list[list[str]] = []
        self.told = 0
        self.fails = False

    async def run(self, words: Sequence[str]) -> None:
        self.done.append([*words])
        if self.fails:
            raise ResourceError("not permitted")

    def announce(self, address: VirtualAddress) -> None:
        self.told += 1


@pytest.mark.parametrize(
    "text",
    ["", "192.0.2.10/24", "192.0.2.10 dev eth0", "nonsense/24 dev eth0", "192.0.2.10/24 on eth0",
     "192.0.2.10/24 dev two/words", "192.0.2.10/24 dev eth0 more"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        VirtualAddress.parse(text)


async def test_the_address_is_held_again_and_again_and_given_up_when_told() -> None:
    recorder = Recorder()
    held = HeldAddress(ADDRESS, recorder.run, recorder.announce, period=0.005)
    held.follow(False)
    held.follow(True)
    await until(lambda: len(recorder.done) > 15)
    assert {tuple(one) for one in recorder.done} == {
        ("ip", "addr", "replace", "192.0.2.10/24", "dev", "eth0")
        + ("valid_lft", "5", "preferred_lft", "5")
    }
    assert recorder.told == service_address.ANNOUNCEMENTS
    held.follow(False)
    await until(lambda: held.counters["released"])
    assert recorder.done[-1] == ["ip", "addr", "del", "192.0.2.10/24", "dev", "eth0"]
    count = len(recorder.done)
    held.follow(True)
    await until(lambda: len(recorder.done) > count and recorder.told > 8)
    await held.close()
    assert recorder.done[-1][2] == "del"


async def test_neighbours_are_told_anew_when_another_may_have_had_it_and_now_and_then() -> None:
    recorder = Recorder()
    held = HeldAddress(ADDRESS, recorder.run, recorder.announce, period=0.002)
    held.assure()  # it is not here
    held.follow(True)
    few = service_address.ANNOUNCEMENTS
    await until(lambda: recorder.told == few and len(recorder.done) > few)
    before = len(recorder.done)
    held.assure()
    await until(lambda: recorder.told == 2 * few)
    assert len(recorder.done) < before + service_address.REMINDED
    await until(lambda: recorder.told == 2 * few + 2)
    assert len(recorder.done) > before + 2 * service_address.REMINDED
    await held.close()
    assert recorder.done[-1][2] == "del"


async def test_neighbours_that_could_not_be_told_are_told_later() -> None:
    recorder = Recorder()
    faults = [ResourceError("no such device")] * 2

    def announce(address: VirtualAddress) -> None:
        if faults:
            raise faults.pop()
        recorder.announce(address)

    held = HeldAddress(ADDRESS, recorder.run, announce, period=0.002)
    held.follow(True)
    with structlog.testing.capture_logs() as lines:
        await until(lambda: recorder.told > 0)
    assert [line["error"] for line in lines if "not told" in line["event"]] == ["no such device"]
    await held.close()


async def test_without_the_right_to_it_is_tried_again_and_nothing_else_breaks() -> None:
    recorder = Recorder()
    recorder.fails = True
    held = HeldAddress(ADDRESS, recorder.run, recorder.announce, period=0.005)
    held.follow(True)
    await until(lambda: held.counters["failed"] > 3)
    assert recorder.told == 0
    recorder.fails = False
    await until(lambda: held.counters["held"])
    await held.close()


async def test_a_command_is_called_once_for_each_change_and_again_where_it_failed() -> None:
    recorder = Recorder()
    command = CommandedAddress(["/opt/address", "--zone"], recorder.run, retry=0.005)
    command.follow(True)
    await until(lambda: command.counters["held"])
    command.assure()
    await until(lambda: command.counters["held"] == 2)
    command.follow(False)
    await until(lambda: command.counters["released"])
    command.assure()
    recorder.fails = True
    command.follow(True)
    await until(lambda: command.counters["failed"] >= 3)
    recorder.fails = False
    await until(lambda: command.counters["held"] == 3)
    await command.close()
    words = [one[-1] for one in recorder.done]
    assert words[:3] == ["hold", "hold", "release"]
    assert set(words[3:-1]) == {"hold"}
    assert words[-1] == "release"
    assert recorder.done[0] == ["/opt/address", "--zone", "hold"]


async def test_a_manager_that_never_was_active_touches_nothing() -> None:
    recorder = Recorder()
    held = HeldAddress(ADDRESS, recorder.run, recorder.announce)
    held.follow(False)
    await held.close()
    assert recorder.done == []


async def test_programs_that_fail_hang_or_are_not_there_are_errors_with_their_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await run_program([sys.executable, "-c", "pass"])
    with pytest.raises(ResourceError, match="no luck"):
        await run_program([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"])
    with pytest.raises(ResourceError, match="No such file"):
        await run_program(["/nowhere/at/all"])
    monkeypatch.setattr(service_address, "TIMEOUT", 0.05)
    with pytest.raises(ResourceError, match="more than"):
        await run_program([sys.executable, "-c", "import time; time.sleep(60)"])


def test_neighbours_are_told_by_arp() -> None:
    request, reply = announcements(ipaddress.IPv4Address("192.0.2.10"), HARDWARE)
    ip = bytes([192, 0, 2, 10])
    for frame, operation in ((request, 1), (reply, 2)):
        assert frame[:14] == b"\xff" * 6 + HARDWARE + b"\x08\x06"
        assert frame[14:22] == bytes([0, 1, 8, 0, 6, 4, 0, operation])
        assert frame[22:32] == HARDWARE + ip
        assert frame[38:42] == ip
    with pytest.raises(MalformedError):
        announcements(ipaddress.IPv4Address("192.0.2.10"), b"")


def test_neighbours_of_ipv6_are_told_by_an_advertisement_with_a_right_checksum() -> None:
    address = ipaddress.IPv6Address("2001:db8::10")
    (frame,) = announcements(address, HARDWARE)
    assert frame[12:14] == b"\x86\xdd"
    packet = frame[14:]
    assert packet[7] == 255  # others must not be believed
    body = packet[40:]
    assert body[0] == 136
    assert body[8:24] == address.packed
    assert body[-6:] == HARDWARE
    pseudo = packet[8:40] + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big")
    words = pseudo + body
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    assert total % 0xFFFF == 0


async def test_closing_ends_what_is_under_way() -> None:
    recorder = Recorder()
    begun = asyncio.Event()

    async def slow(words: Sequence[str]) -> None:
        begun.set()
        await asyncio.sleep(0.02)
        await recorder.run(words)

    held = HeldAddress(ADDRESS, slow, recorder.announce)
    held.follow(True)
    await begun.wait()
    await held.close()
    assert [one[2] for one in recorder.done] == ["replace", "del"]
