"""Accounts and the audit log in the REST API, for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from heliograph.catalogue.audit import MAX_PAGE
from heliograph.catalogue.values import Account, Role
from heliograph.web.access import Administering, Context
from heliograph.web.answers import MAX_NUMBER
from heliograph.web.errors import answers

router = APIRouter(prefix="/api/v1", tags=["accounts"])

#: Characters of a field that are taken at all; what is allowed is told by the catalogue.
_LONGEST = 1024


class AccountAnswer(BaseModel):
    """Somebody who may sign in."""

    name: str = Field(description="What is typed to sign in; lower case.")
    display_name: str = Field(description="What others see.")
    role: Role
    created: str = Field(description="ISO 8601.")
    disabled: str | None = Field(description="Since when it may not sign in; null: it may.")
    domains: list[str] = Field(description="Groups of units that it administers.")


class AccountsAnswer(BaseModel):
    accounts: list[AccountAnswer] = Field(description="By name, those behind `after`.")


class AccountNew(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=_LONGEST, description="2 to 32 of a–z, 0–9, `.`, `_`, `-`.")
    password: str = Field(max_length=_LONGEST, description="10 to 256 characters.")
    role: Role = Role.VIEWER
    display_name: str = Field("", max_length=_LONGEST, description="Empty: the name.")


class AccountChange(BaseModel):
    """What may be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    display_name: str | None = Field(None, max_length=_LONGEST)
    disabled: bool | None = Field(None, description="A disabled account is signed out everywhere.")
    domains: list[str] | None = Field(
        None, max_length=100, description="Groups of units that it is to administer, and no others."
    )
    password: str | None = Field(
        None, max_length=_LONGEST, description="A new one; the account is signed out everywhere."
    )


class AuditAnswer(BaseModel):
    """One line of the audit log."""

    id: int
    at: str = Field(description="ISO 8601.")
    actor: str = Field(description="An account, `api-key`, `settings`, `system`; empty: unknown.")
    action: str = Field(description="`account.create`, `channel.edit`, `key.revoke`, …")
    subject: str = Field(description="What it was done to.")
    address: str
    detail: dict[str, Any]


class AuditsAnswer(BaseModel):
    entries: list[AuditAnswer] = Field(description="The newest first.")


def _account(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "display_name": account.display_name,
        "role": account.role,
        "created": account.created.isoformat(),
        "disabled": None if account.disabled is None else account.disabled.isoformat(),
        "domains": account.domains,
    }


@router.get("/accounts", response_model=AccountsAnswer, responses=answers(401, 403))
async def list_accounts(
    context: Context,
    by: Administering,
    after: str = Query("", max_length=64),
    limit: int = Query(100, ge=1, le=500),
) -> dict[str, Any]:
    """Accounts by name; ask for more with `after`, the last name seen."""
    found = await context.catalogue.accounts.list(after=after, limit=limit)
    return {"accounts": [_account(one) for one in found]}


@router.post(
    "/accounts",
    status_code=201,
    response_model=AccountAnswer,
    responses=answers(400, 401, 403, 409),
)
async def create_account(new: AccountNew, context: Context, by: Administering) -> dict[str, Any]:
    """Make an account."""
    made = await context.catalogue.accounts.create(
        new.name, new.password, new.role, display_name=new.display_name, by=by.actor
    )
    return _account(made)


@router.patch(
    "/accounts/{name}",
    response_model=AccountAnswer,
    responses=answers(400, 401, 403, 404, 409),
)
async def change_account(
    name: str, change: AccountChange, context: Context, by: Administering
) -> dict[str, Any]:
    """Change an account. The last administrator stays one: 409."""
    accounts = context.catalogue.accounts
    given = change.model_dump(exclude_none=True)
    password = given.pop("password", None)
    if password is not None:
        await accounts.set_password(name, password, by=by.actor)
    if given:
        await accounts.update(name, **given, by=by.actor)
        await context.roster.people_changed()
    return _account(await accounts.get(name))


@router.delete("/accounts/{name}", status_code=204, responses=answers(401, 403, 404, 409))
async def delete_account(name: str, context: Context, by: Administering) -> None:
    """Remove an account; 409 while it has channels, or is the last administrator."""
    await context.catalogue.accounts.delete(name, by=by.actor)
    await context.roster.people_changed()


@router.get("/audit", response_model=AuditsAnswer, responses=answers(401, 403))
async def read_audit(
    context: Context,
    by: Administering,
    before: int | None = Query(
        None, ge=0, le=MAX_NUMBER, description="The id of the last line already seen."
    ),
    limit: int = Query(100, ge=1, le=MAX_PAGE),
) -> dict[str, Any]:
    """Who did what, when, and from where."""
    lines = await context.catalogue.audit.read(before=before, limit=limit)
    entries = [
        {
            "id": line.id,
            "at": line.at.isoformat(),
            "actor": line.actor,
            "action": line.action,
            "subject": line.subject,
            "address": line.address,
            "detail": dict(line.detail),
        }
        for line in lines
    ]
    return {"entries": entries}
