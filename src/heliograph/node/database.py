"""Opens the node's database, also where that comes later than the node."""

from __future__ import annotations

import asyncio

import structlog

from heliograph.catalogue.catalogue import Catalogue
from heliograph.model.errors import AwayError, BusyError, ResourceError

log = structlog.get_logger(__name__)

#: Seconds for which a server that is away is waited for: as long as one takes that checks its
#: files after a power cut, or a standby to be made the server. After that somebody has to know.
PATIENCE = 300.0
#: Seconds between two tries, at first and at most.
FIRST, MOST = 1.0, 5.0


async def open_catalogue(
    url: str, *, patience: float = PATIENCE, first: float = FIRST
) -> Catalogue:
    """The catalogue at ``url``, as of ``Catalogue.open``, tried again while its server is away.

    ``ResourceError`` at once for what waiting does not mend, such as a wrong password or a database
    that is not there, and after ``patience`` seconds. ``first``: seconds until the second try.
    """
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + patience, first
    while True:
        try:
            return await Catalogue.open(url)
        except (AwayError, BusyError) as error:
            left = until - loop.time()
            if left <= 0:
                said = f"{error.message}; tried for {patience:g} s (database.url)"
                raise ResourceError(said, subject="database") from None
            log.warning(
                "database is away; tried again", error=error.message, seconds_left=int(left)
            )
        except ResourceError as error:
            raise ResourceError(f"{error.message} (database.url)", subject=error.subject) from error
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, MOST)
