"""Which server a request is sent to (M1, M6): snapshot in, decision out.

Everything here but ``monitor`` and ``statistics`` is pure: no clock, no socket, no database. Time
comes in as an argument, chance as a callable. ``servers``, ``web`` and ``node`` may import it; it
knows the catalogue's values and nothing of channels.
"""
