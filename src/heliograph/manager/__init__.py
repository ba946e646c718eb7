"""The cluster manager's decisions: pure functions over an immutable view of the cluster.

``view`` holds what is known: units, groups, channels, reservations. ``decisions`` has one module a
family of decisions; each takes a view and gives the next one with the *transitions* that lead
there, which a shell turns into orders to units and a simulator just counts. ``draft`` applies
transitions and is the only place that makes a next view. ``invariants`` says what must hold of
every view, ``tree`` draws a channel's groups, ``reports`` is what units say of themselves,
``simulator`` drives it all with a seeded load. Nothing here reads a clock or does input or output.
Imports live (what refusals have in common) and model; node, servers and web import it.
"""
