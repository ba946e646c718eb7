"""The API in front of a real manager: from an order to what the pages and commands show."""

from __future__ import annotations

from types import SimpleNamespace

from tests.unit.manager.site import Site as Cluster
from tests.unit.manager.site import site as cluster_site
from tests.unit.manager.waiting import until
from tests.unit.web.events import listening
from tests.unit.web.site import ADMIN, Site, running

from heliograph.manager.client import Managers


async def channel_on_two_units(made: Cluster) -> Managers:
    """``yard`` enters at one unit; another is there."""
    await made.add_manager("west")
    portal = await made.add_portal()
    one, _ = [await made.add_unit(name) for name in ("one", "two")]
    one.enter("yard")
    manager = await made.until_active()
    await until(lambda: "yard" in manager.view.channels and len(manager.view.units) == 2)
    return portal


async def post(site: Site, path: str, body: object = None) -> dict[str, object]:
    answer = await site.http.post(f"/api/v1{path}", json=body, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_orders_change_what_is_seen() -> None:
    async with cluster_site() as made:
        portal = await channel_on_two_units(made)
        one, two = (unit.id for unit in made.units)
        bus = made.buses["portal"][0]
        context = {"managers": portal, "cluster": SimpleNamespace(bus=bus, node=bus.node)}
        async with (
            running(context=context) as site,
            listening(site, "/api/v1/cluster/events") as events,
        ):
            view = (await site.get("/api/v1/cluster", headers=ADMIN)).json()
            assert {unit["name"]: unit["state"] for unit in view["units"]} == {
                "one": "up",
                "two": "up",
            }
            assert [one["active"] for one in view["managers"]] == [True]
            await post(site, "/channels/yard/extend", {"groups": 2, "unit": two})

            def on(found: dict[str, object], unit: str) -> int:
                (row,) = [u for u in found["units"] if u["id"] == unit]  # type: ignore[attr-defined]
                return len(row["groups"].get("yard", ()))

            while on(await events.until("view"), two) != 2:
                pass
            await post(site, f"/units/{one}/drain")
            while not (said := await events.until("progress"))["done"]:
                assert said["subject"] == one
            view = (await site.get("/api/v1/cluster", headers=ADMIN)).json()
            assert {unit["name"]: unit["state"] for unit in view["units"]}["one"] == "draining"
            assert (await post(site, f"/units/{one}/return"))["done"] is True
            refused = await site.http.delete(f"/api/v1/units/{two}", headers=ADMIN)
            assert refused.status_code == 409


async def test_a_standby_is_no_manager_to_be_asked() -> None:
    async with cluster_site() as made:
        portal = await channel_on_two_units(made)
        context = {"managers": portal}
        async with running(context=context) as site:
            made.kill("west")
            await until(lambda: portal.active() is None)
            for method, path in (("GET", "/cluster"), ("POST", f"/units/{made.units[0].id}/drain")):
                answer = await site.http.request(method, f"/api/v1{path}", headers=ADMIN)
                assert answer.status_code == 503
                assert answer.json()["error"]["subject"] == "manager"
