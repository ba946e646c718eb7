"""A server that is away gets no farewell, and no trace of it stays in the log."""

from __future__ import annotations

import asyncio
import gc

import pytest

from heliograph.catalogue.engine import unclosed


async def test_only_a_farewell_that_failed_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def _terminate_graceful_close() -> None:
        raise TimeoutError

    async def anything_else() -> None:
        raise TimeoutError

    asyncio.get_running_loop().set_exception_handler(unclosed)
    for made in (_terminate_graceful_close, anything_else):
        task = asyncio.create_task(made())
        await asyncio.wait([task])
        del task
        gc.collect()
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 1
    assert "anything_else" in faults[0].getMessage()
