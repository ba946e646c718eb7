//! The plane's one clock: Unix microseconds that never step back.

use crate::net::sys::monotonic_us;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One instant by three clocks: std's monotonic one, Unix µs, the machine's monotonic one in µs.
static ORIGIN: OnceLock<(Instant, u64, u64)> = OnceLock::new();

fn origin() -> (Instant, u64, u64) {
    *ORIGIN.get_or_init(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (Instant::now(), since.as_micros() as u64, monotonic_us())
    })
}

/// Now. Read off the monotonic clock, anchored once to the wall clock.
pub fn now() -> u64 {
    let (instant, unix, _) = origin();
    unix + instant.elapsed().as_micros() as u64
}

/// An instant of the machine's monotonic clock, µs, by the plane's.
pub fn from_monotonic(us: u64) -> u64 {
    let (_, unix, monotonic) = origin();
    (unix + us).saturating_sub(monotonic)
}
