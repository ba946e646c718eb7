"""Heliograph: live channels for anyone, carried by a network of reflectors.

The packages below are layers; imports point down only (checked by ``import-linter``)::

    cli → node → servers, web → live → plane → protocols → model
"""

from importlib.metadata import version

__version__ = version("heliograph")
