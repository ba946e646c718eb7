"""The player: a program at the viewer's end that plays channels and titles.

Pure and driven by times that are passed in: ``arrivals`` (numbers of packets), ``buffer``,
``flow`` (what is asked of the server), ``retransmission``, ``synchrony``, ``clock``, ``timeline``.
Around them threads and sockets: ``network``, ``decode``, ``video``, ``audio``, ``writing``,
``terminal``; ``session`` joins them. Imported by ``cli.play`` only; nothing of a node needs it.
"""
