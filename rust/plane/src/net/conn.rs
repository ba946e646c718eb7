//! A TCP connection handed over by Python: RTSP with interleaved media (RFC 2326 §10.12), or a
//! WebSocket. Messages for Python are cut out whole; what they say is Python's business.

use crate::event::Id;
use crate::net::endpoint::Route;
use crate::net::senders::SenderCell;
use crate::net::sys;
use crate::net::tls::TlsStream;
use crate::net::websocket::{self, Message};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What the connection speaks.
#[derive(Debug)]
pub enum Speech {
    /// RTSP messages and `$`-framed packets.
    Rtsp,
    /// WebSocket frames.
    WebSocket(websocket::Parser),
}

/// What carries the connection's bytes. Reading and writing never wait.
#[derive(Debug)]
pub enum Stream {
    /// A socket.
    Plain(OwnedFd),
    /// A TLS session on one.
    Tls(TlsStream),
}

impl Stream {
    fn fd(&self) -> RawFd {
        match self {
            Self::Plain(socket) => socket.as_raw_fd(),
            Self::Tls(stream) => stream.fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => sys::read(socket.as_raw_fd(), buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    /// The bytes taken; 0 when there is no room.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let socket = match self {
            Self::Plain(socket) => socket.as_raw_fd(),
            Self::Tls(stream) => return stream.write(data),
        };
        loop {
            match sys::write(socket, data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Whether what was taken is with the kernel.
    fn flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => !stream.pending(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.flush()?;
        }
        Ok(())
    }

    /// Ends our side.
    fn shut(&mut self) {
        if let Self::Tls(stream) = self {
            stream.say_end();
        }
        sys::shutdown_write(self.fd());
    }
}

/// What came in on a connection.
#[derive(Debug)]
pub enum Incoming {
    /// A message for Python.
    Control(Vec<u8>),
    /// A packet on an interleaved channel, as a range of [`Conn::buffer`].
    Packet(u8, std::ops::Range<usize>),
    /// The peer is done.
    Ended(&'static str),
}

/// Control messages that may wait for a peer that does not read. Beyond it the connection ends:
/// an RTSP dialogue never has so much open.
const MAX_QUEUED: usize = 1 << 20;

/// Bytes taken from one connection before others have their turn.
const READ_QUANTUM: usize = 128 << 10;

/// The connection.
#[derive(Debug)]
pub struct Conn {
    /// Its id.
    pub id: Id,
    /// What it speaks.
    pub speech: Speech,
    /// Where packets on interleaved channels go; `true` for the control half.
    pub publishes: HashMap<u8, (Arc<Route>, bool)>,
    /// The readers it carries.
    pub readers: Vec<(Id, Id)>,
    /// The paced senders it carries.
    pub senders: Vec<Arc<SenderCell>>,
    /// To be closed once everything queued is written.
    pub closing: bool,
    /// When it is closed, written or not.
    pub deadline: Option<u64>,
    /// Whether epoll watches for writing.
    pub watching_write: bool,
    /// Bytes read and not understood yet.
    pub buffer: Vec<u8>,
    stream: Stream,
    out: Vec<u8>,
    sent: usize,
    max_message: usize,
}

impl Conn {
    /// Takes a connection over; `received` was read from it before, `queued` stands before all that
    /// is written to it.
    pub fn new(
        id: Id,
        stream: Stream,
        speech: Speech,
        received: Vec<u8>,
        queued: Vec<u8>,
        max_message: usize,
    ) -> Self {
        Self {
            id,
            speech,
            publishes: HashMap::new(),
            readers: Vec::new(),
            senders: Vec::new(),
            closing: false,
            deadline: None,
            watching_write: false,
            buffer: received,
            stream,
            out: queued,
            sent: 0,
            max_message,
        }
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.stream.fd()
    }

    /// Whether TLS carries it: then bytes may wait in its session that no socket tells of.
    pub fn secured(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whether media may be written: nothing older waits.
    pub fn clear(&self) -> bool {
        self.out.is_empty() && self.stream.flushed()
    }

    /// Reads what came. `Some` when the peer ended.
    pub fn read(&mut self, scratch: &mut [u8]) -> Option<&'static str> {
        let ended = self.receive(scratch);
        if !self.publishes.is_empty() {
            // A publisher that leaves Nagle's algorithm on, as ffmpeg does, keeps the rest of a
            // picture back until the packet before it is acknowledged: 40 ms, if that is left to
            // the kernel. The option holds for one acknowledgement only.
            sys::acknowledge(self.fd());
        }
        ended
    }

    fn receive(&mut self, scratch: &mut [u8]) -> Option<&'static str> {
        let mut taken = 0;
        while taken < READ_QUANTUM {
            match self.stream.read(scratch) {
                Ok(0) => return Some("eof"),
                Ok(count) => {
                    self.buffer.extend_from_slice(&scratch[..count]);
                    taken += count;
                    if count < scratch.len() {
                        return None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some("reset"),
            }
        }
        None
    }

    /// Takes everything whole out of the buffer, in order. Ranges stay valid until
    /// [`Conn::consume`] is called with the returned count.
    pub fn parse(&mut self, found: &mut Vec<Incoming>) -> usize {
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..];
            let step = match &mut self.speech {
                Speech::Rtsp => interleaved(rest, self.max_message),
                Speech::WebSocket(parser) => match parser.next(rest, self.max_message) {
                    Ok(None) => Step::More,
                    Ok(Some((used, message))) => {
                        match message {
                            Some(Message::Text(text)) => found.push(Incoming::Control(text)),
                            Some(Message::Ping(data)) => websocket::pong(&mut self.out, &data),
                            Some(Message::Close) => {
                                websocket::close(&mut self.out, 1000);
                                found.push(Incoming::Ended("eof"));
                            }
                            None => {}
                        }
                        at += used;
                        continue;
                    }
                    Err(websocket::Broken) => Step::Broken,
                },
            };
            match step {
                Step::More => return at,
                Step::Broken => {
                    found.push(Incoming::Ended("malformed"));
                    return self.buffer.len();
                }
                Step::Skip(count) => at += count,
                Step::Packet(channel, length) => {
                    found.push(Incoming::Packet(channel, at + 4..at + 4 + length));
                    at += 4 + length;
                }
                Step::Message(length) => {
                    found.push(Incoming::Control(self.buffer[at..at + length].to_vec()));
                    at += length;
                }
            }
        }
    }

    /// Forgets bytes that were understood; an idle connection holds no memory.
    pub fn consume(&mut self, count: usize) {
        if count == self.buffer.len() {
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..count);
        }
    }

    /// Queues a control message. `false` when too much waits already.
    pub fn send(&mut self, data: &[u8]) -> bool {
        if self.out.len() - self.sent + data.len() > MAX_QUEUED {
            return false;
        }
        if matches!(self.speech, Speech::WebSocket(_)) {
            websocket::header(&mut self.out, websocket::TEXT, data.len());
        }
        self.out.extend_from_slice(data);
        true
    }

    /// Queues one packet on an interleaved channel, ahead of the media that follows.
    pub fn send_packet(&mut self, channel: u8, data: &[u8]) -> bool {
        if self.out.len() - self.sent + data.len() > MAX_QUEUED {
            return false;
        }
        interleave(&mut self.out, channel, &[data]);
        true
    }

    /// Says goodbye in the connection's own way, if it has one.
    pub fn say_close(&mut self) {
        if matches!(self.speech, Speech::WebSocket(_)) {
            websocket::close(&mut self.out, 1000);
        }
    }

    /// Writes what is queued; `Err` when the peer is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..])? {
                0 => return Ok(()),
                count => self.sent += count,
            }
        }
        self.sent = 0;
        if self.out.capacity() > 4_096 {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Writes media; the bytes taken. Only when [`Conn::clear`].
    pub fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.write(data)
    }

    /// Ends our side, in the words of what carries it.
    pub fn shut(&mut self) {
        self.stream.shut();
    }

    /// Keeps the rest of a packet the socket took a part of.
    pub fn keep(&mut self, rest: &[u8]) {
        debug_assert!(self.out.is_empty());
        debug_assert!(self.out.is_empty());
        self.out.extend_from_slice(rest);
    }
}

/// Appends a packet, in pieces, in RTSP's interleaved framing.
pub fn interleave(out: &mut Vec<u8>, channel: u8, pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.extend_from_slice(&[b'$', channel]);
    out.extend_from_slice(&(length as u16).to_be_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    More,
    Broken,
    Skip(usize),
    Packet(u8, usize),
    Message(usize),
}

/// What stands at the beginning of an RTSP connection's bytes.
fn interleaved(rest: &[u8], max_message: usize) -> Step {
    match rest {
        [] | [b'$'] | [b'$', _] | [b'$', _, _] => Step::More,
        [b'$', channel, high, low, data @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if data.len() < length {
                Step::More
            } else {
                Step::Packet(*channel, length)
            }
        }
        [b'\r' | b'\n', ..] => Step::Skip(1),
        _ => {
            let window = &rest[..rest.len().min(max_message)];
            let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
                return if rest.len() >= max_message {
                    Step::Broken
                } else {
                    Step::More
                };
            };
            let Some(body) = content_length(&rest[..end]) else {
                return Step::Broken;
            };
            let total = end + 4 + body;
            if body > max_message || total > max_message {
                Step::Broken
            } else if rest.len() < total {
                Step::More
            } else {
                Step::Message(total)
            }
        }
    }
}

/// The body's length a header block announces; `None` when it is not a number.
fn content_length(head: &[u8]) -> Option<usize> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(b"content-length")
        {
            let value = std::str::from_utf8(line[colon + 1..].trim_ascii()).ok()?;
            return value.parse::<u32>().ok().map(|length| length as usize);
        }
    }
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_packets_from_messages() {
        assert_eq!(interleaved(b"$\x02\x00\x03abc", 100), Step::Packet(2, 3));
        assert_eq!(interleaved(b"$\x02\x00\x04abc", 100), Step::More);
        assert_eq!(interleaved(b"\r\n$", 100), Step::Skip(1));
        let plain = b"PAUSE rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n$";
        assert_eq!(interleaved(plain, 100), Step::Message(plain.len() - 1));
        let body = b"SET_PARAMETER * RTSP/1.0\r\ncontent-length : 2\r\n\r\n$$rest";
        assert_eq!(interleaved(body, 100), Step::Message(body.len() - 4));
    }

    #[test]
    fn refuses_what_is_too_long_or_lies() {
        assert_eq!(interleaved(&[b'x'; 100], 100), Step::Broken);
        assert_eq!(
            interleaved(b"A * B\r\nContent-Length: 101\r\n\r\n", 100),
            Step::Broken
        );
        assert_eq!(
            interleaved(b"A * B\r\nContent-Length: -1\r\n\r\n", 100),
            Step::Broken
        );
    }

    proptest! {
        #[test]
        fn every_step_stays_inside(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            match interleaved(&data, 64) {
                Step::Packet(_, length) => prop_assert!(4 + length <= data.len()),
                Step::Message(length) => prop_assert!(length <= data.len()),
                Step::Skip(count) => prop_assert!(count <= data.len()),
                Step::More | Step::Broken => {}
            }
        }
    }
}
