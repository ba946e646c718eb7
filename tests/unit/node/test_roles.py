"""What a node does, by its settings."""

from __future__ import annotations

import pytest

from heliograph.model.errors import SettingsError
from heliograph.node.options import database_url
from heliograph.node.roles import Role, roles_of
from heliograph.node.settings import Settings, load

JOINED = {"enabled": True, "join": ("tls/192.0.2.1:7447",)}
SHARED = {"url": "postgresql://db.example.org/heliograph"}


def settings(cluster: dict[str, object], database: dict[str, object] | None = None) -> Settings:
    return Settings.model_validate({"cluster": cluster, "database": database or {}})


def test_the_first_node_does_everything():
    assert roles_of(settings({"enabled": True})) == set(Role)
    assert roles_of(settings({})) == set(Role)


def test_who_joins_manages_only_with_the_database_of_the_others():
    assert roles_of(settings(JOINED)) == {Role.PORTAL, Role.UNIT, Role.STORAGE}
    assert roles_of(settings(JOINED, SHARED)) == set(Role)


def test_roles_are_what_the_settings_say():
    assert roles_of(settings({**JOINED, "roles": ("unit",)})) == {Role.UNIT}
    assert roles_of(settings({"roles": ("unit",)})) == set(Role)  # a node alone has all to do


def test_a_unit_alone_opens_no_database():
    unit = settings({**JOINED, "roles": ("unit",)}, SHARED)
    assert database_url(unit, roles_of(unit)) == "sqlite://"
    portal = settings({**JOINED, "roles": ("unit", "portal")}, SHARED)
    assert database_url(portal, roles_of(portal)) == SHARED["url"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("cluster.roles=unit,unit", "names a role twice"),
        ("cluster.roles=boss", "cluster.roles"),
        ("cluster.location=Europe", "cluster.location"),
        ("cluster.service_address=192.0.2.10", "dev eth0"),
        ("unit.places=0", "unit.places"),
    ],
)
def test_mistakes_are_told(setting: str, told: str):
    with pytest.raises(SettingsError, match=told):
        load(sets=[setting], env={}, default_files=())


def test_a_service_address_names_its_device():
    found = load(sets=["cluster.service_address=192.0.2.10/24 dev eth0"], env={}, default_files=())
    assert found.settings.cluster.service_address == "192.0.2.10/24 dev eth0"
