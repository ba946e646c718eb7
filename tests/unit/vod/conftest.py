"""Files that several tests read; each is made once a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.vod.made_files import Made, make

Files = Callable[..., Path]


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """``media("a.mp4", Made(…))``: that file, made at the first call."""
    paths: dict[str, Path] = {}

    def file(name: str, made: Made = Made()) -> Path:  # noqa: B008 - frozen
        key = f"{name} {made}"
        if key not in paths:
            paths[key] = make(tmp_path_factory.mktemp("media") / name, made)
        return paths[key]

    return file
