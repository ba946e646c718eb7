"""``helio probe``: ``meter`` counts (pure), ``session`` listens, ``verdicts`` judges."""
