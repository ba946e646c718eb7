"""By what several players at one address are told apart."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from heliograph.catalogue.rights import Action, Reason
from heliograph.live.grants import Grant
from heliograph.web.players import player_of

AGENT = {"User-Agent": "Player/1"}


def asked(query: str = "", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.lower().encode(), value.encode()) for name, value in {**AGENT, **named}.items()]
    return Request({"type": "http", "headers": raw, "query_string": query.encode()})


def test_what_a_player_names_itself_by_tells_it_from_others() -> None:
    found = [
        player_of(request, None)
        for request in (
            asked(),
            asked(X_Playback_Session_Id="a"),
            asked(X_Playback_Session_Id="b"),
            asked(CMCD_Session='sf=h,sid="a"'),
            asked(CMCD_Session='sid="b",sf=h'),
            asked(Cookie="helio_session=a"),
            asked(Cookie="helio_session=b"),
            asked(User_Agent="Player/2"),
        )
    ]
    assert len({*found}) == len(found)
    # By whichever way a player tells of itself.
    assert player_of(asked(query="CMCD=bs%2Csid%3D%22a%22"), None) not in found[:3]
    carried = [Grant(Action.VIEW, Reason.TOKEN, carried=one) for one in ("one", "two")]
    assert len({player_of(asked(), one) for one in carried}) == 2


@pytest.mark.parametrize("text", ["", "sid=a", 'sid=""', "x" * 100_000])
def test_what_names_no_session_is_the_program(text: str) -> None:
    assert player_of(asked(CMCD_Session=text), None) == player_of(asked(), None)


def test_who_shows_nothing_is_not_told_apart() -> None:
    assert player_of(asked(User_Agent=""), None) == ""
