"""The life of a channel: publishers come and go, readers stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from heliograph.catalogue.rights import Action, Reason
from heliograph.live.admission import Load
from heliograph.live.grants import Grant
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import PublishKind
from heliograph.live.readers import ReaderHooks
from heliograph.live.states import TRANSITIONS, State, Trigger
from heliograph.model.errors import NotFoundError, UnsupportedError
from heliograph.model.media import Codec, Track
from heliograph.plane import EventsLost

from .conftest import AUDIO, VIDEO, Studio

GRANT = Grant(Action.PUBLISH, Reason.KEY)


class Hooks(ReaderHooks):
    def __init__(self) -> None:
        self.told: list[object] = []

    def closed(self, reason: str) -> None:
        self.told.append(reason)

    def state_changed(self, state: State) -> None:
        self.told.append(state)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.told.append(tracks)

    def ready(self) -> None:
        self.told.append("ready")


def test_every_state_is_reached_and_none_goes_back_to_idle() -> None:
    assert set(TRANSITIONS.values()) == {State.ON_AIR, State.WAITING}
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_channel_is_on_air_while_a_source_delivers(
    studio: Studio, kinds: Callable[[], list[str]]
) -> None:
    channel = studio.channel
    assert channel.state is State.IDLE
    assert channel.since is None
    publishing = studio.publish()
    assert channel.state is State.IDLE
    studio.key(publishing)
    assert channel.state is State.ON_AIR
    studio.silence()
    assert channel.state is State.WAITING
    studio.key(publishing)
    assert channel.state is State.ON_AIR
    publishing.close()
    studio.settle()
    assert channel.state is State.WAITING
    assert kinds() == [
        "tracks",
        "publisher-joined push",
        "state on_air",
        "state waiting",
        "state on_air",
        "state waiting",
        "publisher-left closed",
    ]


def test_reader_waits_for_the_next_publisher(studio: Studio) -> None:
    hooks = Hooks()
    first = studio.publish()
    studio.key(first)
    reader = studio.channel.audience.add_tap(hooks=hooks)
    reader.start()
    first.close()
    studio.settle()
    # The codec's payload type differs now; readers must not notice.
    second = studio.publish(replace(VIDEO, payload_type=111))
    studio.key(second)
    items, _ = studio.plane.read_tap(reader.plane_reader)
    assert [item[6][1] & 0x7F for item in items] == [96, 96]
    assert [item[2] for item in items] == [0, 1]
    assert [told for told in hooks.told if told != "ready"] == [State.WAITING, State.ON_AIR]
    assert studio.channel.tracks[0].payload_type == 96


def test_changed_layout_gives_frame_readers_new_tracks_and_closes_the_others(
    studio: Studio,
) -> None:
    tap_hooks, udp_hooks = Hooks(), Hooks()
    first = studio.publish()
    studio.key(first)
    tap = studio.channel.audience.add_tap(hooks=tap_hooks)
    tap.start()
    endpoint, _, _ = studio.plane.bind_udp("127.0.0.1", 0)
    udp = studio.channel.audience.add_udp(
        endpoint, [(0, "192.0.2.1", 5000, 5001)], peer="192.0.2.1", hooks=udp_hooks
    )
    first.close()
    version = studio.channel.layout_version
    second = studio.publish(VIDEO, AUDIO)
    studio.key(second)
    assert (VIDEO, AUDIO) in tap_hooks.told
    assert udp_hooks.told[-1] == "format changed"
    assert udp.closed
    assert studio.channel.layout_version == version + 1
    assert [item[6][-3:] for item in studio.plane.read_tap(tap.plane_reader)[0]][-1] == b"idr"


def test_format_parameters_may_change_without_ado(studio: Studio) -> None:
    hooks = Hooks()
    first = studio.publish()
    studio.key(first)
    studio.channel.audience.add_udp(
        studio.plane.bind_udp("::1", 0)[0], [(0, "::1", 1, 2)], peer="::1", hooks=hooks
    )
    first.close()
    studio.key(studio.publish(replace(VIDEO, fmtp={"profile-level-id": "640028"})))
    assert "format changed" not in hooks.told
    assert studio.channel.tracks[0].fmtp["profile-level-id"] == "640028"


def test_replaced_publisher_is_told(studio: Studio) -> None:
    told: list[str] = []
    first = studio.publish(grant=GRANT, on_closed=told.append)
    studio.key(first)
    studio.silence()  # it died without a word
    studio.publish(grant=GRANT)
    assert told == ["replaced"]
    assert len(studio.channel.publishings) == 1


def test_standby_takes_over_at_once(studio: Studio) -> None:
    main, spare = studio.publish(priority=0), studio.publish(priority=1)
    studio.key(main)
    studio.key(spare)
    main.close()
    studio.settle()
    assert studio.channel.state is State.ON_AIR
    active = [row for row in studio.channel.inputs() if row["active"]]
    assert [row["id"] for row in active] == [spare.id]


def test_inputs_tell_their_counters(studio: Studio) -> None:
    publishing = studio.publish()
    studio.key(publishing, 3)
    (row,) = studio.channel.inputs()
    assert (row["kind"], row["peer"], row["packets"], row["active"]) == ("push", "test", 3, True)


def test_kicked_reader_is_gone_and_told(studio: Studio) -> None:
    hooks = Hooks()
    studio.key(studio.publish())
    reader = studio.channel.audience.add_tap(hooks=hooks)
    studio.channel.audience.get(reader.id).kick()
    assert hooks.told == ["kicked"]
    with pytest.raises(NotFoundError):
        studio.channel.audience.get(reader.id)
    assert reader.stats().packets == 0


def test_taps_take_no_place_and_a_group_takes_its_bits_once(studio: Studio) -> None:
    channel = studio.channel
    studio.key(studio.publish(), 5)
    channel.audience.add_tap(hooks=Hooks())
    assert channel.audience.load() == Load(0, 0)
    endpoint, _, _ = studio.plane.bind_udp("127.0.0.1", 0)
    members = [
        channel.audience.join_group(endpoint, "239.0.0.1", 9000, 4, peer="192.0.2.1", hooks=Hooks())
        for _ in range(3)
    ]
    assert channel.audience.load() == Load(3, channel.bitrate)
    assert channel.bitrate > 0
    for member in members:
        member.remove()
    assert channel.audience.group is None
    assert studio.plane.totals()["readers"] == 1


def test_group_can_be_forbidden(studio: Studio) -> None:
    studio.channel.options = ChannelOptions(multicast=False)
    with pytest.raises(UnsupportedError):
        studio.channel.audience.join_group(1, "239.0.0.1", 9000, 4, peer="", hooks=Hooks())


def test_channel_that_nobody_described_has_nothing_to_read(studio: Studio) -> None:
    with pytest.raises(NotFoundError):
        studio.channel.audience.check("192.0.2.1")
    studio.publish()
    studio.channel.audience.check("192.0.2.1")


def test_picture_is_the_newest_keyframe(studio: Studio) -> None:
    assert studio.channel.picture_source() is None
    studio.key(studio.publish())
    found = studio.channel.picture_source()
    assert found is not None
    assert found[0].codec is Codec.H264
    assert found[1].endswith(b"\x65idr")


def test_closed_channel_tells_everybody(studio: Studio) -> None:
    hooks, told = Hooks(), list[str]()
    publishing = studio.publish(on_closed=told.append)
    studio.channel.audience.add_tap(hooks=hooks)
    studio.channel.close()
    studio.channel.close()
    assert told == ["channel closed"]
    assert hooks.told == ["channel closed"]
    assert publishing.push(0, [b""]) == 0
    with pytest.raises(NotFoundError):
        studio.channel.publish((VIDEO,), PublishKind.PUSH, "late")


def test_lost_events_are_made_up_for(studio: Studio) -> None:
    publishing = studio.publish()
    tap = studio.channel.audience.add_tap(hooks=(hooks := Hooks()))
    publishing.push(0, [b"\x80\xe0" + bytes(10) + b"\x65"])
    studio.plane.remove_reader(tap.plane_reader)
    studio.plane.drain()  # lost
    assert studio.channel.state is State.IDLE
    studio.channels._on_lost(EventsLost(1))
    assert studio.channel.state is State.ON_AIR
    assert hooks.told[-1] == "closed"
    studio.plane.advance(2)
    studio.plane.drain()
    studio.channels._on_lost(EventsLost(1))
    assert studio.channel.state is State.WAITING


def test_a_source_that_comes_back_after_silence_is_asked_for_a_keyframe(studio: Studio) -> None:
    publishing = studio.publish()
    studio.key(publishing)
    studio.silence()
    studio.plane.wanted.clear()
    studio.key(publishing)
    assert studio.plane.wanted == [(studio.channel.plane_channel, VIDEO.id)]
