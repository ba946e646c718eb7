"""What ``helio play`` says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from heliograph.cli import REFUSED, USAGE, main
from heliograph.cli.play import _Outputs
from heliograph.model.errors import ResourceError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player.streams import Stream

VIDEO = Stream(0, Track(0, Kind.VIDEO, Codec.H264, 90_000, 96), "rtsp://127.0.0.1/film")


def test_without_a_display_it_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ResourceError, match="--stats or --write"):
        _Outputs("rtsp://127.0.0.1/film", True, None).screen([VIDEO])


def test_without_a_sound_device_it_plays_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "there-is-no-such-driver")
    sound = Stream(0, Track(0, Kind.AUDIO, Codec.L16, 48_000, 96, channels=2), "")
    outputs = _Outputs("rtsp://127.0.0.1/film", True, None)
    assert outputs.loudspeaker([sound]) is None
    assert "playing without sound" in outputs.remarks[0]


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "rtsp://127.0.0.1:9/film", "--stats"]) == REFUSED
    assert "cannot reach 127.0.0.1:9" in capsys.readouterr().err


def test_an_address_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "film.mp4", "--stats"]) == REFUSED
    assert "rtsp://host:8554/name" in capsys.readouterr().err


def test_a_key_in_an_address_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "rtsp://me:secret@127.0.0.1:9/film", "--json"]) == REFUSED
    shown = capsys.readouterr()
    assert "secret" not in shown.err + shown.out


@pytest.mark.parametrize("wrong", [["--watermarks=1"], ["--flow=maybe"], ["--buffer=0"]])
def test_options_out_of_range(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "rtsp://127.0.0.1:9/film", *wrong]) == USAGE
    assert wrong[0].split("=")[0] in capsys.readouterr().err


def test_an_ending_nobody_knows_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "film.doc"
    outputs = _Outputs("", False, path)
    with pytest.raises(Exception, match=r"\.mp4"):
        outputs.writer([VIDEO])
    assert not path.exists()
