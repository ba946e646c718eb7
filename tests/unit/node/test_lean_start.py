"""What the server loads before it is ready: the start is hardly anything else."""

from __future__ import annotations

import subprocess
import sys

#: Loaded by those who need them: old databases, clusters, PostgreSQL, other processes, commands.
LATER = (
    "alembic",
    "av",
    "heliograph.manager.shell",
    "heliograph.node.mesh",
    "heliograph.node.steering",
    "httpx",
    "numpy",
    "sqlalchemy.dialects.postgresql",
    "zenoh",
)


def test_a_server_of_one_node_loads_nothing_that_only_others_need() -> None:
    program = f"import sys, heliograph.node.server\nprint([n for n in {LATER} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


def test_commands_do_not_look_for_the_version_which_few_of_them_tell() -> None:
    program = "import sys, heliograph.cli.names\nprint('importlib.metadata' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr
