"""Measures servers and says which of them can be sent viewers (M2).

Pure: ``health`` (what one monitor finds), ``agreement`` and ``views`` (what several say together),
``history`` (measurements to be kept). Adapters: ``icmp`` and ``probes`` measure, ``resolver`` finds
addresses, ``rounds`` measures again and again, ``saving`` keeps what is found in the database,
``monitor`` says it and talks to the other monitors over the bus.

Imports ``protocols``, ``bus`` and the values of ``catalogue.contents``; web and node may import it.
"""
