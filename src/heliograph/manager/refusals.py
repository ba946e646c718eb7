"""Orders that were refused, in the audit log: what nobody may order must not cost anybody else.

They are written while other orders go on, and whoever is refused again and again fills no log: one
line of an account is written at a time, and so many in a while. A database that is away changes
nothing: the order is refused all the same.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from heliograph.manager.wire import Command
from heliograph.model.errors import HelioError, WrongStateError

if TYPE_CHECKING:
    from heliograph.manager.shell import Manager

log = structlog.get_logger(__name__)

#: Lines that one account gets in ``WHILE_S``: people are refused a few orders, programs more.
MAX_LINES = 10
WHILE_S = 30.0
#: Accounts remembered; above it the one that was refused first is forgotten.
MAX_ACCOUNTS = 1000


@dataclass(slots=True)
class _Account:
    since: float
    """When the while began in which lines are counted, s."""
    lines: int = 0
    left_out: int = 0
    """Orders without a line since the last one."""
    writing: bool = False


class Refusals:
    """Of the active manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._accounts: dict[str, _Account] = {}

    async def note(self, command: Command) -> None:
        """Write that an order was refused, or count it for the account's next line.

        ``WrongStateError`` where the database says that the lease is another's.
        """
        by, manager = command.by, self._manager
        account = self._account(by.name, manager.now())
        if account.writing or account.lines >= MAX_LINES:
            account.left_out += 1
            return
        account.lines += 1
        subject = command.text("unit", "") or command.text("channel", "")
        detail: dict[str, str | float] = {
            "order": command.command,
            "domains": " ".join(command.domains or ()),
        }
        left_out, account.left_out = account.left_out, 0
        if left_out:
            detail["left_out"] = left_out
        log.warning("order refused", by=by.name, subject=subject, **detail)
        account.writing = True
        try:
            async with asyncio.timeout(manager.options.command):
                lease = manager.require_lease()
                await manager.desired.note("order.refused", subject, lease, by, **detail)
        except WrongStateError:
            raise
        except (HelioError, TimeoutError) as error:
            account.left_out += left_out + 1
            log.warning("refused order is not in the audit log", by=by.name, error=str(error)[:200])
        finally:
            account.writing = False

    def _account(self, name: str, now: float) -> _Account:
        found = self._accounts.get(name)
        if found is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
            found = self._accounts[name] = _Account(now)
        elif now - found.since >= WHILE_S:
            found.since, found.lines = now, 0
        return found
