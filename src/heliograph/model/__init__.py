"""Frozen values that every layer speaks of: names, media descriptions, errors.

Imports nothing of the project; anything may import it.
"""
