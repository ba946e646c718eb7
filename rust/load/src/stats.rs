//! Samples and their percentiles.

use crate::json::Object;

/// Samples kept at most; above it every second one is dropped and the stride doubles, so that
/// memory stays at 16 MB whatever the run.
const MAX_SAMPLES: usize = 4_000_000;

/// Samples of one quantity, in microseconds.
pub struct Samples {
    values: Vec<u32>,
    stride: u64,
    seen: u64,
    max: u32,
}

impl Samples {
    /// No samples.
    pub fn new() -> Self {
        Self {
            values: Vec::new(),
            stride: 1,
            seen: 0,
            max: 0,
        }
    }

    /// Takes one sample.
    pub fn add(&mut self, value: u64) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.max = self.max.max(value);
        if self.seen.is_multiple_of(self.stride) {
            if self.values.len() == MAX_SAMPLES {
                let mut odd = false;
                self.values.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.stride *= 2;
            }
            self.values.push(value);
        }
        self.seen += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Count, p50, p95, p99, p99.9 and max; percentiles are nearest rank.
    pub fn summary(mut self) -> Object {
        self.values.sort_unstable();
        let rank = |p: f64| -> f64 {
            if self.values.is_empty() {
                return f64::NAN;
            }
            let n = (self.values.len() as f64 * p).ceil() as usize;
            f64::from(self.values[n.clamp(1, self.values.len()) - 1])
        };
        Object::new()
            .int("count", self.seen)
            .float("p50_us", rank(0.50))
            .float("p95_us", rank(0.95))
            .float("p99_us", rank(0.99))
            .float("p999_us", rank(0.999))
            .int("max_us", u64::from(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut samples = Samples::new();
        for value in (1..=100).rev() {
            samples.add(value);
        }
        let text = samples.summary().finish();
        assert!(text.contains("\"p50_us\":50.0"), "{text}");
        assert!(text.contains("\"p95_us\":95.0"), "{text}");
        assert!(text.contains("\"p99_us\":99.0"), "{text}");
        assert!(text.contains("\"max_us\":100"), "{text}");
    }

    #[test]
    fn memory_is_bounded() {
        let mut samples = Samples::new();
        for value in 0..(MAX_SAMPLES as u64 + 10) {
            samples.add(value);
        }
        assert!(samples.values.len() <= MAX_SAMPLES / 2 + 10);
    }
}
