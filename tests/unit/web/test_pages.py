"""Pages and assets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.web.site import running

SCRIPT = "console.log(1);\n" * 200


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "embed").mkdir()
    (tmp_path / "embed" / "helio-player.js").write_text(SCRIPT)
    for name in ("index", "watch", "404", "sign-in", "setup", "mine", "admin"):
        (tmp_path / f"{name}.html").write_text(f"<!doctype html><title>{name}</title>")
    (tmp_path / "assets" / "index-a1b2.js").write_text(SCRIPT)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "title", "status"),
    [
        ("/", "index", 200),
        ("/sign-in", "sign-in", 200),
        ("/sign-in?next=/mine", "sign-in", 200),
        ("/setup", "setup", 200),
        ("/mine", "mine", 200),
        ("/admin", "admin", 200),
        ("/watch/demo", "watch", 200),
        ("/watch/not-yet", "watch", 200),
        ("/watch/a%20b", "404", 404),
        ("/nothing", "404", 404),
        ("/watch/demo/more", "404", 404),
        ("/assets/none.js", "404", 404),
        ("/embed/none.js", "404", 404),
        ("/embed/..%2fsecret.txt", "404", 404),
        ("/assets/..%2fsecret.txt", "404", 404),
        ("/assets/%2e%2e/secret.txt", "404", 404),
        ("/secret.txt", "404", 404),
        ("/assets/", "404", 404),
    ],
)
async def test_pages_and_their_404(static: Path, path: str, title: str, status: int):
    async with running(context={"static": static}) as site:
        answer = await site.get(path)
        assert answer.status_code == status
        assert f"<title>{title}</title>" in answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"


async def test_unchanged_page_is_not_sent_again(static: Path):
    async with running(context={"static": static}) as site:
        tag = (await site.get("/")).headers["etag"]
        again = await site.get("/", headers={"If-None-Match": f'"x", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        (static / "index.html").write_text("<title>new build</title>")
        assert "new build" in (await site.get("/", headers={"If-None-Match": tag})).text


async def test_assets_may_be_kept_for_ever(static: Path):
    async with running(context={"static": static}) as site:
        answer = await site.get("/assets/index-a1b2.js", headers={"Accept-Encoding": "gzip"})
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.text == SCRIPT
        plain = await site.get("/assets/index-a1b2.js", headers={"Accept-Encoding": "gzip;q=0"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["etag"] != answer.headers["etag"]


async def test_pages_of_other_sites_may_run_the_player_and_ask_how_a_channel_is(static: Path):
    async with running(context={"static": static}) as site:
        script = await site.get("/embed/helio-player.js")
        assert script.headers["cache-control"] == "no-cache"
        for answer in (script, await site.get("/assets/index-a1b2.js")):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        tag = {"If-None-Match": script.headers["etag"]}
        again = await site.get("/embed/helio-player.js", headers=tag)
        assert (again.status_code, again.headers["access-control-allow-origin"]) == (304, "*")
        for name, status in (("demo", 200), ("none", 404)):
            answer = await site.get(f"/api/v1/channels/{name}")
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "*"
        refused = await site.http.post("/whep/none", content="v=0")
        assert refused.status_code >= 400
        assert refused.headers["access-control-allow-origin"] == "*"
        for path in ("/", "/api/v1/channels", "/api/v1/channels/demo/inputs", "/api/v1/server"):
            assert "access-control-allow-origin" not in (await site.get(path)).headers


async def test_head_of_a_page_has_no_body(static: Path):
    async with running(context={"static": static}) as site:
        answer = await site.http.head("/")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


async def test_pages_that_are_not_built_are_said_plainly(tmp_path: Path):
    async with running(context={"static": tmp_path}) as site:
        answer = await site.get("/")
        assert answer.status_code == 503
        assert "make run" in answer.text
        assert (await site.get("/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/v1/channels", "/api/v1/none", "/healthz"])
async def test_every_answer_has_the_security_headers(static: Path, path: str):
    async with running(context={"static": static}) as site:
        headers = (await site.get(path)).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
