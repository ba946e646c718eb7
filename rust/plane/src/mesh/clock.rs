//! How long a datagram and its answer take (RFC 6298), out of stamps that reports echo.

/// What the way there and back is taken for before it is measured, µs.
const FIRST_GUESS: u64 = 100_000;

/// Threads take turns, µs: an answer is not waited for more exactly than this.
const GRAIN: u64 = 5_000;

/// A longer way than this is a fault, µs; asking more seldom would outlast what the sender keeps.
const LONGEST: u64 = 400_000;

/// The measured time there and back.
#[derive(Debug, Default)]
pub struct RoundTrip {
    smooth: u64,
    variation: u64,
    measured: bool,
}

impl RoundTrip {
    /// One more measurement, µs.
    pub fn measured(&mut self, sample: u64) {
        let sample = sample.min(LONGEST);
        if self.measured {
            let difference = self.smooth.abs_diff(sample);
            self.variation = (3 * self.variation + difference) / 4;
            self.smooth = (7 * self.smooth + sample) / 8;
        } else {
            (self.smooth, self.variation) = (sample, sample / 2);
            self.measured = true;
        }
    }

    /// The usual time, µs.
    pub fn usual(&self) -> u64 {
        if self.measured {
            self.smooth
        } else {
            FIRST_GUESS
        }
    }

    /// How long to wait before an answer is given up, µs.
    pub fn patience(&self) -> u64 {
        if self.measured {
            (self.smooth + (4 * self.variation).max(GRAIN)).min(LONGEST)
        } else {
            FIRST_GUESS
        }
    }
}
