"""A volume over several nodes in one process, on temporary directories, with faults to order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heliograph.model.errors import UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.reading import DiskReader
from heliograph.storage.values import BlockKey, Code, DiskId, ObjectId, Scheme
from heliograph.storage.volume import changes, encoding
from heliograph.storage.volume.claims import Claim, Claims
from heliograph.storage.volume.planning import Plan
from heliograph.storage.volume.progress import Event
from heliograph.storage.volume.reconciler import Reconciler
from heliograph.storage.volume.state import DiskEntry, VolumeState
from heliograph.storage.volume.stores import LocalStore, Store
from heliograph.storage.volume.volume import Volume

BLOCK = 4096
SCHEME = Scheme(2, 1, Code.XOR, BLOCK)
CAPACITY = 1 << 30


def node_name(number: int) -> NodeId:
    """The id of a node."""
    return NodeId("abcdefghijklmno" + "abcdefghijklmnopqrstuvwxyz"[number])


def disk_name(number: int) -> DiskId:
    """The id of a disk."""
    return DiskId(f"{number:016x}")


class Node:
    """One node: its disks, its view of the volume, its reconciler."""

    def __init__(self, cluster: Cluster, id: NodeId) -> None:
        self.cluster = cluster
        self.id = id
        self.up = True
        self.deaf = False
        """Hears of no new state."""
        self.readers: dict[DiskId, DiskReader] = {}
        self.events: list[Event] = []
        self.start()

    def start(self) -> None:
        """With the disks that it has, and the newest state that is on them or given."""
        self.store = LocalStore(self.id, self.readers.values())
        peers = self.cluster.peers(self.id)
        self.claims = Claims(self.id, ended=self._ended)
        self.volume = Volume(self.id, self.cluster.state, self.store, peers, claims=self.claims)
        self.reconciler = Reconciler(
            self.volume,
            listener=self.events.append,
            clock=lambda: self.cluster.now,
            sleep=self.cluster.sleep,
            orphan_age=100.0,
            tombstone_age=100.0,
        )

    def _ended(self, claim: Claim) -> bool:
        node = self.cluster.nodes[claim.node]
        return node.claims.run != claim.run or not node.up

    def attach(self, disk: Disk) -> None:
        """Another disk, from now on."""
        reader = DiskReader(disk, patience=5.0)
        self.readers[disk.id] = reader
        self.store.readers[disk.id] = reader

    async def close(self) -> None:
        await self.volume.close()
        for reader in self.readers.values():
            await reader.close()
            reader.disk.close()


class Gate:
    """A node's disks as another node sees them: not at all while either is away."""

    def __init__(self, cluster: Cluster, asker: NodeId, node: NodeId) -> None:
        self._cluster, self._asker, self._node = cluster, asker, node

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **named: Any) -> Any:
            cluster = self._cluster
            await cluster.step(self._node, name, args)
            if not (cluster.nodes[self._node].up and cluster.nodes[self._asker].up):
                raise UnreachableError("away", subject=self._node)
            return await getattr(cluster.nodes[self._node].store, name)(*args, **named)

        return ask


class Cluster:
    """Several nodes; ``nodes[i]`` has ``disks`` disks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unseen: set[NodeId] = set()
        """Nodes that the others have known to be gone for a while: not even where they are is
        known."""
        self.now = 0.0
        self.objects = 0
        self.nodes: dict[NodeId, Node] = {}
        self.entries: dict[DiskId, DiskEntry] = {}
        self.steps: Callable[[NodeId, str, tuple[Any, ...]], Any] | None = None
        """Called before each question to another node; may raise or be awaited."""
        self.state: VolumeState

    @classmethod
    async def make(
        cls,
        path: Path,
        disks: Sequence[int] = (1, 1, 1),
        scheme: Scheme = SCHEME,
        policy: str = "rendezvous",
    ) -> Cluster:
        """``disks``: how many each node has."""
        self = cls(path)
        for node, count in enumerate(disks):
            for _ in range(count):
                self.entry(node)
        entries = [*self.entries.values()]
        self.keep(changes.create("films", scheme, entries, policy=policy, seed=7))
        for node in range(len(disks)):
            self.node(node)
        for entry in self.entries.values():
            self.nodes[entry.node].attach(self.disk(entry))
        return self

    def name_object(self) -> ObjectId:
        """Ids that are the same in every run: so is where things lie."""
        self.objects += 1
        return ObjectId(random.Random(self.objects).randbytes(16).hex())

    @classmethod
    async def open(cls, path: Path) -> Cluster:
        """What was made there before, with the state that was in the database."""
        self = cls(path)
        self.state = encoding.decode((path / "database").read_bytes())
        self.find()
        for node in dict.fromkeys(one.node for one in self.entries.values()):
            self.nodes[node] = Node(self, node)
        for entry in self.entries.values():
            self.nodes[entry.node].attach(self.disk(entry))
        return self

    def find(self) -> None:
        """Entries of all directories that are there, also of disks that have left."""
        for directory in sorted(self.path.glob("0*")):
            id = DiskId(directory.name)
            entry = DiskEntry(id, node_name(int(id, 16)), str(directory), CAPACITY, 1)
            self.entries[id] = self.state.disk(id) or entry

    def keep(self, state: VolumeState) -> None:
        """As the database would, at once and as a whole."""
        data = encoding.encode(state)
        self.state = encoding.decode(data)
        self.path.mkdir(exist_ok=True)
        new = self.path / "database.new"
        new.write_bytes(data)
        new.rename(self.path / "database")

    def node(self, number: int) -> Node:
        """A node, made when it is first asked for."""
        id = node_name(number)
        if id not in self.nodes:
            self.nodes[id] = Node(self, id)
        return self.nodes[id]

    def entry(self, node: int, capacity: int = CAPACITY) -> DiskEntry:
        """A new disk's entry."""
        id = disk_name(len(self.entries))
        entry = DiskEntry(id, node_name(node), str(self.path / id), capacity, 100_000_000)
        self.entries[id] = entry
        return entry

    def disk(self, entry: DiskEntry) -> Disk:
        """The directory of an entry."""
        return Disk.create(self.path / entry.id, "films", entry.id)

    def add(self, node: int) -> DiskEntry:
        """Attach a new disk; the state has still to name it."""
        entry = self.entry(node)
        self.node(node).attach(self.disk(entry))
        return entry

    async def change(self, state: VolumeState) -> None:
        """Give a state to all nodes that are up, as the database would."""
        self.keep(state)
        for node in self.nodes.values():
            if node.up and not node.deaf:
                await node.volume.update(self.state)

    def peers(self, asker: NodeId) -> Any:
        """The way of a node to the others."""
        cluster = self

        class Peers:
            def store(self, node: NodeId) -> Store:
                if node in cluster.unseen:
                    raise UnreachableError("where it is, is not known", subject=node)
                return Gate(cluster, asker, node)  # type: ignore[return-value]

        return Peers()

    async def step(self, node: NodeId, name: str, args: tuple[Any, ...]) -> None:
        if self.steps is not None:
            found = self.steps(node, name, args)
            if found is not None:
                await found

    async def sleep(self, seconds: float) -> None:
        """Simulated time passes; others run."""
        self.now += seconds
        await asyncio.sleep(0)

    async def passes(self, count: int = 1) -> list[bool]:
        """A pass of each node that is up."""
        done: list[bool] = []
        for _ in range(count):
            done = [await one.reconciler.once() for one in self.nodes.values() if one.up]
        return done

    async def settle(self, most: int = 6) -> None:
        """Pass until all nodes with disks are done, then say so; then clean."""
        for _ in range(most):
            if all(await self.passes()):
                break
        else:
            waiting = [one.reconciler.progress.waiting for one in self.nodes.values()]
            raise AssertionError(f"not settled: {waiting}")
        if self.state.before:
            await self.change(changes.settled(self.state, self.state.version))
            await self.passes(2)

    def members(self, object: ObjectId) -> dict[BlockKey, list[DiskId]]:
        """Where members of an object lie, on all disks."""
        found: dict[BlockKey, list[DiskId]] = {}
        for node in self.nodes.values():
            for id, reader in node.readers.items():
                for key in reader.disk.keys(object):
                    found.setdefault(key, []).append(id)
        return found

    def file(self, disk: DiskId, key: BlockKey) -> Path:
        """The file of a member."""
        node = self.nodes[self.entries[disk].node]
        return Path(node.readers[disk].disk._block(key))

    def corrupt(self, disk: DiskId, key: BlockKey, at: int = -1) -> None:
        """Flip a bit of a member on its disk."""
        path = self.file(disk, key)
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.chmod(0o640)
        path.write_bytes(data)

    def wipe(self, disk: DiskId) -> None:
        """Take all blocks and heads from a disk, as another disk in its place would."""
        node = self.nodes[self.entries[disk].node]
        found = node.readers[disk].disk
        for key in [*found.keys()]:
            found.delete(key)
        for object, _ in [*found.heads()]:
            found.delete_head(object)

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.close()


def payloads(count: int, seed: int = 1) -> list[bytes]:
    """Blocks of different lengths that can be told apart."""
    source = random.Random(seed)
    return [source.randbytes(source.randint(1, BLOCK)) for _ in range(count)]


async def write(
    cluster: Cluster, blocks: Sequence[bytes], node: int = 0, document: bytes = b"manifest"
) -> ObjectId:
    """A finished object."""
    writer = cluster.node(node).volume.writer(cluster.name_object())
    for payload in blocks:
        await writer.put(payload)
    await writer.finish(document)
    return writer.object


async def check(
    cluster: Cluster,
    object: ObjectId,
    blocks: Sequence[bytes],
    nodes: Sequence[int] | None = None,
) -> None:
    """Every byte, from every node that is up."""
    for number, node in enumerate(cluster.nodes.values()):
        if not node.up or (nodes is not None and number not in nodes):
            continue
        source = node.volume.source(object)
        got = await asyncio.gather(*(source.block(index) for index in range(len(blocks))))
        assert list(got) == list(blocks)


def homes(cluster: Cluster, object: ObjectId, blocks: int) -> Mapping[BlockKey, DiskId]:
    """Where everything is to be, by the plan, asked one by one."""
    plan = Plan(cluster.state)
    scheme = cluster.state.scheme
    found = {}
    for group in range(-(-blocks // scheme.data)):
        data = min(scheme.data, blocks - group * scheme.data)
        for member in [*range(data), *range(scheme.data, scheme.width)]:
            key = BlockKey(object, group, member)
            home = plan.home(key)
            if home is not None:
                found[key] = home.id
    return found


def all_at_home(cluster: Cluster, object: ObjectId, blocks: int) -> None:
    """Everything is where it is to be, and nowhere else."""
    wanted = {key: [disk] for key, disk in homes(cluster, object, blocks).items()}
    assert cluster.members(object) == wanted


__all__ = ["BLOCK", "Block", "Cluster", "all_at_home", "check", "payloads", "write"]
