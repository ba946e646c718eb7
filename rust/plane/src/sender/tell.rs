//! When a sender wants to be fed, when it is at its end, when it wants to be asked again.

use super::pacer::Sender;
use super::timeline::Timeline;
use super::types::{Notice, State};

impl Sender {
    /// The media time where it ends, as far as it is known and fed.
    pub(super) fn stop_us(&self) -> Option<u64> {
        let wanted = self.until_us;
        if self.finished {
            Some(wanted.map_or(self.end_us, |until| until.min(self.end_us)))
        } else {
            wanted.filter(|until| *until <= self.end_us)
        }
    }

    /// Whether packets wait that precede the end.
    fn left(&self, stop: Option<u64>) -> bool {
        let first = self.queue.first();
        first.is_some_and(|one| stop.is_none_or(|stop| one.due_us < stop))
    }

    /// How much media must be fed for it not to ask for more.
    fn low_us(&self, time: &Timeline) -> u64 {
        (self.low_us as f64 * time.faster()) as u64
    }

    /// Notes what there is to tell.
    pub(super) fn tell(&mut self, now: u64) {
        let Some(time) = self.time.filter(|_| self.state == State::Playing) else {
            return;
        };
        let (media, stop) = (time.media(now), self.stop_us());
        let left = self.left(stop);
        if let Some(stop) = stop {
            if media >= stop && !left {
                self.pause(now);
                self.state = State::Ended;
                self.notices.push(Notice::Ended);
            }
            return;
        }
        // Before it is known where it begins, the clock alone says where it is.
        let position = if self.settled {
            self.position(now)
        } else {
            media
        };
        let queued = self.end_us.saturating_sub(position);
        if queued < self.low_us(&time) && !self.low_told {
            self.low_told = true;
            self.notices.push(Notice::Low(queued));
        }
        if media > self.end_us && !(left && self.settled) && !self.dry {
            self.dry = true;
            // A node has nothing to send while others send their blocks.
            self.counters.underruns += u64::from(self.node.is_none());
        }
    }

    /// When the next packet is due.
    pub(super) fn next_packet(&self) -> Option<u64> {
        let time = self.time.as_ref().filter(|_| self.settled)?;
        let next = self.queue.waiting().find(|one| self.wants(one))?;
        let stop = self.stop_us();
        let before = stop.is_none_or(|stop| next.due_us < stop);
        before.then(|| time.wall(next.due_us))
    }

    /// When it is to be asked again, µs; in the past while packets wait that are due.
    pub fn due(&self) -> Option<u64> {
        if !self.resends.is_empty() {
            return Some(0);
        }
        let time = self.time.filter(|_| self.state == State::Playing)?;
        let mut due = None;
        let mut add = |at: u64| due = Some(due.map_or(at, |known: u64| known.min(at)));
        let stop = self.stop_us();
        if let Some(next) = self.next_packet() {
            add(next);
        } else if let Some(stop) = stop {
            add(time.wall(stop));
        }
        if stop.is_none() {
            if !self.low_told {
                add(time.wall(self.end_us.saturating_sub(self.low_us(&time)) + 1));
            }
            if !self.dry {
                add(time.wall(self.end_us + 1));
            }
        }
        due
    }
}
