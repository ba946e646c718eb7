"""What ``helio bench`` is made of: viewers in processes of their own, counted, and a private
server for them.

The controller asks, each worker answers one JSON line; nothing else passes between them.
"""
