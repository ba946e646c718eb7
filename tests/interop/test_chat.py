"""People chat in browsers: strangers' markup, moderation, a server that falls, a flood."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Role

from .peers import ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = pytest.mark.interop

PATIENCE = 45.0
SHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
SCRIPT = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"

#: What a person sees of the chat: lines, hints, and what is marked how.
_LOOK = """
() => {
  const page = document.querySelector("helio-watch, helio-live").shadowRoot;
  const chat = page.querySelector("helio-chat").shadowRoot;
  if (!chat) return { lines: [], foot: "", state: "", hacked: Boolean(window.hacked), markup: 0 };
  const lines = [...chat.querySelectorAll("li")].map((li) => ({
    name: li.querySelector("bdi")?.textContent ?? "",
    text: (li.querySelector("p") ?? li).textContent.trim(),
    kind: li.className.trim(),
  }));
  return { lines, foot: chat.querySelector("footer")?.innerText ?? "",
           state: chat.host.dataset.state, hacked: Boolean(window.hacked),
           markup: chat.querySelectorAll("li img, li script").length };
}
"""


@dataclass
class Chat:
    """A person at a page with a chat."""

    tab: Tab

    def look(self) -> dict[str, Any]:
        seen: dict[str, Any] = self.tab.evaluate(_LOOK)
        return seen

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.look()["lines"]]

    def join(self, name: str) -> Chat:
        self.tab.on(lambda page: page.locator("helio-chat #name").fill(name))
        self.tab.on(lambda page: page.locator("helio-chat form.naming button").click())
        self.tab.on(lambda page: page.locator("helio-chat textarea").wait_for())
        return self

    def say(self, text: str) -> None:
        self.tab.on(lambda page: page.locator("helio-chat textarea").fill(text))
        self.tab.on(lambda page: page.locator("helio-chat textarea").press("Enter"))

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str) -> None:
        try:
            wait_until(lambda: condition(self.look()), PATIENCE, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.look()}") from None

    def until_text(self, text: str) -> None:
        self.until(lambda seen: text in [line["text"] for line in seen["lines"]], f"{text!r} seen")

    def menu(self, text: str, item: str) -> None:
        """Choose from the menu of a message, by keyboard."""
        row = "helio-chat li.said"
        self.tab.on(lambda page: page.locator(row).filter(has_text=text).last.focus())
        self.tab.on(lambda page: page.locator(row).filter(has_text=text).last.press("Enter"))
        self.tab.on(lambda page: page.get_by_role("menuitem", name=item, exact=True).press("Enter"))


def own(directory: Path, *channels: str) -> dict[str, Any]:
    """A browser context that is signed in as the owner of channels of the server to be started."""

    async def make_owner() -> str:
        state = directory / "server-state"
        state.mkdir()
        catalogue = await Catalogue.open(f"sqlite:///{state}/heliograph.db")
        password = "a rather long sentence"
        account = await catalogue.accounts.create(
            "otto", password, Role.BROADCASTER, display_name="Otto"
        )
        for name in channels:
            await catalogue.channels.create(name, owner="otto", configured=True)
        session = await catalogue.sessions.create(account)
        await catalogue.close()
        return session.token

    cookie = {
        "name": "helio_session",
        "value": asyncio.run(make_owner()),
        "domain": "127.0.0.1",
        "path": "/",
        "expires": -1,
        "httpOnly": True,
        "secure": False,
        "sameSite": "Lax",
    }
    return {"storage_state": {"cookies": [cookie], "origins": []}}


@pytest.fixture
def owner(tmp_path: Path) -> dict[str, Any]:
    """The owner of the channel ``clip``."""
    return own(tmp_path, "clip")


def come(chromium: Chromium, server: Server, channel: str = "clip", **context: Any) -> Chat:
    chat = Chat(chromium.open(f"{server.http}/watch/{channel}", **context))
    chat.until(lambda seen: seen["state"] == "open", "the chat is open")
    return chat


@pytest.mark.page
def test_people_chat_and_the_owner_keeps_order(
    owner: dict[str, Any], serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve()
    otto = come(chromium, server, **owner)
    anna = come(chromium, server).join("<b onclick=x>Anna")
    anna.say(SCRIPT)
    otto.until_text(SCRIPT)
    seen = otto.look()
    assert (seen["hacked"], seen["markup"]) == (False, 0)
    assert seen["lines"][-1]["name"] == "<b onclick=x>Anna"
    # Letters that are typed are no commands to the player, and a link is one, to nobody's profit.
    anna.say("kim: https://example.org/x and 🎉")
    otto.until_text("kim: https://example.org/x and 🎉")
    link = "() => document.querySelector('helio-watch').shadowRoot.querySelector('helio-chat')"
    rel = otto.tab.evaluate(f"{link}.shadowRoot.querySelector('li a').rel")
    assert {"nofollow", "noopener"} <= set(rel.split())

    otto.menu(SCRIPT, "Delete this message")
    anna.until(lambda seen: SCRIPT not in [line["text"] for line in seen["lines"]], "deleted")
    late = come(chromium, server)
    assert late.texts == ["kim: https://example.org/x and 🎉"]

    otto.menu("kim: https", "Mute for 10 minutes")
    anna.until(lambda seen: "You are muted" in seen["foot"], "Anna knows that she is muted")
    otto.menu("kim: https", "Let write again")
    anna.until(lambda seen: "Anna" in seen["foot"], "Anna may write again")
    anna.say("sorry")
    late.until_text("sorry")
    assert otto.tab.complaints == anna.tab.complaints == []
    for chat in (otto, anna, late):
        chat.tab.close()


@pytest.mark.page
def test_nothing_is_doubled_or_lost_when_the_server_is_killed(
    owner: dict[str, Any], serve: Callable[..., Server], chromium: Chromium
) -> None:
    first = serve()
    anna = come(chromium, first).join("Anna")
    otto = come(chromium, first, **owner)
    for text in ("one", "two", "three"):
        anna.say(text)
        otto.until_text(text)
    first.kill()
    anna.until(lambda seen: seen["state"] == "reconnecting", "Anna's page noticed")
    anna.say("said while nobody was there")
    assert anna.look()["lines"][-1]["kind"] == "said mine pending"

    second = serve(
        settings={
            "http": {"port": first.http_port},
            "rtsp": {"port": first.rtsp_port, "rtp_port": first.rtp_port},
        }
    )
    expected = ["one", "two", "three", "said while nobody was there"]
    for chat in (otto, anna, come(chromium, second)):
        chat.until(lambda seen: len(seen["lines"]) >= 4, "everything is there")
        chat.until(
            lambda seen: all("pending" not in line["kind"] for line in seen["lines"]), "all is sent"
        )
        assert chat.texts == expected
        chat.tab.close()


class Flood:
    """Guests that say as much as they can, each on a connection that is made anew when cut."""

    def __init__(self, url: str, guests: int) -> None:
        self.said = 0
        self.cut = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all(url, guests)))

    async def _all(self, url: str, guests: int) -> None:
        await asyncio.gather(*(self._one(url, number) for number in range(guests)))

    async def _one(self, url: str, number: int) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(WebSocketException, OSError, TimeoutError):
                async with connect(url, compression=None, open_timeout=5) as socket:
                    hello = {"type": "hello", "name": f"Flood {number}"}
                    await socket.send(json.dumps(hello))
                    while not self._stop.is_set():
                        say = {"type": "say", "nonce": f"n{self.said}", "text": "spam " * 90}
                        await socket.send(json.dumps(say))
                        self.said += 1
                        await asyncio.sleep(0.005)  # the machine is for the others as well
            self.cut += 1
            await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(30)


@pytest.mark.long
@pytest.mark.browser
def test_flood_is_bounded_and_nobody_else_is_disturbed(
    clip: Clip,
    owner: dict[str, Any],
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket", **owner)
    otto = Chat(tab)
    tab.spy()
    tab.wait_numbers(2 * make.RATE, PATIENCE)
    before = server.memory()
    flood = Flood(f"ws://127.0.0.1:{server.http_port}/chat/clip", 4)
    with flood.running():
        shown = len(tab.numbers)
        otto.say("order, please")
        otto.until_text("order, please")
        tab.wait_numbers(5 * make.RATE, PATIENCE, since=shown)
    assert flood.said > 200
    assert flood.cut > 0
    grown = server.memory() - before
    print(f"{flood.said} messages, cut {flood.cut} times, {grown >> 10} kB")
    assert grown < 64 << 20
    metrics = server.get("/metrics")[1]
    count = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if
             line.startswith("helio_chat_") and "{" not in line}  # fmt: skip
    # Five at once for each guest of the four, and one a second after.
    assert count["helio_chat_messages_total"] < 200 + flood.cut * 5
    assert count["helio_chat_floods_total"] > 0
    assert tab.state == "playing"
    assert tab.stats[-1]["reconnects"] == 0
    assert tab.stats[-1]["decoderErrors"] == 0
    assert tab.complaints == []
    tab.close()


SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server with a channel for each look, and the owner of all."""
    directory = tmp_path_factory.mktemp("looks")
    names = [f"{size}-{scheme}" for size in SIZES for scheme in SCHEMES]
    owner = own(directory, *names)
    channels = [{"name": name, "title": "A clip that goes round", "key": KEY} for name in names]
    server = Server(directory, channels)
    try:
        yield server.until_ready(), owner
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.page
def test_what_it_looks_like(
    size: str, scheme: str, looks: tuple[Server, dict[str, Any]], chromium: Chromium
) -> None:
    server, owner = looks
    channel = f"{size}-{scheme}"
    look = {"viewport": SIZES[size], "color_scheme": scheme, "is_mobile": size == "narrow"}
    anna = come(chromium, server, channel, **look).join("Anna")
    otto = come(chromium, server, channel, **look, **owner)
    anna.say("Good evening from the harbour! The light is lovely today.")
    anna.say("🌅🎉")
    otto.until_text("🌅🎉")
    otto.say("Welcome. More at https://example.org/tonight?scene=3, it begins at eight.")
    anna.until(lambda seen: len(seen["lines"]) == 3, "three lines")
    anna.tab.screenshot(SHOTS / f"chat-guest-{size}-{scheme}.png")
    more = "helio-chat header .more"
    otto.tab.on(lambda page: page.locator(more).scroll_into_view_if_needed())
    otto.tab.on(lambda page: page.locator(more).click())
    otto.tab.screenshot(SHOTS / f"chat-owner-{size}-{scheme}.png")
    for chat in (anna, otto):
        width = chat.tab.evaluate("() => document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"]
        assert chat.tab.complaints == []
        chat.tab.close()
