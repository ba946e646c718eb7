"""Directories that hold blocks: what lies on one disk, and how it gets there and back whole.

A disk knows nothing of volumes beyond a name and a document it keeps for them. Calls block: they
are made in threads (``storage/reading.py``).
"""
