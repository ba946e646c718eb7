"""The cluster manager's decisions: pure functions over an immutable view of the cluster.

``view`` holds what is known: units, groups, channels, reservations. ``decisions`` has one module a
family of decisions; each takes a view and gives the next one with the *transitions* that lead
there, which a shell turns into orders to units and a simulator just counts. ``draft`` applies
transitions and is the only place that makes a next view. ``invariants`` says what must hold of
every view, ``tree`` draws a channel's groups, ``reports`` is what units say of themselves,
``simulator`` drives it all with a seeded load. None of these reads a clock or does input or output.

``shell`` is the manager that runs: ``leadership`` says whether it is active, ``hearing`` makes its
view, ``upkeep`` and ``patience`` decide what to do next, ``orders`` tells units, ``commands`` does
what people order and ``desired`` keeps it. ``client`` is the way to it for others, ``wire`` what
they say, ``describe`` what people are shown. ``service_turn`` says which portal has the service
address, ``service_address`` brings it there.

Imports live, catalogue (values alone), bus and model; node, servers and web import it.
"""
