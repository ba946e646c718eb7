"""One running server: settings, logs, and the order in which its parts start and stop.

Wiring only, no rules of its own. Imported by ``cli``; imports everything below.
"""
