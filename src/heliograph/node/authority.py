"""The external authority over HTTP, as the settings name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heliograph.catalogue.authority import MAX_BODY, Reply
from heliograph.catalogue.external import Authority
from heliograph.catalogue.rights import Action
from heliograph.live.gate import AuthorityPolicy
from heliograph.node.settings import Settings

if TYPE_CHECKING:
    import httpx

#: Connections to the authority at once; what is above waits within the time-out.
MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class OpenAuthority:
    """The authority, when it is asked, and the connections to it."""

    authority: Authority
    policy: AuthorityPolicy
    client: httpx.AsyncClient

    async def close(self) -> None:
        """Leave questions under way, and close the connections."""
        await self.authority.close()
        await self.client.aclose()


def open_authority(settings: Settings) -> OpenAuthority | None:
    """The authority of the settings; None where they name none."""
    wanted = settings.authority
    if not wanted.url:
        return None
    import httpx  # it takes a while to load, and most servers ask nobody

    headers = {"user-agent": settings.server.name}
    if wanted.key is not None:
        headers["authorization"] = f"Bearer {wanted.key.get_secret_value()}"
    client = httpx.AsyncClient(
        headers=headers,
        timeout=wanted.timeout_s,
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        follow_redirects=False,
        trust_env=False,
    )

    async def post(question: Mapping[str, str]) -> Reply:
        async with client.stream("POST", wanted.url, json=dict(question)) as answer:
            body = b""
            async for chunk in answer.aiter_bytes(MAX_BODY):
                body += chunk
                if len(body) > MAX_BODY:  # understood as no answer
                    break
            return Reply(answer.status_code, body)

    authority = Authority(post, timeout=wanted.timeout_s)
    policy = AuthorityPolicy(
        frozenset(Action(action) for action in wanted.actions), wanted.policy == "extend"
    )
    return OpenAuthority(authority, policy, client)
