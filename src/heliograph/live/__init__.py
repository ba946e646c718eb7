"""Live channels: who publishes, who reads, and what becomes of both.

``registry.Channels`` holds the channels and is what servers, web and node ask. ``channel`` is one
of them, ``publish`` and ``readers`` are its two sides, ``admission`` says who may come (pure),
``keys`` compares and keeps secrets, ``pull`` fetches from cameras and servers, ``frames`` serves
one WebSocket with the texts of ``wire``. Imports plane, protocols and model; servers, web and
node import it.
"""
