//! WebRTC: publishers by WHIP (RFC 9725) and viewers by WHEP, on `str0m`.
//!
//! Pure: offers, datagrams, ring items and time come in as arguments; answers, datagrams, packets
//! and due times go out. Sockets, threads and HTTP are others' business.
//!
//! ```text
//! shard       many sessions of one thread: routes, delivers, polls those with work due
//! session     one peer: its offer, its transport, its tracks
//! direct      a viewer's media where no bandwidth is estimated: seals, repairs, reports
//! srtp, keys, feedback, repairs, sent what that is made of
//! prepare     a channel's items made ready, once for all viewers
//! view, once  what a viewer is sent: own numbering, kept over changes of layer, no number twice
//! layers      which simulcast layer for which estimate         (decision)
//! feed        which simulcast layer for readers without choice (decision)
//! keyframes   many viewers' requests made one                  (decision)
//! mux         which session a datagram is for                  (decision)
//! formats, fragment             offers, trickle ICE
//! guard       faults that one peer brings about
//! ```

pub mod direct;
pub mod feed;
pub mod feedback;
pub mod formats;
pub mod fragment;
pub mod guard;
pub mod keyframes;
pub mod keys;
pub mod layers;
pub mod mux;
pub mod offer;
pub mod once;
pub mod path;
pub mod prepare;
pub mod repairs;
pub mod sent;
pub mod session;
pub mod shard;
pub mod srtp;
pub mod view;

use std::fmt;
use std::time::{Duration, Instant};

/// Ties the plane's clock (Unix µs, see [`crate::clock`]) to the one `str0m` counts by.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    instant: Instant,
    us: u64,
}

impl Timeline {
    /// `now` is this very moment; everything else follows from the argument.
    pub fn new(now: u64) -> Self {
        Self {
            instant: Instant::now(),
            us: now,
        }
    }

    /// The instant of a time.
    pub fn instant(&self, us: u64) -> Instant {
        if us >= self.us {
            return self.instant + Duration::from_micros(us - self.us);
        }
        let back = Duration::from_micros(self.us - us);
        self.instant.checked_sub(back).unwrap_or(self.instant)
    }

    /// The time of an instant, rounded up: at that time the instant has come.
    pub fn us(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(since) => self
                .us
                .saturating_add(since.as_nanos().div_ceil(1_000) as u64),
            None => self
                .us
                .saturating_sub(self.instant.duration_since(instant).as_micros() as u64),
        }
    }
}

/// Why an offer or a fragment was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a session description, or one that contradicts itself.
    Malformed(String),
    /// It brought a fault of ours about.
    Fault,
    /// Longer than is taken.
    TooLarge,
    /// A publisher that sends nothing, or a viewer that receives nothing.
    NothingOffered,
    /// No format in common: HTTP 406.
    NoCommonCodec {
        /// What the peer offered, of what we know.
        offered: Vec<String>,
        /// What the channel carries, or what we take.
        has: Vec<String>,
    },
    /// Pictures come in another order than they are shown in (B-frames), which WebRTC's receivers
    /// cannot put right: HTTP 406.
    Reordered,
    /// The shard has as many sessions as it may.
    Full,
    /// No such session.
    Unknown,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed description: {why}"),
            Self::Fault => write!(f, "description that cannot be worked on"),
            Self::TooLarge => write!(f, "description too long"),
            Self::NothingOffered => write!(f, "no media in the direction wanted"),
            Self::NoCommonCodec { offered, has } => write!(
                f,
                "no common codec: offered {}; here {}",
                offered.join(", "),
                has.join(", ")
            ),
            Self::Reordered => write!(f, "the channel has B-frames, which WebRTC does not"),
            Self::Full => write!(f, "too many sessions"),
            Self::Unknown => write!(f, "no such session"),
        }
    }
}

impl std::error::Error for Refused {}
