"""Where settings come from, and one precedence among them.

Weakest first: defaults, one TOML file, environment (``HELIO_RTSP__PORT``), command line
(``--set rtsp.port=9554`` and a few named options). A list such as ``channels`` is replaced as a
whole, never merged. Every mistake is told with its key and the place where it was made; all
mistakes are told at once.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from heliograph.model.errors import SettingsError
from heliograph.node.settings.base import Section
from heliograph.node.settings.places import KeyPath, find, key_lines
from heliograph.node.settings.schema import Settings

ENV_PREFIX = "HELIO_"
#: Looked for in this order when ``--config`` is not given.
DEFAULT_FILES = (Path("heliograph.toml"), Path("/etc/heliograph.toml"))
#: A settings file with 10 000 channels stays below 2 MiB; more is some other file.
MAX_FILE_BYTES = 8 << 20

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Validated settings and where each value came from."""

    settings: Settings
    file: Path | None
    """The TOML file that was read."""
    origins: Mapping[str, str]
    """Dotted key → where it was set; a key that is missing has its default."""

    def origin(self, key: str) -> str:
        """Say where ``key`` was set, looking at the tables above it too."""
        while key not in self.origins:
            key, dot, _ = key.rpartition(".")
            if not dot:
                return "default"
        return self.origins[key]


@dataclass(slots=True)
class _Sources:
    """What was gathered so far: the stronger source writes later."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    file: Path | None = None

    def put(self, path: Sequence[str], value: object, origin: str) -> None:
        target = self.values
        for part in path[:-1]:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                return  # a weaker source put a value where a table belongs: validation tells it
        target[path[-1]] = value
        self.origins[".".join(path)] = origin

    def origin_of(self, path: KeyPath) -> str:
        """Say where the value at ``path`` was set."""
        names = [part for part in path if isinstance(part, str)]
        for length in range(len(names), 0, -1):
            origin = self.origins.get(".".join(names[:length]))
            if origin is None:
                continue
            if origin.startswith(f"{self.file}:"):
                line = find(self.lines, path)
                return f"{self.file}:{line}" if line else origin
            return origin
        return "default"


def dotted(path: KeyPath) -> str:
    """Write a path as people do: ``channels[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load(
    config: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    options: Mapping[str, tuple[str, object]] | None = None,
    default_files: Sequence[Path] = DEFAULT_FILES,
) -> Loaded:
    """Gather and validate the settings, or raise ``SettingsError`` with every mistake.

    ``config`` is the file named on the command line; ``sets`` the texts ``key=value`` of
    ``--set``; ``options`` what named options set: ``{"demo": ("--demo", True)}``.
    """
    sources = _Sources()
    file = config or next((path for path in default_files if path.is_file()), None)
    if file is not None:
        _read_file(sources, file)
    _read_env(sources, os.environ if env is None else env)
    for text in sets:
        _read_set(sources, text)
    for key, (option, value) in (options or {}).items():
        sources.put(key.split("."), value, f"command line {option}")
    settings = _validate(sources)
    return Loaded(settings=settings, file=file, origins=sources.origins)


def _validate(sources: _Sources) -> Settings:
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(sources.values)
    except ValidationError as error:
        for details in error.errors():
            path, message = _explain(details)
            sources.problems.append(f"{dotted(path)}: {message} ({sources.origin_of(path)})")
    if sources.problems or settings is None:
        raise SettingsError("\n".join(dict.fromkeys(sources.problems)))
    return settings


# the file


def _read_file(sources: _Sources, file: Path) -> None:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{file}: larger than {MAX_FILE_BYTES >> 20} MiB")
        text = file.read_bytes().decode()
        values = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        reason, line = _toml_reason(error)
        raise SettingsError(f"{file}:{line}: not valid TOML: {reason}") from None
    except RecursionError:
        raise SettingsError(f"{file}: not valid TOML: nested too deep") from None
    sources.file = file
    sources.lines = key_lines(text)
    for path, value in _leaves(values):
        sources.put(path, value, f"{file}:{find(sources.lines, path) or 1}")


def _toml_reason(error: tomllib.TOMLDecodeError) -> tuple[str, str]:
    text = str(error)
    if place := re.search(r"\s*\(at line (\d+), column \d+\)$", text):
        return text[: place.start()], place[1]
    return re.sub(r"\s*\(at end of document\)$", "", text), "end"


def _leaves(
    values: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


# environment and command line: texts


#: Settings at the top that are no section: ``HELIO_SERVER`` tells commands where a server is.
_SINGLE = {
    name
    for name, field in Settings.model_fields.items()
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section))
}


def _read_env(sources: _Sources, env: Mapping[str, str]) -> None:
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX):
            continue
        rest = variable.removeprefix(ENV_PREFIX).lower()
        path = tuple(rest.split("__"))
        origin = f"environment {variable}"
        if len(path) > 1 or path[0] in _SINGLE:
            _put_text(sources, path, env[variable], origin)
        # Other variables may belong to somebody else (a cluster's service links, say), unless
        # one underscore is plainly missing.
        elif "_" in rest and _annotation(tuple(rest.split("_", 1))) is not None:
            right = ENV_PREFIX + rest.replace("_", "__", 1).upper()
            sources.problems.append(f"{rest}: unknown; did you mean {right}? ({origin})")


def _read_set(sources: _Sources, text: str) -> None:
    key, equals, value = text.partition("=")
    origin = f"command line --set {key.strip()}"
    if not equals:
        sources.problems.append(f"{text}: must be KEY=VALUE (command line --set)")
    else:
        _put_text(sources, tuple(key.strip().split(".")), value, origin)


def _put_text(sources: _Sources, path: tuple[str, ...], text: str, origin: str) -> None:
    annotation = _annotation(path)
    if annotation is None:
        sources.problems.append(f"{dotted(path)}: {_unknown(path)} ({origin})")
        return
    try:
        value = parse_text(annotation, text)
    except ValueError as error:
        sources.problems.append(f"{dotted(path)}: {error} ({origin})")
        return
    sources.put(path, value, origin)


def parse_text(annotation: object, text: str) -> object:
    """Read a setting written as text, as its type asks; ``ValueError`` says what it must be."""
    kinds = _kinds(annotation)
    text = text.strip()
    if type(None) in kinds and not text:
        return None
    if bool in kinds:
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise ValueError(f"must be true or false, not {text!r}")
    if int in kinds or float in kinds:
        try:
            return int(text.replace("_", "")) if int in kinds else float(text)
        except ValueError:
            what = "a whole number" if int in kinds else "a number"
            raise ValueError(f"must be {what}, not {text[:80]!r}") from None
    if tuple in kinds:
        return _parse_list(text)
    if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        raise ValueError("is a section; set its members one by one")
    return text


def _parse_list(text: str) -> object:
    """Read a TOML array, or plain words between commas."""
    if not text.startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not a valid TOML array: {_toml_reason(error)[0]}") from None


# what the schema says about a key


def _kinds(annotation: object) -> set[object]:
    """Take unions, ``Annotated`` and generics apart down to plain types."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return set().union(*(_kinds(member) for member in get_args(annotation)))
    return {str if origin is Literal else origin or annotation}


def _model(annotation: object) -> type[BaseModel] | None:
    for kind in _kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        if kind is tuple:
            inner = annotation
            while get_origin(inner) is Annotated:
                inner = get_args(inner)[0]
            return _model(get_args(inner)[0])
    return None


def _annotation(path: KeyPath) -> object | None:
    """Give the type of the setting at ``path``, or None when there is none."""
    current: object = Settings
    for part in path:
        if isinstance(part, int):
            continue
        model = _model(current)
        if model is None or part not in model.model_fields:
            return None
        current = model.model_fields[part].annotation
    return current


def _unknown(path: KeyPath) -> str:
    """Say that ``path`` is unknown, and what may have been meant."""
    depth = next(n for n in range(1, len(path) + 1) if _annotation(path[:n]) is None)
    above, wrong = path[: depth - 1], str(path[depth - 1])
    model = _model(_annotation(above) if above else Settings)
    names = list(model.model_fields) if model else []
    if near := difflib.get_close_matches(wrong, names, n=1, cutoff=0.6):
        return f"unknown; did you mean {dotted((*above, near[0], *path[depth:]))}?"
    elsewhere = [
        f"{section}.{wrong}"
        for section, info in Settings.model_fields.items()
        if section != "channels"
        and (inner := _model(info.annotation)) is not None
        and wrong in inner.model_fields
    ]
    if elsewhere:
        return f"unknown; did you mean {' or '.join(elsewhere)}?"
    return f"unknown; known here: {', '.join(names)}" if names else "unknown"


def _explain(details: ErrorDetails) -> tuple[KeyPath, str]:
    """Turn a validation error into a path and a sentence about it, without showing secrets."""
    # Members of unions and lists of addresses appear in the path with their type: left out.
    path: KeyPath = details["loc"]
    context = details.get("ctx", {})
    if details["type"] == "setting":
        return _real((*path, *context["where"])), str(context["reason"])
    if details["type"] == "extra_forbidden":
        return path, _unknown(path)
    if details["type"] == "missing":
        return path, "is missing"
    message = details["msg"].replace("Input should be", "must be", 1)
    message = re.sub(r"^(String|Tuple|Value) should", "must", message)
    message = re.sub(r"^must be a valid ", "must be a ", message)
    message = message.replace("items after validation", "characters")
    path = _real(path)
    secret = SecretStr in _kinds(_annotation(path))
    given = details["input"]
    if not secret and isinstance(given, str | int | float):
        message += f", not {given!r:.80}"
    return path, message


def _real(path: KeyPath) -> KeyPath:
    """Cut off what pydantic adds to a path beyond the settings' own names."""
    while path and _annotation(path) is None:
        path = path[:-1]
    return path
