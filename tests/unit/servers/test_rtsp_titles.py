"""RTSP players are redirected to servers that hold a title."""

from __future__ import annotations

import pytest
from tests.unit.dispatcher.contents import NOW, Made, server

from heliograph.catalogue.contents.values import Format, Network
from heliograph.servers.rtsp_titles import RtspTitles

from .rtsp_site import running

LANES = "RTP/AVP/TCP;unicast;interleaved=0-1"


def made():
    contents = Made([server(1, make="heliograph"), server(2)])
    contents.title("film", {Format.RTSP: (2,), Format.MP4: (1, 2)})
    contents.title("own", {Format.RTSP: (1,)}).title("clip").title("demo", {Format.RTSP: (2,)})
    contents.title("ours", {Format.RTSP: (2,)}, regions=("eu",))
    return contents


async def test_a_title_is_redirected_to_its_server():
    dispatcher = made().dispatcher()
    async with running() as site:
        site.server.titles = RtspTitles(dispatcher, lambda: NOW)
        client = await site.client()
        place = client.base.rpartition("/")[0]
        status, fields, _ = await client.ask("DESCRIBE", f"{place}/film?token=secret")
        assert (status, fields["location"]) == (302, "rtsp://host2.example/film.rtsp")
        status, fields, _ = await client.ask("SETUP", f"{place}/film/trackID=0", Transport=LANES)
        assert (status, fields["location"]) == (302, "rtsp://host2.example/film.rtsp")
        status, fields, _ = await client.ask("DESCRIBE", f"{place}/own?token=secret")
        assert (status, fields["location"]) == (302, "rtsp://host1.example/own.rtsp?token=secret")
        first = dispatcher.decisions[0]
        assert (first.name, first.server, first.format) == ("film", 2, Format.RTSP)
        assert (first.client, first.status) == ("127.0.0.1", 302)


@pytest.mark.parametrize(
    ("name", "status"), [("nothing", 404), ("clip", 406), ("ours", 403), ("own", 503)]
)
async def test_refusals_are_told_in_the_words_of_rtsp(name, status):
    contents = made()
    contents.networks = [Network("10.0.0.0/8", "eu")]
    del contents.states[1]
    dispatcher = contents.dispatcher()
    async with running() as site:
        site.server.titles = RtspTitles(dispatcher, lambda: NOW)
        client = await site.client()
        place = client.base.rpartition("/")[0]
        assert (await client.ask("DESCRIBE", f"{place}/{name}"))[0] == status


async def test_a_channel_goes_before_a_title_of_its_name():
    async with running() as site:
        site.server.titles = RtspTitles(made().dispatcher(), lambda: NOW)
        publisher = await site.client()
        assert await publisher.publish() == 200
        client = await site.client()
        assert (await client.ask("DESCRIBE"))[0] == 200
