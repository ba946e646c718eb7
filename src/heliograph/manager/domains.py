"""Who may order what in a part of the cluster: units have a domain, accounts may administer some.

Pure. Of the orders that there are, those of one unit touch that unit, others all units that have
the channel, or the whole cluster:

========================  ===================================================
order                     what has to be of the domains
========================  ===================================================
drain, return, remove     the unit
extend, with a unit       the unit
reduce                    all units that have the channel
move                      the unit it goes to, the one at which it enters, and the one it is just
                          on its way to
everything else           the whole cluster
========================  ===================================================

Places are shared: viewers and channels of each domain go to units of all, as load and location
have it, and what is drained in one goes to any.
"""

from __future__ import annotations

from collections.abc import Collection

from heliograph.manager.view import Cluster
from heliograph.manager.wire import Command
from heliograph.model.errors import ForbiddenError

#: Orders about one unit, and about a channel at the units that have it.
OF_UNIT = frozenset({"drain", "return", "remove", "extend"})
OF_CHANNEL = frozenset({"move", "reduce"})


def outside(cluster: Cluster, command: Command) -> ForbiddenError | None:
    """Why whoever gave a command may not, as it reaches beyond the domains he administers; None
    where he may."""
    domains = command.domains
    if domains is None:
        return None
    name, unit = command.text("channel", ""), command.text("unit", "")
    touched: set[str] = set()
    if command.command in OF_CHANNEL:
        channel = cluster.channels.get(name)
        if channel is None:
            return None  # there is nothing to be ordered, which is for the order to say
        if command.command == "reduce":
            touched = {*channel.branches}
        elif unit:
            touched = {unit, channel.ingest or unit, channel.next_ingest or unit}
    elif command.command in OF_UNIT and unit:
        touched = {unit}
    if not touched:
        said = f"{_order(command)} concerns the whole cluster: only administrators may"
        if command.command == "extend":
            said = f"{_order(command)} needs a unit of {_listed(domains)}, or an administrator"
        return ForbiddenError(said, subject=name or unit)
    for one in sorted(touched):
        found = cluster.units.get(one)
        if found is None or found.domain not in domains:
            what = "is not known" if found is None else f"is {_of(found.domain)}"
            shown = one if found is None else found.name
            return ForbiddenError(
                f"{_order(command)}: unit {shown!r} {what}, and you administer {_listed(domains)}",
                subject=one,
            )
    return None


def _order(command: Command) -> str:
    """What people call it."""
    return {"reduce": "shrink"}.get(command.command, command.command)


def _of(domain: str) -> str:
    return f"of domain {domain!r}" if domain else "of no domain"


def _listed(domains: Collection[str]) -> str:
    return ", ".join(sorted(domains)) or "no domain"
