"""A process that writes as fast as it can until it is killed; run by ``test_crash``.

Prints the name of each account once it, its channel, its key and a chat message are stored.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from tests.unit.catalogue.conftest import GOOD, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import ChatEntry, Role


async def write(catalogue: Catalogue, name: str) -> None:
    await catalogue.accounts.create(name, GOOD, Role.BROADCASTER)
    await catalogue.channels.create(name, owner=name, options={"depth_ms": 2000})
    made = await catalogue.stream_keys.create(name)
    said = [ChatEntry(seq, "a", "A", "x" * 200, f"n{seq}", datetime.now(UTC)) for seq in range(20)]
    await catalogue.history.save(name, said=said)
    sys.stdout.write(f"{name} {made.key}\n")
    sys.stdout.flush()


async def main(url: str, run: str) -> None:
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(100_000):
        await asyncio.gather(*(write(catalogue, f"u{run}-{number}-{task}") for task in range(4)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
