//! ICE over TCP (RFC 6544): connections to one port, whose bytes are packets behind their lengths
//! (RFC 4571).
//!
//! A connection is a stranger's until a session has checked a request that came on it. Strangers are
//! few and have little time; a session's connections live as long as it does.

use crate::net::framed::{Door, End, Framed};
use crate::net::sys::{self, Epoll, Ready};
use crate::webrtc::mux::SessionId;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Connections that have proved nothing yet. A server on which a thousand people begin to watch in
/// one second, each with two addresses to try, has about so many at once.
pub const MAX_STRANGERS: usize = 512;

/// Of these from one address: an office behind a NAT that blocks UDP.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 64;

/// A stranger shows a valid request within this time, µs. ICE sends its first as soon as the
/// connection stands, and repeats it after half a second.
pub const STRANGER_LIFE: u64 = 5_000_000;

/// Connections one session may have: the pairs of a few interfaces, both families.
const MAX_PER_SESSION: usize = 8;

/// Bytes that may wait for a peer that does not read, in addition to the kernel's. It is a second
/// at 1 Mbit/s; media that wait longer are of no use, and what was lost can be asked for again.
const MAX_QUEUED: usize = 128 << 10;

/// Bytes taken from one connection before others have their turn.
const READ_QUANTUM: usize = 64 << 10;

/// How long a peer may take to swallow the goodbye of its session, µs.
const GOODBYE_LIFE: u64 = 1_000_000;

const LISTENER: u64 = 0;

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken.
    pub accepted: u64,
    /// Connections closed at once: too many already.
    pub refused: u64,
    /// Connections that proved nothing in time.
    pub expired: u64,
    /// Connections with bytes that are no packets.
    pub malformed: u64,
    /// Packets for a connection that is gone or takes no more.
    pub dropped: u64,
}

#[derive(Debug)]
struct Stream {
    framed: Framed,
    peer: SocketAddr,
    local: SocketAddr,
    session: Option<SessionId>,
    deadline: Option<u64>,
    closing: bool,
}

/// The listener and its connections.
#[derive(Debug)]
pub struct Streams {
    epoll: Epoll,
    door: Door,
    capacity: usize,
    open: HashMap<u64, Stream>,
    places: HashMap<SocketAddr, u64>,
    sessions: HashMap<SessionId, Vec<u64>>,
    strangers: HashMap<IpAddr, usize>,
    unproved: usize,
    deadlines: BTreeSet<(u64, u64)>,
    next: u64,
    touched: Vec<u64>,
    buffer: Vec<u8>,
    ready: Vec<Ready>,
    counters: Counters,
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Streams {
    /// Listens; at most `capacity` connections.
    pub fn bind(address: SocketAddr, capacity: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        Ok(Self {
            door: Door::new(sys::tcp_listener(address)?, &epoll, LISTENER)?,
            epoll,
            capacity,
            open: HashMap::new(),
            places: HashMap::new(),
            sessions: HashMap::new(),
            strangers: HashMap::new(),
            unproved: 0,
            deadlines: BTreeSet::new(),
            next: LISTENER + 1,
            touched: Vec::new(),
            buffer: vec![0; 16 << 10],
            ready: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// A descriptor that is readable when something is to be received.
    pub fn fd(&self) -> RawFd {
        self.epoll.fd()
    }

    /// Connections now.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When [`Streams::expire`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let first = self.deadlines.first().map(|(due, _)| *due);
        first.into_iter().chain(self.door.due()).min()
    }

    /// Takes what came. `packet` is given each packet, whence it came and where to, and tells the
    /// session that has proved to be at that address.
    pub fn receive(
        &mut self,
        now: u64,
        mut packet: impl FnMut(SocketAddr, SocketAddr, &[u8]) -> Option<SessionId>,
    ) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        // What cannot be waited for now is tried again: the descriptor stays readable.
        let _ = self.epoll.wait(0, &mut ready);
        for event in &ready {
            if event.token == LISTENER {
                self.accept(now);
                continue;
            }
            if event.writable {
                self.write(event.token);
            }
            if event.readable {
                self.read(event.token, &mut packet);
            }
        }
        self.ready = ready;
    }

    fn accept(&mut self, now: u64) {
        let mut came = Vec::new();
        self.counters.refused += self
            .door
            .accept(&self.epoll, now, |socket, peer| came.push((socket, peer)));
        for (socket, peer) in came {
            if self.admit(&socket, canonical(peer), now).is_none() {
                self.counters.refused += 1;
            }
        }
    }

    fn admit(&mut self, socket: &TcpStream, peer: SocketAddr, now: u64) -> Option<()> {
        let same = self.strangers.get(&peer.ip()).copied().unwrap_or(0);
        if self.open.len() >= self.capacity
            || self.unproved >= MAX_STRANGERS
            || same >= MAX_STRANGERS_PER_ADDRESS
        {
            return None;
        }
        let local = canonical(socket.local_addr().ok()?);
        let socket = TcpStream::from(sys::adopt_stream(socket.as_raw_fd()).ok()?);
        let token = self.next;
        self.epoll.add(socket.as_raw_fd(), token).ok()?;
        self.next += 1;
        let deadline = now + STRANGER_LIFE;
        self.deadlines.insert((deadline, token));
        self.unproved += 1;
        *self.strangers.entry(peer.ip()).or_default() += 1;
        self.places.insert(peer, token);
        let stream = Stream {
            framed: Framed::new(socket, false),
            peer,
            local,
            session: None,
            deadline: Some(deadline),
            closing: false,
        };
        self.open.insert(token, stream);
        self.counters.accepted += 1;
        Some(())
    }

    fn read(
        &mut self,
        token: u64,
        packet: &mut impl FnMut(SocketAddr, SocketAddr, &[u8]) -> Option<SessionId>,
    ) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        let (peer, local) = (stream.peer, stream.local);
        // Of a session that is over nothing is wanted but its end.
        let closing = stream.closing;
        let mut owner = None;
        let result = stream.framed.read(&mut self.buffer, READ_QUANTUM, |data| {
            if !closing {
                owner = owner.or(packet(peer, local, data));
            }
        });
        if let Err(end) = result {
            self.counters.malformed += u64::from(end == End::Malformed && !closing);
            self.close(token);
        } else if let Some(session) = owner {
            self.prove(token, session);
        }
    }

    /// A stranger has become a session's connection.
    fn prove(&mut self, token: u64, session: SessionId) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        if stream.session.is_some() {
            return;
        }
        let of_session = self.sessions.entry(session).or_default();
        if of_session.len() >= MAX_PER_SESSION {
            self.counters.refused += 1;
            self.close(token);
            return;
        }
        of_session.push(token);
        stream.session = Some(session);
        if let Some(deadline) = stream.deadline.take() {
            self.deadlines.remove(&(deadline, token));
        }
        let ip = stream.peer.ip();
        self.forget_stranger(ip);
    }

    fn forget_stranger(&mut self, ip: IpAddr) {
        self.unproved -= 1;
        if let Some(count) = self.strangers.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.strangers.remove(&ip);
            }
        }
    }

    fn close(&mut self, token: u64) {
        let Some(stream) = self.open.remove(&token) else {
            return;
        };
        self.epoll.remove(stream.framed.fd());
        if self.places.get(&stream.peer) == Some(&token) {
            self.places.remove(&stream.peer);
        }
        if let Some(deadline) = stream.deadline {
            self.deadlines.remove(&(deadline, token));
        }
        match stream.session {
            None => self.forget_stranger(stream.peer.ip()),
            Some(session) => {
                if let Some(tokens) = self.sessions.get_mut(&session) {
                    tokens.retain(|known| *known != token);
                    if tokens.is_empty() {
                        self.sessions.remove(&session);
                    }
                }
            }
        }
    }

    /// Queues a packet for a peer; [`Streams::flush`] sends.
    pub fn send(&mut self, to: SocketAddr, data: &[u8]) {
        let found = self.places.get(&canonical(to)).copied();
        let Some((token, stream)) =
            found.and_then(|token| Some((token, self.open.get_mut(&token)?)))
        else {
            self.counters.dropped += 1;
            return;
        };
        if stream.closing || !stream.framed.queue(data, MAX_QUEUED) {
            self.counters.dropped += 1;
            return;
        }
        if self.touched.last() != Some(&token) {
            self.touched.push(token);
        }
    }

    /// Writes what is queued, as far as sockets take it.
    pub fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for token in touched.drain(..) {
            self.write(token);
        }
        self.touched = touched;
    }

    fn write(&mut self, token: u64) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        if stream.framed.write(&self.epoll, token).is_err() {
            self.close(token);
        } else if stream.closing && stream.framed.waiting() == 0 {
            stream.framed.finish();
        }
    }

    /// A session is over: its connections end as soon as the peer has read the goodbye.
    pub fn end(&mut self, session: SessionId, now: u64) {
        for token in self.sessions.get(&session).cloned().unwrap_or_default() {
            if let Some(stream) = self.open.get_mut(&token) {
                stream.closing = true;
                let deadline = now + GOODBYE_LIFE;
                stream.deadline = Some(deadline);
                self.deadlines.insert((deadline, token));
                self.write(token);
            }
        }
    }

    /// Closes connections whose time is up.
    pub fn expire(&mut self, now: u64) {
        self.door.reopen(&self.epoll, now);
        while let Some((due, token)) = self.deadlines.first().copied() {
            if due > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(stream) = self.open.get_mut(&token) {
                stream.deadline = None;
                self.counters.expired += u64::from(stream.session.is_none());
            }
            self.close(token);
        }
    }
}
