//! Mesh links on one port, by UDP and by TCP: what comes feeds inputs, channels go out.
//!
//! The links themselves know nothing of channels. A channel that is served is a cursor in its ring:
//! a link that takes nothing holds nothing up, and what it has not taken when the ring forgets it
//! is counted.

mod casts;
mod peer;
mod streams;

use super::sys::{self, Headers, Receiver, Sender, SockAddr};
use crate::event::{Event, Id};
use crate::lock;
use crate::mesh::cast::{Incoming, Outgoing};
use crate::mesh::control::Refused;
use crate::mesh::link::{Counters, Event as LinkEvent, Link, Options, Refusal};
use crate::mesh::receiver::Received;
use crate::mesh::seal::Key;
use crate::mesh::wire::Header;
use crate::net::worker::count;
use crate::plane::{ChannelCell, Hub};
use crate::webrtc::keyframes::MIN_SPACING;
use casts::Casts;
pub use casts::{CastCounters, Multicast};
use peer::{Cast, Peer, Place};
pub use peer::{Route, ServeCounters};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use streams::Streams;

/// Batches taken from the socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;

/// Attempts to find a port that is free for UDP and TCP alike.
const PORT_ATTEMPTS: usize = 64;

/// What a port counts, over all its links.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortCounters {
    /// Links now.
    pub links: usize,
    /// TCP connections now.
    pub connections: usize,
    /// Casts that are sent, and received, now.
    pub casts: (usize, usize),
    /// Datagrams that links took.
    pub taken: u64,
    /// Datagrams that are none of a link, or name none of this port.
    pub foreign: u64,
    /// Datagrams refused because their seal is wrong.
    pub forged: u64,
    /// Datagrams refused because they came before.
    pub replayed: u64,
    /// Packets under numbers that feed no input.
    pub unwanted: u64,
    /// Of connections.
    pub streams: streams::Counters,
}

/// How a link is made.
#[derive(Debug)]
pub struct Terms {
    /// Names, keys and times.
    pub options: Options,
    /// Where the peer is; it is followed when it moves.
    pub peer: Option<SocketAddr>,
    /// By TCP.
    pub tcp: bool,
    /// We speak first, or make the connection.
    pub connect: bool,
}

#[derive(Debug)]
struct State {
    peers: HashMap<Id, Peer>,
    names: HashMap<u32, Id>,
    /// Of which link's peer the casts are that are received, by name.
    cast_names: HashMap<u32, Id>,
    casts: Casts,
    /// When a keyframe was asked for last: of which channel's track.
    asked: HashMap<(Id, u8), u64>,
    streams: Streams,
    counters: PortCounters,
}

/// The port, shared by Python's side and the worker that serves it.
#[derive(Debug)]
pub struct MeshPort {
    /// Its id.
    pub id: Id,
    /// The worker that serves it.
    pub worker: usize,
    socket: OwnedFd,
    local: SocketAddr,
    streams_fd: RawFd,
    casts_fd: Option<RawFd>,
    state: Mutex<State>,
}

fn sockets(address: SocketAddr) -> io::Result<(OwnedFd, u16, Streams)> {
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..if address.port() == 0 {
        PORT_ATTEMPTS
    } else {
        1
    } {
        let socket = sys::udp_socket(address, false)?;
        let port = sys::local_port(socket.as_raw_fd())?;
        match Streams::bind(SocketAddr::new(address.ip(), port)) {
            Ok(streams) => return Ok((socket, port, streams)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl MeshPort {
    /// Binds the port for both ways, and for multicast where that is wanted.
    pub fn bind(
        id: Id,
        worker: usize,
        address: SocketAddr,
        multicast: Option<Multicast>,
    ) -> io::Result<Self> {
        let (socket, port, streams) = sockets(address)?;
        let casts = Casts::open(multicast, worker)?;
        Ok(Self {
            id,
            worker,
            socket,
            local: SocketAddr::new(address.ip(), port),
            streams_fd: streams.fd(),
            casts_fd: casts.fd(),
            state: Mutex::new(State {
                peers: HashMap::new(),
                names: HashMap::new(),
                cast_names: HashMap::new(),
                casts,
                asked: HashMap::new(),
                streams,
                counters: PortCounters::default(),
            }),
        })
    }

    /// The socket.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// A descriptor that is readable when connections have something to say.
    pub fn streams_fd(&self) -> RawFd {
        self.streams_fd
    }

    /// The socket for multicast.
    pub fn casts_fd(&self) -> Option<RawFd> {
        self.casts_fd
    }

    /// Its port number.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    // ---- Python's side

    /// Opens our end of a link; `false` if our name for it is in use.
    pub fn link(&self, id: Id, terms: Terms, now: u64) -> bool {
        let mut state = lock(&self.state);
        let name = terms.options.local;
        if state.names.contains_key(&name) || state.cast_names.contains_key(&name) {
            return false;
        }
        state.names.insert(name, id);
        let link = Link::new(terms.options, now);
        let peer = Peer::new(link, terms.peer, terms.tcp, terms.connect, self.worker, now);
        state.peers.insert(id, peer);
        true
    }

    fn with<T>(&self, link: Id, act: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        lock(&self.state).peers.get_mut(&link).map(act)
    }

    /// Queues a message; `None` when there is no such link.
    pub fn send(&self, link: Id, message: &[u8]) -> Option<Result<(), Refused>> {
        self.with(link, |peer| peer.link.send(message))
    }

    /// A channel goes out under a number.
    pub fn serve(
        &self,
        link: Id,
        wire: u16,
        cell: &Arc<ChannelCell>,
        after: &[(u8, u32, u64)],
        now: u64,
    ) -> Option<()> {
        self.with(link, |peer| peer.serve(wire, cell, after, now))
    }

    /// What its ring holds by now goes out under the number, and then no more: it comes by a cast.
    pub fn rest(&self, link: Id, wire: u16) {
        self.with(link, |peer| peer.rest(wire));
    }

    /// It does not any more.
    pub fn stop(&self, link: Id, wire: u16) {
        self.with(link, |peer| peer.stop(wire));
    }

    /// What comes under a number feeds an input.
    pub fn take(&self, link: Id, wire: u16, route: Route) -> Option<()> {
        self.with(link, |peer| {
            peer.takes.insert(wire, route);
        })
    }

    /// It feeds none any more.
    pub fn release(&self, link: Id, wire: u16) {
        self.with(link, |peer| peer.takes.remove(&wire));
    }

    /// Ends a link; the peer is told.
    pub fn close_link(&self, link: Id) {
        self.with(link, |peer| peer.link.close());
    }

    /// What a link counts, and what its serving counts.
    pub fn stats(&self, link: Id, now: u64) -> Option<(Counters, ServeCounters)> {
        self.with(link, |peer| (peer.link.counters(now), peer.counters))
    }

    /// What the port counts.
    pub fn counters(&self) -> PortCounters {
        let state = lock(&self.state);
        PortCounters {
            links: state.peers.len(),
            connections: state.streams.len(),
            casts: (state.casts.len(), state.cast_names.len()),
            streams: state.streams.counters,
            ..state.counters
        }
    }

    // ---- casts

    /// A channel goes out to a group; `false` without multicast, or if the name is in use.
    pub fn cast(
        &self,
        id: Id,
        outgoing: Outgoing,
        cell: &Arc<ChannelCell>,
        group: Ipv4Addr,
        now: u64,
    ) -> bool {
        let casts = &mut lock(&self.state).casts;
        casts.begin(id, outgoing, cell, group, now).is_some()
    }

    /// It goes out no more.
    pub fn end_cast(&self, id: Id) {
        lock(&self.state).casts.end(id);
    }

    /// A link's peer receives a cast: it may ask for what it misses. `None` without one of them.
    pub fn admit(&self, cast: Id, link: Id, now: u64) -> Option<()> {
        let mut state = lock(&self.state);
        state.peers.contains_key(&link).then_some(())?;
        state.casts.admit(cast, link, now)
    }

    /// It does not any more.
    pub fn dismiss(&self, cast: Id, link: Id) {
        lock(&self.state).casts.dismiss(cast, link);
    }

    /// Receives a cast of a link's peer, as if its packets came under a number of the link.
    pub fn listen(
        &self,
        link: Id,
        name: u32,
        wire: u16,
        key: Key,
        group: Ipv4Addr,
    ) -> Result<(), NotHeard> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let peer = state.peers.get_mut(&link).ok_or(NotHeard::Gone)?;
        if state.names.contains_key(&name) || state.cast_names.contains_key(&name) {
            return Err(NotHeard::NameInUse);
        }
        state.casts.join(group).map_err(NotHeard::Network)?;
        state.cast_names.insert(name, link);
        let incoming = Incoming::new(wire, key, peer.link.silence());
        peer.casts.insert(name, Cast { incoming, group });
        Ok(())
    }

    /// Receives it no more.
    pub fn ignore(&self, link: Id, name: u32) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Some(peer) = state.peers.get_mut(&link)
            && let Some(cast) = peer.casts.remove(&name)
        {
            state.cast_names.remove(&name);
            state.casts.part(cast.group);
        }
    }

    /// What a cast counts that is sent.
    pub fn cast_counters(&self, cast: Id) -> Option<CastCounters> {
        lock(&self.state).casts.counters(cast)
    }

    /// What is counted of a cast that is received: what came, packets delivered, packets of which
    /// parts were lost, and whether it is heard.
    pub fn heard_counters(&self, link: Id, name: u32) -> Option<(Received, u64, u64, bool)> {
        let state = lock(&self.state);
        let incoming = &state.peers.get(&link)?.casts.get(&name)?.incoming;
        let (received, items, broken) = incoming.counters();
        Some((received, items, broken, incoming.hears()))
    }

    // ---- the worker's side

    /// Takes what waits at the socket.
    pub fn receive(&self, hub: &Hub, receiver: &mut Receiver, now: u64) {
        self.receive_at(self.fd(), Place::Udp, hub, receiver, now);
    }

    /// Takes what came by multicast.
    pub fn receive_casts(&self, hub: &Hub, receiver: &mut Receiver, now: u64) {
        if let Some(fd) = self.casts_fd {
            self.receive_at(fd, |_| Place::Group, hub, receiver, now);
        }
    }

    fn receive_at(
        &self,
        fd: RawFd,
        place: impl Fn(SocketAddr) -> Place,
        hub: &Hub,
        receiver: &mut Receiver,
        now: u64,
    ) {
        let mut news = News::new(hub);
        let mut state = lock(&self.state);
        for _ in 0..RECEIVE_ROUNDS {
            let count = receiver.receive(fd).unwrap_or(0);
            for n in 0..count {
                if let (Some(from), data) = receiver.datagram(n) {
                    state.take(data, place(from), &mut news, now);
                }
            }
            if count < sys::RECEIVE_BATCH {
                break;
            }
        }
        state.tell(&mut news, hub, now);
        drop(state);
        news.pass_on(hub, Some(self.worker), now);
    }

    /// Takes what waits at connections.
    pub fn receive_streams(&self, hub: &Hub, now: u64) {
        let mut news = News::new(hub);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut came = std::mem::take(&mut state.streams.came);
        state.streams.receive(now, &mut came);
        for (token, data) in came.drain(..) {
            state.take(&data, Place::Tcp(token), &mut news, now);
        }
        state.streams.came = came;
        state.notice_streams(now);
        state.tell(&mut news, hub, now);
        drop(guard);
        news.pass_on(hub, Some(self.worker), now);
    }

    /// New packets are in a channel's ring.
    pub fn dirty(&self, cell: &ChannelCell, now: u64) {
        let mut state = lock(&self.state);
        for peer in state.peers.values_mut() {
            peer.dirty(cell.id, now);
        }
        state.casts.dirty(cell.id, now);
    }

    /// A keyframe of a channel's track is needed: the peers that feed the channel are asked; `true` if
    /// there are any, and none was asked just before.
    pub fn wish(&self, channel: Id, track: u8, now: u64) -> bool {
        let mut state = lock(&self.state);
        let State { peers, asked, .. } = &mut *state;
        asked.retain(|_, when| now.saturating_sub(*when) < MIN_SPACING);
        if asked.contains_key(&(channel, track)) {
            return false;
        }
        let mut any = false;
        for peer in peers.values_mut() {
            any |= peer.wish(channel, track);
        }
        if any {
            asked.insert((channel, track), now);
        }
        any
    }

    /// When [`MeshPort::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let state = lock(&self.state);
        let peers = state.peers.values().filter_map(Peer::due).min();
        [peers, state.streams.due(), state.casts.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: serves channels, lets links speak, hears what they say.
    pub fn run(&self, hub: &Hub, headers: &mut Headers, now: u64) {
        let mut news = News::new(hub);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.streams.expire(now);
        for (id, peer) in &mut state.peers {
            peer.connect(*id, &mut state.streams, now);
            peer.run(&state.streams, now);
            if peer.has_news() {
                news.links.push(*id);
            }
        }
        state.tell(&mut news, hub, now);
        state.casts.run(headers, now);
        self.flush(state, hub, headers);
        state.bury();
        drop(guard);
        // What was told here is news to this very thread, which has looked already.
        news.pass_on(hub, None, now);
    }

    /// Says goodbye to everybody: the port is about to close.
    pub fn farewell(&self, hub: &Hub, headers: &mut Headers) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for peer in state.peers.values_mut() {
            peer.link.close();
        }
        self.flush(state, hub, headers);
        state.bury();
        state.casts.end_all();
    }

    fn flush(&self, state: &mut State, hub: &Hub, headers: &mut Headers) {
        let State { peers, streams, .. } = state;
        let dual = self.local.is_ipv6();
        let mut sender = Sender::new(headers);
        let mut failed: Vec<Id> = Vec::new();
        let mut owners = Vec::new();
        for (id, peer) in peers.iter() {
            let datagrams = peer.link.outgoing.iter().map(|data| data.as_slice());
            match peer.place {
                Some(Place::Udp(to)) => {
                    let packets: Vec<&[u8]> = datagrams.collect();
                    let to = SockAddr::new(to, dual);
                    for group in sender.plan(&packets) {
                        sender.push(group, to);
                        owners.push(*id);
                    }
                }
                Some(Place::Tcp(token)) => {
                    for data in datagrams {
                        streams.send(token, data);
                    }
                }
                Some(Place::Group) | None => {} // where the peer is will be known when it speaks
            }
        }
        sender.send(self.fd(), |at, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
            failed.extend(owners.get(at));
        });
        streams.flush();
        for id in failed {
            if let Some(peer) = peers.get_mut(&id) {
                peer.counters.send_errors += 1;
            }
        }
        for peer in peers.values_mut() {
            peer.link.outgoing.clear();
        }
    }
}

/// Why a cast is not received.
#[derive(Debug)]
pub enum NotHeard {
    /// There is no such link.
    Gone,
    /// Another cast of that name is received.
    NameInUse,
    /// The group cannot be joined.
    Network(io::Error),
}

/// What a round of receiving brought.
#[derive(Debug, Default)]
struct News {
    links: Vec<Id>,
    touched: Vec<Arc<ChannelCell>>,
    /// Keyframes that peers need of channels' tracks.
    wishes: Vec<(Id, u8)>,
    /// Python is behind with events.
    crowded: bool,
}

impl News {
    fn new(hub: &Hub) -> Self {
        Self {
            crowded: hub.events.crowded(),
            ..Self::default()
        }
    }

    /// Tells others. The port is not locked meanwhile: who is asked for keyframes asks ports.
    fn pass_on(&self, hub: &Hub, from: Option<usize>, now: u64) {
        for cell in &self.touched {
            hub.notify(cell, from);
        }
        for (channel, track) in &self.wishes {
            hub.want_keyframe(*channel, *track, now);
        }
    }
}

impl State {
    /// Takes a datagram and notes which link it was for.
    fn take(&mut self, data: &[u8], from: Place, news: &mut News, now: u64) {
        let header = Header::parse(data).ok();
        let multicast = from == Place::Group;
        let known = header.and_then(|header| {
            let link = self.names.get(&header.link).filter(|_| !multicast);
            let id = link.or_else(|| self.cast_names.get(&header.link))?;
            Some((header, *id, self.peers.get_mut(id)?))
        });
        let Some((header, id, peer)) = known else {
            self.counters.foreign += 1;
            return;
        };
        peer.link.crowded = news.crowded;
        let taken = match peer.casts.get_mut(&header.link) {
            Some(cast) => {
                let trip = peer.link.round_trip();
                let incoming = &mut cast.incoming;
                let taken = incoming.receive(&header, data, multicast, trip, now);
                taken.map(|()| false) // where the peer is its link tells
            }
            None => peer.link.receive(&header, data, now),
        };
        match taken {
            Ok(newest) => {
                self.counters.taken += 1;
                if newest {
                    let before = peer.follow(from, now);
                    self.streams.own(from, before, id);
                }
                if news.links.last() != Some(&id) {
                    news.links.push(id);
                }
            }
            Err(Refusal::Replayed) => self.counters.replayed += 1,
            Err(Refusal::Forged) => self.counters.forged += 1,
        }
    }

    /// Gives packets to inputs, and events to Python.
    fn tell(&mut self, news: &mut News, hub: &Hub, now: u64) {
        news.links.sort_unstable();
        news.links.dedup();
        for id in &news.links {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            for delivered in peer.take_delivered() {
                let Some(route) = peer.takes.get(&delivered.wire) else {
                    self.counters.unwanted += 1;
                    continue;
                };
                let bytes = delivered.item.data.len() as u64;
                hub.totals.packets_in.fetch_add(1, Ordering::Relaxed);
                hub.totals.bytes_in.fetch_add(bytes, Ordering::Relaxed);
                let mut channel = lock(&route.cell.state);
                let result = channel.numbered(route.source, route.input, delivered.item, now);
                hub.pass_on(&mut channel);
                drop(channel);
                count(hub, result);
                if !news.touched.iter().any(|cell| cell.id == route.cell.id) {
                    news.touched.push(Arc::clone(&route.cell));
                }
            }
            self.casts.repair(*id, peer, now);
            peer.listen(now);
            news.wishes.extend(peer.wishes());
            let link = *id;
            for (cast, heard) in peer.cast_news() {
                hub.events.push(Event::MeshCast { link, cast, heard });
            }
            for event in std::mem::take(&mut peer.link.events) {
                hub.events.push(match event {
                    LinkEvent::Up => Event::MeshUp { link },
                    LinkEvent::Message(data) => Event::MeshMessage { link, data },
                    LinkEvent::Silent => Event::MeshSilent { link },
                    LinkEvent::Back => Event::MeshBack { link },
                    LinkEvent::Closed(reason) => Event::MeshClosed { link, reason },
                });
            }
        }
    }

    /// Connections ended, or have room again.
    fn notice_streams(&mut self, now: u64) {
        for (id, token) in std::mem::take(&mut self.streams.ended) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.disconnected(token, now);
            }
        }
        for id in std::mem::take(&mut self.streams.drained) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.woken(now);
            }
        }
    }

    /// Forgets links that are over and whose last words are said.
    fn bury(&mut self) {
        let over = self.peers.extract_if(|_, peer| {
            peer.link.closed() && peer.link.outgoing.is_empty() && peer.link.events.is_empty()
        });
        for (id, mut peer) in over {
            self.names.remove(&peer.link.local);
            peer.stop_all();
            self.casts.forget(id);
            for (name, cast) in peer.casts.drain() {
                self.cast_names.remove(&name);
                self.casts.part(cast.group);
            }
            if let Some(Place::Tcp(token)) = peer.place {
                self.streams.close(token);
            }
        }
    }
}
