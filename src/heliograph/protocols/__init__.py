"""Wire protocols without input or output: bytes and the time go in, values and bytes come out.

Nothing here owns a socket, a clock or a task; whoever does passes ``now``. May import ``model``
only; anything above may import it.
"""
