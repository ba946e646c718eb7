"""From the first start to a private channel on air: what a person does on the pages."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers.chromium import Chromium, Tab
from .peers.clip import Clip
from .peers.heliograph import Server
from .peers.program import Program, wait_until
from .test_on_air import PATIENCE, plays, press

pytestmark = pytest.mark.interop

PASSWORD = "three plain words"


def set_up(chromium: Chromium, server: Server, state: Path) -> Tab:
    """Make the first account as whoever started the server does."""
    tab = chromium.open(server.http, permissions=["camera", "microphone"])
    tab.until_text("This server has no accounts yet.", PATIENCE)
    tab.go(f"{server.http}/setup")
    key = (state / "administrator.key").read_text().strip()
    tab.write(key="a guess at it", name="ada", password=PASSWORD)
    tab.click("Make the account")
    tab.until_text("This is not the administrator's key.", PATIENCE)
    tab.write(key=key)
    tab.click("Make the account")
    tab.until_path("/mine", PATIENCE)
    return tab


def make_channel(tab: Tab, title: str, watchers: str) -> None:
    tab.until_text("Your first channel", PATIENCE)
    tab.write(title=title)
    tab.choose("watchers", watchers)
    tab.click("Make the channel")
    tab.until_text("A new key for", PATIENCE)


@pytest.mark.browser
def test_an_owner_goes_on_air_and_invites_people(
    serve: Callable[..., Server], chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    owner = set_up(chromium, server, tmp_path / "server-state")
    make_channel(owner, "Choir practice", "private")
    stranger = chromium.open(f"{server.http}/watch/choir-practice")
    stranger.until_text("There is no such channel", PATIENCE)
    owner.click("Links")
    owner.write(subject="The choir")
    owner.click("Make a link")
    wait_until(lambda: any("token=" in line for line in owner.lines), PATIENCE, "a link")
    (link,) = [line for line in owner.lines if "token=" in line]
    # Without a key: the owner is signed in.
    owner.go(f"{server.http}/live/choir-practice")
    owner.until_text("no key is needed", PATIENCE)
    press(owner, "Start")
    owner.until_text("On air", PATIENCE)
    guest = chromium.open(link)
    for way in ("webrtc", "websocket", "hls"):
        guest.go(f"{link}&way={way}")
        plays(guest, way)
    assert "choir-practice" not in server.get("/api/v1/channels")[1]
    # Withdrawn while it is open: a page that is opened anew is a stranger's.
    owner.click("Stop")
    owner.go(f"{server.http}/mine")
    owner.click("Links")
    owner.click("Withdraw all links")
    owner.click("Withdraw all")
    owner.until_text("All links are withdrawn.", PATIENCE)
    guest.go(link)
    guest.until_text("There is no such channel", PATIENCE)
    for tab in (owner, stranger, guest):
        assert tab.complaints == []
        tab.close()


@pytest.mark.page
def test_a_key_from_the_page_publishes_until_it_is_revoked(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    clip: Clip,
    tmp_path: Path,
) -> None:
    server = serve()
    owner = set_up(chromium, server, tmp_path / "server-state")
    make_channel(owner, "Yard", "everyone")
    first = owner.lines[0]
    owner.write(label="Encoder")
    owner.click("Make a key")
    wait_until(lambda: owner.lines[0] != first, PATIENCE, "another key")
    _, obs_server, obs_key, ffmpeg, _ = owner.lines
    assert obs_server == f"rtmp://127.0.0.1:{server.rtmp_port}/live"
    # The page's own line, with a film in it.
    argv = shlex.split(ffmpeg.replace("FILE", str(clip.opus)))
    program = run(Program("ffmpeg-page", [*argv, "-nostdin", "-v", "error"], tmp_path))
    server.until_state("yard", "on_air", PATIENCE)
    program.stop()
    server.until_state("yard", "waiting", PATIENCE)
    owner.click("I have it")
    owner.click("Revoke Encoder")
    owner.click("Revoke")
    owner.until_text("revoked", PATIENCE)
    target = f"{obs_server}/{obs_key}"
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-i", str(clip.opus)]
    argv += ["-c:v", "copy", "-an", "-f", "flv", target]
    late = run(Program("ffmpeg-late", argv, tmp_path))
    assert late.wait(PATIENCE) != 0
    assert server.channel("yard")["state"] == "waiting"
    owner.close()


@pytest.mark.page
def test_administrators_give_accounts_and_take_them_back(
    serve: Callable[..., Server], chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    admin = set_up(chromium, server, tmp_path / "server-state")
    admin.go(f"{server.http}/admin")
    admin.click("Add an account")
    admin.write(name="ben", password=PASSWORD)
    admin.click("Add")
    admin.until_text("ben may sign in now.", PATIENCE)
    person = chromium.open(f"{server.http}/mine")
    person.click("Sign in")
    person.until_path("/sign-in", PATIENCE)
    person.write(name="ben", password="not the one")
    person.click("Sign in")
    person.until_text("The name or the password is not right.", PATIENCE)
    person.write(password=PASSWORD)
    person.click("Sign in")
    person.until_path("/mine", PATIENCE)
    person.until_text("Your first channel", PATIENCE)
    person.go(f"{server.http}/admin")
    person.until_text("Your account is not one.", PATIENCE)
    admin.click("Disable")
    admin.until_text("disabled", PATIENCE)
    person.go(f"{server.http}/mine")
    person.until_text("sign in to see yours", PATIENCE)
    for tab in (admin, person):
        assert tab.complaints == []
        tab.close()
