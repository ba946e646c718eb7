"""Who may publish and who may watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from argon2 import PasswordHasher

from heliograph.catalogue.authority import Question, Reply
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.external import Authority
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.rights import Action, Person, Reason
from heliograph.catalogue.throttle import ADDRESS_POLICY
from heliograph.catalogue.values import Role, ViewAccess
from heliograph.live.channel import Channel
from heliograph.live.gate import Asker, AuthorityPolicy, Gate, settled
from heliograph.live.keys import Shown
from heliograph.live.options import ChannelOptions
from heliograph.live.roster import Roster
from heliograph.model.errors import (
    ConflictError,
    ForbiddenError,
    HelioError,
    NotFoundError,
    TooManyError,
    UnauthorizedError,
)

from .conftest import Studio

ADMIN_KEY = "the-administrators-key"
PASSWORD = "a rather long sentence"


def asker(**given: Any) -> Asker:
    return Asker("192.0.2.1", "rtsp", **given)


@dataclass
class House:
    """Channels with a catalogue behind them, and a gate."""

    studio: Studio
    catalogue: Catalogue
    gate: Gate
    roster: Roster
    keys: dict[str, str] = field(default_factory=dict)

    async def channel(self, name: str, **given: Any) -> Channel:
        channel, made = await self.roster.create(name, **given)
        self.keys[name] = made.key
        return channel

    async def token(self, name: str, lifetime: float = 60, **given: Any) -> str:
        text, _ = await self.catalogue.permits.issue(name, "guest", lifetime, **given)
        return text


@pytest.fixture
async def house(studio: Studio) -> AsyncIterator[House]:
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    catalogue = await Catalogue.open("sqlite://", passwords=quick)
    await catalogue.accounts.create("anna", PASSWORD, Role.BROADCASTER)
    await catalogue.accounts.create("berta", PASSWORD, Role.VIEWER)
    gate = Gate(ADMIN_KEY, catalogue=catalogue)
    roster = Roster(studio.channels, catalogue, gate)
    await roster.open()
    yield House(studio, catalogue, gate, roster)
    await catalogue.close()


async def person(house: House, name: str) -> Person:
    found = Person.of(await house.catalogue.accounts.get(name))
    assert found is not None
    return found


# --- publishing -------------------------------------------------------------------------------


async def test_stream_key_publishes_on_its_own_channel_alone(house: House) -> None:
    one, two = await house.channel("one"), await house.channel("two")
    grant = await settled(house.gate.publish(one, asker(secret=house.keys["one"])))
    assert (grant.reason, grant.key is not None) == (Reason.KEY, True)
    with pytest.raises(UnauthorizedError, match="the key is wrong"):
        house.gate.publish(two, asker(secret=house.keys["one"]))
    with pytest.raises(UnauthorizedError, match="a key is needed"):
        house.gate.publish(two, asker())


async def test_key_of_the_settings_and_the_administrators_publish(house: House) -> None:
    demo = house.studio.channel
    for given in ({"secret": "secret"}, {"secret": ADMIN_KEY}, {"digest": Shown.GOOD}):
        await settled(house.gate.publish(demo, asker(**given)))
    for given in ({"secret": "wrong"}, {"digest": Shown.WRONG}, {}):
        with pytest.raises(UnauthorizedError):
            house.gate.publish(demo, asker(**given))


async def test_owner_publishes_without_a_key_and_nobody_else_does(house: House) -> None:
    channel = await house.channel("one", owner="anna")
    grant = await settled(house.gate.publish(channel, asker(person=await person(house, "anna"))))
    assert grant.reason is Reason.OWNER
    with pytest.raises(ForbiddenError):
        house.gate.publish(channel, asker(person=await person(house, "berta")))


async def test_key_of_an_owner_who_may_not_broadcast_is_refused(house: House) -> None:
    channel = await house.channel("one", owner="anna")
    await house.catalogue.accounts.update("anna", role=Role.VIEWER)
    await house.roster.people_changed()
    with pytest.raises(ForbiddenError, match="may not broadcast"):
        house.gate.publish(channel, asker(secret=house.keys["one"]))


async def test_channel_that_is_open_takes_any_publisher(house: House) -> None:
    channel = await house.channel("one", options=ChannelOptions(open_publish=True))
    assert (await settled(house.gate.publish(channel, asker()))).reason is Reason.PUBLIC


async def test_guesses_are_slowed_for_the_guesser_alone(house: House) -> None:
    channel = await house.channel("one")
    for number in range(ADDRESS_POLICY.free + 1):
        with pytest.raises(UnauthorizedError):
            house.gate.publish(channel, asker(secret=f"guess-{number}"))
    with pytest.raises(TooManyError):
        house.gate.publish(channel, asker(secret=house.keys["one"]))
    other = replace(asker(secret=house.keys["one"]), peer="192.0.2.2")
    await settled(house.gate.publish(channel, other))


async def test_right_keys_are_never_slowed(house: House) -> None:
    channel = await house.channel("one")
    for _ in range(5 * ADDRESS_POLICY.free):
        await settled(house.gate.publish(channel, asker(secret=house.keys["one"])))


# --- watching ---------------------------------------------------------------------------------


async def test_private_channel_is_as_if_it_were_not_there(house: House) -> None:
    channel = await house.channel("one", owner="anna", private=True)
    there = house.gate.stranger("one", asker())
    for given in ({}, {"person": await person(house, "berta")}, {"secret": "guess"}):
        for ask in (house.gate.view, house.gate.publish):
            with pytest.raises(NotFoundError) as caught:
                await settled(ask(channel, asker(**given)))
            assert (caught.value.message, caught.value.subject) == (there.message, there.subject)
        assert not house.gate.may_list(channel, asker(**given).person)
    with pytest.raises(NotFoundError):
        await settled(house.gate.view(channel, asker(tokens=("v1.x.y",))))
    for given in ({"person": await person(house, "anna")}, {"secret": ADMIN_KEY}):
        await settled(house.gate.view(channel, asker(**given)))


async def test_guesses_at_a_channel_that_is_not_there_are_slowed_as_well(house: House) -> None:
    for _ in range(ADDRESS_POLICY.free + 1):
        house.gate.stranger("none", asker(secret="guess"))
    with pytest.raises(TooManyError):
        house.gate.stranger("none", asker(secret="guess"))
    assert house.gate.stranger("none", asker()).status == 404


@pytest.mark.parametrize(
    ("access", "guest", "viewer"),
    [
        (ViewAccess.EVERYONE, None, None),
        (ViewAccess.ACCOUNTS, UnauthorizedError, None),
        (ViewAccess.INVITED, UnauthorizedError, ForbiddenError),
    ],
)
async def test_who_may_watch(
    house: House,
    access: ViewAccess,
    guest: type[HelioError] | None,
    viewer: type[HelioError] | None,
) -> None:
    channel = await house.channel("one", view_access=access)
    for who, error in ((None, guest), (await person(house, "berta"), viewer)):
        if error is None:
            await settled(house.gate.view(channel, asker(person=who)))
        else:
            with pytest.raises(error):
                house.gate.view(channel, asker(person=who))
        assert house.gate.may_list(channel, who)
    await settled(house.gate.view(channel, asker(tokens=(await house.token("one"),))))


async def test_token_opens_its_channel_until_it_expires(house: House) -> None:
    channel = await house.channel("one", private=True)
    other = await house.channel("two", private=True)
    text = await house.token("one")
    for _ in range(3):
        grant = await settled(house.gate.view(channel, asker(tokens=(text,))))
        assert (grant.reason, grant.carried) == (Reason.TOKEN, text)
    assert house.gate.may_list(channel, None, (text,))
    with pytest.raises(NotFoundError):
        await settled(house.gate.view(other, asker(tokens=(text,))))
    with pytest.raises(NotFoundError):  # it lets watch, and nothing else
        house.gate.publish(channel, asker(secret=text))


async def test_single_token_opens_one_session(house: House) -> None:
    channel = await house.channel("one", private=True)
    text = await house.token("one", single=True)
    assert not house.gate.may_list(channel, None, (text,))  # looking does not use it up
    grant = await settled(house.gate.view(channel, asker(tokens=(text,))))
    with pytest.raises(NotFoundError):
        await settled(house.gate.view(channel, asker(tokens=(text,))))
    for _ in range(3):
        await settled(house.gate.view(channel, asker(tokens=(text, grant.carried))))


async def test_single_token_is_not_used_up_where_none_is_needed(house: House) -> None:
    channel = await house.channel("one")
    text = await house.token("one", single=True)
    await settled(house.gate.view(channel, asker(tokens=(text,))))
    await house.roster.update("one", private=True)
    await settled(house.gate.view(channel, asker(tokens=(text,))))


async def test_view_key_is_asked_for_beside_the_rules(house: House) -> None:
    channel = await house.channel("one", owner="anna", options=ChannelOptions(view_key="look"))
    with pytest.raises(UnauthorizedError, match="a key is needed to read"):
        house.gate.view(channel, asker())
    await settled(house.gate.view(channel, asker(secret="look")))
    await settled(house.gate.view(channel, asker(person=await person(house, "anna"))))
    await settled(house.gate.view(channel, asker(tokens=(await house.token("one"),))))


# --- what was granted ends --------------------------------------------------------------------


async def holds(house: House, channel: Channel, **given: Any) -> Callable[[], Any]:
    grant = await settled(house.gate.view(channel, asker(**given)))
    ids = {grant.person.id} if grant.person is not None else set()

    async def still() -> bool:
        people = await house.catalogue.accounts.people(ids)
        return house.gate.holds(channel, grant, people)

    return still


async def test_rights_end_with_what_gave_them(house: House) -> None:
    channel = await house.channel("one", owner="anna", view_access=ViewAccess.ACCOUNTS)
    by_account = await holds(house, channel, person=await person(house, "berta"))
    by_token = await holds(house, channel, tokens=(await house.token("one"),))
    by_single = await holds(house, channel, tokens=(await house.token("one", single=True),))
    owner = await holds(house, channel, person=await person(house, "anna"))
    administrator = await holds(house, channel, secret=ADMIN_KEY)
    everybody = (by_account, by_token, by_single, owner, administrator)
    assert [await one() for one in everybody] == [True] * 5
    await house.catalogue.accounts.update("berta", disabled=True)
    assert [await one() for one in everybody] == [False, True, True, True, True]
    await house.roster.withdraw_tokens("one")
    assert [await one() for one in everybody] == [False, False, False, True, True]
    await house.catalogue.accounts.update("anna", disabled=True)
    assert [await one() for one in everybody] == [False, False, False, False, True]


async def test_publishing_ends_with_its_key(house: House) -> None:
    channel = await house.channel("one")
    keys = await house.catalogue.stream_keys.list("one")
    grant = await settled(house.gate.publish(channel, asker(secret=house.keys["one"])))
    assert house.gate.holds(channel, grant, {})
    await house.roster.revoke_key("one", keys[0].id)
    assert not house.gate.holds(channel, grant, {})
    with pytest.raises(UnauthorizedError):
        house.gate.publish(channel, asker(secret=house.keys["one"]))


# --- an external authority --------------------------------------------------------------------


@dataclass
class Judge:
    """An external authority that grants what it is told to."""

    allowed: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)

    async def post(self, question: Any) -> Reply:
        self.asked.append(dict(question))
        return Reply(200 if self.allowed else 403)


def judged(house: House, judge: Judge, *, extends: bool) -> Gate:
    actions = frozenset({Action.PUBLISH, Action.VIEW})
    return Gate(
        ADMIN_KEY,
        catalogue=house.catalogue,
        authority=Authority(judge.post),
        policy=AuthorityPolicy(actions, extends),
    )


async def test_authority_has_to_agree(house: House) -> None:
    judge = Judge()
    gate, channel = judged(house, judge, extends=False), await house.channel("one")
    await settled(gate.view(channel, asker(query="a=b")))
    assert judge.asked == [Question("view", "one", "192.0.2.1", "rtsp", query="a=b").to_json()]
    judge.allowed = False
    with pytest.raises(ForbiddenError):
        await settled(gate.view(channel, asker(query="again")))
    with pytest.raises(ForbiddenError):
        await settled(gate.publish(channel, asker(secret=house.keys["one"])))
    before = len(judge.asked)
    await settled(gate.publish(channel, asker(secret=ADMIN_KEY)))
    with pytest.raises(UnauthorizedError):
        gate.publish(channel, asker(secret="wrong"))
    assert len(judge.asked) == before, "our own refusals and administrators are not asked about"


async def test_who_is_asked_about_while_the_channel_closes_is_kept_out(house: House) -> None:
    judge, asked = Judge(), asyncio.Event()

    async def post(question: Any) -> Reply:
        await asked.wait()
        return await judge.post(question)

    gate = Gate(ADMIN_KEY, catalogue=house.catalogue, authority=Authority(post))
    channel = await house.channel("one")
    deciding = asyncio.ensure_future(settled(gate.view(channel, asker())))
    await asyncio.sleep(0)
    gate.closed = frozenset({"one"})
    asked.set()
    with pytest.raises(ConflictError):
        await deciding


async def test_nobody_watches_from_where_nobody_may_whatever_is_shown(house: House) -> None:
    judge = Judge()
    gate = Gate(
        ADMIN_KEY,
        catalogue=house.catalogue,
        authority=Authority(judge.post),
        refuses=lambda peer: "not for you" if peer == "192.0.2.1" else "",
    )
    channel = await house.channel("one", owner="anna")
    hidden = await house.channel("two", owner="anna", private=True)
    single = await house.token("two", single=True)
    anna = await person(house, "anna")
    shown: list[dict[str, Any]] = [{"secret": ADMIN_KEY}, {"person": anna}]
    for given in ({}, *shown):
        for ask in (True, False):
            with pytest.raises(ForbiddenError, match="not for you"):
                await settled(gate.view(channel, asker(**given), ask=ask))
    for given in ({"tokens": (single,)}, *shown):
        with pytest.raises(ForbiddenError, match="not for you"):
            await settled(gate.view(hidden, asker(**given)))
    # Who may not know of it is told no more than before.
    with pytest.raises(NotFoundError):
        await settled(gate.view(hidden, asker()))
    assert not judge.asked
    # From elsewhere it is as ever, the token not used up, and publishers are no viewers.
    await settled(gate.publish(channel, asker(secret=house.keys["one"])))
    other = replace(asker(tokens=(single,)), peer="192.0.2.2")
    assert (await settled(gate.view(hidden, other))).reason is Reason.TOKEN
    assert gate.counters["viewers_refused"] == 7


async def test_authority_lets_in_whom_we_would_refuse(house: House) -> None:
    judge = Judge()
    gate = judged(house, judge, extends=True)
    channel = await house.channel("one", private=True)
    grant = await settled(gate.view(channel, asker(secret="known there")))
    assert grant.reason is Reason.AUTHORITY
    # What comes after is let in by a token, unasked.
    asked = len(judge.asked)
    await settled(gate.view(channel, asker(tokens=(grant.carried,)), ask=False))
    assert len(judge.asked) == asked
    for number in range(2 * ADDRESS_POLICY.free):
        await settled(gate.publish(channel, asker(secret=f"theirs-{number}")))
    judge.allowed = False
    with pytest.raises(NotFoundError):
        await settled(gate.view(channel, asker(secret="unknown")))


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, b"perhaps"), Reply(302)])
async def test_mistakes_of_the_authority_grant_nothing(house: House, reply: Reply) -> None:
    async def post(question: Any) -> Reply:
        return reply

    gate = Gate(ADMIN_KEY, catalogue=house.catalogue, authority=Authority(post))
    with pytest.raises(ForbiddenError):
        await settled(gate.view(await house.channel("one"), asker()))
