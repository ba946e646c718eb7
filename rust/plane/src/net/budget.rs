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

/// A bucket that fills at a rate. What is due is taken from it whatever it holds.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    /// Bytes a µs.
    rate: f64,
    left: f64,
    at: u64,
}

impl Bucket {
    fn fill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at) as f64;
        self.left = (self.left + passed * self.rate).min((self.rate * BURST).max(LEAST));
        self.at = self.at.max(now);
    }
}

impl Budget {
    /// Fills at so many bits a second from now on; 0: nothing goes ahead.
    pub fn limit(&self, bits: u64, now: u64) {
        let mut bucket = lock(&self.0);
        bucket.fill(now);
        bucket.rate = bits as f64 / 8e6;
        bucket.left = bucket.left.min(0.0);
    }

    /// So much was sent.
    pub fn spend(&self, packets: u64, bytes: u64) {
        let mut bucket = lock(&self.0);
        let sent = (bytes + packets * OVERHEAD) as f64;
        bucket.left = (bucket.left - sent).max(-DEBT * bucket.rate);
    }

    /// Bytes that may go ahead now.
    pub fn left(&self, now: u64) -> u64 {
        let mut bucket = lock(&self.0);
        if bucket.rate <= 0.0 {
            return 0;
        }
        bucket.fill(now);
        bucket.left.max(0.0) as u64
    }

    /// When something may go ahead, if nothing else is sent until then; `None`: never.
    pub fn opens(&self, now: u64) -> Option<u64> {
        let mut bucket = lock(&self.0);
        if bucket.rate <= 0.0 {
            return None;
        }
        bucket.fill(now);
        let missing = (1.0 - bucket.left).max(0.0);
        Some(now + (missing / bucket.rate).ceil() as u64)
    }

    /// What packets of so many bytes together take.
    pub fn cost(packets: usize, bytes: usize) -> u64 {
        bytes as u64 + packets as u64 * OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_from_what_goes_ahead() {
        let budget = Budget::default();
        assert_eq!((budget.left(1_000), budget.opens(1_000)), (0, None));
        budget.limit(8_000_000, 1_000); // a byte a µs
        assert_eq!(budget.left(2_000), 1_000);
        assert_eq!(budget.left(1_000_000), 5_000); // no more however long nothing was sent
        budget.spend(2, 8_000 - 2 * OVERHEAD);
        assert_eq!(budget.left(1_000_000), 0);
        assert_eq!(budget.opens(1_000_000), Some(1_003_001));
        assert_eq!(budget.left(1_004_000), 1_000);
        budget.spend(0, 10_000_000); // more than queues hold: forgotten after a quarter of a second
        assert_eq!(budget.left(1_254_000), 0);
        assert_eq!(budget.left(1_254_100), 100);
    }
}
