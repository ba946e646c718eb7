"""Titles that the catalogue has because a volume does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.model.errors import NotFoundError

FILM = StoredTitle("a" * 32, "film", "A film", 6.0)
OTHER = StoredTitle("b" * 32, "other", "", None)


async def test_titles_of_volumes_are_titles_like_all_others(catalogue: Catalogue) -> None:
    contents = catalogue.contents
    assert await contents.keep_stored([FILM, OTHER]) == []
    version = await contents.version()
    assert await contents.keep_stored([FILM, OTHER]) == []  # said twice is said once
    assert await contents.version() == version
    found = await contents.get_title("FILM")
    assert (found.name, found.title, found.duration, found.published) == (
        "film",
        "A film",
        6.0,
        True,
    )
    await contents.change_title("film", {"regions": ["at"], "title": "The film"})
    await contents.keep_stored([FILM, StoredTitle("b" * 32, "other", "", 3.5)])
    assert (await contents.get_title("film")).title == "The film"  # people know better
    assert (await contents.get_title("other")).duration == 3.5
    assert {*await contents.stored()} == {FILM.object, OTHER.object}
    await contents.forget_stored([FILM.object, "f" * 32])
    with pytest.raises(NotFoundError):
        await contents.get_title("film")
    assert {*await contents.stored()} == {OTHER.object}
    loaded = await contents.load()
    assert [one.name for one in loaded.titles] == ["other"]


async def test_what_people_made_is_left_alone(catalogue: Catalogue) -> None:
    contents = catalogue.contents
    await contents.add_title({"name": "Film"})
    assert await contents.keep_stored([FILM, OTHER]) == [FILM]
    await contents.forget_stored([FILM.object])
    assert (await contents.get_title("film")).name == "Film"
    # A title of which a server has a copy outlives ours.
    await contents.add_server({"name": "edge", "host": "edge.example"})
    copy = {"title": "other", "server": "edge", "format": "mp4", "uri": "http://edge.example/o"}
    await contents.add_file(copy)
    await contents.forget_stored([OTHER.object])
    assert (await contents.get_title("other")).name == "other"
    assert await contents.stored() == {}


async def test_of_two_titles_of_one_name_each_has_its_own(catalogue: Catalogue) -> None:
    """Nodes that were parted made both; the older was listed last."""
    contents = catalogue.contents
    later = replace(OTHER, name="film")
    await contents.keep_stored([later])
    await contents.change_title("film", {"description": "mine"})
    older, moved = replace(FILM, other="film-a"), replace(later, name="film-b", other="film")
    assert await contents.keep_stored([older, moved]) == []
    kept = {one.object: one.name for one in (await contents.stored()).values()}
    assert kept == {FILM.object: "film", OTHER.object: "film-b"}
    assert (await contents.get_title("film-b")).description == "mine"
    # The older one goes: the other has its name again.
    back = replace(later, other="film-b")
    assert await contents.keep_stored([back]) == []
    assert (await contents.stored())[OTHER.object].name == "film-b"  # not yet
    await contents.forget_stored([FILM.object])
    await contents.keep_stored([back])
    assert (await contents.stored())[OTHER.object].name == "film"
    # What people call it stays.
    await contents.change_title("film", {"name": "mine"})
    await contents.keep_stored([replace(later, name="film-b", other="film")])
    assert (await contents.stored())[OTHER.object].name == "mine"


async def test_a_title_that_people_removed_is_forgotten_with_its_mark(
    catalogue: Catalogue,
) -> None:
    contents = catalogue.contents
    await contents.keep_stored([FILM])
    await contents.remove_title("film")
    assert await contents.stored() == {}
    assert await contents.keep_stored([FILM]) == []
    assert (await contents.get_title("film")).duration == 6.0
