//! Packets that another unit numbered: what is known of each, which copy came first, and what a
//! source of them keeps while another one is relayed.

use crate::ring::{KEY, RTCP};
use std::collections::VecDeque;

/// A packet of a channel as the unit that numbers it made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Track within the channel.
    pub track: u8,
    /// Flags of [`crate::ring::Item`].
    pub flags: u8,
    /// The epoch of the source there.
    pub epoch: u32,
    /// Number within the track, over all epochs; 0 for RTCP.
    pub number: u64,
    /// The RTP packet, or the compound RTCP packet.
    pub data: Box<[u8]>,
}

/// Numbers remembered below the newest: what a ring replays, 3 s at 50 Mbit/s.
const WINDOW: u64 = 1 << 14;

/// Gaps remembered to be asked for. More of them at a time are an outage, after which everything
/// that is held anywhere is wanted.
const MAX_GAPS: usize = 256;

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New, and the newest.
    Newest,
    /// New, behind the newest.
    Late,
    /// This number was here already.
    Duplicate,
    /// Of an epoch that is over, or too far behind for anybody to tell.
    TooOld,
}

/// Which numbers of a track came.
#[derive(Debug)]
pub struct Seen {
    epoch: u32,
    first: u64,
    highest: u64,
    bits: Box<[u64]>,
    /// First and last number missing, and when that was noticed.
    gaps: VecDeque<(u64, u64, u64)>,
    started: bool,
    /// Packets that were new.
    pub received: u64,
    /// Packets that were here already.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets refused as too old.
    pub rejected: u64,
    /// Numbers that were expected.
    expected: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            epoch: 0,
            first: 0,
            highest: 0,
            bits: vec![0; (WINDOW / 64) as usize].into(),
            gaps: VecDeque::new(),
            started: false,
            received: 0,
            duplicates: 0,
            reordered: 0,
            rejected: 0,
            expected: 0,
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}

impl Seen {
    /// Whether anything came.
    pub fn started(&self) -> bool {
        self.started
    }

    /// The epoch of the newest.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Numbers that should have come and did not (yet).
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// Takes a packet's identity.
    pub fn take(&mut self, epoch: u32, number: u64, now: u64) -> Verdict {
        if self.started && epoch < self.epoch {
            self.rejected += 1;
            return Verdict::TooOld;
        }
        if !self.started || epoch > self.epoch {
            self.begin(epoch, number);
            return Verdict::Newest;
        }
        if number > self.highest {
            self.advance(number, now);
        } else if self.highest - number >= WINDOW {
            self.rejected += 1;
            return Verdict::TooOld;
        }
        let (word, bit) = place(number);
        if self.bits[word] & bit != 0 {
            self.duplicates += 1;
            return Verdict::Duplicate;
        }
        self.bits[word] |= bit;
        self.received += 1;
        if number == self.highest {
            return Verdict::Newest;
        }
        self.reordered += 1;
        if number < self.first {
            self.expected += self.first - number;
            self.first = number;
        }
        Verdict::Late
    }

    fn begin(&mut self, epoch: u32, number: u64) {
        self.bits.fill(0);
        self.gaps.clear();
        (self.started, self.epoch) = (true, epoch);
        (self.first, self.highest) = (number, number);
        self.received += 1;
        self.expected += 1;
        let (word, bit) = place(number);
        self.bits[word] |= bit;
    }

    fn advance(&mut self, number: u64, now: u64) {
        let missed = number - self.highest - 1;
        if missed >= WINDOW {
            self.bits.fill(0);
        } else {
            for skipped in self.highest + 1..=number {
                let (word, bit) = place(skipped);
                self.bits[word] &= !bit;
            }
        }
        if missed > 0 {
            if self.gaps.len() >= MAX_GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back((self.highest + 1, number - 1, now));
        }
        self.expected = self.expected.saturating_add(missed + 1);
        self.highest = number;
    }

    /// The newest number such that nothing before it is missing that a ring of this depth may
    /// still hold.
    pub fn complete(&mut self, depth_us: u64, now: u64) -> u64 {
        while let Some((from, to, noticed)) = self.gaps.front().copied() {
            let low = from.max(self.highest.saturating_sub(WINDOW - 1));
            let missing = (low..=to).find(|number| {
                let (word, bit) = place(*number);
                self.bits[word] & bit == 0
            });
            match missing {
                Some(number) if noticed + depth_us > now => return number - 1,
                _ => self.gaps.pop_front(),
            };
        }
        self.highest
    }
}

/// A standby's packets are kept up to this many bytes, as those of other sources are.
const STANDBY_BYTES: usize = 4 << 20;

/// A source that begins without a keyframe waits so long for one, µs.
const KEYFRAME_PATIENCE: u64 = 3_000_000;

/// What a source of numbered packets has beside what every source has.
#[derive(Debug, Default)]
pub struct NumberedSource {
    /// The epoch of its newest packet.
    pub epoch: u32,
    waiting: VecDeque<(Numbered, u64)>,
    bytes: usize,
    has_key: bool,
    /// Its newest packet continues what the channel relays.
    pub continues: bool,
}

impl NumberedSource {
    /// Whether it could be relayed; `keyed` says that its readers need a keyframe first.
    pub fn ready(&self, keyed: bool, well_for: u64) -> bool {
        self.continues
            || (!self.waiting.is_empty()
                && (!keyed || self.has_key || well_for > KEYFRAME_PATIENCE))
    }

    /// Whether taking over now shows nothing twice.
    pub fn at_key(&self, keyed: bool, now: u64) -> bool {
        self.continues
            || !keyed
            || self
                .waiting
                .front()
                .is_some_and(|(first, arrival)| first.flags & KEY != 0 && *arrival == now)
    }

    /// Keeps a packet while another source is relayed, or none.
    pub fn keep(&mut self, item: Numbered, keyed: bool, now: u64) {
        let key = item.flags & (KEY | RTCP) == KEY;
        if key || self.bytes > STANDBY_BYTES {
            // The latest report of each track's clock stays good.
            self.waiting.retain(|(old, _)| old.flags & RTCP != 0 && key);
            self.bytes = self.waiting.iter().map(|(old, _)| old.data.len()).sum();
            self.has_key = key;
            if !key {
                return;
            }
        }
        if item.flags & RTCP != 0 {
            self.waiting
                .retain(|(old, _)| old.flags & RTCP == 0 || old.track != item.track);
        }
        self.bytes += item.data.len();
        self.waiting.push_back((item, now));
        while !(keyed && self.has_key) && self.waiting.len() > 64 {
            self.waiting.pop_front(); // sound needs no beginning
        }
    }

    /// Forgets what was kept: another epoch begins, or nothing comes any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
        (self.bytes, self.has_key, self.continues) = (0, false, false);
    }

    /// Hands over what was kept, to be relayed first, and whether it begins with a keyframe.
    pub fn activate(&mut self) -> (VecDeque<(Numbered, u64)>, bool) {
        let whole = self.has_key || self.continues;
        let waiting = std::mem::take(&mut self.waiting);
        self.clear();
        (waiting, whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn an_older_epoch_is_over() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(2, 100, 0), Verdict::Newest);
        assert_eq!(seen.take(1, 101, 0), Verdict::TooOld);
        assert_eq!(seen.take(3, 90, 0), Verdict::Newest);
        assert_eq!(seen.take(2, 102, 0), Verdict::TooOld);
        assert_eq!(seen.complete(1, 0), 90);
    }

    #[test]
    fn a_gap_is_asked_for_while_a_ring_may_hold_it() {
        let mut seen = Seen::default();
        for number in [10, 11, 14, 15] {
            seen.take(1, number, 1_000);
        }
        assert_eq!(seen.complete(500, 1_400), 11);
        assert_eq!(seen.take(1, 12, 1_400), Verdict::Late);
        assert_eq!(seen.complete(500, 1_400), 12);
        assert_eq!(seen.complete(500, 1_500), 15);
        assert_eq!(seen.lost(), 1);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec(-400_i64..600, 1..200)) {
            let mut seen = Seen::default();
            let mut set = HashSet::new();
            let (mut highest, mut began) = (100_000_i64, None);
            for step in steps {
                let number = highest + step;
                let verdict = seen.take(1, number as u64, 0);
                let newest = set.is_empty() || number > highest;
                let expected = if !set.insert(number) {
                    Verdict::Duplicate
                } else if newest {
                    Verdict::Newest
                } else {
                    Verdict::Late
                };
                prop_assert_eq!(verdict, expected);
                highest = if newest { number } else { highest };
                // Gaps before the number that came first are not known, nor those behind the window.
                let began = *began.get_or_insert(number);
                if highest - began < WINDOW as i64 {
                    let mut complete = began;
                    while set.contains(&(complete + 1)) {
                        complete += 1;
                    }
                    prop_assert_eq!(seen.complete(1, 0), complete as u64);
                }
            }
        }
    }
}
