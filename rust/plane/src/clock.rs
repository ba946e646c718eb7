//! The plane's one clock: Unix microseconds that never step back.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();

/// Now. Read off the monotonic clock, anchored once to the wall clock.
pub fn now() -> u64 {
    let (instant, unix) = ORIGIN.get_or_init(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (Instant::now(), since.as_micros() as u64)
    });
    unix + instant.elapsed().as_micros() as u64
}
