"""What ``helio publish`` is made of: where media come from, when they go, how they are sent.

``pacing`` is pure; ``sources`` blocks (libav) and runs in a thread behind
``feed``; ``publisher`` joins them with a connection. Imported by the commands only.
"""
