"""What every fuzz target shares: running it for a while, and replaying what was found.

A target is a module ``fuzz_<name>.py`` with ``one_input(data)``, which raises when an invariant
is broken. ``python tests/fuzz/fuzz_<name>.py -max_total_time=60`` fuzzes it with atheris, or with
hypothesis where atheris does not exist; ``test_corpus.py`` replays ``tests/data/fuzz/<name>/``.
Further arguments go to libFuzzer as they are.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPORA = HERE.parent / "data" / "fuzz"
#: What a run finds interesting is kept here between runs; it is not committed.
CACHE = HERE.parents[1] / ".cache" / "fuzz"


def fuzzing() -> bool:
    """Whether this process was started to fuzz (and not to replay), and atheris can do it."""
    started_as = Path(sys.argv[0]).name
    return started_as.startswith("fuzz_") and importlib.util.find_spec("atheris") is not None


def instrumented() -> contextlib.AbstractContextManager[object]:
    """Import what is to be fuzzed inside this context: atheris then counts its branches."""
    if not fuzzing():
        return contextlib.nullcontext()
    import atheris  # type: ignore[import-untyped]

    manager: contextlib.AbstractContextManager[object] = atheris.instrument_imports(
        include=["heliograph"]
    )
    return manager


def targets() -> list[str]:
    """The names of all targets in this folder."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def corpus(name: str) -> list[Path]:
    """Seeds and past crashers of a target."""
    folder = CORPORA / name
    return sorted(path for path in folder.glob("*") if path.is_file())


def load(name: str) -> Callable[[bytes], None]:
    """The ``one_input`` of a target."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", HERE / f"fuzz_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target: Callable[[bytes], None] = module.one_input
    return target


def main(name: str, one_input: Callable[[bytes], None]) -> None:
    """Fuzz until the time is up; a crasher is written to the target's corpus."""
    seeds = CORPORA / name
    seeds.mkdir(parents=True, exist_ok=True)
    if fuzzing():
        import atheris

        found = CACHE / name
        found.mkdir(parents=True, exist_ok=True)
        arguments = [sys.argv[0], f"-artifact_prefix={seeds}/", *sys.argv[1:]]
        atheris.Setup([*arguments, str(found), str(seeds)], one_input)
        atheris.Fuzz()
        return
    _with_hypothesis(name, one_input)


def _with_hypothesis(name: str, one_input: Callable[[bytes], None]) -> None:
    """Without atheris: random bytes and mutated seeds, in rounds, until the time is up."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    seconds = 60.0
    for argument in sys.argv[1:]:
        if argument.startswith("-max_total_time="):
            seconds = float(argument.partition("=")[2])
    seeds = [path.read_bytes() for path in corpus(name)] or [b""]

    @settings(
        max_examples=2000, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(seeds), st.binary(max_size=64), st.integers(0, 2000), st.integers(0, 64))
    def one_round(seed: bytes, patch: bytes, at: int, cut: int) -> None:
        one_input(seed[:at] + patch + seed[at + cut :])

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        one_round()
