"""The web application, put together."""

from __future__ import annotations

from fastapi import FastAPI

from heliograph.web import (
    accounts,
    channels,
    cluster,
    content_exchange,
    contents,
    dispatching,
    errors,
    hls,
    keys,
    logs,
    mesh,
    metrics,
    monitoring,
    nodes,
    ondemand,
    pages,
    reference,
    reports,
    server,
    sessions,
    signalling,
    storage,
)
from heliograph.web.context import WebContext
from heliograph.web.middleware import Guard

__all__ = ["WebContext", "create_app"]

_DESCRIPTION = """\
Channels, their publishers and readers, and statistics of this server.

Looking at channels that are not private needs nothing. Owners change their channels signed in:
`POST /api/v1/session` gives the cookie `helio_session`, which is taken for changes from pages of
this server only (`Origin` or `Sec-Fetch-Site`). Administrators may do everything, signed in or by
the administrator's key: `Authorization: Bearer KEY`. Errors are JSON:
`{"error": {"status": 404, "message": "…", "subject": "…"}}`.
"""


def create_app(context: WebContext) -> FastAPI:
    """Make the ASGI application: REST API, metrics, pages. WebSockets are the server's."""
    app = FastAPI(
        title=context.name,
        version=context.version,
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # the usual pages load scripts from elsewhere; ours is in ``reference``
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    context.counters.update(sign_ins=0, sign_ins_refused=0, joins=0, joins_refused=0)
    errors.install(app)
    app.include_router(sessions.router)
    app.include_router(accounts.router)
    app.include_router(channels.router)
    app.include_router(monitoring.router)  # before servers by name
    app.include_router(keys.router)
    app.include_router(mesh.router)
    app.include_router(cluster.router)
    app.include_router(content_exchange.router)
    app.include_router(contents.router)
    app.include_router(logs.router)
    app.include_router(reports.router)
    app.include_router(nodes.router)
    app.include_router(storage.router)
    app.include_router(server.router)
    app.include_router(metrics.router)
    app.include_router(signalling.router)
    app.include_router(hls.router)
    app.include_router(ondemand.router)
    app.include_router(dispatching.router)
    reference.install(app)
    pages.install(app, context.static)
    app.add_middleware(Guard)
    return app
