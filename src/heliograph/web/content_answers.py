"""What the API answers and takes about servers, titles and files, for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from heliograph.catalogue.contents import checks
from heliograph.catalogue.contents.states import ResponseSpan
from heliograph.catalogue.contents.values import (
    Condition,
    Copies,
    File,
    Format,
    Probe,
    ProbeKind,
    Server,
    ServerState,
    Standing,
    Title,
)

#: Characters of a field that are taken at all; what is allowed is told by the catalogue.
LONGEST = 4096
#: Numbers that pages and JSON's readers take for what they are.
MOST = checks.MAX_NUMBER


class Strict(BaseModel):
    """What is sent may have no other fields."""

    model_config = ConfigDict(extra="forbid")


class ProbeModel(Strict):
    """One measurement that is repeated."""

    kind: ProbeKind
    interval: float = Field(10.0, ge=0.1, le=3600, description="Seconds from one to the next.")
    port: int = Field(0, ge=0, le=65_535, description="0: the usual one of that kind.")
    path: str = Field("", max_length=LONGEST, description="What to ask for by RTSP or HTTP.")

    def value(self) -> Probe:
        return Probe(self.kind, self.interval, self.port, self.path)


class StateAnswer(BaseModel):
    """What the monitors of a server found."""

    condition: Condition
    response_ms: float | None = Field(description="Smoothed; null: it never answered.")
    since: str = Field(description="ISO 8601.")
    measured: str = Field(description="ISO 8601.")
    responses: dict[ProbeKind, float] = Field(description="Milliseconds by kind of probe.")
    throughput_bps: float | None
    reason: str = Field(description="Why it is not up.")


class ServerAnswer(BaseModel):
    """A server that holds files, of whatever make."""

    id: int
    name: str
    host: str = Field(description="Name or address that probes are sent to.")
    make: str = Field(description="What software it runs.")
    region: str
    capacity_bps: int = Field(description="0: not known.")
    max_sessions: int = Field(description="0: no bound.")
    weight: float
    enabled: bool = Field(description="Whether it is probed and used at all.")
    drained: bool = Field(description="Whether it gets nobody new.")
    probes: list[ProbeModel]
    created: str | None
    revision: int = Field(description="What `If-Match` names for a change.")
    files: int = Field(description="How many it holds.")
    state: StateAnswer | None = Field(description="null: never measured.")


class ServersAnswer(BaseModel):
    servers: list[ServerAnswer] = Field(description="By name.")
    more: str | None = Field(description="`after` of the next page; null: this is the last.")


class ServerChange(Strict):
    """What may be changed; what is left out stays."""

    name: str = Field("", max_length=LONGEST, description="Letters, digits, `.`, `_`, `-`.")
    host: str = Field("", max_length=LONGEST)
    make: str = Field("", max_length=LONGEST)
    region: str = Field("", max_length=LONGEST)
    capacity_bps: int = Field(0, ge=0, le=MOST)
    max_sessions: int = Field(0, ge=0, le=checks.MAX_SMALL)
    weight: float = Field(1.0, gt=0)
    enabled: bool = True
    drained: bool = False
    probes: list[ProbeModel] = Field([], max_length=checks.MAX_PROBES)

    def given(self) -> dict[str, Any]:
        """What was said, as the catalogue takes it."""
        said = self.model_dump(exclude_unset=True)
        if "probes" in said:
            said["probes"] = tuple(probe.value() for probe in self.probes)
        return said


class ServerNew(ServerChange):
    name: str = Field(max_length=LONGEST, description="Letters, digits, `.`, `_`, `-`.")
    host: str = Field(max_length=LONGEST)


class TitleAnswer(BaseModel):
    """Something that can be played on demand."""

    id: int
    name: str = Field(description="Its logical id.")
    title: str = Field(description="For people.")
    description: str
    duration: float | None = Field(description="Seconds; null: not known.")
    level: str = Field(description="Code of a level; empty: not rated.")
    classes: list[str] = Field(description="Codes of classifications.")
    regions: list[str] = Field(description="Licensed for; empty: everywhere.")
    policy: str = Field(description="By which its server is chosen; empty: as everywhere.")
    published: bool = Field(description="Whether it is handed out.")
    created: str | None
    revision: int = Field(description="What `If-Match` names for a change.")
    files: int = Field(description="How many copies there are on servers.")
    usable: int = Field(description="Those on servers that somebody may be sent to now.")
    stored: bool = Field(description="Whether a volume holds it, so that every node plays it.")
    lost: int = Field(description="Blocks of it that volumes have lost for good.")
    standing: Standing = Field(
        description="`playable`; `damaged`: but for the blocks that are lost; `unreachable`: no "
        "server that holds it answers; `withdrawn`: all that hold it are drained or disabled; "
        "`empty`: nobody holds it; `withheld`: not published."
    )
    go: str = Field(description="Its logical address on this server.")


class TitlesAnswer(BaseModel):
    titles: list[TitleAnswer] = Field(description="By name.")
    more: str | None = Field(description="`after` of the next page; null: this is the last.")


class TitleChange(Strict):
    """What may be changed; what is left out stays."""

    name: str = Field("", max_length=LONGEST, description="Letters, digits, `.`, `_`, `-`.")
    title: str = Field("", max_length=LONGEST, description="Empty: the name.")
    description: str = Field("", max_length=4 * LONGEST)
    duration: float | None = Field(None, gt=0)
    level: str = Field("", max_length=LONGEST)
    classes: list[str] = Field([], max_length=checks.MAX_OF_TITLE)
    regions: list[str] = Field([], max_length=checks.MAX_OF_TITLE)
    policy: str = Field("", max_length=LONGEST)
    published: bool = True

    def given(self) -> dict[str, Any]:
        """What was said, as the catalogue takes it."""
        return self.model_dump(exclude_unset=True)


class TitleNew(TitleChange):
    name: str = Field(max_length=LONGEST, description="Letters, digits, `.`, `_`, `-`.")


class FileAnswer(BaseModel):
    """One copy of a title."""

    id: int
    title: str = Field(description="Name of the title.")
    server: str = Field(description="Name of the server that holds it.")
    format: Format
    uri: str = Field(description="Physical address.")
    bits_per_second: int = Field(description="0: not known.")
    size: int | None = Field(description="Bytes; null: not known.")
    codecs: str = Field(description="As RFC 6381 has it.")
    width: int
    height: int
    revision: int = Field(description="What `If-Match` names for a change.")


class FilesAnswer(BaseModel):
    files: list[FileAnswer] = Field(description="By id.")
    more: int | None = Field(description="`after` of the next page; null: this is the last.")


class FileChange(Strict):
    """What may be changed; what is left out stays."""

    server: str = Field("", max_length=LONGEST)
    format: Format = Format.MP4
    uri: str = Field("", max_length=LONGEST)
    bits_per_second: int = Field(0, ge=0, le=MOST)
    size: int | None = Field(None, ge=0, le=MOST)
    codecs: str = Field("", max_length=LONGEST)
    width: int = Field(0, ge=0, le=checks.MAX_SMALL)
    height: int = Field(0, ge=0, le=checks.MAX_SMALL)

    def given(self) -> dict[str, Any]:
        """What was said, as the catalogue takes it."""
        return self.model_dump(exclude_unset=True)


class FileNew(FileChange):
    title: str = Field(max_length=LONGEST, description="Name of the title.")
    server: str = Field(max_length=LONGEST, description="Name of the server.")
    format: Format
    uri: str = Field(max_length=LONGEST, description="Absolute.")


class NetworkModel(Strict):
    """Clients of one network, and what region they are in."""

    cidr: str
    region: str = ""
    refused: bool = Field(False, description="Whether nobody there is served at all.")


class NetworksAnswer(BaseModel):
    networks: list[NetworkModel]
    more: str | None = Field(description="`after` of the next page; null: this is the last.")


class NetworkPut(Strict):
    region: str = Field("", max_length=LONGEST)
    refused: bool = False


class LevelModel(Strict):
    """A rating that titles can have."""

    code: str
    name: str = ""
    min_age: int = Field(0, description="Years.")


class LevelsAnswer(BaseModel):
    levels: list[LevelModel] = Field(description="By code; all there are.")


class LevelPut(Strict):
    name: str = Field("", max_length=LONGEST, description="Empty: the code.")
    min_age: int = Field(0, ge=0, le=checks.MAX_AGE)


class ClassModel(Strict):
    """A subject that titles can have."""

    code: str
    name: str = ""


class ClassesAnswer(BaseModel):
    classes: list[ClassModel] = Field(description="By code; all there are.")


class ClassPut(Strict):
    name: str = Field("", max_length=LONGEST, description="Empty: the code.")


class Rejected(BaseModel):
    """A record that was not taken."""

    place: str = Field(description="Where it was written.")
    reason: str


class ImportRequest(Strict):
    """Records, as objects, or as the text of a CSV or JSON file."""

    records: list[dict[str, Any]] = Field(
        [], max_length=1000, description="Each has `kind`, fields, and `place` for the report."
    )
    text: str = Field("", description="In place of records: CSV with its first line, or JSON.")
    source: str = Field("", max_length=LONGEST, description="For the audit log: a file's name.")


class ImportAnswer(BaseModel):
    added: int
    changed: int
    unchanged: int
    rejected: list[Rejected]


class ScanRequest(Strict):
    url: str = Field(max_length=LONGEST, description="Of a directory listing or a playlist.")
    dry_run: bool = Field(False, description="Only tell what would be registered.")
    any_host: bool = Field(
        False, description="Whether the address, and files found, may be of another host."
    )


class ScannedFile(BaseModel):
    name: str = Field(description="Of the title that it is taken for a copy of.")
    format: Format
    uri: str
    size: int | None


class ScanAnswer(ImportAnswer):
    """What a scan found, and what became of it; all zeros for a dry run."""

    found: list[ScannedFile]
    pages: int = Field(description="Listings and playlists that were read.")
    passed: int = Field(description="Entries that are nothing to play.")
    failed: list[Rejected] = Field(description="Pages that could not be read.")
    cut: str = Field(description="Which bound ended the scan; empty: none.")


class ResponseAnswer(BaseModel):
    at: str
    span: int = Field(description="Seconds that it stands for; 0: one measurement.")
    kind: ProbeKind
    asked: int
    answered: int
    ms: float | None


class ResponsesAnswer(BaseModel):
    responses: list[ResponseAnswer] = Field(description="The oldest first.")


def server_answer(server: Server, files: int, state: ServerState | None) -> dict[str, Any]:
    """A ``ServerAnswer``."""
    return {
        "id": server.id,
        "name": server.name,
        "host": server.host,
        "make": server.make,
        "region": server.region,
        "capacity_bps": server.capacity_bps,
        "max_sessions": server.max_sessions,
        "weight": server.weight,
        "enabled": server.enabled,
        "drained": server.drained,
        "probes": [
            {"kind": one.kind, "interval": one.interval, "port": one.port, "path": one.path}
            for one in server.probes
        ],
        "created": None if server.created is None else server.created.isoformat(),
        "revision": server.revision,
        "files": files,
        "state": None if state is None else _state(state),
    }


def _state(state: ServerState) -> dict[str, Any]:
    return {
        "condition": state.condition,
        "response_ms": state.response_ms,
        "since": state.since.isoformat(),
        "measured": state.measured.isoformat(),
        "responses": dict(state.responses),
        "throughput_bps": state.throughput_bps,
        "reason": state.reason,
    }


def title_answer(title: Title, copies: Copies) -> dict[str, Any]:
    """A ``TitleAnswer``."""
    return {
        "id": title.id,
        "name": title.name,
        "title": title.title,
        "description": title.description,
        "duration": title.duration,
        "level": title.level,
        "classes": list(title.classes),
        "regions": list(title.regions),
        "policy": title.policy,
        "published": title.published,
        "created": None if title.created is None else title.created.isoformat(),
        "revision": title.revision,
        "files": copies.files,
        "usable": copies.usable,
        "stored": copies.stored,
        "lost": copies.lost,
        "standing": copies.standing(title.published),
        "go": f"/go/{title.name}",
    }


def file_answer(file: File, title: str, server: str) -> dict[str, Any]:
    """A ``FileAnswer``."""
    return {
        "id": file.id,
        "title": title,
        "server": server,
        "format": file.format,
        "uri": file.uri,
        "bits_per_second": file.bits_per_second,
        "size": file.size,
        "codecs": file.codecs,
        "width": file.width,
        "height": file.height,
        "revision": file.revision,
    }


def response_answer(one: ResponseSpan) -> dict[str, Any]:
    """A ``ResponseAnswer``."""
    return {
        "at": one.at.isoformat(),
        "span": one.span,
        "kind": one.kind,
        "asked": one.asked,
        "answered": one.answered,
        "ms": one.ms,
    }
