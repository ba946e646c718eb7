"""What one server holds of a title in HLS, as a *pathway* of a steered playlist; pure.

A pathway has all variants and renditions of the server's files, with names of its own for groups,
so that those of several servers stand in one playlist. Their stable ids are counted the same way in
each, so that pathways of the same shape can stand for one another (PATHWAY-CLONES).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from heliograph.catalogue.contents.values import File
from heliograph.dispatcher.answers import location
from heliograph.dispatcher.fleet import USUAL_BPS, Member
from heliograph.dispatcher.multivariant import GROUPS, VARIANT, Cuts, Multivariant, Tag

Find = Callable[[str], Multivariant | None]
"""What an address of HLS names; None: not known."""


@dataclass(frozen=True, slots=True)
class Pathway:
    """One server's part of a steered playlist."""

    server: Member
    variants: tuple[Tag, ...]
    """Addresses carry what the viewer showed, where the server is ours."""
    renditions: tuple[Tag, ...]
    tricks: tuple[Tag, ...]
    keys: tuple[Tag, ...]
    """By which players get keys before they need them."""
    independent: bool
    shape: tuple[object, ...]
    """Pathways with the same one have the same choices."""
    cuts: Cuts
    """Of the segments of its first file."""
    known: bool
    """Whether all its files could be read; those that could not are taken to name segments."""

    def fits(self, other: Pathway) -> bool:
        """Whether players can go from one to the other while they play.

        Their sounds have to be beside the pictures in both or in none, as what kinds of buffers a
        browser has stays (Media Source Extensions); and segments of the same number have to be of
        the same time: hls.js waits for ever for one of whose number it had another.
        """
        return self._separate == other._separate and self.cuts.alike(other.cuts)

    @property
    def _separate(self) -> bool:
        return any(one.uri and one.get("TYPE") == "AUDIO" for one in self.renditions)

    def lines(self) -> list[str]:
        """Its part of the playlist."""
        found = [_line(one, uri=True) for one in (*self.renditions, *self.tricks)]
        for one in self.variants:
            found += [_line(one), one.uri]
        return found

    def session(self) -> list[str]:
        """What it says for the whole playlist; several pathways may say the same."""
        return [_line(one, uri=True) for one in self.keys]

    def clone(self, base: Pathway) -> dict[str, object] | None:
        """What the steering manifest says to who knows ``base`` only; None where they differ."""
        if base.shape != self.shape:
            return None
        uris: dict[str, object] = {"PER-VARIANT-URIS": _stable(self.variants, self.tricks)}
        if any(one.uri for one in self.renditions):
            uris["PER-RENDITION-URIS"] = _stable(self.renditions)
        return {"BASE-ID": base.server.name, "ID": self.server.name, "URI-REPLACEMENT": uris}


def pathway(server: Member, files: Sequence[File], find: Find, shown: str) -> Pathway:
    """Make the pathway of a server that holds these files. ``shown``: see ``Wish.shown``."""
    shown = shown if server.ours else ""
    held = [(file, find(file.uri)) for file in files]
    variants: list[Tag] = []
    renditions: list[Tag] = []
    tricks: list[Tag] = []
    keys: list[Tag] = []
    for file, found in held:
        if found is None or not found.variants:
            variants.append(_of_file(file))
            continue
        own = [_grouped(one, f"{server.name}/{file.id}") for one in found.variants]
        variants += own
        renditions += [_grouped(one, f"{server.name}/{file.id}") for one in found.renditions]
        tricks += [_grouped(one, f"{server.name}/{file.id}") for one in found.tricks]
        keys += found.keys
    variants.sort(key=lambda one: -one.bandwidth)
    groups = {one.get("GROUP-ID"): number for number, one in reversed([*enumerate(renditions)])}
    shape = (
        tuple(tuple(groups.get(one.get(name), "") for name in GROUPS) for one in variants),
        tuple((one.get("TYPE"), one.get("LANGUAGE"), bool(one.uri)) for one in renditions),
        len(tricks),
    )

    def mark(tags: Iterable[Tag], id: str, letter: str) -> tuple[Tag, ...]:
        return tuple(
            _marked(one, server.name, (id, f"{letter}{number}"), shown)
            for number, one in enumerate(tags)
        )

    return Pathway(
        server,
        mark(variants, "STABLE-VARIANT-ID", "v"),
        mark(renditions, "STABLE-RENDITION-ID", "r"),
        mark(tricks, "STABLE-VARIANT-ID", "t"),
        tuple(keys),
        all(found is not None and found.independent for _, found in held),
        shape,
        next((found.cuts for _, found in held if found is not None), Cuts()),
        all(found is not None for _, found in held),
    )


def levelled(ways: Sequence[Pathway]) -> list[Pathway]:
    """The same with as many variants in each, some of them more than once: players keep the place
    in the ladder that they have when they change the pathway (hls.js gets stuck without it).

    Of variants that are the same each draws 1 bit/s less than the one before it, so that players
    take them for several, in this order.
    """
    most = max((len(one.variants) for one in ways), default=0)
    found = []
    for one in ways:
        count = len(one.variants)
        places = [number * count // most for number in range(most)]
        more = [places[number + 1 :].count(place) for number, place in enumerate(places)]
        variants = tuple(
            _faster(one.variants[place], added) for place, added in zip(places, more, strict=True)
        )
        found.append(one if count == most else replace(one, variants=variants))
    return found


def _faster(tag: Tag, added: int) -> Tag:
    attributes = tuple(
        (name, str(tag.bandwidth + added) if name == "BANDWIDTH" else value)
        for name, value in tag.attributes
    )
    return replace(tag, attributes=attributes) if added else tag


def _of_file(file: File) -> Tag:
    """A variant of which the catalogue knows what it is."""
    told = [("BANDWIDTH", str(file.bits_per_second or USUAL_BPS))]
    if file.codecs:
        told.append(("CODECS", f'"{_quoted(file.codecs)}"'))
    if file.width and file.height:
        told.append(("RESOLUTION", f"{file.width}x{file.height}"))
    return Tag(VARIANT, tuple(told), file.uri)


def _grouped(tag: Tag, place: str) -> Tag:
    """With names of groups that no other file has; CLOSED-CAPTIONS may be NONE, without quotes."""
    attributes = tuple(
        (name, f'"{place}/{value[1:]}' if _is_group(name) and value.startswith('"') else value)
        for name, value in tag.attributes
    )
    return Tag(tag.name, attributes, tag.uri)


def _is_group(name: str) -> bool:
    return name == "GROUP-ID" or name in GROUPS


def _marked(tag: Tag, place: str, stable: tuple[str, str], shown: str) -> Tag:
    name, id = stable
    attributes = [*tag.attributes]
    if tag.uri:
        attributes.append((name, f'"{id}"'))
    if tag.name == VARIANT or "I-FRAME" in tag.name:  # renditions belong to those who name them
        attributes.append(("PATHWAY-ID", f'"{place}"'))
    return Tag(tag.name, tuple(attributes), location(tag.uri, shown) if tag.uri else "")


def _stable(*tags: Iterable[Tag]) -> dict[str, str]:
    """Addresses by stable id."""
    named = (one for some in tags for one in some if one.uri)
    return {(one.get("STABLE-VARIANT-ID") or one.get("STABLE-RENDITION-ID"))[1:-1]: one.uri
            for one in named}  # fmt: skip


def _line(tag: Tag, *, uri: bool = False) -> str:
    told = [f"{name}={value}" for name, value in tag.attributes]
    if uri and tag.uri:
        told.append(f'URI="{tag.uri}"')
    return f"{tag.name}:{','.join(told)}"


def _quoted(text: str) -> str:
    """What may stand in a quoted string (section 4.2): no quotes, no line breaks."""
    return "".join(one for one in text if one.isprintable() and one != '"')
