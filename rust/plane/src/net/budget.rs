//! What paced senders may send before it is due: what the network carries beyond what is due.

use crate::lock;
use std::sync::Mutex;

/// UDP's, IP's and Ethernet's headers of a packet.
const OVERHEAD: u64 = 8 + 20 + 18;
/// What may go at once, µs of the rate: a few of the steps in which packets are sent.
const BURST: f64 = 5_000.0;
/// What was sent beyond the rate is remembered so long at most, µs of it: queues are no longer.
const DEBT: f64 = 250_000.0;
/// Bytes that may go at once at any rate: a packet or two.
const LEAST: f64 = 3_000.0;

/// A bucket that fills at a rate. Whatever the plane sends is taken from it, due or not.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    /// Bytes a µs.
    rate: f64,
    left: f64,
    at: u64,
    /// What had been sent by then.
    sent: u64,
}

impl Bucket {
    fn fill(&mut self, now: u64, sent: u64) {
        let passed = now.saturating_sub(self.at) as f64;
        let left = self.left + passed * self.rate - sent.saturating_sub(self.sent) as f64;
        self.left = left.clamp(-DEBT * self.rate, (self.rate * BURST).max(LEAST));
        (self.at, self.sent) = (self.at.max(now), self.sent.max(sent));
    }
}

impl Budget {
    /// Fills at so many bits a second from now on; 0: nothing goes ahead. `sent`: as of `cost`, since
    /// the beginning.
    pub fn limit(&self, bits: u64, now: u64, sent: u64) {
        let mut bucket = lock(&self.0);
        bucket.fill(now, sent);
        bucket.rate = bits as f64 / 8e6;
        bucket.left = bucket.left.min(0.0);
    }

    /// Bytes that may go ahead now.
    pub fn left(&self, now: u64, sent: u64) -> u64 {
        let mut bucket = lock(&self.0);
        if bucket.rate <= 0.0 {
            return 0;
        }
        bucket.fill(now, sent);
        bucket.left.max(0.0) as u64
    }

    /// When something may go ahead, if nothing else is sent until then; `None`: never.
    pub fn opens(&self, now: u64, sent: u64) -> Option<u64> {
        let mut bucket = lock(&self.0);
        if bucket.rate <= 0.0 {
            return None;
        }
        bucket.fill(now, sent);
        let missing = (1.0 - bucket.left).max(0.0);
        Some(now + (missing / bucket.rate).ceil() as u64)
    }

    /// What packets of so many bytes together take.
    pub fn cost(packets: u64, bytes: u64) -> u64 {
        bytes + packets * OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_from_what_goes_ahead() {
        let budget = Budget::default();
        let mut sent = 7_000;
        assert_eq!(
            (budget.left(1_000, sent), budget.opens(1_000, sent)),
            (0, None)
        );
        budget.limit(8_000_000, 1_000, sent); // a byte a µs
        assert_eq!(budget.left(2_000, sent), 1_000);
        assert_eq!(budget.left(1_000_000, sent), 5_000); // no more however long nothing was sent
        sent += Budget::cost(2, 7_908);
        assert_eq!(budget.left(1_000_000, sent), 0);
        assert_eq!(budget.opens(1_000_000, sent), Some(1_003_001));
        assert_eq!(budget.left(1_004_000, sent), 1_000);
        sent += 101_000; // at the rate, and what was left
        assert_eq!(budget.left(1_104_000, sent), 0);
        assert_eq!(budget.left(1_104_100, sent), 100);
        sent += 10_000_000; // more than queues hold: forgotten after a quarter of a second
        assert_eq!(budget.left(1_104_100, sent), 0);
        assert_eq!(budget.left(1_354_100, sent), 0);
        assert_eq!(budget.left(1_354_200, sent), 100);
    }
}
