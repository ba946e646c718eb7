"""What pages of other sites may ask of us (the Fetch standard, section 3.3: CORS)."""

from __future__ import annotations

#: Seconds for which a browser need not ask again: browsers take a day at most.
MAX_AGE = 86_400


def cors(*, methods: str, headers: str, exposed: str) -> dict[str, str]:
    """Headers that let every site ask so; without cookies: keys are shown explicitly.

    ``methods``: allowed beside what needs no leave. ``headers``: that a request may carry.
    ``exposed``: of the answer, that a script may read.
    """
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": headers,
        "Access-Control-Expose-Headers": exposed,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
