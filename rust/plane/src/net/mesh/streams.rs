//! Links by TCP: connections to and from one port, whose bytes are datagrams behind their lengths
//! in two bytes (RFC 4571).
//!
//! A connection is a stranger's until a link has opened a datagram that came on it.

use super::peer::Place;
use crate::event::Id;
use crate::net::framed::{Door, Framed};
use crate::net::sys::{self, Epoll, Ready};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Connections that have proved nothing yet: units of a cluster that all come back at once.
const MAX_STRANGERS: usize = 256;

/// A stranger shows a valid datagram within this time, µs; a unit's first comes at once.
const STRANGER_LIFE: u64 = 5_000_000;

/// A connection with more than this waiting is served nothing new: it waits in the rings.
const MAX_WAITING: usize = 128 << 10;

/// What may wait at most, repairs after a reconnection included. What is more is dropped, and
/// repaired.
const MAX_QUEUED: usize = 2 << 20;

/// Bytes the kernel may hold, on their way or not: 50 Mbit/s over 160 ms.
const BUFFER: i32 = 1 << 20;

/// Bytes taken from one connection before others have their turn.
const READ_QUANTUM: usize = 256 << 10;

const LISTENER: u64 = 0;

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub accepted: u64,
    /// Connections refused, or closed with nothing proved or nonsense sent.
    pub refused: u64,
    /// Datagrams for a connection that is gone or takes no more.
    pub dropped: u64,
}

#[derive(Debug)]
struct Stream {
    framed: Framed,
    owner: Option<Id>,
    /// A stranger's time is up.
    deadline: u64,
}

/// The listener and its connections.
#[derive(Debug)]
pub struct Streams {
    epoll: Epoll,
    door: Door,
    open: HashMap<u64, Stream>,
    next: u64,
    buffer: Vec<u8>,
    touched: Vec<u64>,
    /// Datagrams that came, by connection.
    pub came: Vec<(u64, Box<[u8]>)>,
    /// Links whose connection ended.
    pub ended: Vec<(Id, u64)>,
    /// Links whose connection has room again.
    pub drained: Vec<Id>,
    /// Counters.
    pub counters: Counters,
}

impl Streams {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        Ok(Self {
            door: Door::new(sys::tcp_listener(address)?, &epoll, LISTENER)?,
            epoll,
            open: HashMap::new(),
            next: LISTENER + 1,
            buffer: vec![0; 64 << 10],
            touched: Vec::new(),
            came: Vec::new(),
            ended: Vec::new(),
            drained: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// A descriptor that is readable when something is to be received.
    pub fn fd(&self) -> RawFd {
        self.epoll.fd()
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// When [`Streams::expire`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let strangers = self.open.values().filter(|stream| stream.owner.is_none());
        strangers
            .map(|stream| stream.deadline)
            .chain(self.door.due())
            .min()
    }

    fn admit(&mut self, socket: TcpStream, owner: Option<Id>, deadline: u64) -> io::Result<u64> {
        let fd = socket.as_raw_fd();
        socket.set_nonblocking(true)?;
        sys::fit_for_media(fd)?;
        sys::send_buffer(fd, BUFFER)?;
        let token = self.next;
        self.epoll.add(fd, token)?;
        // One that we make stands when it can be written.
        let watching = owner.is_some();
        self.epoll.modify(fd, token, watching)?;
        self.next += 1;
        let stream = Stream {
            framed: Framed::new(socket, watching),
            owner,
            deadline,
        };
        self.open.insert(token, stream);
        Ok(token)
    }

    /// Begins a connection for a link.
    pub fn connect(&mut self, to: SocketAddr, owner: Id) -> Option<u64> {
        let socket = TcpStream::from(sys::tcp_connect(to).ok()?);
        self.admit(socket, Some(owner), 0).ok()
    }

    /// A link's newest datagram came by here, and its peer was there before.
    pub fn own(&mut self, now: Place, before: Option<Place>, link: Id) {
        if let Place::Tcp(token) = now
            && let Some(stream) = self.open.get_mut(&token)
        {
            stream.owner = Some(link);
        }
        if let Some(Place::Tcp(old)) = before
            && now != Place::Tcp(old)
        {
            self.close(old);
        }
    }

    /// Takes what came, and whose connection ended or has room.
    pub fn receive(&mut self, now: u64, came: &mut Vec<(u64, Box<[u8]>)>) {
        let mut ready: Vec<Ready> = Vec::new();
        // What cannot be waited for now is tried again: the descriptor stays readable.
        let _ = self.epoll.wait(0, &mut ready);
        for event in ready {
            if event.token == LISTENER {
                self.accept(now);
                continue;
            }
            if event.writable {
                self.write(event.token);
            }
            if event.readable && !self.read(event.token, came) {
                let owner = self.open.get(&event.token).map(|stream| stream.owner);
                match owner {
                    Some(Some(owner)) => self.ended.push((owner, event.token)),
                    Some(None) => self.counters.refused += 1,
                    None => {}
                }
                self.close(event.token);
            }
        }
    }

    fn accept(&mut self, now: u64) {
        let mut came = Vec::new();
        self.counters.refused += self
            .door
            .accept(&self.epoll, now, |socket, _peer| came.push(socket));
        for socket in came {
            let strangers = self.open.values().filter(|known| known.owner.is_none());
            let room = strangers.count() < MAX_STRANGERS;
            if room && self.admit(socket, None, now + STRANGER_LIFE).is_ok() {
                self.counters.accepted += 1;
            } else {
                self.counters.refused += 1;
            }
        }
    }

    /// `false` when the connection is over.
    fn read(&mut self, token: u64, came: &mut Vec<(u64, Box<[u8]>)>) -> bool {
        let Some(stream) = self.open.get_mut(&token) else {
            return true;
        };
        let whole = |data: &[u8]| came.push((token, data.into()));
        stream
            .framed
            .read(&mut self.buffer, READ_QUANTUM, whole)
            .is_ok()
    }

    /// Whether a connection takes something new.
    pub fn room(&self, token: u64) -> bool {
        self.open
            .get(&token)
            .is_some_and(|stream| stream.framed.waiting() < MAX_WAITING)
    }

    /// Queues a datagram; [`Streams::flush`] sends.
    pub fn send(&mut self, token: u64, data: &[u8]) {
        let queued = self
            .open
            .get_mut(&token)
            .is_some_and(|stream| stream.framed.queue(data, MAX_QUEUED));
        if !queued {
            self.counters.dropped += 1;
        } else if self.touched.last() != Some(&token) {
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
        let waited = stream.framed.watching();
        // One that has ended is closed when it is read: whose it is has to be told.
        let _ = stream.framed.write(&self.epoll, token);
        if waited && stream.framed.waiting() < MAX_WAITING {
            self.drained.extend(stream.owner);
        }
    }

    /// Closes a connection.
    pub fn close(&mut self, token: u64) {
        if let Some(stream) = self.open.remove(&token) {
            self.epoll.remove(stream.framed.fd());
        }
    }

    /// Closes strangers whose time is up.
    pub fn expire(&mut self, now: u64) {
        self.door.reopen(&self.epoll, now);
        let over: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, stream)| stream.owner.is_none() && stream.deadline <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in over {
            self.counters.refused += 1;
            self.close(token);
        }
    }
}
