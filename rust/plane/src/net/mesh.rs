//! Mesh links on one port, by UDP and by TCP: what comes feeds inputs, channels go out.
//!
//! The links themselves know nothing of channels. A channel that is served is a cursor in its ring:
//! a link that takes nothing holds nothing up, and what it has not taken when the ring forgets it
//! is counted. Here is what Python asks of a port; `work` is what its worker does, `state` what
//! both share.

mod casts;
mod peer;
mod state;
mod streams;
mod work;

use super::sys;
use crate::event::Id;
use crate::lock;
use crate::mesh::cast::{Incoming, Outgoing};
use crate::mesh::control::Refused;
use crate::mesh::link::{Counters, Link, Options};
use crate::mesh::receiver::Received;
use crate::mesh::seal::Key;
use crate::plane::ChannelCell;
use casts::Casts;
pub use casts::{CastCounters, Multicast};
use peer::{Cast, Peer};
pub use peer::{Route, ServeCounters};
pub use state::PortCounters;
use state::State;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use streams::Streams;

/// Attempts to find a port that is free for UDP and TCP alike.
const PORT_ATTEMPTS: usize = 64;

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
            state: Mutex::new(State::new(casts, streams)),
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
