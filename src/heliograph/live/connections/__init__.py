"""Kinds of connection by which channels travel between nodes, and what is composed of them.

``kinds`` has one value for each kind, ``compose`` puts them over each other by name, ``groups``
says where multicast goes. All of it is values: ``live/links.py`` opens links of a kind,
``live/casts.py`` sends beside them, and the packet plane moves what goes over them.
"""
