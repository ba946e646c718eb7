"""The demo's title: where there is none it is made in the background, by a process of its own, and
imported by the same door as anybody's film."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import structlog

from heliograph.catalogue.values import Actor
from heliograph.model.errors import HelioError
from heliograph.node.storage.storage import Storage

log = structlog.get_logger(__name__)

#: The title.
NAME, TITLE = "demo-film", "Demo film"
#: Seconds that making it may take: it takes ten on an idle core.
PATIENCE = 300.0
#: Bytes handed to the import at a time.
PIECE = 1 << 20

_COMMAND = (sys.executable, "-m", "heliograph.cli.publishing.film")


class DemoFilm:
    """Makes it once; to be stopped."""

    def __init__(self, storage: Storage, state_dir: Path) -> None:
        self._storage = storage
        self._path = state_dir / "demo-film.mp4"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop; nobody waits for it."""
        self._task = asyncio.create_task(self._run(), name="demo film")

    async def stop(self) -> None:
        """End what is under way; the next start begins anew."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        try:
            with contextlib.suppress(HelioError):
                await self._storage.shelf.look()
            if self._storage.shelf.find(NAME) is None:
                await self._make()
                await self._import()
        except HelioError as error:
            log.warning("no demo film", error=error.message)
        except TimeoutError:
            log.warning("no demo film", error=f"it was not made within {PATIENCE:.0f} s")
        except Exception:
            log.exception("no demo film")
        finally:
            self._path.unlink(missing_ok=True)

    async def _make(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            str(self._path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        try:
            async with asyncio.timeout(PATIENCE):
                _, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
        if process.returncode:
            said = complaint.decode("utf-8", "replace").strip()[-400:]
            log.warning("demo film not made", code=process.returncode, said=said)

    async def _import(self) -> None:
        if not self._path.exists():
            return  # the log says why
        by = Actor("demo", "")
        size = self._path.stat().st_size
        begun = await self._storage.begin_import(
            NAME, title=TITLE, volume="", file=self._path.name, size=size, by=by
        )
        async with begun as upload:
            with self._path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, PIECE):
                    await upload.write(data)
            await upload.finish()
