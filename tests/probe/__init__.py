"""What takes long: networks that become narrow or break for a while, floods, idle crowds.

Run by ``make probe``; the peers are those of the interop tests.
"""
