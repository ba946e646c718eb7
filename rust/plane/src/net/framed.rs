//! TCP connections whose bytes are packets, each behind its length in two bytes (RFC 4571), and the
//! door that they come in by.

use super::sys::Epoll;
use crate::framing::{Deframer, frame};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Room that a connection keeps after a burst.
const KEPT: usize = 16 << 10;

/// Connections accepted before others have their turn.
const ACCEPT_QUANTUM: usize = 64;

/// How long no connection is accepted after the machine refused one (no descriptors left), µs.
const ACCEPT_PAUSE: u64 = 200_000;

/// Why a connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or the network did.
    Closed,
    /// What came is no packets.
    Malformed,
}

/// A connection with what it has begun to receive and what waits to be sent.
#[derive(Debug)]
pub struct Framed {
    socket: TcpStream,
    deframer: Deframer,
    out: Vec<u8>,
    sent: usize,
    watching: bool,
}

impl Framed {
    /// Takes over a connection that does not block and is registered for reading. `watching`:
    /// whether for writing as well, as one is that is being made.
    pub fn new(socket: TcpStream, watching: bool) -> Self {
        Self {
            socket,
            deframer: Deframer::default(),
            out: Vec::new(),
            sent: 0,
            watching,
        }
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether it is told of when there is room for more.
    pub fn watching(&self) -> bool {
        self.watching
    }

    /// Bytes that wait here, in addition to the kernel's.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Takes up to about `quantum` bytes, so that others have their turn, and hands over each
    /// packet that they complete.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        quantum: usize,
        mut packet: impl FnMut(&[u8]),
    ) -> Result<(), End> {
        let mut taken = 0;
        while taken < quantum {
            match self.socket.read(buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    taken += count;
                    self.deframer
                        .push(&buffer[..count], &mut packet)
                        .map_err(|_too_long| End::Malformed)?;
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_error) => return Err(End::Closed),
            }
        }
        Ok(())
    }

    /// Queues a packet; [`Framed::write`] sends. `false`: it is left out, as more than `most` bytes
    /// would wait, or a length cannot name its own.
    pub fn queue(&mut self, data: &[u8], most: usize) -> bool {
        self.waiting() + data.len() <= most && frame(data, &mut self.out)
    }

    /// Writes what waits as far as the socket takes it, and asks `epoll` to tell when it takes
    /// more.
    pub fn write(&mut self, epoll: &Epoll, token: u64) -> Result<(), End> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A connection that is being made takes nothing yet.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    break;
                }
                Err(_error) => return Err(End::Closed),
            }
        }
        self.out.drain(..self.sent);
        self.sent = 0;
        if self.out.is_empty() {
            self.out.shrink_to(KEPT);
        }
        let waits = !self.out.is_empty();
        if waits != self.watching {
            self.watching = waits;
            // Without it the peer's next bytes try again.
            let _ = epoll.modify(self.fd(), token, waits);
        }
        Ok(())
    }

    /// Tells the peer that nothing follows.
    pub fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// Accepts connections, and rests when the machine has no room for them.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    token: u64,
    closed_until: Option<u64>,
}

impl Door {
    /// Registers a listener that does not block under `token`.
    pub fn new(listener: TcpListener, epoll: &Epoll, token: u64) -> io::Result<Self> {
        epoll.add(listener.as_raw_fd(), token)?;
        Ok(Self {
            listener,
            token,
            closed_until: None,
        })
    }

    /// Hands over who stands before it; the number of those the machine had no room for.
    pub fn accept(
        &mut self,
        epoll: &Epoll,
        now: u64,
        mut admit: impl FnMut(TcpStream, SocketAddr),
    ) -> u64 {
        for _ in 0..ACCEPT_QUANTUM {
            match self.listener.accept() {
                Ok((socket, peer)) => admit(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return 0,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(_error) => {
                    // No descriptors left: asking again at once would take all of the thread.
                    epoll.remove(self.listener.as_raw_fd());
                    self.closed_until = Some(now + ACCEPT_PAUSE);
                    return 1;
                }
            }
        }
        0
    }

    /// When [`Door::reopen`] has something to do.
    pub fn due(&self) -> Option<u64> {
        self.closed_until
    }

    /// Accepts again after a rest.
    pub fn reopen(&mut self, epoll: &Epoll, now: u64) {
        if self.closed_until.is_some_and(|due| due <= now) {
            // Where that fails there is still no room; the next rest is as long.
            self.closed_until = epoll
                .add(self.listener.as_raw_fd(), self.token)
                .err()
                .map(|_error| now + ACCEPT_PAUSE);
        }
    }
}
