//! The thread of the HTTPS port. Handshakes cost a fraction of a millisecond each, so they have a
//! thread of their own: a flood of them takes turns with the media workers, and never their place.

use crate::net::sys::{Epoll, Ready};
use crate::net::tls::link::{Interest, Link, Turn};
use crate::net::tls::port::{Accepted, Shared, TlsPort};
use crate::net::tls::stream::{RECORD, TlsStream};
use crate::{clock, lock};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Handshakes at a time from one address: a school behind one address that comes back after a
/// break has some dozens under way, each for two round trips.
const HANDSHAKES_PER_ADDRESS: usize = 64;
/// Handshakes at a time from everywhere.
const HANDSHAKES: usize = 1_024;
/// Connections accepted before others have their turn.
const ACCEPTS: usize = 16;
/// How long nothing is accepted when the machine has no descriptors left, µs.
const ACCEPT_PAUSE: u64 = 100_000;
/// Longest sleep, µs.
const IDLE: u64 = 1_000_000;
/// How long answers may still go out when the thread is told to end, µs.
const HALT_PATIENCE: u64 = 1_000_000;

const WAKE: u64 = 0;
const LISTEN: u64 = 1;
/// Sides of a link, in a token's low bits; the key stands above.
const OUTER: u64 = 2;
const INNER: u64 = 3;

/// What the thread knows of a link, whoever has it.
#[derive(Debug)]
struct Entry {
    shared: Shared,
    /// The number of the peer's socket stays taken until it is watched no more.
    socket: Arc<OwnedFd>,
    peer: SocketAddr,
    shaking: bool,
    outer: Interest,
    /// `None`: not watched.
    inner: Option<Interest>,
    /// The pair ended while its rest cannot be taken; watching it would be told so for ever.
    inner_ended: bool,
    deadline: Option<u64>,
    cookie: Option<u64>,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Server {
    port: Arc<TlsPort>,
    listener: Option<TcpListener>,
    paused: Option<u64>,
    epoll: Epoll,
    entries: HashMap<u64, Entry>,
    shaking: HashMap<IpAddr, usize>,
    deadlines: BTreeSet<(u64, u64)>,
    next: u64,
    buffer: Vec<u8>,
}

impl Server {
    pub(super) fn new(port: Arc<TlsPort>, listener: TcpListener) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(port.wake.fd(), WAKE)?;
        epoll.add(listener.as_raw_fd(), LISTEN)?;
        Ok(Self {
            port,
            listener: Some(listener),
            paused: None,
            epoll,
            entries: HashMap::new(),
            shaking: HashMap::new(),
            deadlines: BTreeSet::new(),
            next: 1,
            buffer: vec![0; 4 * RECORD],
        })
    }

    /// Runs until the port is shut and the last connection gone, or until told to end.
    pub(super) fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        let mut end = None;
        loop {
            let now = clock::now();
            if self.port.halt.load(Ordering::SeqCst) && end.is_none() {
                end = Some(now + HALT_PATIENCE);
                self.hang_up(now);
            }
            if self.port.shut.load(Ordering::SeqCst) {
                self.listener = None; // epoll forgets it with its last descriptor
                if self.entries.is_empty() || end.is_some_and(|end| end <= now) {
                    return;
                }
            }
            let due = self.deadlines.first().map(|(due, _)| *due);
            let wake = [due, self.paused, end]
                .into_iter()
                .flatten()
                .fold(now + IDLE, u64::min);
            ready.clear();
            if let Err(error) = self.epoll.wait(wake.saturating_sub(now), &mut ready) {
                // Only a broken epoll can fail here; without it the thread has no work.
                eprintln!("packet plane: the HTTPS port cannot wait: {error}");
                return;
            }
            let now = clock::now();
            for event in &ready {
                self.handle(*event, now);
            }
            self.forget_moved();
            self.expire(now);
        }
    }

    fn handle(&mut self, event: Ready, now: u64) {
        let key = event.token >> 2;
        match event.token {
            WAKE => self.port.wake.clear(),
            LISTEN => self.accept(now),
            token if token & 3 == OUTER => {
                let asked = self.entries.get(&key).is_some_and(|entry| entry.outer.read);
                if event.readable && !event.writable && !asked {
                    self.give_up(key); // an end or an error is told unasked
                } else {
                    self.turn(key, now);
                }
            }
            _ => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    let asked = entry.inner.is_some_and(|interest| interest.read);
                    entry.inner_ended |= event.readable && !event.writable && !asked;
                    self.turn(key, now);
                }
            }
        }
    }

    // ---- new ones

    fn accept(&mut self, now: u64) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((socket, peer)) => self.admit(socket, peer, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(_) if self.port.shut.load(Ordering::SeqCst) => return,
                Err(_) => {
                    self.port
                        .counters
                        .accept_errors
                        .fetch_add(1, Ordering::Relaxed);
                    self.paused = Some(now + ACCEPT_PAUSE);
                    let _ = self.epoll.watch(listener.as_raw_fd(), LISTEN, false, false);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr, now: u64) {
        let counters = &self.port.counters;
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        if self.entries.len() >= self.port.limits.connections {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let under_way = self.shaking.get(&network(peer.ip())).copied().unwrap_or(0);
        if under_way >= HANDSHAKES_PER_ADDRESS
            || self.port.shaking.load(Ordering::Relaxed) >= HANDSHAKES
        {
            counters.refused_handshakes.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let ready = socket.set_nonblocking(true).and_then(|()| {
            // Answers are written whole; waiting for more only delays them.
            socket.set_nodelay(true)
        });
        let Ok(stream) = ready
            .map_err(|_| ())
            .and_then(|()| TlsStream::new(socket.into(), &self.port.config()).map_err(|_| ()))
        else {
            return;
        };
        let (key, held) = (self.next, stream.hold());
        self.next += 1;
        if self.epoll.add(stream.fd(), key << 2 | OUTER).is_err() {
            return;
        }
        let deadline = now + self.port.limits.handshake_us;
        self.deadlines.insert((deadline, key));
        *self.shaking.entry(network(peer.ip())).or_default() += 1;
        self.port.shaking.fetch_add(1, Ordering::Relaxed);
        self.port.open.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(
            key,
            Entry {
                shared: Arc::new(Mutex::new(Some(Link::new(stream, deadline)))),
                socket: held,
                peer,
                shaking: true,
                outer: Interest {
                    read: true,
                    write: false,
                },
                inner: None,
                inner_ended: false,
                deadline: Some(deadline),
                cookie: None,
            },
        );
        self.turn(key, now); // the greeting is often here already
    }

    // ---- those that are here

    fn turn(&mut self, key: u64, now: u64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let shared = Arc::clone(&entry.shared);
        let mut guard = lock(&shared);
        let Some(link) = guard.as_mut() else {
            return; // a worker has it
        };
        let mut turn = link.turn(&mut self.buffer, now);
        if turn == Turn::Secured {
            self.port.counters.secured.fetch_add(1, Ordering::Relaxed);
            turn = match link.open_pair() {
                Ok(fd) => {
                    let peer = entry.peer;
                    match self.port.offer(key, &shared, Accepted { fd, peer }) {
                        Some(cookie) => {
                            entry.cookie = Some(cookie);
                            link.turn(&mut self.buffer, now) // a request may be here already
                        }
                        None => Turn::Over("full"),
                    }
                }
                Err(_) => Turn::Over("full"),
            };
        }
        if let Turn::Over(why) = turn {
            drop(guard);
            self.end(key, why);
            return;
        }
        let watched = watch(&self.epoll, key, entry, link);
        let deadline = link.deadline;
        let shaking = link.shaking();
        drop(guard);
        if watched.is_err() {
            self.end(key, "reset");
            return;
        }
        if entry.deadline != deadline {
            if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
                self.deadlines.remove(&(old, key));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, key));
            }
        }
        if entry.shaking && !shaking {
            entry.shaking = false;
            let peer = entry.peer;
            self.shaken(peer);
        }
    }

    /// One handshake less.
    fn shaken(&mut self, peer: SocketAddr) {
        self.port.shaking.fetch_sub(1, Ordering::Relaxed);
        let network = network(peer.ip());
        if let Some(count) = self.shaking.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.shaking.remove(&network);
            }
        }
    }

    fn end(&mut self, key: u64, why: &str) {
        let counters = &self.port.counters;
        let counter = match why {
            "timeout" => Some(&counters.timeouts),
            "failed" => Some(&counters.failed),
            "plain" => Some(&counters.plain),
            "full" => Some(&counters.refused),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.forget(key);
    }

    /// Watches it no more; the link itself goes with it, unless a worker has it.
    fn forget(&mut self, key: u64) {
        let Some(entry) = self.entries.remove(&key) else {
            return;
        };
        self.epoll.remove(entry.socket.as_raw_fd());
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        if entry.shaking {
            self.shaken(entry.peer);
        }
        if let Some(cookie) = entry.cookie {
            self.port.forget(cookie);
        }
        self.port.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn forget_moved(&mut self) {
        let moved = std::mem::take(&mut *lock(&self.port.moved));
        for key in moved {
            self.forget(key);
        }
    }

    fn expire(&mut self, now: u64) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            if let Some(listener) = &self.listener {
                let _ = self.epoll.watch(listener.as_raw_fd(), LISTEN, true, false);
            }
        }
        while let Some((due, key)) = self.deadlines.first().copied() {
            if due > now {
                return;
            }
            self.deadlines.pop_first();
            self.give_up(key);
        }
    }

    /// Its time is up, or the peer is gone.
    fn give_up(&mut self, key: u64) {
        let why = self
            .entries
            .get(&key)
            .and_then(|entry| lock(&entry.shared).as_ref().map(Link::late));
        self.end(key, why.unwrap_or("closed"));
    }

    /// Those whose handshake goes on, and those that Python has not taken, end now.
    fn hang_up(&mut self, now: u64) {
        let keys: Vec<u64> = self.entries.keys().copied().collect();
        for key in keys {
            if self.entries.get(&key).is_some_and(|entry| entry.shaking) {
                self.end(key, "closed");
            } else {
                self.turn(key, now);
            }
        }
    }
}

/// Has epoll tell what a link waits for.
fn watch(epoll: &Epoll, key: u64, entry: &mut Entry, link: &Link) -> io::Result<()> {
    let outer = link.outer_interest();
    if outer != entry.outer {
        epoll.watch(link.fd(), key << 2 | OUTER, outer.read, outer.write)?;
        entry.outer = outer;
    }
    let Some(fd) = link.pair_fd() else {
        entry.inner = None; // closed, and so forgotten by epoll
        return Ok(());
    };
    let inner = link.inner_interest();
    let token = key << 2 | INNER;
    if entry.inner_ended {
        if entry.inner.take().is_some() {
            epoll.remove(fd);
        }
    } else if entry.inner.is_none() {
        add(epoll, fd, token, inner)?;
        entry.inner = Some(inner);
    } else if entry.inner != Some(inner) {
        epoll.watch(fd, token, inner.read, inner.write)?;
        entry.inner = Some(inner);
    }
    Ok(())
}

fn add(epoll: &Epoll, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
    epoll.add(fd, token)?;
    epoll.watch(fd, token, interest.read, interest.write)
}

/// What counts as one address: an IPv6 host has a whole network of 64 bits to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}
