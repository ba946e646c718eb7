"""A second, naive implementation of the packet plane, in plain Python and on a simulated clock.

It serves tests: code above the plane runs on it without the extension, and one contract suite
compares it with the native plane. It looks things up in lists, copies freely and has no threads.
"""

from heliograph.plane.twin.plane import TwinPlane

__all__ = ["TwinPlane"]
