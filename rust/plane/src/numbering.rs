//! From a publisher's sequence numbers to a track's 64-bit numbers, with what was lost, doubled or
//! late counted on the way (RFC 3550 appendix A).

/// A jump of more than this is another stream, not loss: at 2 Mbit/s it would be 15 s of silence.
/// The figure is RFC 3550's `MAX_DROPOUT`.
pub const MAX_JUMP: i64 = 3_000;

/// Numbers remembered below the highest, to know a copy when it comes: one second at 8 Mbit/s.
pub const WINDOW: u64 = 1_024;

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// New; the sequence number extended to 64 bits.
    Fresh(u64),
    /// This number was here already.
    Duplicate,
    /// So far behind that nobody can tell, or wants it.
    TooLate,
    /// Does not belong to the stream so far; if the next one continues it, a new stream began.
    Stray,
    /// A new stream begins with this packet: another SSRC, or a confirmed jump.
    Restart,
}

/// The numbering state of one track of one source.
#[derive(Debug)]
pub struct Numbering {
    ssrc: Option<u32>,
    first: u64,
    highest: u64,
    seen: [u64; (WINDOW / 64) as usize],
    suspect: Option<u16>,
    /// Packets that were new.
    pub received: u64,
    /// Packets that were here already.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets refused as too late or stray.
    pub rejected: u64,
    jitter: f64,
    transit: Option<(u64, u32)>,
    clock_rate: u32,
    report: (u64, u64),
}

impl Numbering {
    /// For a track whose timestamps count `clock_rate` units a second.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            ssrc: None,
            first: 0,
            highest: 0,
            seen: [0; (WINDOW / 64) as usize],
            suspect: None,
            received: 0,
            duplicates: 0,
            reordered: 0,
            rejected: 0,
            jitter: 0.0,
            transit: None,
            clock_rate: clock_rate.max(1),
            report: (0, 0),
        }
    }

    /// The source's identifier, once a packet came.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Highest number so far, extended to 64 bits.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Packets that should have come and did not (yet).
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter (RFC 3550 §6.4.1) in timestamp units.
    pub fn jitter(&self) -> u32 {
        self.jitter as u32
    }

    /// The same in microseconds.
    pub fn jitter_us(&self) -> u64 {
        (self.jitter * 1e6 / f64::from(self.clock_rate)) as u64
    }

    fn expected(&self) -> u64 {
        if self.ssrc.is_none() {
            0
        } else {
            self.highest + 1 - self.first
        }
    }

    /// Share lost since the last call, in 1/256, as a receiver report wants it.
    pub fn fraction_lost(&mut self) -> u8 {
        let (expected, received) = (self.expected(), self.received);
        let due = expected.saturating_sub(self.report.0);
        let came = received.saturating_sub(self.report.1);
        self.report = (expected, received);
        let missed = due.saturating_sub(came) * 256;
        missed.checked_div(due).unwrap_or(0).min(255) as u8
    }

    fn begin(&mut self, ssrc: u32, sequence: u16) -> u64 {
        // One turn of headroom: packets that overtook the first one still get positive numbers.
        let first = (1 << 16) + u64::from(sequence);
        self.ssrc = Some(ssrc);
        (self.first, self.highest) = (first, first);
        self.seen = [0; (WINDOW / 64) as usize];
        self.mark(first);
        self.suspect = None;
        self.transit = None;
        self.jitter = 0.0;
        self.received = 1;
        self.report = (0, 0);
        first
    }

    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = ((number % WINDOW / 64) as usize, number % 64);
        let was = self.seen[word] >> bit & 1 == 1;
        self.seen[word] |= 1 << bit;
        was
    }

    fn advance(&mut self, number: u64) {
        if number - self.highest >= WINDOW {
            self.seen = [0; (WINDOW / 64) as usize];
        } else {
            for skipped in self.highest + 1..=number {
                let (word, bit) = ((skipped % WINDOW / 64) as usize, skipped % 64);
                self.seen[word] &= !(1 << bit);
            }
        }
        self.highest = number;
    }

    /// Takes one packet's identity. After [`Arrival::Restart`] the packet is number one of a new
    /// stream, and [`Numbering::highest`] is its number.
    pub fn take(&mut self, ssrc: u32, sequence: u16, timestamp: u32, now: u64) -> Arrival {
        let Some(current) = self.ssrc else {
            let number = self.begin(ssrc, sequence);
            self.measure(timestamp, now);
            return Arrival::Fresh(number);
        };
        if current != ssrc {
            self.begin(ssrc, sequence);
            return Arrival::Restart;
        }
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        if step.abs() > MAX_JUMP {
            self.rejected += 1;
            if self.suspect == Some(sequence) {
                self.begin(ssrc, sequence);
                return Arrival::Restart;
            }
            self.suspect = Some(sequence.wrapping_add(1));
            return Arrival::Stray;
        }
        self.suspect = None;
        let Some(number) = self.highest.checked_add_signed(step) else {
            self.rejected += 1;
            return Arrival::TooLate;
        };
        if step > 0 {
            self.advance(number);
        } else if self.highest - number >= WINDOW {
            self.rejected += 1;
            return Arrival::TooLate;
        }
        if self.mark(number) {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        if step < 0 {
            self.reordered += 1;
            self.first = self.first.min(number);
        } else {
            self.measure(timestamp, now);
        }
        self.received += 1;
        Arrival::Fresh(number)
    }

    fn measure(&mut self, timestamp: u32, now: u64) {
        if let Some((then, before)) = self.transit {
            let elapsed = (now as i64 - then as i64) as f64 * f64::from(self.clock_rate) / 1e6;
            let media = f64::from(timestamp.wrapping_sub(before) as i32);
            self.jitter += ((elapsed - media).abs() - self.jitter) / 16.0;
        }
        self.transit = Some((now, timestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn fresh(numbering: &mut Numbering, sequence: u16) -> Option<u64> {
        match numbering.take(1, sequence, 0, 0) {
            Arrival::Fresh(number) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn numbers_go_on_over_the_wrap() {
        let mut numbering = Numbering::new(90_000);
        let first = fresh(&mut numbering, 65_534).unwrap();
        let numbers: Vec<_> = [65_535, 0, 1]
            .iter()
            .map(|s| fresh(&mut numbering, *s).unwrap())
            .collect();
        assert_eq!(numbers, [first + 1, first + 2, first + 3]);
        assert_eq!(numbering.lost(), 0);
    }

    #[test]
    fn a_copy_is_known_and_a_late_one_is_new() {
        let mut numbering = Numbering::new(90_000);
        for sequence in [10, 11, 13] {
            fresh(&mut numbering, sequence).unwrap();
        }
        assert_eq!(numbering.lost(), 1);
        assert_eq!(numbering.take(1, 11, 0, 0), Arrival::Duplicate);
        assert!(fresh(&mut numbering, 12).is_some());
        assert_eq!(
            (numbering.lost(), numbering.reordered, numbering.duplicates),
            (0, 1, 1)
        );
    }

    #[test]
    fn another_ssrc_or_a_confirmed_jump_begins_anew() {
        let mut numbering = Numbering::new(90_000);
        fresh(&mut numbering, 10);
        assert_eq!(numbering.take(2, 500, 0, 0), Arrival::Restart);
        assert_eq!(numbering.take(2, 20_000, 0, 0), Arrival::Stray);
        assert_eq!(
            numbering.take(2, 501, 0, 0),
            Arrival::Fresh((1 << 16) + 501)
        );
        assert_eq!(numbering.take(2, 30_000, 0, 0), Arrival::Stray);
        assert_eq!(numbering.take(2, 30_001, 0, 0), Arrival::Restart);
    }

    #[test]
    fn even_arrivals_have_no_jitter_and_uneven_ones_have() {
        let mut numbering = Numbering::new(90_000);
        for n in 0..100_u32 {
            numbering.take(1, n as u16, n * 3_600, u64::from(n) * 40_000);
        }
        assert_eq!(numbering.jitter(), 0);
        for n in 100..200_u32 {
            numbering.take(
                1,
                n as u16,
                n * 3_600,
                u64::from(n) * 40_000 + u64::from(n % 2) * 5_000,
            );
        }
        assert!((4_000..6_000).contains(&numbering.jitter_us()));
    }

    proptest! {
        /// Against a set of everything seen: the window must not lie within its reach.
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(-200_i64..300, 1..300)) {
            let mut numbering = Numbering::new(90_000);
            let mut seen = HashSet::new();
            let mut at: i64 = 100_000;
            let mut highest = at;
            let base = fresh(&mut numbering, at as u16).unwrap() as i64 - at;
            seen.insert(at);
            for step in steps {
                at = (highest + step).max(90_000);
                let result = numbering.take(1, at as u16, 0, 0);
                if (highest - at) >= WINDOW as i64 {
                    continue;
                }
                if seen.insert(at) {
                    prop_assert_eq!(result, Arrival::Fresh((at + base) as u64));
                } else {
                    prop_assert_eq!(result, Arrival::Duplicate);
                }
                highest = highest.max(at);
            }
            prop_assert_eq!(numbering.received, seen.len() as u64);
        }
    }
}
