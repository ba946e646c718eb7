"""Echo requests to many hosts over one socket for IPv4 and one for IPv6.

Raw sockets need ``CAP_NET_RAW``; without it the kernel may allow sockets for ICMP datagrams
(``net.ipv4.ping_group_range``). Where neither is to be had, ``Icmp.ping`` says so, and whoever asks
measures otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic

import structlog

from heliograph.model.errors import BusyError, MalformedError, ResourceError, UnreachableError
from heliograph.protocols import icmp

log = structlog.get_logger(__name__)

#: Requests under way at a time over one socket: a thousand servers with two each.
MAX_PENDING = 2_000
#: Messages read in one turn of the event loop, which others wait for.
TURN = 64
#: Bytes that the kernel keeps for us: the answers of a thousand servers at once.
RECEIVE_BUFFER = 1 << 20
#: Random bytes in each request, so that nobody answers what was not asked.
TOKEN = 8
#: Linux, ``linux/icmp.h`` and ``linux/icmpv6.h``: options that leave out kinds of messages.
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
#: Linux, ``asm-generic/socket.h``: a buffer beyond what the machine allows everybody.
_SO_RCVBUFFORCE = 33

_HINT = (
    "give the program CAP_NET_RAW, or allow it by sysctl net.ipv4.ping_group_range='0 2147483647'"
)


@dataclass(frozen=True, slots=True)
class _Request:
    token: bytes
    sent: float
    address: str
    answer: asyncio.Future[float]


class _Pinger:
    """One socket."""

    def __init__(self, sock: socket.socket, *, v6: bool, counters: Counter[str]) -> None:
        self._socket = sock
        self._v6 = v6
        self._raw = sock.type == socket.SOCK_RAW
        self._counters = counters
        self._pending: dict[int, _Request] = {}
        self._id = secrets.randbelow(1 << 16)
        self._seq = secrets.randbelow(1 << 16)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for request in self._pending.values():
            request.answer.cancel()
        self._pending.clear()

    async def ping(self, address: str, timeout: float) -> float | None:
        if len(self._pending) >= MAX_PENDING:
            raise BusyError(f"{MAX_PENDING} echo requests are under way", subject=address)
        while True:
            self._seq = (self._seq + 1) & 0xFFFF
            if self._seq not in self._pending:
                break
        seq, token = self._seq, secrets.token_bytes(TOKEN)
        answer: asyncio.Future[float] = self._loop.create_future()
        message = icmp.echo_request(self._id, seq, token, v6=self._v6)
        self._pending[seq] = _Request(token, monotonic(), address, answer)
        try:
            self._socket.sendto(message, (address, 0))
            self._counters["sent"] += 1
            async with asyncio.timeout(timeout):
                return (await answer) * 1000
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            self._counters["send_errors"] += 1
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UnreachableError(reason, subject=address) from None
        finally:
            self._pending.pop(seq, None)

    def _read(self) -> None:
        for _ in range(TURN):
            try:
                data, source = self._socket.recvfrom(icmp.MAX_MESSAGE + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an error of an earlier request: that one has its time-out
                self._counters["receive_errors"] += 1
                continue
            now = monotonic()
            try:
                message = icmp.parse(data, v6=self._v6, ip_header=self._raw and not self._v6)
            except MalformedError:
                self._counters["malformed"] += 1
                continue
            if message is not None:
                self._heard(message, source[0], now)

    def _heard(self, message: icmp.Message, source: str, now: float) -> None:
        request = self._pending.get(message.seq)
        # On sockets for datagrams the kernel chose the id, and gives us only what has it.
        if request is None or (self._raw and message.id != self._id) or request.answer.done():
            self._counters["foreign"] += 1
            return
        if isinstance(message, icmp.Refusal):
            self._counters["refusals"] += 1
            reason = f"a router says it cannot be reached (code {message.code})"
            request.answer.set_exception(UnreachableError(reason, subject=request.address))
        elif message.data == request.token and _same(source, request.address):
            self._counters["answers"] += 1
            request.answer.set_result(now - request.sent)
        else:
            self._counters["foreign"] += 1


class Icmp:
    """Opens its sockets when they are needed first, in the running loop."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter(
            sent=0, answers=0, refusals=0, malformed=0, foreign=0, send_errors=0, receive_errors=0
        )
        self._pingers: dict[int, _Pinger | None] = {}

    def close(self) -> None:
        """Close the sockets; who waits for an answer is cancelled."""
        for pinger in self._pingers.values():
            if pinger is not None:
                pinger.close()
        self._pingers.clear()

    def can(self, address: str) -> bool:
        """Whether the machine grants a socket for an address of that family; the log says why
        not, once."""
        return self._pinger(address) is not None

    async def ping(self, address: str, timeout: float) -> float | None:
        """Milliseconds until a host answers; None: it did not within ``timeout`` seconds.

        ``UnreachableError`` where the machine or a router says that there is no way to it,
        ``ResourceError`` without a socket, ``BusyError`` above ``MAX_PENDING``.
        """
        pinger = self._pinger(address)
        if pinger is None:
            raise ResourceError("the machine grants no ICMP", subject=address)
        return await pinger.ping(address, timeout)

    def _pinger(self, address: str) -> _Pinger | None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if family not in self._pingers:
            self._pingers[family] = self._open(family)
        return self._pingers[family]

    def _open(self, family: socket.AddressFamily) -> _Pinger | None:
        try:
            sock = open_socket(family)
        except PermissionError:
            log.warning("no ICMP: servers are tried by TCP instead", family=family.name, do=_HINT)
            return None
        except OSError as error:
            log.warning("no ICMP", family=family.name, error=str(error))
            return None
        return _Pinger(sock, v6=family == socket.AF_INET6, counters=self.counters)


def open_socket(family: int) -> socket.socket:
    """A socket for ICMP, raw or for datagrams; ``PermissionError`` where neither is granted."""
    v6 = family == socket.AF_INET6
    number = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    try:
        sock = socket.socket(family, socket.SOCK_RAW, number)
    except PermissionError:
        sock = socket.socket(family, socket.SOCK_DGRAM, number)
    try:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sock.type == socket.SOCK_RAW:
            with contextlib.suppress(OSError):  # it only spares us what we would drop
                _leave_out(sock, v6)
    except BaseException:
        sock.close()
        raise
    return sock


def _leave_out(sock: socket.socket, v6: bool) -> None:
    """Leave out every kind of message but two: a raw socket hears the whole machine's ICMP."""
    if v6:
        words = [0xFFFFFFFF] * 8
        for kind in (icmp.V6_ECHO_REPLY, icmp.V6_UNREACHABLE):
            words[kind >> 5] &= ~(1 << (kind & 31)) & 0xFFFFFFFF
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
    else:
        mask = ~(1 << icmp.ECHO_REPLY | 1 << icmp.UNREACHABLE) & 0xFFFFFFFF
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", mask))


def _same(source: str, address: str) -> bool:
    try:
        return ip_address(source.partition("%")[0]) == ip_address(address.partition("%")[0])
    except ValueError:
        return False
