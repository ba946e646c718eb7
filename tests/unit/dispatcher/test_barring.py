"""Who is served nothing, and which titles are withheld, by this node's catalogue or another's."""

from __future__ import annotations

import pytest

from heliograph.catalogue.contents.values import Network
from heliograph.dispatcher.conditions import Networks
from heliograph.dispatcher.snapshot import Snapshot
from heliograph.model.errors import ForbiddenError

from .contents import Made

FAR, NEAR = "198.51.100.1", "192.0.2.1"


def made() -> Snapshot:
    contents = Made().title("film").title("local", regions=("at",)).title("off", published=False)
    contents.networks = [
        Network("198.51.100.0/24", "", refused=True),
        Network("192.0.2.0/24", "de"),
    ]
    return contents.snapshot().with_stored({"a1": "renamed", "b2": "film"})


@pytest.mark.parametrize("own", [True, False])
def test_what_either_catalogue_bars_is_barred(own: bool):
    known = Made().dispatcher()
    barring = known.barring
    if own:
        known.snapshot = made()
    else:
        barring.told = made()
    assert barring.why(FAR) == "clients of your network are not served"
    assert barring.why(NEAR) == barring.why("10.0.0.1") == ""
    statuses = {
        (name, client): None if (found := barring.barred(name, client)) is None else found.status
        for name in ("film", "local", "not listed yet")
        for client in (FAR, NEAR)
    }
    assert statuses == {
        ("film", FAR): 403,
        ("local", FAR): 403,
        ("not listed yet", FAR): 403,
        ("film", NEAR): None,
        ("local", NEAR): 451,
        ("not listed yet", NEAR): None,
    }
    with pytest.raises(ForbiddenError, match="may not be shown where you are"):
        barring.check("local", NEAR)
    barring.check("film", NEAR)
    assert [barring.withheld(*one) for one in (("a1", "old"), ("b2", "film"), ("c3", "off"))] == [
        True,
        False,
        True,
    ]
    assert not barring.withheld("d4", "not listed yet")


def test_nothing_is_looked_up_where_no_network_is_refused(monkeypatch: pytest.MonkeyPatch):
    contents = Made().title("film")
    contents.networks = [Network("192.0.2.0/24", "de")]
    barring = contents.dispatcher().barring
    asked: list[str] = []
    monkeypatch.setattr(Networks, "find", lambda self, client: asked.append(client))
    assert barring.refused(NEAR) is None
    assert barring.barred("live or not listed", NEAR) is None
    assert asked == []
