"""SDL's binding, imported only where a window or a sound device is wanted."""

from __future__ import annotations

import warnings
from types import ModuleType

from heliograph.model.errors import ResourceError


def load_sdl() -> ModuleType:
    """SDL's binding; ``ResourceError`` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells which library it took
            import sdl2
    except ImportError as error:
        raise ResourceError(
            "the window needs SDL: install heliograph[player], or use --stats or --write"
        ) from error
    module: ModuleType = sdl2
    return module


def reason(sdl2: ModuleType) -> str:
    """Why the last call failed."""
    text: bytes = sdl2.SDL_GetError()
    return text.decode("utf-8", "replace") or "unknown"
