"""Recording from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.serving import serving

from heliograph.cli import OK, REFUSED, main


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [("", OK, "night: 12.0 s recorded"), ("nothing came: there is no title night", REFUSED, "")],
)
def test_the_end_of_a_recording_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: str, code: int, said: str
) -> None:
    (tmp_path / "key").write_text("secret\n")
    with serving() as (handler, url):
        handler.body = json.dumps({"seconds": 12.0, "error": error}).encode()
        place = ["--server", url, "--key-file", str(tmp_path / "key")]
        assert main(["title", "stop", "night", *place]) == code
        assert [one[:2] for one in handler.asked] == [
            ("DELETE", "/api/v1/storage/recordings/night")
        ]
    shown = capsys.readouterr()
    assert said in shown.out
    assert error in shown.err
