//! WebRTC on one UDP port: who publishes into which source, who watches which channel.
//!
//! The sessions themselves know nothing of channels; here packets of publishers enter their
//! source, packets of a channel are made ready once and given to all who watch it, and requests for
//! keyframes find the publisher that can answer them.

use super::endpoint::Route;
use super::sys::{self, Headers, Receiver, Sender, SockAddr};
use crate::channel::Channel;
use crate::codec::Codec;
use crate::event::{Event, Id};
use crate::lock;
use crate::plane::{ChannelCell, Hub, Tally};
use crate::reader::{AUDIO_ONLY, PLAYING, ReaderShared};
use crate::ring::Item;
use crate::rtcp;
use crate::webrtc::Refused;
use crate::webrtc::keyframes::Keyframes;
use crate::webrtc::session::{
    Closed, MediaIn, PublishOptions, PublishedTrack, ServerOptions, Transport, ViewOptions,
    ViewTrack,
};
use crate::webrtc::shard::{Batch, Counters, Datagram, Event as SessionEvent, Shard};
use crate::webrtc::view::{Packet, Preparer};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Batches taken from the socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;
/// Rounds of polling before others have their turn: what one round sends may call for another.
const POLL_ROUNDS: usize = 8;
/// How often the rates of tracks are measured, µs.
const RATE_INTERVAL: u64 = 1_000_000;

/// A keyframe of this track of this channel.
type Wanted = (Id, u8);

/// The port, shared by Python's side and the worker that serves it.
#[derive(Debug)]
pub struct RtcPort {
    /// Its id.
    pub id: Id,
    /// The worker that serves it.
    pub worker: usize,
    socket: OwnedFd,
    local: SocketAddr,
    state: Mutex<State>,
}

/// A publisher's stream: track and simulcast layer, by their places in the answer.
pub type Stream = (usize, usize);

#[derive(Debug, Default)]
struct Publisher {
    routes: HashMap<Stream, Arc<Route>>,
    clocks: HashMap<Stream, u64>,
}

/// Those who watch one channel.
#[derive(Debug)]
struct Audience {
    cell: Arc<ChannelCell>,
    tracks: Vec<ViewTrack>,
    cursor: u64,
    due: Option<u64>,
    preparer: Preparer,
    viewers: Vec<Id>,
    bytes: HashMap<u8, u64>,
    measured: u64,
}

#[derive(Debug)]
struct State {
    shard: Shard,
    publishers: HashMap<Id, Publisher>,
    viewers: HashMap<Id, Arc<ReaderShared>>,
    audiences: HashMap<Id, Audience>,
    keyframes: Keyframes<Wanted>,
    batch: Batch,
    scratch: Vec<u8>,
    touched: Vec<Arc<ChannelCell>>,
}

impl RtcPort {
    /// Binds the port. `candidates` are the addresses peers are told; those with port 0 get the
    /// port's.
    pub fn bind(
        id: Id,
        worker: usize,
        address: SocketAddr,
        candidates: &[(Transport, SocketAddr)],
        capacity: usize,
        now: u64,
    ) -> io::Result<Self> {
        let socket = sys::udp_socket(address, false)?;
        let port = sys::local_port(socket.as_raw_fd())?;
        let local = SocketAddr::new(address.ip(), port);
        let candidates = candidates
            .iter()
            .map(|(transport, at)| {
                let at = if at.port() == 0 {
                    SocketAddr::new(at.ip(), port)
                } else {
                    *at
                };
                (*transport, at)
            })
            .collect();
        let server = ServerOptions::new(candidates)
            .ok_or_else(|| io::Error::other("no randomness for a certificate"))?;
        Ok(Self {
            id,
            worker,
            socket,
            local,
            state: Mutex::new(State {
                shard: Shard::new(server, capacity, now),
                publishers: HashMap::new(),
                viewers: HashMap::new(),
                audiences: HashMap::new(),
                keyframes: Keyframes::default(),
                batch: Batch::default(),
                scratch: Vec::new(),
                touched: Vec::new(),
            }),
        })
    }

    /// The socket.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Its port number.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    // ---- Python's side

    /// Opens a publisher's session.
    pub fn publish(
        &self,
        id: Id,
        offer: &str,
        options: &PublishOptions,
        now: u64,
    ) -> Result<(String, Vec<PublishedTrack>), Refused> {
        let mut state = lock(&self.state);
        let (answer, tracks) = state.shard.publish(now, id, offer, options)?;
        state.publishers.insert(id, Publisher::default());
        Ok((answer, tracks))
    }

    /// A publisher's stream feeds a source's track.
    pub fn attach(&self, session: Id, stream: Stream, route: Arc<Route>) {
        if let Some(publisher) = lock(&self.state).publishers.get_mut(&session) {
            publisher.routes.insert(stream, route);
        }
    }

    /// Opens a viewer's session on its channel.
    pub fn view(
        &self,
        reader: &Arc<ReaderShared>,
        offer: &str,
        options: &ViewOptions,
        now: u64,
    ) -> Result<String, Refused> {
        let mut state = lock(&self.state);
        let answer = state.shard.view(now, reader.id, offer, options)?;
        state.viewers.insert(reader.id, Arc::clone(reader));
        let audience = state
            .audiences
            .entry(reader.cell.id)
            .or_insert_with(|| Audience::new(&reader.cell, &options.tracks, now));
        audience.tracks.clone_from(&options.tracks);
        reader.cell.interest_rtc(self.worker, true);
        Ok(answer)
    }

    /// Takes candidates, or a restart, of a session.
    pub fn patch(&self, session: Id, text: &str, now: u64) -> Result<Option<String>, Refused> {
        lock(&self.state).shard.patch(now, session, text)
    }

    /// Says goodbye to a session's peer; its end is told as an event.
    pub fn close(&self, session: Id, now: u64) {
        lock(&self.state).shard.close(now, session);
    }

    /// A viewer wants nothing better than this track.
    pub fn limit(&self, session: Id, track: Option<u8>, now: u64) {
        lock(&self.state).shard.limit(now, session, track);
    }

    /// Somebody who is not here needs a keyframe of a channel's track.
    pub fn want_keyframe(&self, channel: Id, track: u8) {
        lock(&self.state).keyframes.request((channel, track));
    }

    /// Whether a session is of this port.
    pub fn has(&self, session: Id) -> bool {
        lock(&self.state).shard.session(session).is_some()
    }

    /// Counters, and the number of sessions.
    pub fn counters(&self) -> (Counters, usize) {
        let state = lock(&self.state);
        (state.shard.counters(), state.shard.len())
    }

    // ---- the worker's side

    /// Takes what waits at the socket.
    pub fn receive(&self, receiver: &mut Receiver, now: u64) {
        let mut state = lock(&self.state);
        for _ in 0..RECEIVE_ROUNDS {
            let count = receiver.receive(self.fd()).unwrap_or(0);
            for n in 0..count {
                if let (Some(from), data) = receiver.datagram(n) {
                    state
                        .shard
                        .receive(now, Transport::Udp, from, self.local, data);
                }
            }
            if count < sys::RECEIVE_BATCH {
                break;
            }
        }
    }

    /// New packets are in a channel's ring.
    pub fn dirty(&self, cell: &ChannelCell, now: u64) {
        if let Some(audience) = lock(&self.state).audiences.get_mut(&cell.id) {
            audience.dirty(now);
        }
    }

    /// When [`RtcPort::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let audiences = state.audiences.values().filter_map(|one| one.due).min();
        [state.shard.due(), audiences, state.keyframes.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: gives packets to viewers, lets sessions speak, hears what they say.
    pub fn run(&self, hub: &Hub, headers: &mut Headers, now: u64) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.serve(now);
        for _ in 0..POLL_ROUNDS {
            state.ask_for_keyframes(now);
            let mut batch = std::mem::take(&mut state.batch);
            batch.clear();
            state.shard.poll(now, &mut batch);
            self.send(&batch.datagrams, state, hub, headers);
            let idle = batch.datagrams.is_empty() && batch.events.is_empty();
            for event in batch.events.drain(..) {
                state.hear(event, self.worker, hub, now);
            }
            state.batch = batch;
            if idle {
                break;
            }
        }
        for cell in state.touched.drain(..) {
            hub.notify(&cell, Some(self.worker));
        }
    }

    fn send(&self, datagrams: &[Datagram], state: &State, hub: &Hub, headers: &mut Headers) {
        let mut sender = Sender::new(headers);
        let mut tallies: HashMap<Id, (Arc<ChannelCell>, Tally)> = HashMap::new();
        let dual = self.local.is_ipv6();
        let mut start = 0;
        while let Some(first) = datagrams.get(start) {
            let run = datagrams[start..]
                .iter()
                .take_while(|one| one.session == first.session && one.to == first.to)
                .count();
            let packets: Vec<&[u8]> = datagrams[start..start + run]
                .iter()
                .filter(|one| one.transport == Transport::Udp)
                .map(|one| &*one.data)
                .collect();
            if let Some(reader) = state.viewers.get(&first.session) {
                let tally = Tally {
                    packets: packets.len() as u64,
                    bytes: packets.iter().map(|data| data.len() as u64).sum(),
                };
                reader.sent(tally.packets, tally.bytes);
                let (_, sum) = tallies
                    .entry(reader.cell.id)
                    .or_insert_with(|| (Arc::clone(&reader.cell), Tally::default()));
                *sum += tally;
            }
            let to = SockAddr::new(first.to, dual);
            for group in sender.plan(&packets) {
                sender.push(group, to);
            }
            start += run;
        }
        sender.send(self.fd(), |_, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
        });
        for (cell, tally) in tallies.values() {
            cell.sent(hub, tally);
        }
    }
}

impl Audience {
    fn new(cell: &Arc<ChannelCell>, tracks: &[ViewTrack], now: u64) -> Self {
        let rates = tracks
            .iter()
            .map(|track| (track.id, track.format.clock_rate));
        Self {
            cell: Arc::clone(cell),
            tracks: tracks.to_vec(),
            cursor: lock(&cell.state).ring.head(),
            due: None,
            preparer: Preparer::new(rates),
            viewers: Vec::new(),
            bytes: HashMap::new(),
            measured: now,
        }
    }

    /// Decides when new packets go out: whole pictures at once, as they cost least together.
    fn dirty(&mut self, now: u64) {
        let channel = lock(&self.cell.state);
        let when = if channel.complete > self.cursor {
            now
        } else {
            let item = channel.ring.get(self.cursor);
            item.map_or(now, |item| item.arrival + channel.config.coalesce_us)
        };
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }

    /// What came since the last time.
    fn take(&mut self) -> Vec<Packet> {
        self.due = None;
        let items: Vec<Arc<Item>> = {
            let channel = lock(&self.cell.state);
            let from = self.cursor.max(channel.ring.tail());
            self.cursor = channel.ring.head();
            learn_parameter_sets(&mut self.preparer, &channel);
            channel.ring.from(from).cloned().collect()
        };
        for item in &items {
            *self.bytes.entry(item.track).or_default() += item.data.len() as u64;
        }
        let mut packets = Vec::with_capacity(items.len());
        self.preparer.prepare(&items, &mut packets);
        packets
    }

    /// What a new viewer gets before it goes on with the others: everything since the last keyframe.
    fn past(&mut self) -> Vec<Packet> {
        let items: Vec<Arc<Item>> = {
            let channel = lock(&self.cell.state);
            let entry = channel.ring.entry();
            let count = usize::try_from(self.cursor.saturating_sub(entry)).unwrap_or(0);
            learn_parameter_sets(&mut self.preparer, &channel);
            channel.ring.from(entry).take(count).cloned().collect()
        };
        let mut packets = Vec::with_capacity(items.len());
        self.preparer.prepare(&items, &mut packets);
        packets
    }

    /// The tracks with their rates of the last second, once a second.
    fn measure(&mut self, now: u64) -> Option<Vec<ViewTrack>> {
        let passed = now.saturating_sub(self.measured);
        if passed < RATE_INTERVAL {
            return None;
        }
        self.measured = now;
        for track in &mut self.tracks {
            track.rate = self.bytes.remove(&track.id).unwrap_or(0) * 8_000_000 / passed;
        }
        self.bytes.clear();
        Some(self.tracks.clone())
    }
}

fn learn_parameter_sets(preparer: &mut Preparer, channel: &Channel) {
    for out in &channel.layout {
        if out.spec.codec == Codec::H264 {
            preparer.set_parameter_sets(out.spec.id, &out.spec.parameter_sets);
        }
    }
}

impl State {
    /// Gives viewers what is new.
    fn serve(&mut self, now: u64) {
        let State {
            audiences, shard, ..
        } = self;
        for audience in audiences.values_mut() {
            if audience.due.is_none_or(|due| due > now) {
                continue;
            }
            let packets = audience.take();
            for packet in packets.iter().filter(|packet| packet.key) {
                self.keyframes.arrived((audience.cell.id, packet.track));
            }
            shard.deliver(now, &audience.viewers, &packets);
            if let Some(tracks) = audience.measure(now) {
                for viewer in &audience.viewers {
                    shard.set_tracks(now, *viewer, &tracks);
                }
            }
        }
    }

    /// Passes requests for keyframes on to the publishers that are relayed.
    fn ask_for_keyframes(&mut self, now: u64) {
        let State {
            keyframes,
            publishers,
            shard,
            ..
        } = self;
        keyframes.poll(now, |(channel, track)| {
            for (session, publisher) in publishers.iter() {
                for ((place, layer), route) in &publisher.routes {
                    if route.cell.id == channel && route.track == track {
                        shard.request_keyframe(now, *session, *place, *layer);
                    }
                }
            }
        });
    }

    fn hear(&mut self, event: SessionEvent, worker: usize, hub: &Hub, now: u64) {
        match event {
            SessionEvent::Media(id, media) => self.media(id, &media, hub, now),
            SessionEvent::KeyframeWanted(id, track) => {
                if let Some(reader) = self.viewers.get(&id) {
                    self.keyframes.request((reader.cell.id, track));
                }
            }
            SessionEvent::Estimate(id, estimate) => {
                if let Some(reader) = self.viewers.get(&id) {
                    reader.estimate.store(estimate, Ordering::Relaxed);
                }
            }
            SessionEvent::Showing(id, track) => {
                if let Some(reader) = self.viewers.get(&id) {
                    let state = if track.is_some() { PLAYING } else { AUDIO_ONLY };
                    reader.state.store(state, Ordering::Relaxed);
                }
            }
            SessionEvent::Connected(id) => {
                self.admit(id, now);
                hub.events.push(Event::RtcState {
                    session: id,
                    state: "connected",
                });
            }
            SessionEvent::Disconnected(id) => {
                hub.events.push(Event::RtcState {
                    session: id,
                    state: "disconnected",
                });
            }
            SessionEvent::Closed(id, why) => self.forget(id, why, worker, hub),
        }
    }

    fn media(&mut self, id: Id, media: &MediaIn, hub: &Hub, now: u64) {
        let Some(publisher) = self.publishers.get_mut(&id) else {
            return;
        };
        let stream = (media.track, media.layer);
        let Some(route) = publisher.routes.get(&stream) else {
            return; // not attached yet
        };
        if let Some((ntp, rtp)) = media.clock
            && publisher.clocks.insert(stream, ntp) != Some(ntp)
        {
            let report = rtcp::sender_report(media.ssrc, ntp, rtp, 0, 0, "publisher");
            hub.source_report(route, &report, now);
        }
        media.write(&mut self.scratch);
        hub.media(route, &self.scratch, now);
        if !self.touched.iter().any(|cell| cell.id == route.cell.id) {
            self.touched.push(Arc::clone(&route.cell));
        }
    }

    /// A viewer is there: it gets what the others had since the last keyframe.
    fn admit(&mut self, id: Id, now: u64) {
        let Some(reader) = self.viewers.get(&id) else {
            return;
        };
        let Some(audience) = self.audiences.get_mut(&reader.cell.id) else {
            return;
        };
        if audience.viewers.contains(&id) {
            return; // connected again
        }
        reader.state.store(PLAYING, Ordering::Relaxed);
        audience.viewers.push(id);
        let stale = lock(&reader.cell.state).stale_video(now);
        let answers = |publisher: &Publisher| {
            let mut routes = publisher.routes.values();
            routes.any(|route| route.cell.id == reader.cell.id)
        };
        if !stale.is_empty() && self.publishers.values().any(answers) {
            // A fresh keyframe comes sooner than everything since the last could be sent.
            for track in stale {
                self.keyframes.request((reader.cell.id, track));
            }
            return;
        }
        let past = audience.past();
        self.shard.deliver(now, &[id], &past);
    }

    fn forget(&mut self, id: Id, why: Closed, worker: usize, hub: &Hub) {
        let reason = match why {
            Closed::ByPeer => "eof",
            Closed::ByUs => "closed",
            Closed::NeverConnected => "never connected",
            Closed::Silent => "silent",
            Closed::Failed => "failed",
        };
        self.publishers.remove(&id);
        if let Some(reader) = self.viewers.remove(&id) {
            let channel = reader.cell.id;
            if let Some(audience) = self.audiences.get_mut(&channel) {
                audience.viewers.retain(|viewer| *viewer != id);
            }
            if !self.viewers.values().any(|other| other.cell.id == channel) {
                self.audiences.remove(&channel);
                reader.cell.interest_rtc(worker, false);
            }
            if hub.forget_reader(id).is_some() {
                hub.events.push(Event::ReaderClosed { reader: id, reason });
            }
        }
        hub.forget_session(id);
        hub.events.push(Event::RtcClosed {
            session: id,
            reason,
        });
    }
}
