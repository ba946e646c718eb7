"""Signing in and out, and the first administrator."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from heliograph.catalogue.values import Account, NewSession, Role
from heliograph.live.identity import SESSION_COOKIE, Identity, check_origin, cookie
from heliograph.model.errors import BusyError, HelioError, ResourceError, UnauthorizedError
from heliograph.web.access import Asking, Context
from heliograph.web.context import WebContext
from heliograph.web.cookies import drop_session, set_session
from heliograph.web.errors import answers
from heliograph.web.identity import agent_of, peer_of

router = APIRouter(prefix="/api/v1", tags=["session"])

#: Characters of a field that are taken at all; what is allowed is told by the catalogue.
_LONGEST = 1024


class SignedIn(BaseModel):
    name: str
    display_name: str
    role: Role


class SessionAnswer(BaseModel):
    """Who asks."""

    account: SignedIn | None = Field(description="null: nobody is signed in.")
    administrator: bool = Field(description="By role, or by the administrator's key.")
    domains: list[str] = Field(description="Groups of units that it administers besides.")
    setup: bool = Field(description="Whether there is no account yet: `POST /setup` makes it.")


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=_LONGEST)
    password: str = Field(max_length=_LONGEST)


class Setup(SignIn):
    """The first administrator."""

    key: str = Field(max_length=_LONGEST, description="The administrator's key.")
    display_name: str = Field("", max_length=_LONGEST, description="Empty: the name.")


class PasswordChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old: str = Field(max_length=_LONGEST)
    new: str = Field(max_length=_LONGEST, description="10 to 256 characters.")


async def _answer(context: WebContext, identity: Identity) -> dict[str, Any]:
    account = identity.account
    return {
        "account": None if account is None else signed_in(account),
        "administrator": identity.administrator,
        "domains": [] if account is None else account.domains,
        "setup": account is None and await _is_empty(context),
    }


async def _is_empty(context: WebContext) -> bool:
    """Whether there is no account; none is missed while the database cannot say."""
    try:
        return await context.catalogue.accounts.count() == 0
    except (ResourceError, BusyError):
        return False


def signed_in(account: Account) -> dict[str, Any]:
    """A ``SignedIn``."""
    return {"name": account.name, "display_name": account.display_name, "role": account.role}


def _opened(request: Request, response: Response, made: NewSession) -> dict[str, Any]:
    set_session(request, response, made.token)
    account = made.session.account
    administrator = account.role is Role.ADMINISTRATOR
    return {
        "account": signed_in(account),
        "administrator": administrator,
        "domains": account.domains,
        "setup": False,
    }


@router.get("/session", response_model=SessionAnswer, responses=answers(429))
async def get_session(context: Context, identity: Asking) -> dict[str, Any]:
    """Who is signed in."""
    return await _answer(context, identity)


@router.post("/session", response_model=SessionAnswer, responses=answers(400, 401, 403, 429, 503))
async def sign_in(
    given: SignIn, request: Request, response: Response, context: Context
) -> dict[str, Any]:
    """Sign in: the answer sets the cookie `helio_session`. Guessing is slowed: 429, Retry-After."""
    check_origin(request.headers, context.public_host, needed=False)
    try:
        made = await context.catalogue.sessions.sign_in(
            given.name, given.password, address=peer_of(request), agent=agent_of(request)
        )
    except HelioError:
        context.counters["sign_ins_refused"] += 1
        raise
    context.counters["sign_ins"] += 1
    return _opened(request, response, made)


@router.delete("/session", status_code=204, responses=answers(403))
async def sign_out(
    request: Request, response: Response, context: Context, identity: Asking
) -> None:
    """Sign out; harmless for who is not signed in."""
    token = cookie(request.headers, SESSION_COOKIE)
    if token:
        await context.catalogue.sessions.sign_out(token, address=identity.actor.address)
        drop_session(request, response)


@router.post(
    "/session/password", response_model=SessionAnswer, responses=answers(400, 401, 403, 429)
)
async def change_password(
    given: PasswordChange,
    request: Request,
    response: Response,
    context: Context,
    identity: Asking,
) -> dict[str, Any]:
    """Change one's own password. All other browsers are signed out."""
    if identity.account is None:
        raise UnauthorizedError("sign in to change your password")
    accounts, name, peer = context.catalogue.accounts, identity.account.name, peer_of(request)
    account = await accounts.authenticate(name, given.old, address=peer)
    await accounts.set_password(name, given.new, by=identity.actor)
    made = await context.catalogue.sessions.create(account, address=peer, agent=agent_of(request))
    return _opened(request, response, made)


@router.post("/setup", response_model=SessionAnswer, responses=answers(400, 401, 403, 429))
async def set_up(
    given: Setup, request: Request, response: Response, context: Context
) -> dict[str, Any]:
    """Make the first administrator, with the administrator's key that the server printed at its
    first start and keeps in `administrator.key`; and sign in."""
    check_origin(request.headers, context.public_host, needed=False)
    peer = peer_of(request)
    account = await context.catalogue.accounts.create_first(
        given.key, given.name, given.password, display_name=given.display_name, address=peer
    )
    made = await context.catalogue.sessions.create(account, address=peer, agent=agent_of(request))
    context.counters["sign_ins"] += 1
    return _opened(request, response, made)
