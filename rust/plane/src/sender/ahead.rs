//! Packets that go out before they are due, where a player takes them and the network has room.

use super::batch::Batch;
use super::pacer::Sender;
use super::timeline::Timeline;
use super::types::State;

/// How fast a sender gets further ahead, µs a second of time: it sends half as much again as is due,
/// so that no player's own line is flooded.
const PACE: f64 = 0.5;
/// What may lie unused of a lead, µs: callers come once a millisecond, in which it grows by half, and by
/// then the next packet is a millisecond nearer.
const GRAIN: u64 = 1_500;

/// How far ahead of due times a sender may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lead {
    /// At most, µs.
    most_us: u64,
    /// At `at`.
    us: u64,
    at: u64,
}

impl Lead {
    pub(super) fn new(most_us: u64) -> Self {
        Self {
            most_us,
            ..Self::default()
        }
    }

    /// Nothing is ahead at that time, as at the start.
    pub(super) fn restart(&mut self, at: u64) {
        (self.us, self.at) = (0, at);
    }

    fn most(&self, time: &Timeline) -> u64 {
        (self.most_us as f64 / time.faster()) as u64
    }

    /// What may be ahead now.
    fn now(&self, now: u64, time: &Timeline) -> u64 {
        let grown = (now.saturating_sub(self.at) as f64 * PACE) as u64;
        (self.us + grown).min(self.most(time))
    }

    /// The next packet, which is due then, goes only now: what is further ahead was not used.
    pub(super) fn note(&mut self, due: u64, now: u64, time: &Timeline) {
        if now > self.at {
            self.us = self.now(now, time).min((due + GRAIN).saturating_sub(now));
            self.at = now;
        }
    }

    /// When a packet that is due then may go.
    fn opens(&self, due: u64, time: &Timeline) -> u64 {
        let most = self.most(time);
        let free = due.saturating_sub(most);
        let short = due.saturating_sub(self.at).saturating_sub(self.us);
        let grown = self.at + (short as f64 / (1.0 + PACE)).ceil() as u64;
        free.max(grown)
    }
}

impl Sender {
    /// When the next packet is due, and from when on it may go before that; `None` where nothing
    /// goes ahead.
    pub fn ahead(&self) -> Option<(u64, u64)> {
        if self.lead.most_us == 0 || self.state != State::Playing {
            return None;
        }
        let due = self.next_packet()?;
        let time = self.time.as_ref()?;
        Some((due, self.lead.opens(due, time)))
    }

    /// Adds to `batch` the packets that are due next, at one time, if they may go now.
    pub fn take_ahead(&mut self, now: u64, batch: &mut Batch) {
        let Some((due, opens)) = self.ahead() else {
            return;
        };
        if opens > now {
            return;
        }
        if let Some(time) = &self.time {
            self.lead.note(due, now, time);
        }
        while self.next_packet().is_some_and(|next| next <= due) {
            // Before it, whatever they are due: nobody wants them.
            while self.queue.first().is_some_and(|one| !self.wants(&one)) {
                self.queue.advance();
            }
            self.send(due, now, batch);
            self.queue.advance();
        }
    }
}
