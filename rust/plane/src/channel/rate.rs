//! How much comes in.

/// Bits a second over the last whole second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: u64,
    bytes: u64,
    pub(super) bps: u64,
}

impl Rate {
    pub(super) fn add(&mut self, bytes: usize, now: u64) {
        self.roll(now);
        self.bytes += bytes as u64;
    }

    pub(super) fn roll(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= 1_000_000 {
            self.bps = if elapsed < 3_000_000 {
                self.bytes * 8_000_000 / elapsed
            } else {
                0
            };
            (self.since, self.bytes) = (now, 0);
        }
    }
}
