"""Blocks on the disks of many nodes: where they lie, how they are read, mended and moved."""
