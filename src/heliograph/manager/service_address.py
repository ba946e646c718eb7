"""The service address: the one that programs are told, whichever portal is there.

Either the machine of one portal has it as a *virtual address*, which its kernel forgets by itself
some seconds after the portal stopped saying so, however it stopped; or a *command of the
operator's* moves it (a DNS record, a load balancer, an address of a cloud). Whose turn it is says
``service_turn``.

The address is Linux's (``ip addr replace … valid_lft``) and needs the right to change the
network: root, or CAP_NET_ADMIN and CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from heliograph.model.errors import MalformedError, ResourceError, SettingsError

log = structlog.get_logger(__name__)

#: Seconds for which the kernel keeps the address without another word.
LIFETIME = 5
#: Seconds between two words.
PERIOD = 1.0
#: Seconds that one run of a program has; then it is killed.
TIMEOUT = 10.0
#: Words to neighbours, one each ``PERIOD``, after the address came: until the kernel of a portal
#: that died has forgotten it, and some more, as frames get lost.
ANNOUNCEMENTS = 8
#: Periods between two words afterwards, for neighbours that missed all of them, or heard since of
#: somebody who had it beside us: each 30 s two small frames.
REMINDED = 30
#: Seconds before a command that failed to hold is called again.
RETRY = 5.0
#: Characters of a program's output in the log.
MAX_OUTPUT = 500

_DEVICE = re.compile(r"[A-Za-z0-9._-]{1,15}", re.ASCII)
_BROADCAST = b"\xff" * 6
_ARP, _IPV6 = 0x0806, 0x86DD
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE = 136, 0x20000000

Runner: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
"""Runs a program to its end; ``ResourceError`` where it failed."""
Announcer: TypeAlias = Callable[["VirtualAddress"], None]
"""Tells neighbours where the address is; ``ResourceError`` where that cannot be."""


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """An address on one device of this machine."""

    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    device: str

    @classmethod
    def parse(cls, text: str) -> VirtualAddress:
        """Of a setting such as ``192.0.2.10/24 dev eth0``; ``SettingsError`` for others."""
        words = text.split()
        try:
            address, dev, device = words
            interface = ipaddress.ip_interface(address)
        except ValueError:
            raise SettingsError(f"{text[:80]!r} is not like '192.0.2.10/24 dev eth0'") from None
        if dev != "dev" or not _DEVICE.fullmatch(device) or "/" not in address:
            raise SettingsError(f"{text[:80]!r} is not like '192.0.2.10/24 dev eth0'")
        return cls(interface, device)

    def hold(self) -> list[str]:
        """The command that lets the kernel have it for ``LIFETIME``."""
        life = str(LIFETIME)
        found = ["ip", "addr", "replace", str(self.interface), "dev", self.device]
        found += ["valid_lft", life, "preferred_lft", life]
        # It is nobody else's: without this IPv6 would wait to see, for a second.
        return [*found, "nodad"] if self.interface.version == 6 else found

    def release(self) -> list[str]:
        """The command that takes it away."""
        return ["ip", "addr", "del", str(self.interface), "dev", self.device]


class ServiceAddress(Protocol):
    """Follows the portal that has it."""

    def follow(self, active: bool) -> None:
        """It is to be here, or no more; returns at once."""
        ...

    def assure(self) -> None:
        """It stays here, but another may have had it as well: those who use it are told anew."""
        ...

    async def close(self) -> None:
        """Give the address up."""
        ...


class _Follower:
    """Does what is wanted last, one thing after the other."""

    def __init__(self, run: Runner | None) -> None:
        self.counters: Counter[str] = Counter(held=0, released=0, failed=0)
        self._run = run or run_program
        self._active = False
        self._holding = False
        """Whether there may be something to give up."""
        self._closed = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def follow(self, active: bool) -> None:
        """It is to be here, or no more; returns at once."""
        if active == self._active or self._closed:
            return
        self._active = active
        self._news.set()
        if self._task is None:
            work = self._work()
            self._task = asyncio.get_running_loop().create_task(work, name="service address")

    def assure(self) -> None:
        """It stays here, but another may have had it as well: those who use it are told anew."""
        if self._active and self._holding:
            self._repeat()
            self._news.set()

    def _repeat(self) -> None:
        """With the next step, say again that it is here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give the address up."""
        self._active, self._closed = False, True
        self._news.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=2 * TIMEOUT)
            self._task.cancel()

    async def _work(self) -> None:
        while True:
            self._news.clear()
            pause = await self._step()
            if self._closed and not self._holding:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _step(self) -> float | None:
        """Do what is to be done now; seconds until more is, None: nothing unless there is news."""
        raise NotImplementedError

    async def _try(self, what: Sequence[str], counter: str) -> bool:
        try:
            await self._run(what)
        except ResourceError as error:
            self.counters["failed"] += 1
            if error.message != self._trouble:  # once, not each second
                self._trouble = error.message
                log.error("service address", error=error.message)
            return False
        self._trouble = ""
        self.counters[counter] += 1
        return True


class HeldAddress(_Follower):
    """A virtual address; renewed each second, so that it ends with whoever holds it."""

    def __init__(
        self,
        address: VirtualAddress,
        run: Runner | None = None,
        announce: Announcer | None = None,
        period: float = PERIOD,
    ) -> None:
        super().__init__(run)
        self._address = address
        self._announce = announce or announce_address
        self._period = period
        self._told = 0
        """Words since it came, or since it was last to be said again."""
        self._quiet = 0
        """Periods since the last word."""
        self._fault = ""

    def _repeat(self) -> None:
        self._told = 0

    async def _step(self) -> float | None:
        text = str(self._address.interface)
        if self._active:
            if await self._try(self._address.hold(), "held"):
                if not self._holding:
                    log.info("service address is here", address=text)
                    self._holding, self._told = True, 0
                self._tell()
            return self._period
        if self._holding:
            # Where this fails the kernel forgets it by itself.
            await self._try(self._address.release(), "released")
            log.info("service address is given up", address=text)
            self._holding = False
        return None

    def _tell(self) -> None:
        self._quiet += 1
        if self._told >= ANNOUNCEMENTS and self._quiet < REMINDED:
            return
        self._quiet = 0
        try:
            self._announce(self._address)
            self._told += 1
            self._fault = ""
        except (ResourceError, OSError) as error:
            self._told = ANNOUNCEMENTS
            if self._fault != (fault := str(error)[:200]):  # once, not each half a minute
                self._fault = fault
                log.error("neighbours are not told of the service address", error=fault)


class CommandedAddress(_Follower):
    """An operator's command, called with ``hold`` or ``release``.

    One that fails to hold is called again, as long as it is to be here.
    """

    def __init__(
        self, command: Sequence[str], run: Runner | None = None, retry: float = RETRY
    ) -> None:
        super().__init__(run)
        if not command:
            raise SettingsError("the command for the service address is empty")
        self._command = [*command]
        self._retry = retry
        self._failed = False
        self._again = False

    def _repeat(self) -> None:
        self._again = True

    async def _step(self) -> float | None:
        if self._active and (self._failed or self._again or not self._holding):
            again, self._again = self._again, False
            self._holding = True  # one that fails may have done half of it
            self._failed = not await self._try([*self._command, "hold"], "held")
            if not self._failed and not again:
                log.info("service address is here", command=self._command[0])
        elif not self._active and self._holding:
            self._holding = self._failed = self._again = False
            await self._try([*self._command, "release"], "released")
            log.info("service address is given up", command=self._command[0])
        return self._retry if self._failed else None


async def run_program(words: Sequence[str]) -> None:
    """Run a program for ``TIMEOUT`` at most; ``ResourceError`` where it failed, with its words."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise ResourceError(f"{words[0]}: {error.strerror}", subject="service address") from None
    try:
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        said = f"{words[0]} took more than {TIMEOUT:g} s"
        raise ResourceError(said, subject="service address") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = output.decode("utf-8", "replace").strip()[:MAX_OUTPUT]
        if "not permitted" in said:
            said += " (needs root, or CAP_NET_ADMIN and CAP_NET_RAW)"
        raise ResourceError(
            f"{' '.join(words)[:200]} ended with {process.returncode}: {said}",
            subject="service address",
        )


def announce_address(address: VirtualAddress) -> None:
    """Tell all neighbours that the address is here now: gratuitous ARP, or its like of IPv6."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((address.device, 0))
            hardware: bytes = sender.getsockname()[4]
            if len(hardware) != 6:
                return  # a device without hardware addresses has no neighbours to be told
            for frame in announcements(address.interface.ip, hardware):
                sender.send(frame)
    except PermissionError:
        raise ResourceError("raw sockets need root, or CAP_NET_RAW", subject="device") from None
    except OSError as error:
        raise ResourceError(f"{address.device}: {error.strerror}", subject="device") from None


def announcements(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, hardware: bytes
) -> list[bytes]:
    """Ethernet frames that tell where an address is.

    IPv4: an ARP request and an ARP reply for oneself (RFC 5227 section 3), as some listen to the
    one and some to the other. IPv6: an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
    """
    if len(hardware) != 6:
        raise MalformedError("hardware address", f"{len(hardware)} bytes")
    ip = address.packed
    if address.version == 4:
        ethernet = _BROADCAST + hardware + struct.pack("!H", _ARP)
        kind = struct.pack("!HHBB", 1, 0x0800, 6, 4)
        return [
            ethernet + kind + struct.pack("!H", 1) + hardware + ip + bytes(6) + ip,
            ethernet + kind + struct.pack("!H", 2) + hardware + ip + _BROADCAST + ip,
        ]
    everybody = ipaddress.IPv6Address("ff02::1").packed
    body = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + ip
    body += b"\x02\x01" + hardware  # target's link-layer address, one unit of 8 bytes
    pseudo = ip + everybody + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ip + everybody
    return [b"\x33\x33\x00\x00\x00\x01" + hardware + struct.pack("!H", _IPV6) + header + body]


def _checksum(data: bytes) -> int:
    """Of RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
