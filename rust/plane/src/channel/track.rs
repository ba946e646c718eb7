//! A track as readers see it: one run of numbers and one clock, whichever source is relayed.

use super::reports::CNAME;
use crate::frames::ClockMap;
use crate::media::TrackSpec;
use crate::numbered::Seen;
use crate::rtcp;
use crate::source::MAX_HELD_ERROR;
use std::hash::{BuildHasher, RandomState};

/// From the last packet of an epoch to the first of the next, at least, µs: files count time no
/// finer.
const MIN_STEP: u64 = 1_000;

/// A picture that is shown before one sent earlier is at most so much earlier, µs: sixteen pictures,
/// the most any codec reorders, at 12 a second. A longer step back is a clock that was set.
const MAX_REORDERING: u64 = 1_300_000;

/// Steps back, each within [`MAX_REORDERING`] of the one before, after which a track is said to be
/// reordered: a sender's clock may be set now and then, B-frames come all the time.
const REORDERED: u32 = 2;

/// A track as readers see it.
#[derive(Debug)]
pub struct TrackOut {
    /// Its format.
    pub spec: TrackSpec,
    /// The identifier all readers see, for the channel's life.
    pub ssrc: u32,
    /// Number of the next packet.
    pub next: u64,
    /// What its timestamps mean, once a packet came.
    pub clock: Option<ClockMap>,
    last_timestamp: Option<u32>,
    /// Timestamp of the packet with the highest number.
    newest: Option<u32>,
    stepped: Option<u32>,
    steps_back: u32,
    pub(super) report_due: u64,
    pub(super) packets: u64,
    pub(super) octets: u64,
    /// Which numbers another unit's packets had.
    pub(super) seen: Option<Seen>,
    /// NTP time of the latest report that came with them.
    pub(super) reported: u64,
}

impl TrackOut {
    pub(super) fn new(spec: &TrackSpec) -> Self {
        let random = RandomState::new().hash_one(spec.id);
        Self {
            spec: spec.clone(),
            ssrc: random as u32,
            next: 1 + (random >> 32 & 0x7fff),
            clock: None,
            last_timestamp: None,
            newest: None,
            stepped: None,
            steps_back: 0,
            report_due: 0,
            packets: 0,
            octets: 0,
            seen: None,
            reported: 0,
        }
    }

    /// An epoch begins: the timestamp its first packet gets. One mapping of timestamps to the wall
    /// clock goes on over epochs, so that players wait out a pause instead of losing their place.
    pub(super) fn begin(&mut self, timestamp: u32, wall_us: u64, now: u64) -> u32 {
        let begun = match (self.clock, self.last_timestamp) {
            (Some(clock), Some(last)) => {
                let next = clock.timestamp(wall_us);
                if later(next, last) {
                    next
                } else {
                    last.wrapping_add(1)
                }
            }
            _ => timestamp,
        };
        self.clock = Some(ClockMap {
            rtp: begun,
            wall_us,
            rate: self.spec.clock_rate,
        });
        self.report_due = now;
        self.forget_order();
        begun
    }

    /// The packet with the highest number has this timestamp. Numbers count in the order of
    /// decoding and timestamps in that of showing (RFC 3550 §5.1, RFC 6184 §5.1), so that a step back
    /// from one packet to the next shows reordered pictures (B-frames), whatever the codec and
    /// whatever its parameter sets say or leave out.
    pub(super) fn newest(&mut self, timestamp: u32) {
        if let Some(before) = self.newest.replace(timestamp)
            && later(before, timestamp)
        {
            let most = MAX_REORDERING * u64::from(self.spec.clock_rate) / 1_000_000;
            let within = |from: u32, to: u32| u64::from(to.wrapping_sub(from)) <= most;
            if self.steps_back >= REORDERED || !within(timestamp, before) {
                return;
            }
            let again = self.stepped.is_some_and(|last| within(last, before));
            self.steps_back = if again { self.steps_back + 1 } else { 1 };
            self.stepped = Some(before);
        }
    }

    /// The instant `wall`, or one just after the last packet's where a new source's clock, which
    /// is only known within the delay of its first report, would have time run back a little.
    pub(super) fn not_before(&self, wall: u64) -> u64 {
        let (Some(clock), Some(last)) = (self.clock, self.last_timestamp) else {
            return wall;
        };
        let soonest = clock.wall(last) + MIN_STEP;
        if soonest > wall && soonest - wall <= MAX_HELD_ERROR {
            soonest
        } else {
            wall
        }
    }

    pub(super) fn reached(&mut self, timestamp: u32) {
        if self
            .last_timestamp
            .is_none_or(|last| later(timestamp, last))
        {
            self.last_timestamp = Some(timestamp);
        }
    }

    /// What was seen of the order of pictures is over.
    pub(super) fn forget_order(&mut self) {
        (self.newest, self.stepped, self.steps_back) = (None, None, 0);
    }

    /// Whether its pictures come in another order than they are shown in.
    pub(super) fn reorders(&self) -> bool {
        self.steps_back >= REORDERED
    }

    /// The sender report of this instant; `None` before the first packet.
    pub fn report(&self, now: u64) -> Option<Vec<u8>> {
        let clock = self.clock?;
        Some(rtcp::sender_report(
            self.ssrc,
            rtcp::to_ntp(now),
            clock.timestamp(now),
            self.packets as u32,
            self.octets as u32,
            CNAME,
        ))
    }
}

/// Whether timestamp `a` comes after `b`, over the wrap.
fn later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
