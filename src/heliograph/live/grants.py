"""Why somebody was let in: kept with what was opened, so that it ends with the right to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.catalogue.rights import Action, Person, Reason
from heliograph.catalogue.tokens import ViewToken


@dataclass(frozen=True, slots=True)
class Grant:
    """A decision of ``gate.Gate`` to let somebody in."""

    action: Action
    """``PUBLISH`` or ``VIEW``."""
    reason: Reason
    key: int | None = None
    """Id of the stream key that was shown; None where it was none, or one of the settings."""
    token: ViewToken | None = None
    """The view token that was shown."""
    person: Person | None = None
    """Who is signed in."""
    carried: str = field(default="", repr=False)
    """A view token that further requests of the same session may show: the one that was shown, or
    what stands in for a single one, which is used up by now."""
    reservation: str = field(default="", repr=False)
    """Names a place that is kept for him at this node; empty: none is."""
