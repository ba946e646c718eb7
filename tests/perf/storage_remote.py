"""Blocks from another process: over the storage nodes' protocol, and by sendfile alone."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from tests.perf.figures import Figure, Result, Target, at_least, compare, middle

from heliograph.model.nodes import NodeId
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.format import HEADER
from heliograph.storage.reading import DiskReader
from heliograph.storage.remote.client import Address, RemoteStore
from heliograph.storage.remote.server import StoreServer
from heliograph.storage.values import DEFAULT_BLOCK, BlockKey, DiskId, ObjectId
from heliograph.storage.volume.stores import LocalStore

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, RIVAL, COPY = "heliograph", "sendfile", "cp"
NODE = NodeId("abcdefghijklmnop")
OBJECT = ObjectId("0f" * 16)
DISK = DiskId("00000000000000aa")
#: Blocks asked for at once.
DEPTH = 8


def storage_remote(plan: Plan) -> Result:
    """Bytes a second that one process gets from another's disk; the files are in memory."""
    count = 64 if plan.quick else 512
    with tempfile.TemporaryDirectory(dir=plan.place.work) as directory:
        path = Path(directory) / "disk"
        with Disk.create(path, "bench", DISK) as disk:
            payload = os.urandom(DEFAULT_BLOCK)
            for number in range(count):
                disk.put(BlockKey(OBJECT, number, 0), payload)
        files = sorted((path / "blocks").rglob("*-00"))
        rates: dict[str, list[float]] = {OWN: [], RIVAL: [], COPY: []}
        costs: dict[str, list[float]] = {OWN: [], RIVAL: []}
        ways: dict[str, Callable[[], tuple[float, float]]] = {
            OWN: lambda: _ours(path, count),
            RIVAL: lambda: _plain(path, files),
        }
        size = count * DEFAULT_BLOCK
        for _ in range(plan.runs + 1):
            for name, way in ways.items():
                wall, cpu = way()
                rates[name].append(size / wall)
                costs[name].append(size / cpu)
                plan.say(f"  {name}: {size / wall / 1e6:.0f} MB/s")
            rates[COPY].append(size / _copied(files, Path(directory) / "copy"))
    bounds: dict[str, Target] = {RIVAL: at_least(0.3)}
    per_second = {name: _scaled(values) for name, values in rates.items()}
    per_core = {name: _scaled(values) for name, values in costs.items()}
    figures: list[Figure] = [
        *compare("a second", "MB", per_second, bounds),
        *compare("a second of the sender's CPU", "MB", per_core, {}),
    ]
    return Result(
        "storage-remote",
        f"Blocks of {DEFAULT_BLOCK >> 20} MiB from another process over loopback",
        tuple(figures),
        (
            f"{DEPTH} blocks are asked for at once; both ends check digests. sendfile sends the "
            "same files to a process that counts them and does nothing else: on loopback it copies "
            "nothing, while a block is read, summed twice and written. cp copies the files on "
            "their file system.",
        ),
    )


def _scaled(values: list[float]) -> float | None:
    found = middle(values)
    return None if found is None else found / 1e6


def _child(path: Path, what: str) -> tuple[subprocess.Popen[str], int]:
    """A serving process and its port."""
    command = [sys.executable, "-m", "tests.perf.storage_remote", what, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _ended(process: subprocess.Popen[str]) -> float:
    """Seconds of CPU that it used while it served."""
    output, _ = process.communicate("end\n", timeout=20)
    return max(float(output), 1e-3)


def _ours(path: Path, count: int) -> tuple[float, float]:
    process, port = _child(path, "serve")

    async def read() -> float:
        store = RemoteStore(NODE, Address("127.0.0.1", port), "bench")
        await store.get(DISK, BlockKey(OBJECT, 0, 0), None)
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                block = await store.get(DISK, BlockKey(OBJECT, number, 0), math.inf)
                assert len(block.payload) == DEFAULT_BLOCK

        began = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(DEPTH)))
        wall = time.perf_counter() - began
        await store.close()
        return wall

    wall = uvloop.run(read())
    return wall, _ended(process)


def _plain(path: Path, files: list[Path]) -> tuple[float, float]:
    process, port = _child(path, "send")
    left = sum(file.stat().st_size for file in files)
    buffer = bytearray(DEFAULT_BLOCK)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while left > 0:
            got = connection.recv_into(buffer)
            if not got:
                raise ConnectionError("the sender has ended")
            left -= got
    wall = time.perf_counter() - began
    return wall, _ended(process)


def _copied(files: list[Path], into: Path) -> float:
    into.mkdir(exist_ok=True)
    began = time.perf_counter()
    for number, file in enumerate(files):
        _copy_one(file, into / str(number))
    wall = time.perf_counter() - began
    for one in into.iterdir():
        one.unlink()
    return wall


def _copy_one(source: Path, target: Path) -> None:
    """As ``cp`` does, without starting it for each file."""
    here = os.open(source, os.O_RDONLY)
    there = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    while os.copy_file_range(here, there, DEFAULT_BLOCK):
        pass
    os.close(here)
    os.close(there)


async def _serve(path: Path) -> None:
    with Disk.open(path) as disk:
        reader = DiskReader(disk)
        server = StoreServer({"bench": LocalStore(NODE, [reader])}.get)
        port = await server.start(socket.create_server(("127.0.0.1", 0)))
        began = time.process_time()
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(time.process_time() - began, flush=True)
        await server.close()
        await reader.close()


def _send(path: Path) -> None:
    files = sorted((path / "blocks").rglob("*-00"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.process_time()
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
        for file in files:
            at = 0
            descriptor = os.open(file, os.O_RDONLY)
            while at < DEFAULT_BLOCK + HEADER:
                at += os.sendfile(connection.fileno(), descriptor, at, DEFAULT_BLOCK + HEADER - at)
            os.close(descriptor)
        connection.close()
        sys.stdin.readline()
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(_serve(Path(sys.argv[2])))
    else:
        _send(Path(sys.argv[2]))
