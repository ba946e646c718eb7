"""Titles on disks, as people use them: one server, its commands, players, and kills."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import PATIENCE, stop, until
from tests.system.test_cluster import Node

#: Pictures of the film.
PICTURES = 75


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with B-frames and a tone."""
    file = tmp_path_factory.mktemp("film") / "A film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
    line += ["-f", "lavfi", "-i", "sine", "-t", str(PICTURES / 25), "-c:v", "libx264", "-bf", "2"]
    line += ["-g", "25", "-b:v", "2M", "-c:a", "aac", str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    return file


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", "node", keeps=True)
    try:
        yield made.start()
    finally:
        if made.served is not None:
            stop(made.process)
    assert made.served is not None
    assert "Traceback" not in made.served.log.read_text()


def pictures(url: str, *options: str) -> list[str]:
    """Digests of the pictures that a player decodes."""
    line = ["ffmpeg", "-v", "error", *options, "-i", url, "-map", "0:v"]
    line += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return [one.split(",")[-1].strip() for one in done.stdout.splitlines() if one[0] != "#"]


def titles(node: Node) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(node.helio("volume", "titles", "--json"))}


def volume(node: Node) -> dict[str, Any]:
    (found,) = json.loads(node.helio("volume", "list", "--json"))
    return dict(found)


def test_a_film_is_imported_played_checked_and_exported(
    node: Node, film: Path, tmp_path: Path
) -> None:
    wanted = pictures(str(film))
    assert len(wanted) == PICTURES
    said = node.helio("title", "import", str(film))
    assert said.startswith(f"A-film: {node.http}/watch/A-film")
    assert titles(node)["A-film"]["duration"] == pytest.approx(PICTURES / 25, abs=0.2)
    for transport in ("tcp", "udp"):
        assert pictures(f"{node.rtsp}/A-film", "-rtsp_transport", transport) == wanted
    assert pictures(f"{node.http}/hls/A-film/index.m3u8") == wanted
    for address in ("go/A-film", "go/A-film?format=mp4", "go/A-film/index.m3u8"):
        assert pictures(f"{node.http}/{address}") == wanted
    assert "all as they should be" in node.helio("title", "verify", "A-film")
    copy = tmp_path / "copy.mp4"
    node.helio("title", "export", "A-film", "-o", str(copy))
    assert pictures(str(copy)) == wanted
    metrics = subprocess.run(
        ["curl", "-sf", f"{node.http}/metrics"], capture_output=True, text=True, check=True
    ).stdout
    assert "helio_storage_disks 1.0" in metrics
    assert "helio_titles_rtsp_sessions_begun_total 2.0" in metrics
    # The control: another film has other pictures.
    assert pictures(str(copy), "-ss", "1") != wanted
    node.helio("title", "erase", "A-film")
    assert titles(node) == {}
    until("its blocks are gone", lambda: volume(node)["disks"][0]["blocks"] == 0)


def test_a_film_of_two_sizes_is_offered_in_both(node: Node, film: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.mp4"
    line = ["ffmpeg", "-v", "error", "-i", str(film), "-vf", "scale=160:90", "-c:v", "libx264"]
    line += ["-g", "25", "-b:v", "300k", "-c:a", "copy", str(small)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    node.helio("title", "import", str(film), "--rendition", str(small))
    line = ["curl", "-sfL", f"{node.http}/go/A-film?format=hls"]
    index = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    variants = [one for one in index if one.startswith("#EXT-X-STREAM-INF:")]
    assert [one.split("RESOLUTION=")[1].split(",")[0] for one in variants] == ["320x180", "160x90"]
    assert all("FRAME-RATE=25.000" in one for one in variants)
    media = [f"{node.http}/hls/A-film/{one}" for one in index if one.endswith(".m3u8")]
    assert [len(pictures(one)) for one in media] == [PICTURES, PICTURES]


def status(address: str) -> int:
    """Of an answer, which is not followed."""
    line = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address]
    return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def test_a_film_is_in_the_catalogue_like_all_titles(node: Node, film: Path) -> None:
    def listed() -> list[dict[str, Any]]:
        return list(json.loads(node.helio("title", "list", "--json")))

    node.helio("title", "import", str(film), "--title", "The film")
    (found,) = until("it is in the catalogue", listed)
    assert (found["name"], found["title"], found["files"]) == ("A-film", "The film", 0)
    assert found["duration"] == pytest.approx(PICTURES / 25, abs=0.2)
    addresses = [f"{node.http}/go/A-film?format=hls", f"{node.http}/hls/A-film/index.m3u8"]
    addresses += [f"{node.http}/titles/A-film.mp4"]
    assert [status(one) for one in addresses] == [302, 200, 200]
    # Licensed elsewhere only: nobody gets it here, whatever way is taken.
    asked(node, "/../titles/A-film", json.dumps({"regions": ["at"]}), method="PATCH")
    until("it is barred", lambda: [status(one) for one in addresses] == [451, 403, 403])
    with pytest.raises(subprocess.CalledProcessError):
        pictures(f"{node.rtsp}/A-film", "-rtsp_transport", "tcp")
    # Not published, it is unknown to everybody, and no licence can be read off an answer.
    asked(node, "/../titles/A-film", json.dumps({"published": False}), method="PATCH")
    until("it is unknown", lambda: [status(one) for one in addresses] == [404, 404, 404])
    with pytest.raises(subprocess.CalledProcessError):
        pictures(f"{node.rtsp}/A-film", "-rtsp_transport", "tcp")
    assert json.loads(node.helio("title", "list", "--json"))[0]["published"] is False
    assert "all as they should be" in node.helio("title", "verify", "A-film")
    asked(node, "/../titles/A-film", json.dumps({"published": True}), method="PATCH")
    until("it is barred again", lambda: [status(one) for one in addresses] == [451, 403, 403])
    asked(node, "/../titles/A-film", json.dumps({"regions": []}), method="PATCH")
    until("it is free", lambda: status(addresses[0]) == 302)
    # Called otherwise in the catalogue, it is not to be had by the name that its volume knows.
    asked(node, "/../titles/A-film", json.dumps({"name": "B-film"}), method="PATCH")
    until("its old name is unknown", lambda: [status(one) for one in addresses] == [404, 404, 404])
    asked(node, "/../titles/B-film", json.dumps({"name": "A-film"}), method="PATCH")
    until("it is called as before", lambda: status(addresses[0]) == 302)
    node.helio("title", "erase", "A-film")
    until("it is forgotten", lambda: not listed())
    assert status(addresses[0]) == 404


def test_disks_come_and_go_and_one_is_pulled(node: Node, film: Path, tmp_path: Path) -> None:
    wanted = pictures(str(film))
    places = [str(tmp_path / f"disk-{letter}") for letter in "abcd"]
    node.helio("volume", "create", "films", *places[:3], "--data", "2", "--parity", "1")
    node.helio("title", "import", str(film), "--name", "film")
    node.helio("disk", "add", places[3])
    node.helio("disk", "remove", places[0])
    assert {one["path"] for one in volume(node)["disks"]} == {*places[1:]}
    assert pictures(f"{node.rtsp}/film", "-rtsp_transport", "tcp") == wanted
    # Its directory is gone while the server runs; nobody says a word to it.
    subprocess.run(["rm", "-rf", places[1]], check=True)
    assert pictures(f"{node.http}/hls/film/index.m3u8") == wanted
    # What is left is as many as a group has members only with another disk.
    node.helio("disk", "replace", places[1], places[0] + "-again", "--force")
    assert volume(node)["lost"] == {"blocks": 0, "titles": []}
    assert "all as they should be" in node.helio("title", "verify", "film")


def test_a_title_is_out_of_reach_while_too_many_of_its_disks_are_away(
    node: Node, film: Path, tmp_path: Path
) -> None:
    def standing() -> str:
        (found,) = json.loads(node.helio("title", "list", "--json"))
        return str(found["standing"])

    places = [tmp_path / f"disk-{letter}" for letter in "abc"]
    node.helio("volume", "create", "films", *map(str, places), "--data", "2", "--parity", "1")
    node.helio("title", "import", str(film), "--name", "film")
    until("it is in the catalogue", lambda: node.helio("title", "list", "--json") != "[]\n")
    assert standing() == "playable"
    away = [place.rename(tmp_path / f"away-{place.name}") for place in places[:2]]
    until("it is out of reach", lambda: standing() == "unreachable")
    away[0].rename(places[0])
    until("one disk is made up for", lambda: standing() == "playable")
    away[1].rename(places[1])
    until("all are back", lambda: all(one["up"] for one in volume(node)["disks"]))
    assert standing() == "playable"
    assert "all as they should be" in node.helio("title", "verify", "film")


def test_what_is_lost_for_good_is_told_of_the_title(node: Node, film: Path, tmp_path: Path) -> None:
    def told() -> tuple[str, int]:
        (found,) = json.loads(node.helio("title", "list", "--json"))
        return found["standing"], found["lost"]

    places = [str(tmp_path / f"disk-{letter}") for letter in "abcde"]
    # A hundred blocks, so that some group has lost two members whichever two disks go.
    scheme = {"name": "films", "data": 2, "parity": 1, "block": 4 << 10}
    asked(node, "/volumes", json.dumps(scheme | {"disks": [{"path": one} for one in places]}))
    node.helio("title", "import", str(film), "--name", "film")
    until("it is in the catalogue", lambda: node.helio("title", "list", "--json") != "[]\n")
    assert told() == ("playable", 0)
    used = [one["path"] for one in volume(node)["disks"] if one["blocks"]]
    subprocess.run(["rm", "-rf", *used[:2]], check=True)
    for path in used[:2]:
        node.helio("disk", "remove", path, "--force", "--no-wait")
    until("its loss is known", lambda: told()[0] == "damaged")
    lost = volume(node)["lost"]
    assert lost["titles"] == ["film"]
    assert 0 < lost["blocks"] == told()[1]


def test_two_disks_of_six_are_lost_at_once_and_made_anew(
    node: Node, film: Path, tmp_path: Path
) -> None:
    wanted = pictures(str(film))
    places = [str(tmp_path / f"disk-{letter}") for letter in "abcdef"]
    scheme = {"name": "films", "data": 2, "parity": 2, "code": "rs", "block": 16 << 10}
    asked(node, "/volumes", json.dumps(scheme | {"disks": [{"path": one} for one in places]}))
    node.helio("title", "import", str(film), "--name", "film")
    copies = [tmp_path / f"copy-{number}.mp4" for number in range(3)]
    node.helio("title", "export", "film", "-o", str(copies[0]))
    until("blocks on all disks", lambda: all(one["blocks"] for one in volume(node)["disks"]))
    gone = places[1], places[4]
    for place in gone:
        subprocess.run(["rm", "-rf", place], check=True)
    assert pictures(f"{node.rtsp}/film", "-rtsp_transport", "tcp") == wanted
    node.helio("title", "export", "film", "-o", str(copies[1]))
    assert "all as they should be" in node.helio("title", "verify", "film")
    # What the first one had is made anew when it is said that the other will not come back either.
    node.helio("disk", "remove", gone[0], "--force", "--no-wait")
    node.helio("disk", "remove", gone[1], "--force")
    assert volume(node)["lost"] == {"blocks": 0, "titles": []}
    # All redundancy is there again: of the four that are left any two may go.
    subprocess.run(["rm", "-rf", places[0], places[5]], check=True)
    assert "all as they should be" in node.helio("title", "verify", "film")
    node.helio("title", "export", "film", "-o", str(copies[2]))
    assert len({copy.read_bytes() for copy in copies}) == 1


def test_a_disk_that_left_comes_back_with_what_it_has(
    node: Node, film: Path, tmp_path: Path
) -> None:
    places = [str(tmp_path / f"disk-{letter}") for letter in "abc"]
    node.helio("volume", "create", "films", *places, "--data", "1", "--parity", "1")
    node.helio("title", "import", str(film), "--name", "film")
    node.helio("title", "import", str(film), "--name", "other")
    node.helio("disk", "remove", places[0], "--force")
    node.helio("title", "erase", "other")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        node.helio("volume", "create", "others", places[0])
    assert "of volume films, with" in caught.value.stderr
    node.helio("disk", "add", places[0])
    assert [*titles(node)] == ["film"]  # what was erased meanwhile stays erased
    assert "all as they should be" in node.helio("title", "verify", "film")
    node.helio("disk", "remove", places[0])
    node.helio("disk", "add", places[0], "--erase")
    assert volume(node)["lost"] == {"blocks": 0, "titles": []}
    assert "all as they should be" in node.helio("title", "verify", "film")


def test_what_is_no_film_is_refused_and_leaves_nothing(node: Node, tmp_path: Path) -> None:
    lie = tmp_path / "lie.mp4"
    lie.write_bytes(b"\0\0\0\x18ftypisom" + b"no film at all " * 9000)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        node.helio("title", "import", str(lie))
    assert "lie.mp4" in caught.value.stderr
    assert titles(node) == {}
    until("nothing is kept of it", lambda: volume(node)["disks"][0]["blocks"] == 0)


def test_a_recording_outlives_a_killed_server(node: Node) -> None:
    assert node.served is not None
    publisher = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"]
        + ["-f", "rtsp", "-rtsp_transport", "tcp", node.served.publish_url()],
        stdin=subprocess.DEVNULL,
    )
    try:
        until("it is on air", lambda: node.state_of() == "on_air")
        node.helio("title", "record", "demo", "monday")

        def recorded() -> float:
            (one,) = json.loads(asked(node, "/recordings"))["recordings"]
            return float(one["seconds"])

        until("some seconds are recorded", lambda: recorded() > 5)
        # It grows, and who comes later sees it from its begin on.
        until("it is listed", lambda: titles(node).get("monday", {}).get("live"))
        before = recorded()
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        publisher.wait(PATIENCE)
    finally:
        publisher.kill()
        publisher.wait()
    node.start()
    until("it is finished", lambda: titles(node).get("monday", {}).get("live") is False)
    assert titles(node)["monday"]["duration"] >= before - 1.0
    assert "all as they should be" in node.helio("title", "verify", "monday")
    assert len(pictures(f"{node.rtsp}/monday", "-rtsp_transport", "tcp")) >= (before - 1.0) * 24


def asked(node: Node, path: str, body: str = "", method: str = "POST") -> str:
    """What the API says below ``/api/v1/storage``; a ``body`` is sent by ``method``."""
    key = (node.state / "administrator.key").read_text().strip()
    line = [
        "curl",
        "-sf",
        "-H",
        f"Authorization: Bearer {key}",
        *(["-X", method, "-H", "Content-Type: application/json", "-d", body] if body else []),
        f"{node.http}/api/v1/storage{path}",
    ]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
