"""A node whose database is away when it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.peers.heliograph import START_PATIENCE, Server
from tests.interop.peers.program import wait_until
from tests.ports import free_port

from heliograph.model.errors import AwayError, ResourceError
from heliograph.node import database


def test_a_node_that_waits_for_its_database_is_ended_by_a_signal(tmp_path: Path) -> None:
    url = f"postgresql://heliograph@127.0.0.1:{free_port()}/none"
    server = Server(tmp_path, [], settings={"database": {"url": url}})
    try:
        waits = "database is away; tried again"
        wait_until(lambda: waits in server.log, START_PATIENCE, "it waits")
        assert server.running
        server.process.terminate()
        assert server.wait(15) == 0
        assert "stopped before everything was started" in server.log
        assert "Traceback" not in server.log
    finally:
        server.kill()


async def test_what_stands_in_the_way_of_a_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError) as caught:
        await database.open_catalogue(f"sqlite:///{tmp_path / 'file' / 'd.db'}")
    assert not isinstance(caught.value, AwayError)
