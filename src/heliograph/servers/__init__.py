"""Asyncio adapters: they pump bytes between sockets and sans-IO machines and hold no rules.

May import live and below; node starts and stops them.
"""
