"""``/metrics`` for Prometheus: the plane's counters, read when asked.

Labels are bounded by what the operator set up: channels, and kinds and priorities of inputs.
Readers come and go by the thousand and have no series of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from heliograph.catalogue.contents.values import Condition
from heliograph.live.readers import ReaderKind
from heliograph.live.states import State
from heliograph.web.access import Asking, Context
from heliograph.web.context import WebContext

router = APIRouter(include_in_schema=False)

_TOTALS = (
    ("packets_in", "received_packets", "RTP and RTCP packets received."),
    ("bytes_in", "received_bytes", "Bytes of packets received."),
    ("packets_out", "sent_packets", "Packets and frames sent to readers."),
    ("bytes_out", "sent_bytes", "Bytes sent to readers."),
    ("foreign_packets", "foreign_packets", "Packets that no input expects."),
    ("malformed_packets", "malformed_packets", "Packets that are not RTP or RTCP."),
    ("send_errors", "send_errors", "Failed system calls while sending."),
    ("events_lost", "events_lost", "Events of the plane lost because the event loop was late."),
)
_WEBRTC = (
    ("received", "Datagrams at the WebRTC port."),
    ("sent", "Datagrams of WebRTC sessions."),
    ("refused", "Datagrams that a WebRTC session would not take."),
    ("foreign", "Datagrams for no WebRTC session."),
    ("malformed", "Datagrams at the WebRTC port of no protocol it speaks."),
)
_MESH = (
    ("sent_bytes", "UDP payload sent on a link."),
    ("received_bytes", "UDP payload that came on it."),
    ("sent_items", "Packets of channels sent on it."),
    ("received_items", "Packets of channels that came on it."),
    ("lost", "Datagrams that did not come in their turn."),
    ("repaired", "Of these, came when they were asked for."),
    ("given_up", "Of these, never came."),
    ("forged", "Datagrams refused because the neighbour did not seal them."),
    ("replayed", "Datagrams refused because they came before."),
)
_CAST_SENT = (
    ("sent_bytes", "UDP payload of casts sent, repairs by links included."),
    ("sent_items", "Packets of a channel sent by multicast."),
    ("sent_repairs", "Datagrams of casts sent again, to single neighbours."),
)
_CAST_HEARD = (
    ("received_bytes", "UDP payload of casts received, repairs by links included."),
    ("received_items", "Packets of a channel received by casts."),
    ("lost", "Datagrams of casts that did not come in their turn."),
    ("repaired", "Of these, came when they were asked for."),
    ("given_up", "Of these, never came."),
    ("forged", "Datagrams refused because nobody who has a cast's key sealed them."),
    ("replayed", "Datagrams of casts refused because they came before."),
)
_HTTPS = (
    ("accepted", "connections", "Connections to the HTTPS port."),
    ("secured", "handshakes", "Handshakes of TLS done."),
    ("taken", "websockets", "WebSockets that came by HTTPS."),
    ("refused", "connections_refused", "Connections by HTTPS above the bound."),
    ("refused_handshakes", "handshakes_refused", "Above the bound on handshakes at a time."),
    ("timeouts", "handshake_timeouts", "Handshakes that were too slow."),
    ("failed", "failures", "Connections ended by an error of TLS, such as an untrusted name."),
    ("plain", "plain_requests", "Requests by plain HTTP to the HTTPS port."),
    ("accept_errors", "accept_errors", "Times the machine could not accept a connection."),
)
_WEBRTC_TCP = (
    ("accepted", "TCP connections to the WebRTC port."),
    ("refused", "TCP connections closed at once: too many."),
    ("expired", "TCP connections of which no session came."),
    ("malformed", "TCP connections with bytes that are no packets."),
    ("dropped", "Packets for TCP connections that take no more."),
)
_SOURCES = (
    ("packets", "received_packets", "Packets from inputs of the kind and priority."),
    ("lost", "lost_packets", "Packets of inputs that never came, as far as known."),
    ("duplicates", "duplicate_packets", "Packets of inputs that came more than once."),
    ("reordered", "reordered_packets", "Packets of inputs that came out of order."),
    ("rejected", "rejected_packets", "Packets of inputs not relayed."),
)


class ServerCollector(Collector):
    """Reads everything anew at each scrape."""

    def __init__(self, context: WebContext, *, private: bool = False) -> None:
        """``private``: whether private channels, whose names are in the labels, are shown."""
        self._context = context
        self._private = private

    def collect(self) -> Iterator[Metric]:
        context = self._context
        info = GaugeMetricFamily("helio_info", "Version of the server.", labels=["version"])
        info.add_metric([context.version], 1)
        yield info
        started = context.started_at.timestamp()
        yield GaugeMetricFamily("helio_start_time_seconds", "Unix time of the start.", started)
        yield GaugeMetricFamily(
            "helio_ready", "1 while the server is ready.", float(context.ready())
        )
        yield CounterMetricFamily(
            "helio_log_lines_lost", "Log lines that could not be written.", context.lost_log_lines()
        )
        yield from self._totals()
        yield CounterMetricFamily(
            "helio_event_handler_errors",
            "Events of the plane whose handler failed: faults of the program.",
            context.loop.handler_errors,
        )
        yield from self._parts()
        yield from self._bus()
        yield from self._mesh()
        for role, counts in self._context.role_counters().items():
            for name, value in counts.items():
                yield CounterMetricFamily(f"helio_{role}_{name}", f"Counter of the {role}.", value)
        yield from self._dispatcher()
        yield from self._monitoring()
        yield from self._statistics()
        yield from self._webrtc()
        yield from self._https()
        yield from self._access()
        yield from self._channels()

    def _parts(self) -> Iterator[Metric]:
        context = self._context
        for name, value in sorted(context.counters.items()):
            yield CounterMetricFamily(f"helio_{name}", "Counter of the HTTP server.", value)
        for name, value in sorted(context.hls.counters.items()):
            yield CounterMetricFamily(f"helio_{name}", "Counter of HLS.", value)
        yield GaugeMetricFamily("helio_hls_channels", "Channels sent by HLS.", len(context.hls))
        yield GaugeMetricFamily("helio_hls_waiting", "Requests that wait.", context.hls.held)
        transcodes = context.hls.transcodes
        for name, value in sorted(transcodes.counters.items()):
            yield CounterMetricFamily(f"helio_{name}", "Counter of sound made anew.", value)
        yield GaugeMetricFamily("helio_transcodes", "Sound made anew now.", len(transcodes))
        yield from self._on_demand()
        yield from self._storage()
        for name, value in sorted(context.rtmp_counters().items()):
            yield CounterMetricFamily(f"helio_{name}", "Counter of RTMP.", value)
        if context.chats is not None:
            chats = context.chats
            for name, value in sorted(chats.counters.items()):
                yield CounterMetricFamily(f"helio_{name}", "Counter of chats.", value)
            yield GaugeMetricFamily("helio_chat_connections", "In chats.", chats.connections)
            yield GaugeMetricFamily("helio_chat_rooms", "Chats held in memory.", len(chats))
        streams = GaugeMetricFamily(
            "helio_event_streams", "Who listens to Server-Sent Events.", labels=["of"]
        )
        for name, value in sorted(context.streams.counts().items()):
            streams.add_metric([name], value)
        yield streams
        if context.pictures is not None:
            for name, value in sorted(context.pictures.counters().items()):
                yield CounterMetricFamily(f"helio_pictures_{name}", "Counter of pictures.", value)

    def _on_demand(self) -> Iterator[Metric]:
        ondemand = self._context.ondemand
        if ondemand is None:
            return
        maker = ondemand.maker
        for name, value in sorted(ondemand.counters.items()):
            yield CounterMetricFamily(f"helio_titles_{name}", "Titles by HTTP.", value)
        refused = ondemand.watching.refused
        yield CounterMetricFamily("helio_titles_refused", "Turned away by HTTP.", refused)
        for name, value in sorted(maker.counters.items()):
            yield CounterMetricFamily(f"helio_titles_segments_{name}", "Segments of titles.", value)
        for name, text, now in (
            ("segments_waiting", "Segments of titles being made, or waiting.", maker.waiting),
            ("segments_kept_bytes", "Segments of titles held in memory.", maker.kept),
            ("plays", "Who plays titles by HTTP.", len(ondemand.watching)),
            ("downloads_open", "Files of titles being sent.", ondemand.downloads),
        ):
            yield GaugeMetricFamily(f"helio_titles_{name}", text, now)

    def _storage(self) -> Iterator[Metric]:
        sessions = dict(self._context.title_sessions())
        now = sessions.pop("sessions", 0)
        yield GaugeMetricFamily("helio_titles_rtsp_sessions", "Who plays titles by RTSP.", now)
        for name, count in sorted(sessions.items()):
            yield CounterMetricFamily(f"helio_titles_rtsp_{name}", "Titles by RTSP.", count)
        counts, gauges = self._context.storage_figures()
        for name, value in sorted(counts.items()):
            yield CounterMetricFamily(f"helio_storage_{name}", "Counter of volumes.", value)
        for name, value in sorted(gauges.items()):
            yield GaugeMetricFamily(f"helio_storage_{name}", "Of this node's volumes.", value)

    def _bus(self) -> Iterator[Metric]:
        cluster = self._context.cluster
        if cluster is None:
            return
        for name, value in sorted(cluster.bus.counters().items()):
            yield CounterMetricFamily(f"helio_bus_{name}", "Counter of the bus.", value)
        yield GaugeMetricFamily("helio_bus_nodes", "Nodes seen.", cluster.bus.nodes())

    def _mesh(self) -> Iterator[Metric]:
        mesh = self._context.mesh
        if mesh is None:
            return
        found = mesh.describe()
        links = GaugeMetricFamily("helio_mesh_links", "Links now.", labels=["state"])
        up = sum(link["up"] for link in found["links"])
        links.add_metric(["up"], up)
        links.add_metric(["silent"], len(found["links"]) - up)
        yield links
        for name, value in sorted(found["counters"].items()):
            yield CounterMetricFamily(f"helio_mesh_{name}", "Counter of the mesh.", value)
        for name, text in _MESH:
            family = CounterMetricFamily(
                f"helio_mesh_link_{name}", text, labels=["node", "way", "by"]
            )
            for link in found["links"]:
                way = "from" if link["ours"] else "to"
                labels = [link["node"], way, link["connection"]]
                family.add_metric(labels, link.get(name, 0))
            yield family
        for way, counted in (("sent", _CAST_SENT), ("received", _CAST_HEARD)):
            for name, text in counted:
                # One that takes another's place is beside it for a moment.
                sums: Counter[str] = Counter()
                for cast in found.get("casts", {}).get(way, ()):
                    sums[cast["channel"]] += cast.get(name, 0)
                family = CounterMetricFamily(f"helio_mesh_cast_{name}", text, labels=["channel"])
                for channel, count in sorted(sums.items()):
                    family.add_metric([channel], count)
                yield family

    def _dispatcher(self) -> Iterator[Metric]:
        dispatcher = self._context.dispatcher
        if dispatcher is None:
            return
        decisions = CounterMetricFamily(
            "helio_dispatcher_decisions", "Requests answered, by HTTP status.", labels=["status"]
        )
        for status, count in sorted(dispatcher.statuses.items()):
            decisions.add_metric([str(status)], count)
        yield decisions
        chosen = CounterMetricFamily(
            "helio_dispatcher_chosen", "Times that a policy chose a server.", labels=["policy"]
        )
        for policy, count in sorted(dispatcher.chosen.items()):
            chosen.add_metric([policy], count)
        yield chosen
        figures = {**self._context.dispatching(), **self._context.renditions.counters}
        age = figures.pop("snapshot_age", 0.0)
        for name, value in sorted(figures.items()):
            yield CounterMetricFamily(
                f"helio_dispatcher_{name}", "Counter of the dispatcher.", value
            )
        yield CounterMetricFamily(
            "helio_dispatcher_moved", "Players of HLS moved to another server.", dispatcher.moved
        )
        snapshot, members = dispatcher.snapshot, dispatcher.fleet.members.values()
        usable = sum(member.usable for member in members)
        for name, text, value in (
            ("snapshot_age_seconds", "Since the database confirmed the snapshot.", age),
            ("snapshot_version", "Version of the contents.", snapshot.version),
            ("titles", "Titles that can be asked for.", len(snapshot.entries)),
            ("files", "Copies of them on all servers.", snapshot.files),
            ("servers", "Servers known.", len(members)),
            (
                "begun_files",
                "Players of files remembered with their server.",
                len(dispatcher.begun),
            ),
            ("usable_servers", "Servers to which somebody may be sent.", usable),
        ):
            yield GaugeMetricFamily(f"helio_dispatcher_{name}", text, value)

    def _monitoring(self) -> Iterator[Metric]:
        monitoring = self._context.monitoring
        if monitoring is None:
            return
        for name, value in sorted(monitoring.counts().items()):
            yield CounterMetricFamily(f"helio_monitor_{name}", "Counter of the monitor.", value)
        text = "1 while this node's monitor doubts itself."
        yield GaugeMetricFamily("helio_monitor_doubt", text, float(monitoring.doubt))
        heard = len(monitoring.views())
        yield GaugeMetricFamily("helio_monitor_views", "Monitors that have a say here.", heard)
        conditions = GaugeMetricFamily(
            "helio_monitor_servers", "Servers by condition.", labels=["condition"]
        )
        states = monitoring.states
        count = Counter(state.condition for state in states.values())
        for one in Condition:
            conditions.add_metric([one.value], count[one])
        yield conditions
        if not self._private:  # names of servers are for administrators
            return
        times = GaugeMetricFamily(
            "helio_monitor_response_seconds", "Smoothed response time.", labels=["server", "probe"]
        )
        up = GaugeMetricFamily(
            "helio_monitor_server_up", "1 while it can be used.", labels=["server"]
        )
        for id, server in monitoring.servers.items():
            state = states.get(id)
            if state is None:
                continue
            up.add_metric([server.name], state.condition in (Condition.UP, Condition.STARTING))
            for kind, ms in state.responses.items():
                times.add_metric([server.name, kind.value], ms / 1000)
        yield from (times, up)

    def _statistics(self) -> Iterator[Metric]:
        for name, value in sorted(self._context.statistics().items()):
            now = name in ("waiting", "journal_bytes", "plays_open")
            kind = GaugeMetricFamily if now else CounterMetricFamily
            yield kind(f"helio_statistics_{name}", "Of the recorder of statistics.", value)

    def _webrtc(self) -> Iterator[Metric]:
        rtc = self._context.rtc
        if rtc is None:
            return
        counters = rtc.port.counters()
        yield GaugeMetricFamily("helio_webrtc_sessions", "Sessions now.", counters["sessions"])
        for name, text in _WEBRTC:
            yield CounterMetricFamily(f"helio_webrtc_{name}_datagrams", text, counters[name])
        text = "Sessions ended, and offers refused, as they brought about a fault of the program."
        yield CounterMetricFamily("helio_webrtc_faults", text, counters["faults"])
        yield GaugeMetricFamily("helio_webrtc_tcp", "TCP connections now.", counters["connections"])
        for name, text in _WEBRTC_TCP:
            yield CounterMetricFamily(
                f"helio_webrtc_tcp_{name}", text, counters[f"connections_{name}"]
            )
        for name, count in sorted(rtc.offers.counters.items()):
            yield CounterMetricFamily(f"helio_webrtc_{name}", "Offers refused.", count)

    def _access(self) -> Iterator[Metric]:
        context, throttle = self._context, self._context.catalogue.throttle
        counters = context.gate.counters | {
            "guesses_slowed": throttle.refused,
            "guesses_failed": throttle.failed,
            "rights_ended": context.roster.ended,
        }
        for name, value in sorted(counters.items()):
            yield CounterMetricFamily(f"helio_access_{name}", "Counter of the gate.", value)
        busy = context.catalogue.busy
        yield CounterMetricFamily("helio_database_busy", "Transactions refused as busy.", busy)

    def _https(self) -> Iterator[Metric]:
        figures = self._context.https()
        if not figures:
            return
        for field, name, text in _HTTPS:
            yield CounterMetricFamily(f"helio_https_{name}", text, figures[field])
        for field, name, text in (
            ("open", "open_connections", "Connections by HTTPS now, without WebSockets."),
            ("shaking", "open_handshakes", "Handshakes of TLS under way."),
            ("certificate_ends", "certificate_end_time_seconds", "Unix time of the end."),
        ):
            yield GaugeMetricFamily(f"helio_https_{name}", text, figures[field])

    def _totals(self) -> Iterator[Metric]:
        totals = self._context.channels.totals()
        for field, name, text in _TOTALS:
            yield CounterMetricFamily(f"helio_{name}", text, getattr(totals, field))
        yield GaugeMetricFamily("helio_readers", "Readers of all channels.", totals.readers)
        yield GaugeMetricFamily(
            "helio_connections", "RTSP and WebSocket connections.", totals.connections
        )

    def _channels(self) -> Iterable[Metric]:
        label = ["channel"]
        state = GaugeMetricFamily(
            "helio_channel_state", "1 for the state it is in.", labels=["channel", "state"]
        )
        packets = CounterMetricFamily("helio_channel_packets", "Packets relayed.", labels=label)
        octets = CounterMetricFamily("helio_channel_bytes", "Bytes relayed.", labels=label)
        sent = CounterMetricFamily(
            "helio_channel_sent_bytes", "Bytes sent to its readers.", labels=label
        )
        bitrate = GaugeMetricFamily(
            "helio_channel_bitrate_bps", "Bits a second that come in.", labels=label
        )
        ring = GaugeMetricFamily("helio_channel_ring_bytes", "Bytes held.", labels=label)
        readers = GaugeMetricFamily(
            "helio_channel_readers", "Readers by kind.", labels=["channel", "kind"]
        )
        sources = {
            field: CounterMetricFamily(
                f"helio_input_{name}", text, labels=["channel", "kind", "priority"]
            )
            for field, name, text in _SOURCES
        }
        for channel in self._context.channels:
            standing = channel.standing
            if standing is not None and standing.record.private and not self._private:
                continue
            name, stats = channel.name, channel.stats()
            for one in State:
                state.add_metric([name, one.value], channel.state is one)
            packets.add_metric([name], stats.packets)
            octets.add_metric([name], stats.bytes)
            sent.add_metric([name], stats.bytes_out)
            bitrate.add_metric([name], stats.bitrate_bps)
            ring.add_metric([name], stats.ring_bytes)
            for kind in ReaderKind:
                readers.add_metric([name, kind.value], channel.audience.kinds[kind])
            # Several inputs may share kind and priority; an id a series would grow without end.
            sums: Counter[tuple[str, str, str]] = Counter()
            for row in channel.inputs():
                for field in sources:
                    sums[field, row["kind"], str(row["priority"])] += row.get(field, 0)
            for (field, kind_name, priority), value in sums.items():
                sources[field].add_metric([name, kind_name, priority], value)
        yield from (state, packets, octets, sent, bitrate, ring, readers, *sources.values())


@router.get("/metrics")
async def get_metrics(context: Context, identity: Asking) -> Response:
    """Everything, in the text format of Prometheus; private channels for administrators."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(ServerCollector(context, private=identity.administrator))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
