"""Titles that several nodes send at once, each the blocks that it holds (docs/wire/bipartite.md).

``order`` is what all nodes of a session know of it, ``sharing`` says from that who sends which
block, ``clock`` relates the nodes' clocks: pure. ``part`` sends a node's own blocks, ``conductor``
decides for a session at the node that has control, ``ensemble`` ties them to the bus.
"""
