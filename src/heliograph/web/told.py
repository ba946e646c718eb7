"""Answers with media for players and pages of any site, and errors as each of them takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request, Response

from heliograph.dispatcher.answers import refusal, wish_of
from heliograph.model.errors import HelioError
from heliograph.web.errors import helio_response

#: Headers of an error that say what to do about it.
_ADVICE = ("Retry-After", "WWW-Authenticate")


async def told(
    request: Request, cors: Mapping[str, str], make: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer, or the error, which is not kept: a small page for who opened the address in a
    browser, JSON for all others. ``cors``: headers of either."""
    try:
        response = await make()
    except HelioError as error:
        response = _refused(request, error)
        response.headers["Cache-Control"] = "no-store"
    response.headers.update(cors)
    return response


def _refused(request: Request, error: HelioError) -> Response:
    response = helio_response(error)
    if not wish_of(request.headers.get("accept", ""), "").page:
        return response
    found = refusal(response.status_code, error.message, page=True)
    page = Response(found.body, found.status)
    for name, value in found.headers:
        page.headers[name.decode("latin-1")] = value.decode("latin-1")
    for advice in _ADVICE:
        if advice in response.headers:
            page.headers[advice] = response.headers[advice]
    return page
