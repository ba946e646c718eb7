//! What a shard says.

use crate::webrtc::mux::{Dropped, SessionId};
use crate::webrtc::session::{Closed, MediaIn, Transport};
use std::net::SocketAddr;

/// A datagram to be sent.
#[derive(Debug)]
pub struct Datagram {
    /// Whose it is.
    pub session: SessionId,
    /// By which way; [`Transport::Tcp`] wants framing and the connection from this address.
    pub transport: Transport,
    /// To whom.
    pub to: SocketAddr,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Something a session has to say besides datagrams.
#[derive(Debug)]
pub enum Event {
    /// A publisher's packet.
    Media(SessionId, MediaIn),
    /// A viewer needs a keyframe of a track.
    KeyframeWanted(SessionId, u8),
    /// The way to a viewer takes so many bits a second.
    Estimate(SessionId, u64),
    /// A viewer is sent this video track; `None` for sound only.
    Showing(SessionId, Option<u8>),
    /// The peer is there.
    Connected(SessionId),
    /// Nothing is heard of it.
    Disconnected(SessionId),
    /// The session is gone, and forgotten.
    Closed(SessionId, Closed),
}

/// What a poll gives. Reused by the caller, so that its vectors grow once.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be sent, in this order; those of one session stand together.
    pub datagrams: Vec<Datagram>,
    /// To be acted upon.
    pub events: Vec<Event>,
}

impl Batch {
    /// Empties it.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.events.clear();
    }
}

/// Counters of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams refused by sessions.
    pub refused: u64,
    /// Datagrams for nobody.
    pub dropped: Dropped,
    /// Datagrams to be sent.
    pub sent: u64,
    /// Sessions polled.
    pub polls: u64,
    /// Sessions that ended because they brought about a fault.
    pub faults: u64,
}
