"""``repeat.py TIMES DIRECTORY PYTEST...``: run tests again and again, count how often each passed.

Logs of all runs and their times are in DIRECTORY; the exit code is 1 where any test failed once.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as Xml
from collections import Counter
from pathlib import Path


def outcomes(report: Path) -> dict[str, bool]:
    """Whether each test passed that was not skipped, by name."""
    if not report.exists():
        return {}
    found = {}
    for case in Xml.parse(report).iter("testcase"):
        children = {child.tag for child in case}
        if "skipped" not in children:
            name = f"{case.get('classname', '').rpartition('.')[2]}: {case.get('name')}"
            found[name] = not children & {"failure", "error"}
    return found


def main(times: int, directory: Path, command: list[str]) -> int:
    """Run, and print what passed how often after each run."""
    directory.mkdir(parents=True, exist_ok=True)
    passed: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    broken = 0
    for number in range(1, times + 1):
        report, log = directory / f"{number}.xml", directory / f"{number}.log"
        report.unlink(missing_ok=True)
        began = time.monotonic()
        with log.open("wb") as out:
            code = subprocess.run(
                [*command, f"--junit-xml={report}", "-s"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            ).returncode
        found = outcomes(report)
        broken += not found or code not in (0, 1)
        ran.update(found)
        passed.update(name for name, well in found.items() if well)
        failed = [name for name, well in found.items() if not well]
        print(
            f"{number} of {times}, {time.monotonic() - began:.0f} s: "
            + (f"failed: {', '.join(failed)} ({log})" if failed or broken else "all passed"),
            flush=True,
        )
    for name in sorted(ran):
        print(f"{passed[name]:4d} of {ran[name]}  {name}")
    return int(bool(broken) or passed != ran)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
