"""The catalogue follows the volumes, and forgets nothing that may only be away."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.node.storage.listing import ANEW, Listing
from heliograph.storage.values import ObjectId, new_object
from heliograph.vod.manifest import Manifest


def title(name: str, seconds: float = 6.0, *, live: bool = False) -> Manifest:
    return Manifest(
        name, new_object(), name.title(), round(seconds * 1e6), (), (), (), 0, live=live
    )


class Stage:
    """A shelf and a catalogue."""

    def __init__(self) -> None:
        self.at = 0.0
        self.there: list[Manifest] = []
        self.volumes = {"main"}
        self.whole: Collection[str] = {"main"}
        self.erased: set[ObjectId] = set()
        self.rows: dict[str, StoredTitle] = {}
        self.reads = 0
        self.taken: set[str] = set()
        self.listeners: list = []
        self.others: dict[ObjectId, str] = {}
        self.listing = Listing(self, self, lambda: self.volumes, clock=lambda: self.at)
        self.subscribe(self.listing._note)

    def titles(self) -> Sequence[Manifest]:
        return self.there

    def other_name(self, object: ObjectId) -> str:
        return self.others.get(object, "")

    def subscribe(self, listener) -> None:
        self.listeners.append(listener)

    async def stored(self) -> dict[str, StoredTitle]:
        self.reads += 1
        return dict(self.rows)

    async def keep_stored(self, titles: Sequence[StoredTitle]) -> list[StoredTitle]:
        refused = [one for one in titles if one.name in self.taken]
        self.rows |= {one.object: one for one in titles if one not in refused}
        return refused

    async def forget_stored(self, objects: Collection[str]) -> None:
        for one in objects:
            del self.rows[one]

    async def change(self, *there: Manifest) -> None:
        self.there = [*there]
        for one in self.listeners:
            one()
        await self.listing.look()

    @property
    def names(self) -> set[str]:
        return {one.name for one in self.rows.values()}


async def test_what_comes_is_listed_and_what_is_erased_is_not() -> None:
    at = Stage()
    film, live = title("film"), title("monday", live=True)
    await at.change(film, live)
    assert {(one.name, one.title, one.duration) for one in at.rows.values()} == {
        ("film", "Film", 6.0),
        ("monday", "Monday", None),
    }
    await at.change(film, replace(live, live=False))
    assert at.rows[str(live.object)].duration == 6.0
    at.erased = {film.object}
    await at.change(replace(live, live=False))
    assert at.names == {"monday"}


async def test_nothing_is_asked_while_nothing_changes() -> None:
    at = Stage()
    await at.change(title("film"))
    before = at.reads
    for _ in range(5):
        await at.listing.look()
    assert at.reads == before
    at.at += ANEW
    await at.listing.look()
    assert at.reads == before + 1


async def test_what_may_only_be_away_stays() -> None:
    at = Stage()
    await at.change(title("film"))
    for at.volumes, at.whole in (({"main"}, set()), ({"main", "new"}, {"main"})):
        for _ in range(4):
            at.at += ANEW
            await at.change()
            assert at.names == {"film"}
    # All disks of all volumes answer, and go on saying that it is not there.
    at.volumes, at.whole = {"main"}, {"main"}
    await at.change()
    assert at.names == {"film"}
    at.at += ANEW
    await at.change()
    assert at.names == set()


async def test_a_name_that_is_taken_is_tried_again() -> None:
    at = Stage()
    at.taken = {"film"}
    await at.change(title("film"), title("other"))
    assert at.names == {"other"}
    at.taken = set()
    at.at += ANEW
    await at.listing.look()
    assert at.names == {"film", "other"}


async def test_what_makes_way_for_an_older_title_of_its_name_has_another_one() -> None:
    at = Stage()
    later, older = title("film"), title("film")
    await at.change(later)
    at.others = {later.object: "film", older.object: f"film-{older.object[:8]}"}
    await at.change(older, replace(later, name="film-2"))
    assert at.rows[str(older.object)].name == "film"
    assert at.rows[str(later.object)].name == "film-2"
    reads = {one.other for one in at.rows.values()}
    assert reads == {"film", f"film-{older.object[:8]}"}


async def test_a_catalogue_that_fails_is_asked_again() -> None:
    at = Stage()

    async def failing() -> dict[str, StoredTitle]:
        raise OSError

    working, at.stored = at.stored, failing  # type: ignore[method-assign]
    with contextlib.suppress(OSError):
        await at.change(title("film"))
    at.stored = working  # type: ignore[method-assign]
    await at.listing.look()
    assert at.names == {"film"}
