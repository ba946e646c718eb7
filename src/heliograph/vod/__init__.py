"""Titles on demand: their blocks, how they are imported, recorded, exported and served."""
