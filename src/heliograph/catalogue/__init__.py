"""What must outlive every process: accounts, sessions, channels, keys, chat, the audit log, leases.

``catalogue.Catalogue`` opens the database and answers in frozen values (``values``); nothing of
SQLAlchemy leaves the package. ``accounts``, ``sessions``, ``channels``, ``permits``, ``history``,
``joins``, ``leases``, ``desired`` and ``audit`` hold its queries by subject, ``engine``,
``migrate``, ``steps`` and ``instance`` are about the database itself.

Decisions are pure and usable without a database: ``rights`` (who may do what), ``tokens`` (signed
permissions to view), ``throttle`` (guesses are slowed), ``authority`` (an external judge;
``external`` asks it), ``names`` (what may be shown as a name), ``keys`` (random secrets and their
hashes).

Imports model only; live, servers, web and node import it.
"""
