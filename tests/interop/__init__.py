"""Other people's players and servers against ours, with a clip whose every picture is known.

``peers`` has one module for each program; nothing here may import ``heliograph``: what the tests
know of the server they know from outside.
"""
