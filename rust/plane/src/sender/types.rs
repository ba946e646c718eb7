//! Values of a sender: how to play, what it is at, what it counts and tells, why it refuses.

use super::block::Malformed;

/// Why an order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a block.
    Malformed(Malformed),
    /// A block that belongs before one that was fed.
    Order,
    /// It was told that nothing more comes.
    Finished,
    /// More would wait than is allowed.
    Full,
    /// Nothing has a destination.
    Nowhere,
    /// A value out of its range.
    Value(&'static str),
}

/// What it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started yet.
    Idle,
    /// Sends.
    Playing,
    /// Stopped for a while.
    Paused,
    /// Has sent everything.
    Ended,
}

/// What it has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It wants to be fed; media time that is fed and not played, µs.
    Low(u64),
    /// It has sent everything.
    Ended,
}

/// What is counted; meanings stand in `plane/types.py`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub packets: u64,
    pub bytes: u64,
    pub late_1ms: u64,
    pub late_5ms: u64,
    pub late_20ms: u64,
    pub late_100ms: u64,
    pub late_max_us: u64,
    pub underruns: u64,
    pub slipped_us: u64,
    pub stalled_us: u64,
    pub send_errors: u64,
    pub resent: u64,
    pub resend_refused: u64,
}

impl Counters {
    /// A packet went out so much after it was due.
    pub(super) fn late(&mut self, late: u64) {
        self.late_1ms += u64::from(late > 1_000);
        self.late_5ms += u64::from(late > 5_000);
        self.late_20ms += u64::from(late > 20_000);
        self.late_100ms += u64::from(late > 100_000);
        self.late_max_us = self.late_max_us.max(late);
    }
}

/// How to play.
#[derive(Clone, Debug)]
pub struct Start {
    /// From which media time, µs.
    pub from_us: u64,
    /// When that is due, µs of the plane's clock.
    pub at: u64,
    /// How fast packets go out.
    pub rate: f64,
    /// How fast media time goes.
    pub scale: f64,
    /// Whether packets of key units only.
    pub keys_only: bool,
    /// Up to which media time, µs.
    pub until_us: Option<u64>,
    /// Which tracks; all without.
    pub tracks: Option<Vec<u8>>,
}
