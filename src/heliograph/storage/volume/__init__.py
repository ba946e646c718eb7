"""A volume over the disks of several nodes: its state, where blocks lie, reading, writing, mending.

``state``, ``changes``, ``encoding`` and ``planning`` are pure; ``volume`` is what titles use on a
node; ``reconciler`` makes what should be on its node's disks be there. Layers above import these
modules, not this package.
"""
