"""One disk: a directory with blocks, heads and the state of the volume it belongs to.

::

    helio-disk.json                      whose disk this is; written once
    helio-usage.json                     what is on it; there only while nobody uses the disk
    blocks/3f/3f…(32)/00000/0000001c-02  object, group div 4096, group and member
    heads/3f/3f…(32).000000000000001c    object and serial
    state/volume.0000000000000007        version
    partial/                             what is being written; emptied at opening

The names are the index: nothing else has to be kept in step with them. A file gets its name when
it is on the medium, and keeps its contents until it is removed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from heliograph.model.errors import ConflictError, MalformedError, NotFoundError
from heliograph.storage.disks import files
from heliograph.storage.disks.account import Account, rounded
from heliograph.storage.disks.format import HEADER, Buffer, Kind, Label, seal, unseal
from heliograph.storage.disks.marker import Marker, read_marker, write_marker
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import MAX_WIDTH, BlockKey, DiskId, ObjectId, check_object

#: Groups in one directory: a directory of so many files is listed in some ms.
FAN_OUT = 4096

#: What opening or reading something else than a file says.
_NO_FILE = frozenset((errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ESPIPE))

_BLOCK = re.compile(r"([0-9a-f]{8})-([0-9a-f]{2})")
_HEAD = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{16})")
_STATE = "volume"


@dataclass(frozen=True, slots=True)
class Block:
    """What a disk holds under a key."""

    payload: bytes
    lengths: tuple[int, ...] = ()
    """Of a redundant member: bytes of the data members of its group."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a disk is, in bytes."""

    capacity: int
    """What it may hold in all: as given, or what its file system has room for."""
    used: int
    free: int
    """What may still be put: the lesser of what the limit and the file system leave."""
    blocks: int


class Disk:
    """A directory that holds blocks, ours alone while it is open. Calls may come from any thread.

    ``DiskError``: the system refuses (full, read-only, gone, failing); ``CorruptError``: what lies
    there is not what was written.
    """

    def __init__(self, path: str, hold: files.Hold, marker: Marker) -> None:
        """Use ``create`` or ``open``."""
        self.path = path
        self.volume = marker.volume
        self.id = marker.id
        self.capacity = marker.capacity
        """Bytes, as given; None: as much as the file system has."""
        self.mended = 0
        """Damaged files that were replaced by the same content, written again."""
        self.strays = 0
        """Names met while listing that are not of a block or head."""
        self._hold = hold
        self._numbers = itertools.count()
        self._mending = threading.Lock()
        self._documents = threading.RLock()
        self._account = Account(path, self.capacity, self.id)

    @classmethod
    def create(
        cls,
        path: str | Path,
        volume: str,
        id: DiskId | None = None,
        capacity: int | None = None,
    ) -> Disk:
        """Make a directory a disk of a volume and open it; so is one that was made the same before.

        ``ConflictError``: it is another disk, or of another volume. ``DiskError``: no such
        directory can be made there, or its file system lacks what is needed (hard links).
        """
        root = os.path.abspath(path)
        with _told(root):
            write_marker(root, volume, id, capacity)
        disk = cls.open(root)
        if disk.volume != volume or id not in (None, disk.id):
            disk.close()
            raise ConflictError(
                f"{root} is disk {disk.id} of volume {disk.volume}", subject=disk.id
            )
        return disk

    @classmethod
    def open(cls, path: str | Path) -> Disk:
        """Use a disk that was made before; what a crash left half written is removed.

        ``DiskError``: there is none; ``ConflictError``: somebody uses it already.
        """
        root = os.path.abspath(path)
        with _told(root):
            try:
                hold = files.Hold(root)
            except BlockingIOError as error:
                raise ConflictError(f"{root} is in use by another process", subject=root) from error
            try:
                disk = cls(root, hold, read_marker(root))
                disk._clean()
                if not disk._account.load():
                    for top in ("blocks", "heads", "state"):
                        disk._account.count(os.path.join(root, top), _is_block)
            except BaseException:
                hold.release()
                raise
        return disk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others use it; nothing may be asked of it any more. Twice is once."""
        if not self._hold.held:
            return
        with contextlib.suppress(OSError):  # it is counted again at the next opening
            self._account.note(self._temporary())
        self._hold.release()

    # Blocks

    def put(self, key: BlockKey, payload: Buffer, lengths: tuple[int, ...] = ()) -> None:
        """Keep a block: when this returns it is on the medium.

        The same again is fine, and mends a damaged one; ``ConflictError`` when a whole block of
        other content is there: that one stays. ``DiskError`` with ``ENOSPC``: it does not fit.
        """
        label = Label(Kind.BLOCK, key.object, key.group, key.member, lengths)
        self._store(self._block(key), 3, label, payload)

    def get(self, key: BlockKey, *, fresh: bool = False) -> Block:
        """A block as it was put. ``fresh``: from the medium rather than from memory.

        ``NotFoundError``: it is not here; ``CorruptError``: what is here is not this block.
        """
        label, payload = self._load(self._block(key), Kind.BLOCK, fresh)
        if (label.object, label.number, label.member) != (key.object, key.group, key.member):
            reason = f"holds member {label.member} of group {label.number} of {label.object}"
            raise CorruptError(reason, path=self._block(key), subject=self.id)
        return Block(payload, label.lengths)

    def delete(self, key: BlockKey) -> bool:
        """Remove a block; False when it is not here. It may come back in a power cut."""
        path = self._block(key)
        with self._told(path):
            self._hold.check()
            self._account.change()
            if not self._remove(path, blocks=1):
                return False
            parent = os.path.dirname(path)
            if files.remove_empty(parent):
                files.remove_empty(os.path.dirname(parent))
        return True

    def keys(self, object: ObjectId | None = None) -> Iterator[BlockKey]:
        """Blocks by their files' names, in order; what comes and goes meanwhile may be missing."""
        top = os.path.join(self.path, "blocks")
        if object is not None:
            yield from self._keys_of(os.path.join(top, object[:2], check_object(object)), object)
            return
        for first in self._names(top, needed=True):
            for name in self._names(os.path.join(top, first)):
                try:
                    found = check_object(name)
                except MalformedError:
                    self.strays += 1
                    continue
                yield from self._keys_of(os.path.join(top, first, name), found)

    def _keys_of(self, directory: str, object: ObjectId) -> Iterator[BlockKey]:
        for part in self._names(directory):
            for name in self._names(os.path.join(directory, part)):
                found = _BLOCK.fullmatch(name)
                if found is not None:
                    key = BlockKey(object, int(found[1], 16), int(found[2], 16))
                    if self._block(key) == os.path.join(directory, part, name):
                        yield key
                        continue
                self.strays += 1

    def keys_of_group(self, object: ObjectId, group: int) -> Iterator[BlockKey]:
        """Members of one group by their files' names."""
        with self._told(self.path):
            self._hold.check()
        for member in range(MAX_WIDTH):
            key = BlockKey(object, group, member)
            path = self._block(key)
            with self._told(path):
                there = files.size_of(path) is not None
            if there:
                yield key

    def objects(self) -> Iterator[ObjectId]:
        """Objects that have blocks here, by their directories' names."""
        top = os.path.join(self.path, "blocks")
        for first in self._names(top, needed=True):
            for name in self._names(os.path.join(top, first)):
                with contextlib.suppress(MalformedError):
                    yield check_object(name)

    # Heads and the state

    def put_head(self, object: ObjectId, serial: int, data: Buffer) -> None:
        """Keep an object's head in place of an older one; on the medium when this returns.

        ``ConflictError``: a later one is here, or another of that serial.
        """
        label = Label(Kind.HEAD, check_object(object), serial)
        self._put_document(os.path.join(self.path, "heads", object[:2]), object, label, data)

    def head(self, object: ObjectId, *, fresh: bool = False) -> tuple[int, bytes]:
        """Serial and content of the newest whole head; ``fresh`` as of ``get``.

        ``NotFoundError``, ``CorruptError``.
        """
        directory = os.path.join(self.path, "heads", check_object(object)[:2])
        found = self._newest(directory, object, Kind.HEAD, fresh)
        if found is None:
            raise NotFoundError(f"no head of {object} on disk {self.id}", subject=object)
        return found

    def heads(self) -> Iterator[tuple[ObjectId, int]]:
        """Objects that have a head here, and their newest serials, by their files' names."""
        top = os.path.join(self.path, "heads")
        for first in self._names(top, needed=True):
            newest: dict[str, int] = {}
            for name in self._names(os.path.join(top, first)):
                found = _HEAD.fullmatch(name)
                if found is None or not name.startswith(first):
                    self.strays += 1
                    continue
                newest[found[1]] = max(newest.get(found[1], 0), int(found[2], 16))
            yield from ((ObjectId(name), serial) for name, serial in newest.items())

    def delete_head(self, object: ObjectId) -> bool:
        """Remove an object's head for good; False when there is none."""
        directory = os.path.join(self.path, "heads", check_object(object)[:2])
        with self._documents, self._told(directory):
            self._hold.check()
            serials = self._serials(directory, object)
            if not serials:
                return False
            self._account.change()
            for serial in serials:  # the newest last: an older one must not come back to life
                self._remove(os.path.join(directory, _document(object, serial)))
            files.sync(directory)
        return True

    def put_state(self, data: Buffer, version: int) -> None:
        """Keep the volume's state in place of an older one; rules as for heads."""
        label = Label(Kind.STATE, "", version)
        self._put_document(os.path.join(self.path, "state"), _STATE, label, data)

    def state(self) -> tuple[int, bytes] | None:
        """Version and content of the newest whole state, if there ever was one."""
        return self._newest(os.path.join(self.path, "state"), _STATE, Kind.STATE)

    def _put_document(self, directory: str, stem: str, label: Label, data: Buffer) -> None:
        path = os.path.join(directory, _document(stem, label.number))
        with self._documents, self._told(path):
            serials = self._serials(directory, stem)
            if serials and serials[-1] >= label.number:
                with contextlib.suppress(CorruptError):
                    newest = self._newest(directory, stem, label.kind)
                    if newest is not None and newest[0] > label.number:
                        raise ConflictError(
                            f"{stem}: {label.number} is older than {newest[0]}", subject=stem
                        )
            self._store(path, 1 if label.kind is Kind.HEAD else 0, label, data)
            for serial in serials:
                if serial != label.number:
                    self._remove(os.path.join(directory, _document(stem, serial)))

    def _newest(
        self, directory: str, stem: str, kind: Kind, fresh: bool = False
    ) -> tuple[int, bytes] | None:
        with self._documents:
            damage: CorruptError | None = None
            for serial in reversed(self._serials(directory, stem)):
                path = os.path.join(directory, _document(stem, serial))
                try:
                    label, data = self._load(path, kind, fresh)
                except CorruptError as error:
                    damage = damage or error
                    continue
                if label.number == serial and label.object in (stem, ""):
                    return serial, data
                damage = damage or CorruptError(
                    f"holds number {label.number} of {label.object or _STATE}",
                    path=path,
                    subject=self.id,
                )
            if damage is not None:
                raise damage
            return None

    def _serials(self, directory: str, stem: str) -> list[int]:
        known = []
        for name in self._names(directory):
            rest = name.removeprefix(f"{stem}.")
            if rest != name and len(rest) == 16:
                with contextlib.suppress(ValueError):
                    known.append(int(rest, 16))
        return sorted(known)

    # Room

    def usage(self) -> Usage:
        """How full the disk is; costs one call of the system."""
        with self._told(self.path):
            self._hold.check()
            _, free = files.space(self.path)
        used, blocks = self._account.read()
        limit = used + free if self.capacity is None else self.capacity
        return Usage(limit, used, max(0, min(free, limit - used)), blocks)

    # Files

    def _store(self, path: str, depth: int, label: Label, payload: Buffer) -> None:
        header = seal(label, payload)
        size = rounded(HEADER + memoryview(payload).nbytes)
        blocks = int(label.kind is Kind.BLOCK)
        with self._told(path):
            self._hold.check()
            while files.size_of(path) is not None:
                if self._keep(path, label, header, payload):
                    return
            self._account.change()
            self._account.reserve(size, blocks, path)
            try:
                temporary = self._temporary()
                files.write_new(temporary, (header, payload))
                placed = files.place(temporary, path, depth)
            except BaseException:
                self._account.add(-size, -blocks)
                raise
            if placed:
                self._hold.check()
                return
        self._account.add(-size, -blocks)  # another thread was first
        self._store(path, depth, label, payload)

    def _keep(self, path: str, label: Label, header: bytes, payload: Buffer) -> bool:
        """Whether the file that is there will do, if need be written anew; False: it is gone."""
        with self._mending:
            try:
                found, content = files.read(path, label.kind.limit)
                unseal(found, content, path, self.id)
            except FileNotFoundError:
                return False
            except CorruptError:
                pass
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            else:
                if found != header or content != payload:
                    raise ConflictError(f"{path} has other content", subject=self.id)
                # Whoever wrote it may have died before it had its name on the medium.
                with contextlib.suppress(FileNotFoundError):
                    files.sync(os.path.dirname(path))
                    return True
                return False
            self._account.change()
            before = files.size_of(path) or 0
            temporary = self._temporary()
            files.write_new(temporary, (header, payload))
            files.replace(temporary, path)
            after = HEADER + memoryview(payload).nbytes
            self._account.add(rounded(after) - rounded(before), 0)
            self.mended += 1
            return True

    def _load(self, path: str, kind: Kind, fresh: bool = False) -> tuple[Label, bytes]:
        try:
            header, payload = files.read(path, kind.limit, fresh=fresh)
        except FileNotFoundError as error:
            with self._told(path):
                self._hold.check()
            name = os.path.basename(path)
            raise NotFoundError(f"no {name} on disk {self.id}", subject=self.id) from error
        except OSError as error:
            if error.errno in _NO_FILE:
                raise CorruptError("is no file", path=path, subject=self.id) from error
            raise DiskError.of(error, path, self.id) from error
        label = unseal(header, payload, path, self.id)
        if label.kind is not kind:
            raise CorruptError(f"is a {label.kind.name.lower()}", path=path, subject=self.id)
        return label, payload

    def _remove(self, path: str, blocks: int = 0) -> bool:
        size = files.size_of(path)
        if size is None:
            return False
        try:
            files.remove(path)
        except FileNotFoundError:
            return False
        self._account.add(-rounded(size), -blocks)
        return True

    def _names(self, directory: str, *, needed: bool = False) -> list[str]:
        """What a directory holds; nothing where there is none, unless the disk itself is gone."""
        with self._told(directory):
            try:
                return files.names(directory)
            except NotADirectoryError:
                self.strays += 1
                return []
            except FileNotFoundError:
                self._hold.check()
                if needed:
                    raise
                return []

    def _block(self, key: BlockKey) -> str:
        object, group, member = key.object, key.group, key.member
        if not 0 <= group < 1 << 32 or not 0 <= member < 256:
            raise MalformedError("block key", f"group {group}, member {member}")
        check_object(object)
        part = group // FAN_OUT
        return f"{self.path}/blocks/{object[:2]}/{object}/{part:05x}/{group:08x}-{member:02x}"

    def _temporary(self) -> str:
        return f"{self.path}/partial/{os.getpid():x}-{next(self._numbers):x}"

    def _clean(self) -> None:
        """Remove what was being written when the last user of the disk died."""
        directory = os.path.join(self.path, "partial")
        for name in files.names(directory):
            files.discard(os.path.join(directory, name))  # a disk that is read-only can be read

    def _told(self, path: str) -> contextlib.AbstractContextManager[None]:
        return _told(path, self.id)


@contextlib.contextmanager
def _told(path: str, disk: str | None = None) -> Iterator[None]:
    """Turn what the system says into what it means."""
    try:
        yield
    except OSError as error:
        raise DiskError.of(error, error.filename or path, disk) from error


def _document(stem: str, serial: int) -> str:
    if not 0 <= serial < 1 << 64:
        raise MalformedError("serial", f"{serial} (0 to 2^64 - 1)")
    return f"{stem}.{serial:016x}"


def _is_block(name: str) -> bool:
    return _BLOCK.fullmatch(name) is not None
