"""Titles in SDP: a player learns what it gets and how long it lasts."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import titled
from tests.unit.vod.made_files import Made

from heliograph.model.media import Codec, Kind
from heliograph.protocols.sdp import parse_sdp, tracks_from_sdp
from heliograph.vod.describe import sdp_for_title, viewed_tracks


def test_a_player_learns_codecs_parameters_and_length(media: Files) -> None:
    manifest = titled(media("h264.mp4")).manifest
    text = sdp_for_title(manifest, 7, origin_address="192.0.2.1")
    assert "a=range:npt=0-2.080\r\n" in text
    assert "a=type:broadcast" not in text
    assert "a=control:trackID=0\r\n" in text
    video, sound = tracks_from_sdp(parse_sdp(text))
    assert (video.codec, sound.codec) == (Codec.H264, Codec.AAC)
    assert video.fmtp == manifest.tracks[0].track.fmtp
    assert sound.fmtp["config"] == manifest.tracks[1].track.fmtp["config"]


def test_a_viewer_gets_one_rendition_and_all_sound_with_its_language(media: Files) -> None:
    made = Made(sizes=[(320, 180)], audio=["aac", "libopus"], languages=["deu", "eng"])
    manifest = titled(media("many.mkv", made)).manifest
    text = sdp_for_title(manifest, 7, rendition=1)
    assert text.count("m=video") == 1
    assert "a=control:trackID=1\r\n" in text
    assert "a=control:trackID=0\r\n" not in text
    assert text.index("m=audio") < text.index("a=lang:deu") < text.index("a=lang:eng")

    def ids(rendition: int = 0, *languages: str) -> list[int]:
        return [one.track.id for one in viewed_tracks(manifest, rendition, languages)]

    assert ids() == [0, 2, 3]
    assert ids(5) == [0, 2, 3]
    assert ids(1, "eng") == [1, 3]
    assert ids(1, "fra") == [1, 2, 3]


def test_a_recording_that_goes_on_has_no_end_yet(media: Files) -> None:
    manifest = replace(titled(media("h264.mp4")).manifest, live=True)
    text = sdp_for_title(manifest, 7)
    assert "a=range:npt=0-\r\n" in text
    assert "a=type:broadcast\r\n" in text


def test_sound_alone_is_described(media: Files) -> None:
    made = Made(video=None, audio=["libopus"])
    manifest = titled(media("sound.mkv", made)).manifest
    assert [one.track.kind for one in manifest.tracks] == [Kind.AUDIO]
    assert manifest.keys == ()
    assert sdp_for_title(manifest, 7).count("m=") == 1
