"""Heliograph: live channels for anyone, carried by a network of reflectors.

The packages below are layers; imports point down only (checked by ``import-linter``)::

    cli → node → servers, web → live → plane → protocols → model
"""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # To read it takes longer than to load most commands, of which few tell it.
    from importlib.metadata import version

    return version(__name__)
