//! The stages of a run: readers start, things settle, a window is measured.

use crate::args::Args;
use crate::json::{self, Object};
use crate::sys;

enum Phase {
    Starting,
    Settling(u64),
    Measuring(u64, u64),
}

/// What the caller does now.
pub enum Step {
    /// Goes on.
    Nothing,
    /// Sets its counters to zero: the window begins.
    Begin,
    /// Reports: the window of so many seconds ended, and the process used so many µs in it.
    End(f64, u64),
}

/// Tells the stages apart by time.
pub struct Window {
    phase: Phase,
    settle_us: u64,
    length_us: u64,
    begin_us: u64,
    setup_us: u64,
}

impl Window {
    /// Reads `--seconds`, `--settle` and `--setup-timeout`.
    pub fn new(args: &Args, now: u64) -> Result<Self, String> {
        let us = |name, default: f64| args.number(name, default).map(|s| (s * 1e6) as u64);
        Ok(Self {
            phase: Phase::Starting,
            length_us: us("seconds", 5.0)?,
            settle_us: us("settle", 1.0)?,
            setup_us: us("setup-timeout", 60.0)?,
            begin_us: now,
        })
    }

    /// To be called often; `started` once no reader is on its way any more.
    pub fn step(&mut self, now: u64, started: bool, playing: usize) -> Step {
        match self.phase {
            Phase::Starting if started || now > self.begin_us + self.setup_us => {
                Object::new()
                    .text("event", "playing")
                    .int("playing", playing as u64)
                    .int("setup_us", now - self.begin_us)
                    .print();
                self.phase = Phase::Settling(now + self.settle_us);
            }
            Phase::Settling(until) if now >= until => {
                json::event("window_start");
                self.phase = Phase::Measuring(now, sys::cpu_us());
                return Step::Begin;
            }
            Phase::Measuring(from, cpu) if now >= from + self.length_us => {
                json::event("window_end");
                return Step::End((now - from) as f64 / 1e6, sys::cpu_us() - cpu);
            }
            _ => {}
        }
        Step::Nothing
    }
}
