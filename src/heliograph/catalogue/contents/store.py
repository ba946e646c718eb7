"""The catalogue's part for servers, titles and files."""

from __future__ import annotations

from heliograph.catalogue.contents.bulk import BulkQueries
from heliograph.catalogue.contents.loading import LoadQueries
from heliograph.catalogue.contents.states import StateQueries
from heliograph.catalogue.contents.stored import StoredQueries


class ContentStore(BulkQueries, LoadQueries, StateQueries, StoredQueries):
    """Lists and changes what can be played and where, and tells dispatchers what changed.

    Every method raises only ``HelioError``. Names are looked up without regard to case.
    """
