"""``helio version``: what runs here."""

from __future__ import annotations

import platform
import sys

from heliograph import __version__
from heliograph.cli.console import JsonOption, print_json


def command(as_json: JsonOption = False) -> None:
    """Show the version and what it runs on."""
    facts = {
        "heliograph": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": sys.executable,
    }
    if as_json:
        print_json(facts)
    else:
        print(f"heliograph {__version__} (Python {facts['python']}, {facts['system']})")
