//! The sums over all readers.

use std::collections::BTreeMap;

use crate::json::Object;
use crate::stats::Samples;
use crate::track::Track;

/// What is said of a window, by whatever kind of readers.
pub struct Report<'a> {
    /// Readers that play.
    pub playing: usize,
    /// Readers that were closed while they played.
    pub closed: u64,
    /// Why others do not play, and how many.
    pub failures: &'a BTreeMap<String, u64>,
    /// Length of the window.
    pub seconds: f64,
    /// What this process used in it, µs.
    pub cpu_us: u64,
    /// The sums.
    pub tally: &'a Tally,
}

impl Report<'_> {
    /// All of it, with delays and intervals.
    pub fn object(&self, delay: Samples, interval: Samples) -> Object {
        let mut failures = Object::new();
        for (why, count) in self.failures {
            failures = failures.int(why, *count);
        }
        let said = Object::new()
            .int("playing", self.playing as u64)
            .int("closed", self.closed)
            .object("failures", failures)
            .float("seconds", self.seconds)
            .int("cpu_us", self.cpu_us);
        self.tally
            .put(said)
            .object("delay", delay.summary())
            .object("interval", interval.summary())
    }
}

/// What all readers counted together; slow ones apart.
#[derive(Default)]
pub struct Tally {
    packets: u64,
    fewest: Option<u64>,
    bytes: u64,
    lost: u64,
    end_to_end: u64,
    with_loss: u64,
    reads: u64,
    gap_us: u64,
    slow_bytes: u64,
    slow_lost: u64,
}

impl Tally {
    /// Adds one reader.
    pub fn add(&mut self, tracks: &[Track], reads: u64, slow: bool) {
        let sum = |of: fn(&Track) -> u64| tracks.iter().map(of).sum::<u64>();
        let (lost, end_to_end) = (sum(Track::lost), sum(Track::lost_end_to_end));
        if slow {
            self.slow_bytes += sum(|track| track.bytes);
            self.slow_lost += end_to_end;
            return;
        }
        let packets = sum(|track| track.packets);
        self.packets += packets;
        self.fewest = Some(self.fewest.map_or(packets, |fewest| fewest.min(packets)));
        self.bytes += sum(|track| track.bytes);
        self.lost += lost;
        self.end_to_end += end_to_end;
        self.with_loss += u64::from(lost.max(end_to_end) > 0);
        self.reads += reads;
        let gap = tracks.iter().map(|track| track.gap_us).max();
        self.gap_us = self.gap_us.max(gap.unwrap_or(0));
    }

    /// Adds the sums to an object.
    pub fn put(&self, to: Object) -> Object {
        to.int("packets", self.packets)
            .int("fewest_packets", self.fewest.unwrap_or(0))
            .int("bytes", self.bytes)
            .int("lost", self.lost)
            .int("lost_end_to_end", self.end_to_end)
            .int("readers_with_loss", self.with_loss)
            .int("reads", self.reads)
            .int("gap_max_us", self.gap_us)
            .int("slow_bytes", self.slow_bytes)
            .int("slow_lost", self.slow_lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reader_shows_and_slow_ones_are_apart() {
        let track = |packets| {
            let mut track = Track::default();
            track.packets = packets;
            track.bytes = packets * 10;
            track
        };
        let mut tally = Tally::default();
        tally.add(&[track(5), track(3)], 2, false);
        tally.add(&[track(6)], 1, false);
        tally.add(&[track(1)], 9, true);
        assert_eq!((tally.packets, tally.fewest, tally.reads), (14, Some(6), 3));
        assert_eq!((tally.bytes, tally.slow_bytes), (140, 10));
    }
}
