"""``repeat.py TIMES DIRECTORY PYTEST...``: run tests again and again, count how often each passed.

Logs of all runs and their times are in DIRECTORY; the exit code is 1 where any test failed once.
What tests print with figures is told at the end: of each line that several runs have, the least,
the median and the most of its numbers.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as Xml
from collections import Counter, defaultdict
from collections.abc import Iterable
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


#: A number that stands for itself, and is no part of a name.
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w.-]*\w)")


def figures(logs: Iterable[str]) -> list[str]:
    """Lines of several runs that differ in numbers only, with ``least/median/most`` for these."""
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for log in logs:
        printed = re.split(r"^=+ (?:FAILURES|ERRORS|short test)", log, maxsplit=1, flags=re.M)[0]
        for line in printed.splitlines():
            # The file's name and the marks of tests that are over stand before the text.
            text = re.sub(r"^(?:\S+\.py )?(?:[.FEsx]+(?=[a-z0-9]))?", "", line.strip())
            if numbers := tuple(float(one) for one in NUMBER.findall(text)):
                found[NUMBER.sub("\0", text)].append(numbers)
    told = []
    for text, rows in found.items():
        if len(rows) > 1:
            columns = zip(*rows, strict=True)
            whole = text
            for column in columns:
                span = f"{min(column):g}/{statistics.median(column):g}/{max(column):g}"
                whole = whole.replace("\0", span, 1)
            told.append(f"{len(rows):4d} times  {whole}")
    return told


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
        ran.update(found.keys())  # of a mapping it would add up the values
        passed.update(name for name, well in found.items() if well)
        failed = [name for name, well in found.items() if not well]
        print(
            f"{number} of {times}, {time.monotonic() - began:.0f} s: "
            + (f"failed: {', '.join(failed)} ({log})" if failed or broken else "all passed"),
            flush=True,
        )
    logs = (directory / f"{number}.log" for number in range(1, times + 1))
    for line in figures(log.read_text(errors="replace") for log in logs):
        print(line)
    for name in sorted(ran):
        print(f"{passed[name]:4d} of {ran[name]}  {name}")
    return int(bool(broken) or passed != ran)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
