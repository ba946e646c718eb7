"""Nodes that begin a cluster, join it, and let others join; over HTTP and the real bus."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.bus_site import until
from tests.ports import free_port
from tests.unit.web.site import ADMIN, Site, running

from heliograph.bus.authority import LIFETIME, Authority
from heliograph.bus.identity import Identity
from heliograph.bus.joining import JoinToken
from heliograph.bus.wire import encode
from heliograph.model.errors import MalformedError, RemoteError, SettingsError
from heliograph.node.cluster import RENEW, Cluster, open_cluster
from heliograph.node.settings import Settings


def settings(directory: Path, **cluster: Any) -> Settings:
    values = {"host": "127.0.0.1", "port": free_port(), "scouting": False} | cluster
    return Settings.model_validate({"server": {"state_dir": directory}, "cluster": values})


class Machine:
    """A node with its pages."""

    def __init__(self, cluster: Cluster, site: Site, wanted: Settings) -> None:
        self.cluster = cluster
        self.site = site
        self.place = f"tls/127.0.0.1:{wanted.cluster.port}"

    async def token(self, **body: Any) -> str:
        answer = await self.site.http.post("/api/v1/nodes/tokens", json=body, headers=ADMIN)
        assert answer.status_code == 201, answer.text
        assert answer.json()["join"] == self.place
        text: str = answer.json()["token"]
        return text

    async def names(self, kind: str) -> set[str]:
        answer = await self.site.get("/api/v1/names", headers=ADMIN)
        assert answer.json()["node"] == self.cluster.node
        return {one["name"] for one in answer.json()["names"] if one["kind"] == kind}


@contextlib.asynccontextmanager
async def machine(wanted: Settings) -> AsyncIterator[Machine]:
    cluster = await open_cluster(wanted)
    port: list[int] = []
    context = {"cluster": cluster, "http_port": lambda: port[0]}
    async with running(context=context) as site:
        port.append(site.server.port)
        cluster.serve(site.catalogue)
        try:
            yield Machine(cluster, site, wanted)
        finally:
            await cluster.close()


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(settings(tmp_path / "first", enabled=True, name="first")) as made:
        yield made


async def test_a_node_joins_by_a_token_and_comes_back_without_it(
    first: Machine, tmp_path: Path
) -> None:
    token = await first.token()
    wanted = settings(tmp_path / "second", join=[first.place], token=token, name="second")
    second = await open_cluster(wanted)
    node = second.node
    await second.bus.until_present("node", 2)
    await first.cluster.bus.until_present("node", 2)
    assert await first.names("node") == {"first", "second"}
    assert await first.names("authority") == {first.cluster.node}
    await second.close()
    wanted = settings(tmp_path / "second", join=[first.place], name="second")
    second = await open_cluster(wanted)
    assert second.node == node
    await second.bus.until_present("node", 2)
    await second.close()


async def test_a_token_is_for_one_machine(first: Machine, tmp_path: Path) -> None:
    token = await first.token()
    second = await open_cluster(settings(tmp_path / "2", join=[first.place], token=token))
    await second.close()
    with pytest.raises(RemoteError, match="used by another node"):
        await open_cluster(settings(tmp_path / "3", join=[first.place], token=token))
    assert Identity.load(tmp_path / "3").credentials(datetime.now(UTC)) is None
    listed = (await first.site.get("/api/v1/nodes/tokens", headers=ADMIN)).json()["tokens"]
    assert [one["node"] for one in listed] == [second.node]


async def test_a_token_that_nobody_made_is_refused_and_guesses_are_slowed(
    first: Machine, tmp_path: Path
) -> None:
    good = JoinToken.parse(await first.token())
    false = JoinToken(good.id, bytes(16), good.fingerprint, good.port, good.expires).text()
    with pytest.raises(RemoteError, match="token is wrong"):
        await open_cluster(settings(tmp_path / "2", join=[first.place], token=false))
    body = JoinToken.parse(false).request(Identity.load(tmp_path / "2"), "box")
    answers = [await first.site.http.post("/api/v1/nodes/join", json=body) for _ in range(30)]
    assert {one.status_code for one in answers} == {401, 429}
    assert all("retry-after" in one.headers for one in answers if one.status_code == 429)


async def test_the_answer_of_another_cluster_is_not_taken(
    first: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await first.token()
    false = Authority.make(datetime.now(UTC))

    async def answer(self: httpx.AsyncClient, url: str, json: dict[str, str]) -> httpx.Response:
        key = bytes.fromhex(json["public_key"])
        certificate = false.issue(key, datetime.now(UTC))
        found = {"authority": false.certificate, "certificate": certificate}
        return httpx.Response(200, content=encode(found))

    monkeypatch.setattr(httpx.AsyncClient, "post", answer)
    with pytest.raises(RemoteError, match="not of the cluster"):
        await open_cluster(settings(tmp_path / "2", join=[first.place], token=token))
    assert Identity.load(tmp_path / "2").credentials(datetime.now(UTC)) is None


async def test_a_node_joins_by_any_node_with_pages(first: Machine, tmp_path: Path) -> None:
    """The authority's node checks the token: here it was made by it."""
    token = await first.token()
    wanted = settings(tmp_path / "2", join=[first.place], token=token)
    async with machine(wanted) as second:
        await second.cluster.bus.until_present("authority")
        refused = await second.site.http.post("/api/v1/nodes/tokens", json={}, headers=ADMIN)
        assert refused.status_code == 409
        parsed = JoinToken.parse(await first.token())
        here = JoinToken(
            parsed.id, parsed.secret, parsed.fingerprint, second.site.server.port, parsed.expires
        )
        third = await open_cluster(
            settings(tmp_path / "3", join=[second.place], token=here.text(), name="third")
        )
        await until(lambda: len(first.cluster.bus.present("node")) == 3)
        places = {one.place.removeprefix("tls/") for one in (first, second)}
        assert set(third.known.addresses()) == places, "told in the answer, and seen"
        await third.close()
        await first.cluster.close()
        await until(lambda: not second.cluster.bus.present("authority"))
        body = here.request(Identity.load(tmp_path / "4"), "late")
        answer = await second.site.http.post("/api/v1/nodes/join", json=body)
        assert answer.status_code == 502


async def test_a_certificate_that_ends_soon_is_renewed_over_the_bus(
    first: Machine, tmp_path: Path
) -> None:
    token = await first.token()
    second = await open_cluster(settings(tmp_path / "2", join=[first.place], token=token))
    identity = second.identity
    path = identity.directory / "node.pem"
    before = path.read_text()
    await second.renew()
    assert path.read_text() == before
    authority = first.cluster.identity.authority()
    assert authority is not None
    old = datetime.now(UTC) - LIFETIME + timedelta(days=100)
    path.write_text(authority.issue(identity.public_key, old))
    assert identity.ends_soon(datetime.now(UTC))
    await second.bus.until_present("authority")
    await second.renew()
    assert not identity.ends_soon(datetime.now(UTC))
    for value in (None, {}, {"certificate": before, "at": "0", "signature": "00"}):
        with pytest.raises(MalformedError):
            await second.bus.call(first.cluster.node, RENEW, value)
    await second.close()


async def test_only_administrators_make_tokens_and_browse(first: Machine) -> None:
    for method, path in (
        ("GET", "/api/v1/names"),
        ("GET", "/api/v1/nodes/tokens"),
        ("POST", "/api/v1/nodes/tokens"),
    ):
        answer = await first.site.http.request(method, path, json={})
        assert answer.status_code == 401


@pytest.mark.parametrize("seconds", [0, -1, 10**9, "x"])
async def test_the_life_of_a_token_is_checked(first: Machine, seconds: object) -> None:
    answer = await first.site.http.post(
        "/api/v1/nodes/tokens", json={"lifetime_s": seconds}, headers=ADMIN
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [{}, {"token": "x"}, [], "x"])
async def test_what_is_no_request_to_join_is_refused(first: Machine, body: object) -> None:
    answer = await first.site.http.post("/api/v1/nodes/join", json=body)
    assert answer.status_code == 400


async def test_alone_there_are_names_and_no_tokens(tmp_path: Path) -> None:
    async with machine(settings(tmp_path)) as alone:
        assert await alone.names("node") == set()
        alone.cluster.bus.announce("unit", "u")
        assert await alone.names("unit") == {"u"}
        answer = await alone.site.http.post("/api/v1/nodes/tokens", json={}, headers=ADMIN)
        assert answer.status_code == 409
        identity = Identity.load(tmp_path / "2")
        token = JoinToken("00" * 8, bytes(16), bytes(20), 1, 1)
        answer = await alone.site.http.post(
            "/api/v1/nodes/join", json=token.request(identity, "box")
        )
        assert answer.status_code == 409
        assert not (tmp_path / "cluster/authority.key").exists()


async def test_without_a_token_nobody_joins_for_the_first_time(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cluster\.token"):
        await open_cluster(settings(tmp_path, join=["tls/127.0.0.1:1"]))
    with pytest.raises(SettingsError, match=r"cluster\.token"):
        await open_cluster(settings(tmp_path, join=["tls/127.0.0.1:1"], token="nonsense"))
    token = JoinToken("00" * 8, bytes(16), bytes(20), free_port(), 1).text()
    with pytest.raises(RemoteError, match="cannot join"):
        await open_cluster(settings(tmp_path, join=["tls/127.0.0.1:1"], token=token))


async def test_a_member_does_not_begin_a_cluster(first: Machine, tmp_path: Path) -> None:
    token = await first.token()
    second = await open_cluster(settings(tmp_path / "2", join=[first.place], token=token))
    await second.close()
    with pytest.raises(Exception, match="another cluster"):
        await open_cluster(settings(tmp_path / "2", enabled=True))
