//! The sending half: seals, counts, and keeps what it sent for as long as it may be asked for again.

use super::seal::Key;
use super::wire::{Body, FEEDBACK, MEDIA, Media, PART, ROOM};
use crate::ring::Item;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a datagram can be repaired, µs: five attempts on a way of 150 ms there and back.
pub const HORIZON: u64 = 1_000_000;

/// Bytes kept for repair: the horizon at 64 Mbit/s.
pub const HORIZON_BYTES: usize = 8 << 20;

/// Datagrams kept for repair; half of the receiver's window against replays, which must outlast it.
pub const HORIZON_DATAGRAMS: usize = 1 << 17;

/// Bytes that may be repaired at once: an outage of 100 ms at 80 Mbit/s.
const REPAIR_BURST: u64 = 1 << 20;

/// Of what is sent one part in so many may be sent again in the long run. More loss than that is a
/// path that is too narrow, and repairing would only narrow it further.
const REPAIR_SHARE: u64 = 3;

/// Bytes a second that may be repaired on a link that sends next to nothing.
const REPAIR_RATE: u64 = 64 << 10;

/// What a link sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams, repairs included.
    pub datagrams: u64,
    /// Their bytes, sealed.
    pub bytes: u64,
    /// Datagrams sent again.
    pub repaired: u64,
    /// Their bytes.
    pub repaired_bytes: u64,
    /// Requests for what is not kept any more, or was not granted.
    pub refused: u64,
}

#[derive(Debug)]
struct Kept {
    at: u64,
    again: u64,
    data: Arc<Vec<u8>>,
}

/// How much may be sent again to one receiver.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    at: u64,
    /// Bytes that had been sent for the first time by then.
    sealed: u64,
}

impl Budget {
    /// Full, as of now.
    pub fn new(sender: &Sender, now: u64) -> Self {
        Self {
            left: REPAIR_BURST,
            at: now,
            sealed: sender.sealed,
        }
    }

    fn earn(&mut self, sealed: u64, now: u64) {
        let slow = now.saturating_sub(self.at) * REPAIR_RATE / 1_000_000;
        let share = (sealed - self.sealed) / REPAIR_SHARE;
        if slow > 0 {
            self.at = now;
        }
        self.sealed += share * REPAIR_SHARE;
        self.left = (self.left + slow + share).min(REPAIR_BURST);
    }
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    key: Key,
    remote: u32,
    next: u64,
    next_feedback: u64,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Bytes sent for the first time, of what can be repaired.
    sealed: u64,
    /// Counters.
    pub sent: Sent,
}

impl Sender {
    /// Nothing sent yet; `remote` is the peer's name for the link.
    pub fn new(key: Key, remote: u32) -> Self {
        Self {
            key,
            remote,
            next: 0,
            next_feedback: FEEDBACK,
            kept: VecDeque::new(),
            kept_bytes: 0,
            sealed: 0,
            sent: Sent::default(),
        }
    }

    /// The counter of the next datagram that can be repaired.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The oldest counter that can still be repaired.
    pub fn oldest(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    fn count(&mut self, bytes: usize) {
        self.sent.datagrams += 1;
        self.sent.bytes += bytes as u64;
    }

    /// A datagram that is kept.
    pub fn seal(&mut self, body: &Body<'_>, now: u64) -> Arc<Vec<u8>> {
        let data = Arc::new(self.key.seal(self.remote, self.next, body));
        self.next += 1;
        self.kept_bytes += data.len();
        self.kept.push_back(Kept {
            at: now,
            again: 0,
            data: Arc::clone(&data),
        });
        self.forget(now);
        self.count(data.len());
        self.sealed += data.len() as u64;
        data
    }

    /// An item of a channel's ring, cut where it is too long for one datagram.
    pub fn media(
        &mut self,
        wire: u16,
        order: u32,
        item: &Item,
        now: u64,
        out: &mut Vec<Arc<Vec<u8>>>,
    ) {
        let media = Media {
            wire,
            order,
            track: item.track,
            flags: item.flags,
            epoch: item.epoch,
            number: item.number,
        };
        if item.data.len() <= ROOM - MEDIA {
            out.push(self.seal(&Body::Media(media, &item.data), now));
            return;
        }
        let parts = item.data.chunks(PART);
        let count = parts.len() as u8;
        for (index, part) in (0..).zip(parts) {
            out.push(self.seal(&Body::Part(media, index, count, part), now));
        }
    }

    /// A datagram that is not.
    pub fn seal_feedback(&mut self, body: &Body<'_>) -> Arc<Vec<u8>> {
        let data = self.key.seal(self.remote, self.next_feedback, body);
        self.next_feedback += 1;
        self.count(data.len());
        Arc::new(data)
    }

    /// Lets go of what nobody can ask for any more.
    pub fn forget(&mut self, now: u64) {
        while let Some(oldest) = self.kept.front()
            && (oldest.at + HORIZON < now
                || self.kept_bytes > HORIZON_BYTES
                || self.kept.len() > HORIZON_DATAGRAMS)
        {
            self.kept_bytes -= oldest.data.len();
            self.kept.pop_front();
        }
    }

    /// Repairs what a receiver asks for; one that was repaired within `recent` µs is on its way.
    pub fn repair(
        &mut self,
        budget: &mut Budget,
        runs: &[(u64, u16)],
        recent: u64,
        now: u64,
        out: &mut Vec<Arc<Vec<u8>>>,
    ) {
        budget.earn(self.sealed, now);
        let oldest = self.oldest();
        for (first, count) in runs {
            for counter in *first..*first + u64::from(*count) {
                let at = counter
                    .checked_sub(oldest)
                    .and_then(|at| usize::try_from(at).ok());
                let Some(kept) = at.and_then(|at| self.kept.get_mut(at)) else {
                    self.sent.refused += 1;
                    continue;
                };
                if kept.again > 0 && now.saturating_sub(kept.again) < recent {
                    continue;
                }
                let bytes = kept.data.len() as u64;
                if bytes > budget.left {
                    self.sent.refused += 1;
                    continue;
                }
                budget.left -= bytes;
                kept.again = now.max(1);
                out.push(Arc::clone(&kept.data));
                self.sent.datagrams += 1;
                self.sent.bytes += bytes;
                self.sent.repaired += 1;
                self.sent.repaired_bytes += bytes;
            }
        }
    }
}
