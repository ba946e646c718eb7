"""Tests that are run again and again are counted, and what they print is summed up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "repeat.py"
SUBJECT = """
from pathlib import Path

def test_now_and_then():
    runs = Path(__file__).with_name("runs")
    count = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("x" * (count + 1))
    print(f"after {10 * count}.5 ms in p99, and {count} lost")
    assert count != 1
"""


def test_runs_are_counted_and_their_figures_summed_up(tmp_path: Path) -> None:
    subject = tmp_path / "test_subject.py"
    subject.write_text(SUBJECT)
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "3", str(tmp_path / "logs"), *pytest, str(subject)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "   2 of 3  test_subject: test_now_and_then" in done.stdout
    assert "   3 times  after 0.5/10.5/20.5 ms in p99, and 0/1/2 lost" in done.stdout
