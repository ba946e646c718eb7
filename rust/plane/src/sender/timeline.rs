//! How media time, the plane's clock and RTP's time belong together (RFC 2326 appendix B).

/// Factors that rate and scale may be, either way.
pub const FASTEST: f64 = 64.0;

/// From one start to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeline {
    /// Media time of the start, µs.
    pub origin_us: u64,
    /// RTP's time at that, µs since that of the first start.
    pub line_us: u64,
    /// When `from_us` is due, µs of the plane's clock.
    pub at: u64,
    /// The media time, µs, from which time is counted since the rate was set.
    pub from_us: u64,
    /// How fast packets go out.
    pub rate: f64,
    /// How fast media time goes.
    pub scale: f64,
}

/// Whether a rate or a scale can be.
pub fn possible(factor: f64) -> bool {
    (1.0 / FASTEST..=FASTEST).contains(&factor)
}

/// µs to units of a clock.
fn units(us: u64, clock: u32) -> i64 {
    (u128::from(us) * u128::from(clock) / 1_000_000) as i64
}

impl Timeline {
    fn speed(&self) -> f64 {
        self.rate * self.scale
    }

    /// Media time by the clock.
    pub fn media(&self, now: u64) -> u64 {
        self.from_us + (now.saturating_sub(self.at) as f64 * self.speed()) as u64
    }

    /// When a media time is due; what precedes the start, at the start.
    pub fn wall(&self, media_us: u64) -> u64 {
        let after = media_us.saturating_sub(self.from_us);
        self.at + (after as f64 / self.speed()).ceil() as u64
    }

    /// RTP's time at a media time, µs since that of the first start.
    pub fn line(&self, media_us: u64) -> u64 {
        let after = media_us as i64 - self.origin_us as i64;
        self.line_us
            .saturating_add_signed((after as f64 / self.scale).floor() as i64)
    }

    /// The RTP timestamp of a packet: `first` is that of the first start, `title` counts since the
    /// title's start and has wrapped as often as `due_us` says.
    pub fn timestamp(&self, first: u32, clock: u32, due_us: u64, title: u32) -> u32 {
        let near = units(due_us, clock);
        let apart = i64::from(title.wrapping_sub(near as u32) as i32);
        let after = near + apart - units(self.origin_us, clock);
        let after = if (self.scale - 1.0).abs() < f64::EPSILON {
            after
        } else {
            (after as f64 / self.scale).floor() as i64
        };
        timestamp_of(first, clock, self.line_us).wrapping_add(after as u32)
    }

    /// Goes on at another rate from `at` on, where it is by then or at another media time.
    pub fn set_rate(&mut self, rate: f64, at: u64, from_us: Option<u64>) {
        if let Some(from_us) = from_us {
            (self.from_us, self.at) = (from_us, at);
        } else {
            (self.from_us, self.at) = (self.media(at), self.at.max(at));
        }
        self.rate = rate;
    }

    /// How much less than its media time a stretch takes.
    pub fn faster(&self) -> f64 {
        self.speed().max(1.0)
    }
}

/// The RTP timestamp at a time since the first start.
pub fn timestamp_of(first: u32, clock: u32, line_us: u64) -> u32 {
    first.wrapping_add(units(line_us, clock) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(from_us: u64, at: u64, rate: f64, scale: f64) -> Timeline {
        Timeline {
            origin_us: from_us,
            line_us: 0,
            at,
            from_us,
            rate,
            scale,
        }
    }

    #[test]
    fn timestamps_wrap_as_often_as_the_title_is_long() {
        let time = plain(50_000_000_000, 0, 1.0, 2.0); // 13.9 hours: more than once round
        let title = |us: u64| units(us, 90_000) as u32;
        let due = 50_000_000_000 + 2_000_000;
        assert_eq!(time.timestamp(0, 90_000, due, title(due)), 90_000);
        // Shown before the start: a picture that the first one refers to.
        let shown = 50_000_000_000 - 1_000_000;
        assert_eq!(
            time.timestamp(0, 90_000, 50_000_000_000, title(shown)),
            45_000_u32.wrapping_neg()
        );
    }

    proptest! {
        /// A second, naive way: the media time is added up µs by stretch, at the rates that held.
        #[test]
        fn rates_change_where_they_are_set(
            from in 0..1_000_000_000_u64,
            changes in prop::collection::vec((1..5_000_000_u64, 0.1..4.0_f64), 0..8),
            scale in 0.5..8.0_f64,
        ) {
            let mut time = plain(from, 1_000, 1.0, scale);
            let (mut now, mut media, mut rate) = (1_000_u64, from as f64, 1.0);
            for (passed, next) in changes {
                now += passed;
                media += passed as f64 * rate * scale;
                prop_assert!((time.media(now) as f64 - media).abs() < 10.0);
                // What is due now is played now.
                prop_assert!(time.wall(time.media(now)).abs_diff(now) <= 1 + (1.0 / (rate * scale)) as u64);
                time.set_rate(next, now, None);
                rate = next;
                prop_assert!((time.line(time.media(now)) as f64 - (media - from as f64) / scale).abs() < 20.0);
            }
        }
    }
}
