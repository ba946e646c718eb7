//! One connection to the HTTPS port: from its first byte to its end, or until a worker takes it.
//!
//! A turn does all that can be done now without waiting; what the sockets are watched for
//! afterwards follows from what is left. At most one record waits in each direction, so that who
//! does not read is felt at the other end.

use crate::net::sys;
use crate::net::tls::plain;
use crate::net::tls::stream::{RECORD, TlsStream};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Bytes that the sending half of each end of the pair holds; the kernel doubles it. The answer to
/// a request for a part of a segment fits.
const PAIR_BUFFER: libc::c_int = 64 << 10;
/// Records moved in each direction before others have their turn.
const RECORDS: usize = 4;
/// How long the rest of an answer may stand still after Python closed, µs.
const DRAIN_PATIENCE: u64 = 10_000_000;
/// How long it may take altogether, µs: as long as an answer by plain HTTP.
const DRAIN_LIMIT: u64 = 60_000_000;
/// How long the peer may take to end after us, µs. Closing at once would reset the connection when
/// bytes of the peer are unread, and what was sent last would be lost (RFC 9112 §9.6).
const LINGER: u64 = 2_000_000;
/// Bytes of the peer thrown away meanwhile.
const MAX_DISCARD: usize = 1 << 20;

/// What became of a connection at a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    On,
    /// It is over; a word why.
    Over(&'static str),
    /// The handshake is done: Python gets its end of the pair.
    Secured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte came yet.
    Greeting,
    Handshake,
    Open,
    /// Python closed: the rest goes out.
    Draining,
    /// All is said; the peer is to end, too.
    Lingering,
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

/// The connection.
#[derive(Debug)]
pub struct Link {
    stream: TlsStream,
    pair: Option<UnixStream>,
    phase: Phase,
    /// Plaintext that the pair did not take yet.
    inbound: Vec<u8>,
    /// The peer will send no more.
    peer_done: bool,
    /// Nobody reads at the other end of the pair.
    deaf: bool,
    /// Plaintext out of turn, for peers who do not speak TLS.
    last_words: Vec<u8>,
    discarded: usize,
    /// What the socket had taken when its progress was looked at.
    sent: u64,
    limit: u64,
    /// When it ends unless something happens, µs.
    pub deadline: Option<u64>,
    /// Why it ends, once that is known.
    why: &'static str,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Taken {
    /// The session.
    pub stream: TlsStream,
    /// What came from the peer and nobody has read.
    pub received: Vec<u8>,
    /// What Python wrote and the session has not encrypted.
    pub queued: Vec<u8>,
}

impl Link {
    /// Just accepted; the handshake has to be done by `deadline`.
    pub fn new(stream: TlsStream, deadline: u64) -> Self {
        Self {
            stream,
            pair: None,
            phase: Phase::Greeting,
            inbound: Vec::new(),
            peer_done: false,
            deaf: false,
            last_words: Vec::new(),
            discarded: 0,
            sent: 0,
            limit: u64::MAX,
            deadline: Some(deadline),
            why: "closed",
        }
    }

    /// The peer's socket.
    pub fn fd(&self) -> RawFd {
        self.stream.fd()
    }

    /// Our end of the pair.
    pub fn pair_fd(&self) -> Option<RawFd> {
        self.pair.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Whether the handshake is not done.
    pub fn shaking(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Handshake)
    }

    /// Whether Python has, or had, the other end.
    pub fn open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What the peer's socket is watched for.
    pub fn outer_interest(&self) -> Interest {
        let read = match self.phase {
            Phase::Greeting | Phase::Handshake | Phase::Lingering => true,
            Phase::Open => !self.peer_done && !self.deaf && self.inbound.is_empty(),
            Phase::Draining => false,
        };
        let write = self.stream.pending() || !self.last_words.is_empty();
        Interest { read, write }
    }

    /// What our end of the pair is watched for.
    pub fn inner_interest(&self) -> Interest {
        Interest {
            read: self.phase == Phase::Open && !self.stream.pending(),
            write: self.phase == Phase::Open && !self.inbound.is_empty(),
        }
    }

    /// Does what can be done now. The buffer has room for more than two records.
    pub fn turn(&mut self, buffer: &mut [u8], now: u64) -> Turn {
        let turn = match self.phase {
            Phase::Greeting => self.greet(buffer, now),
            Phase::Handshake => {
                let step = self.stream.shake();
                Self::shaken(step)
            }
            Phase::Open => self.splice(buffer, now),
            Phase::Draining | Phase::Lingering => Ok(Turn::On),
        };
        match turn {
            Ok(Turn::On) => self.wind_up(buffer, now),
            Ok(other) => other,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                // The alert that says so must not be lost in a reset.
                self.pair = None;
                self.inbound = Vec::new();
                self.part("failed", now);
                self.wind_up(buffer, now)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Turn::Over("eof"),
            Err(_) => Turn::Over("reset"),
        }
    }

    /// Python's end of a pair, once the handshake is done.
    pub fn open_pair(&mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)?;
            sys::send_buffer(end.as_raw_fd(), PAIR_BUFFER)?;
        }
        self.pair = Some(ours);
        self.phase = Phase::Open;
        self.deadline = None;
        Ok(theirs.into())
    }

    /// Time is up: what was said last did not go out, or the handshake was too slow.
    pub fn late(&self) -> &'static str {
        if self.shaking() { "timeout" } else { self.why }
    }

    /// Gives the session away. `theirs` is the other end of the pair, which nobody reads any more.
    pub fn take(mut self, theirs: RawFd, received: &[u8]) -> io::Result<Taken> {
        let mut taken = Taken {
            received: received.to_vec(),
            queued: Vec::new(),
            stream: {
                self.stream.flush()?;
                self.stream
            },
        };
        exhaust(theirs, &mut taken.received)?;
        taken.received.append(&mut self.inbound);
        if let Some(pair) = &self.pair {
            exhaust(pair.as_raw_fd(), &mut taken.queued)?;
        }
        Ok(taken)
    }

    fn greet(&mut self, buffer: &mut [u8], now: u64) -> io::Result<Turn> {
        let room = buffer.len().min(plain::LOOK);
        let count = match sys::read(self.fd(), &mut buffer[..room]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::On),
            other => other?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if plain::is_http(&buffer[..count]) {
            self.last_words = plain::answer(&buffer[..count]);
            self.part("plain", now);
            return Ok(Turn::On);
        }
        self.phase = Phase::Handshake;
        let step = self.stream.feed(&buffer[..count]);
        let step = step.and_then(|()| self.stream.shake());
        Self::shaken(step)
    }

    fn shaken(step: io::Result<()>) -> io::Result<Turn> {
        match step {
            Ok(()) => return Ok(Turn::Secured),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(Turn::On)
    }

    fn splice(&mut self, buffer: &mut [u8], now: u64) -> io::Result<Turn> {
        let Some(pair) = self.pair.as_ref().map(AsRawFd::as_raw_fd) else {
            return Ok(Turn::Over("closed"));
        };
        for _ in 0..RECORDS {
            if !self.deliver(pair) || self.peer_done || self.deaf {
                break;
            }
            match self.stream.read(buffer) {
                Ok(0) => self.peer_done = true,
                Ok(count) => self.inbound.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        for _ in 0..RECORDS {
            if !self.stream.flush()? {
                break;
            }
            match sys::read(pair, &mut buffer[..RECORD]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.pair = None;
                    self.inbound = Vec::new();
                    self.phase = Phase::Draining;
                    self.sent = self.stream.sent();
                    self.limit = now + DRAIN_LIMIT;
                    self.deadline = Some(now + DRAIN_PATIENCE);
                    break;
                }
                Ok(count) => {
                    self.stream.write(&buffer[..count])?;
                }
            }
        }
        Ok(Turn::On)
    }

    /// Hands plaintext to Python; `true` when nothing is left.
    fn deliver(&mut self, pair: RawFd) -> bool {
        while !self.inbound.is_empty() {
            match sys::write(pair, &self.inbound) {
                Ok(count) => {
                    self.inbound.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.deaf = true;
                    self.inbound.clear();
                }
            }
        }
        if self.peer_done && !self.deaf {
            self.deaf = true;
            sys::shutdown_write(pair);
        }
        self.inbound = Vec::new(); // an idle connection holds no memory
        true
    }

    /// Nothing more is said than what is on its way.
    fn part(&mut self, why: &'static str, now: u64) {
        self.why = why;
        self.phase = Phase::Draining;
        self.limit = now + LINGER;
        self.deadline = Some(now + LINGER);
    }

    /// Brings out what is left, says goodbye, and waits for the peer to do so.
    fn wind_up(&mut self, buffer: &mut [u8], now: u64) -> Turn {
        if self.phase == Phase::Draining {
            match self.drain() {
                Err(_) => return Turn::Over(self.why),
                Ok(false) => {
                    if self.stream.sent() != self.sent {
                        self.sent = self.stream.sent();
                        self.deadline = Some((now + DRAIN_PATIENCE).min(self.limit));
                    }
                    return Turn::On;
                }
                Ok(true) => {
                    sys::shutdown_write(self.fd());
                    self.phase = Phase::Lingering;
                    self.deadline = Some(now + LINGER);
                }
            }
        }
        if self.phase == Phase::Lingering {
            while self.discarded < MAX_DISCARD {
                match sys::read(self.fd(), buffer) {
                    Ok(0) => return Turn::Over(self.why),
                    Ok(count) => self.discarded += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::On,
                    Err(_) => return Turn::Over(self.why),
                }
            }
            return Turn::Over(self.why);
        }
        Turn::On
    }

    /// `true` when everything is with the kernel, the goodbye included.
    fn drain(&mut self) -> io::Result<bool> {
        while !self.last_words.is_empty() {
            match sys::write(self.fd(), &self.last_words) {
                Ok(count) => {
                    self.last_words.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.why == "closed" {
            if !self.stream.flush()? {
                return Ok(false);
            }
            self.stream.say_end(); // once: a second one is not sent
        }
        self.stream.flush()
    }
}

/// Reads what waits in a socket, to its end or until there is no more.
fn exhaust(fd: RawFd, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; RECORD];
    loop {
        match sys::read(fd, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
