"""Fragmented MP4, written by ourselves so that the same units always give the same bytes."""
