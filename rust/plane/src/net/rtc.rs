//! WebRTC on one port, by UDP and by TCP: who publishes into which source, who watches which channel.
//!
//! The sessions themselves know nothing of channels; here packets of publishers enter their
//! source, packets of a channel are made ready once and given to all who watch it, and requests for
//! keyframes find the publisher that can answer them.

mod audience;
mod lower;
mod publisher;
mod state;
pub mod streams;

use super::endpoint::Route;
use super::sys::{self, Headers, Receiver, Sender, SockAddr};
use crate::event::Id;
use crate::lock;
use crate::plane::{ChannelCell, Hub, Tally};
use crate::reader::ReaderShared;
use crate::webrtc::Refused;
use crate::webrtc::session::{
    PublishOptions, PublishedTrack, ServerOptions, Session, Transport, ViewOptions,
};
use crate::webrtc::shard::{Counters, Datagram, Shard};
use audience::Audience;
use publisher::Publisher;
use state::{State, arrange};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use streams::Streams;

/// Batches taken from the socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;
/// Rounds of polling before others have their turn: what one round sends may call for another.
const POLL_ROUNDS: usize = 8;
/// Rounds in which everybody is told that the port closes. Two are enough: what is to be said is
/// said in one, and the second finds nothing more.
const GOODBYE_ROUNDS: usize = 4;
/// Attempts to find a port that is free for UDP and TCP alike.
const PORT_ATTEMPTS: usize = 64;

/// What the way to a viewer of several renditions is taken for until it is measured, bits a second:
/// generous, so that the first keyframe is not held back.
pub const FIRST_ESTIMATE: u64 = 20_000_000;

/// What a port counts.
#[derive(Clone, Copy, Debug)]
pub struct PortCounters {
    /// Sessions now.
    pub sessions: usize,
    /// Of sessions.
    pub shard: Counters,
    /// Offers that brought about a fault; sessions that did are counted with those.
    pub offer_faults: u64,
    /// TCP connections now.
    pub connections: usize,
    /// Of connections.
    pub streams: streams::Counters,
}

/// The port, shared by Python's side and the worker that serves it.
#[derive(Debug)]
pub struct RtcPort {
    /// Its id.
    pub id: Id,
    /// The worker that serves it.
    pub worker: usize,
    socket: OwnedFd,
    local: SocketAddr,
    /// Offers that brought about a fault.
    faults: AtomicU64,
    state: Mutex<State>,
}

/// A socket for datagrams, its port, and with `tcp` a listener with the same number for so many
/// connections.
fn sockets(address: SocketAddr, tcp: Option<usize>) -> io::Result<(OwnedFd, u16, Option<Streams>)> {
    let any = address.port() == 0 && tcp.is_some();
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..if any { PORT_ATTEMPTS } else { 1 } {
        let socket = sys::udp_socket(address, false)?;
        let port = sys::local_port(socket.as_raw_fd())?;
        let Some(capacity) = tcp else {
            return Ok((socket, port, None));
        };
        match Streams::bind(SocketAddr::new(address.ip(), port), capacity) {
            Ok(streams) => return Ok((socket, port, Some(streams))),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl RtcPort {
    /// Binds the port, with `tcp` for connections too. `candidates` are the addresses peers are
    /// told; those with port 0 get the port's.
    pub fn bind(
        id: Id,
        worker: usize,
        address: SocketAddr,
        candidates: &[SocketAddr],
        tcp: bool,
        capacity: usize,
        now: u64,
    ) -> io::Result<Self> {
        let (socket, port, streams) = sockets(address, tcp.then_some(capacity))?;
        let local = SocketAddr::new(address.ip(), port);
        let candidates = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .filter(|transport| tcp || *transport == Transport::Udp)
            .flat_map(|transport| candidates.iter().map(move |at| (transport, *at)))
            .map(|(transport, mut at)| {
                if at.port() == 0 {
                    at.set_port(port);
                }
                (transport, at)
            })
            .collect();
        let server = ServerOptions::new(candidates)
            .ok_or_else(|| io::Error::other("no randomness for a certificate"))?;
        Ok(Self {
            id,
            worker,
            socket,
            local,
            faults: AtomicU64::new(0),
            state: Mutex::new(State::new(Shard::new(server, capacity, now), streams)),
        })
    }

    /// The socket.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// A descriptor that is readable when connections have something to say.
    pub fn streams_fd(&self) -> Option<RawFd> {
        lock(&self.state).streams.as_ref().map(Streams::fd)
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
        let (server, timeline) = lock(&self.state).shard.terms()?;
        // Others are served meanwhile.
        let made = Session::publish(offer, &server, options, timeline, now);
        let (session, answer) = made.inspect_err(|refused| self.count(refused))?;
        let tracks = session.tracks();
        let mut state = lock(&self.state);
        state.shard.admit(now, id, session)?;
        state.publishers.insert(id, Publisher::default());
        Ok((answer, tracks))
    }

    fn count(&self, refused: &Refused) {
        if *refused == Refused::Fault {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A publisher's track, by its place in the answer, feeds a source's.
    pub fn attach(&self, session: Id, place: usize, route: Arc<Route>) {
        lock(&self.state).attach(session, place, route);
    }

    /// The layer so many places below the best of a publisher's track feeds a source's too; `false`
    /// where that track comes in one layer only, or the session has ended.
    pub fn attach_lower(
        &self,
        session: Id,
        place: usize,
        below: usize,
        route: Arc<Route>,
        now: u64,
    ) -> bool {
        lock(&self.state).attach_lower(session, place, below, route, now)
    }

    /// Nothing that was attached below the best feeds this input any more.
    pub fn detach(&self, input: Id) {
        lock(&self.state).detach(input);
    }

    /// Opens a viewer's session on its channel.
    pub fn view(
        &self,
        reader: &Arc<ReaderShared>,
        offer: &str,
        options: &ViewOptions,
        now: u64,
    ) -> Result<String, Refused> {
        if lock(&reader.cell.state).reorders() {
            return Err(Refused::Reordered);
        }
        let (server, timeline, layered) = {
            let state = lock(&self.state);
            let (server, timeline) = state.shard.terms()?;
            let layers = |publisher: &Publisher| {
                !publisher.simulcasts.is_empty() && publisher.feeds(reader.cell.id)
            };
            (server, timeline, state.publishers.values().any(layers))
        };
        let options = ViewOptions {
            initial_estimate: layered
                .then_some(FIRST_ESTIMATE)
                .or(options.initial_estimate),
            ..options.clone()
        };
        // Others are served meanwhile.
        let made = Session::view(offer, &server, &options, timeline, now);
        let (session, answer) = made.inspect_err(|refused| self.count(refused))?;
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.shard.admit(now, reader.id, session)?;
        state.viewers.insert(reader.id, Arc::clone(reader));
        let audience = state
            .audiences
            .entry(reader.cell.id)
            .or_insert_with(|| Audience::new(&reader.cell, &options.tracks, now));
        audience.set_plain(&options.tracks);
        arrange(audience, &state.publishers, now);
        state.shard.set_tracks(now, reader.id, audience.tracks());
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

    /// Counters.
    pub fn counters(&self) -> PortCounters {
        let state = lock(&self.state);
        PortCounters {
            sessions: state.shard.len(),
            shard: state.shard.counters(),
            offer_faults: self.faults.load(Ordering::Relaxed),
            connections: state.streams.as_ref().map_or(0, Streams::open),
            streams: state
                .streams
                .as_ref()
                .map(Streams::counters)
                .unwrap_or_default(),
        }
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

    /// Takes what waits at connections.
    pub fn receive_streams(&self, now: u64) {
        let mut state = lock(&self.state);
        let State { streams, shard, .. } = &mut *state;
        if let Some(streams) = streams {
            streams.receive(now, |from, to, data| {
                shard.receive(now, Transport::Tcp, from, to, data);
                shard.owner(from)
            });
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
        let streams = state.streams.as_ref().and_then(Streams::due);
        [state.shard.due(), audiences, streams, state.keyframes.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: gives packets to viewers, lets sessions speak, hears what they say.
    pub fn run(&self, hub: &Hub, headers: &mut Headers, now: u64) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if let Some(streams) = &mut state.streams {
            streams.expire(now);
        }
        state.serve(now);
        for _ in 0..POLL_ROUNDS {
            state.ask_for_keyframes(now);
            if !self.turn(state, hub, headers, now) {
                break;
            }
        }
        for cell in state.touched.drain(..) {
            hub.notify(&cell, Some(self.worker));
        }
    }

    /// Keyframes that were asked for since the last call: (channel, track).
    pub fn take_asked(&self) -> Vec<(Id, u8)> {
        std::mem::take(&mut lock(&self.state).asked)
    }

    /// Lets every session speak that has something to say; whether one did.
    fn turn(&self, state: &mut State, hub: &Hub, headers: &mut Headers, now: u64) -> bool {
        let mut batch = std::mem::take(&mut state.batch);
        let (mut spoke, mut more) = (false, true);
        while more {
            batch.clear();
            more = state.shard.poll(now, &mut batch);
            self.send(&batch.datagrams, state, hub, headers);
            spoke |= !(batch.datagrams.is_empty() && batch.events.is_empty());
            for event in batch.events.drain(..) {
                state.hear(event, self.worker, hub, now);
            }
        }
        state.batch = batch;
        spoke
    }

    /// Says goodbye to everybody: the port is about to close.
    pub fn farewell(&self, hub: &Hub, headers: &mut Headers, now: u64) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for id in state.shard.ids() {
            state.shard.close(now, id);
        }
        for _ in 0..GOODBYE_ROUNDS {
            if !self.turn(state, hub, headers, now) {
                break;
            }
        }
    }

    fn send(&self, datagrams: &[Datagram], state: &mut State, hub: &Hub, headers: &mut Headers) {
        let mut sender = Sender::new(headers);
        let mut tallies: Vec<(Arc<ChannelCell>, Tally)> = Vec::new();
        let mut packets: Vec<&[u8]> = Vec::new();
        let dual = self.local.is_ipv6();
        let mut start = 0;
        while let Some(first) = datagrams.get(start) {
            let same = |one: &&Datagram| {
                (one.session, one.transport, one.to) == (first.session, first.transport, first.to)
            };
            let run = datagrams[start..].iter().take_while(same).count();
            packets.clear();
            packets.extend(datagrams[start..start + run].iter().map(|one| &*one.data));
            if let Some(reader) = state.viewers.get(&first.session) {
                let tally = Tally {
                    packets: packets.len() as u64,
                    bytes: packets.iter().map(|data| data.len() as u64).sum(),
                };
                reader.sent(tally.packets, tally.bytes);
                // Viewers of one channel mostly stand together.
                match tallies.last_mut() {
                    Some((cell, sum)) if cell.id == reader.cell.id => *sum += tally,
                    _ => tallies.push((Arc::clone(&reader.cell), tally)),
                }
            }
            match (first.transport, &mut state.streams) {
                (Transport::Udp, _) => {
                    let to = SockAddr::new(first.to, dual);
                    for group in sender.plan(&packets) {
                        sender.push(group, to);
                    }
                }
                (Transport::Tcp, Some(streams)) => {
                    for packet in &packets {
                        streams.send(first.to, packet);
                    }
                }
                (Transport::Tcp, None) => {}
            }
            start += run;
        }
        if let Some(streams) = &mut state.streams {
            streams.flush();
        }
        sender.send(self.fd(), |_, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
        });
        for (cell, tally) in &tallies {
            cell.sent(hub, tally);
        }
    }
}
