"""Settings for people: effective values with their origin, and the reference as Markdown."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from heliograph.node.logs import scrub_text
from heliograph.node.settings.schema import (
    ChannelSettings,
    IceServerSettings,
    Settings,
    SourceSettings,
)
from heliograph.node.settings.sources import Loaded


def effective(loaded: Loaded) -> Iterator[tuple[str, object, str]]:
    """Yield (key, value as JSON has it, origin) of every setting, secrets masked."""
    yield from _walk(masked(loaded.settings), "", loaded)


def masked(settings: Settings) -> dict[str, object]:
    """Dump the settings as JSON has them, with keys and passwords masked."""
    dump: dict[str, object] = settings.model_dump(mode="json")
    return {key: _mask(value) for key, value in dump.items()}


def _mask(value: object) -> object:
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, list):
        return [_mask(member) for member in value]
    if isinstance(value, dict):
        return {key: _mask(member) for key, member in value.items()}
    return value


def _walk(value: object, path: str, loaded: Loaded) -> Iterator[tuple[str, object, str]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _walk(member, f"{path}.{key}" if path else key, loaded)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, member in enumerate(value):
            yield from _walk(member, f"{path}[{index}]", loaded)
    else:
        yield path, value, loaded.origin(re.sub(r"\[\d+\]", "", path))


def markdown() -> str:
    """Write the reference of all settings: one table a section."""
    parts = []
    for name, info in Settings.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            parts.append(_section(f"[{name}]", kind))
    parts.insert(0, _section("At the top of the file", Settings))
    parts.append(_section("[[webrtc.ice_servers]]", IceServerSettings))
    parts.append(_section("[[channels]]", ChannelSettings))
    parts.append(_section("[[channels.sources]]", SourceSettings))
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel]) -> str:
    heading = f"## `{title}`" if title.startswith("[") else f"## {title}"
    about = (model.__doc__ or "").strip()
    lines = [heading, "", about, "", "| key | default | meaning |", "|---|---|---|"]
    meanings = _meanings(model)
    for key, info in model.model_fields.items():
        if key in meanings:
            lines.append(f"| `{key}` | {_default(key, info.default)} | {meanings[key]} |")
    return "\n".join(lines) + "\n"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What is written under the fields of a model and of those that it comes of.

    Pydantic finds it too, and reads all sources for it whenever the models are loaded.
    """
    found = {}
    for one in reversed(model.__mro__):
        if not issubclass(one, BaseModel) or one is BaseModel:
            continue
        (statement,) = ast.parse(inspect.getsource(one)).body
        assert isinstance(statement, ast.ClassDef)
        for field, below in pairwise(statement.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = " ".join(text.split())
    return found


def _default(key: str, default: object) -> str:
    if default is PydanticUndefined:
        return "see there" if key == "state_dir" else "required"
    if default is None or default == "":
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(repr(str(member)).replace(chr(39), chr(34)) for member in default)}]`"
    return f"`{default}`"
