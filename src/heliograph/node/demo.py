"""The demo channel's publisher: ``helio publish pattern`` as a process of its own, kept alive.

It goes in by the same door as anybody's encoder, so the demo shows the real path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import structlog

log = structlog.get_logger(__name__)

#: Seconds between two starts of a publisher that keeps dying.
RESTART_WAIT = 2.0
#: Seconds it has to end by itself before it is killed.
STOP_PATIENCE = 3.0


class Demo:
    """Runs the publisher until stopped."""

    def __init__(self, channel: str, rtsp_port: int, key: str) -> None:
        self._channel = channel
        self._url = f"rtsp://127.0.0.1:{rtsp_port}"
        self._key = key
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.create_task(self._run(), name="demo")

    async def _run(self) -> None:
        while True:
            # The key goes by the environment: command lines can be read by anybody on the machine.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "heliograph",
                "publish",
                "pattern",
                self._channel,
                "--url",
                self._url,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "HELIO_KEY": self._key},
                start_new_session=True,  # Ctrl-C is ours to handle; the publisher is told in turn
            )
            _, complaint = await self._process.communicate()
            log.warning(
                "demo publisher ended",
                code=self._process.returncode,
                said=complaint.decode("utf-8", "replace")[-400:],
            )
            await asyncio.sleep(RESTART_WAIT)

    async def stop(self) -> None:
        """End the publisher, by force if it does not by itself."""
        task, self._task = self._task, None
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_PATIENCE)
                except TimeoutError:
                    process.kill()
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
