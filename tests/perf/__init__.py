"""Measures the server beside its floor and a rival, in the same run, on the same machine.

The server runs on core 0, the load on core 1. ``python -m tests.perf --help`` says the rest;
``docs/performance.md`` holds the figures and the method.
"""
