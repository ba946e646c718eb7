"""What can be played on demand, and which servers hold it (M3, M4).

``store.ContentStore`` is the catalogue's part for it: its queries are in ``servers``, ``titles``,
``files``, ``references`` (classifications, levels, networks), ``bulk`` (many rows at once),
``loading`` (all that a dispatcher decides by) and ``states`` (what monitors found).

Pure, and usable without a database: ``values`` and ``statistics``, ``checks`` (what a field may
hold), ``exchange`` (CSV and JSON), ``listing`` and ``playlist`` (what foreign servers say they
have), ``naming`` (which title a file is).
"""
