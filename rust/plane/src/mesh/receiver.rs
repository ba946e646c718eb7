//! The receiving half: what came, what is missing, and when to ask for it.

use super::clock::RoundTrip;
use super::sender::{HORIZON, HORIZON_DATAGRAMS};
use super::wire::{FEEDBACK, MAX_RUNS};
use std::collections::{BTreeMap, BTreeSet};

/// Counters remembered against replays: twice what a sender keeps, so that every repair that can
/// come is known to be wanted or not.
pub const WINDOW: u64 = 2 * HORIZON_DATAGRAMS as u64;

/// Reports come in disorder now and then; one that is older than so many is no use.
const FEEDBACK_WINDOW: u64 = 64;

/// Datagrams missing at a time; of more the oldest are given up. It is what a sender keeps of small
/// ones at 200 Mbit/s.
const MAX_MISSING: usize = 1 << 15;

/// How long a missing datagram may be merely late, µs, at least and at most; in between it is what
/// late ones showed.
const LEAST_LATE: u64 = 1_500;
/// See [`LEAST_LATE`].
const MOST_LATE: u64 = 40_000;

/// What a link received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams that were new.
    pub datagrams: u64,
    /// Their bytes, sealed.
    pub bytes: u64,
    /// Datagrams that were missing when they were due.
    pub lost: u64,
    /// Of these, came after they were asked for.
    pub repaired: u64,
    /// Of these, came by themselves, late.
    pub late: u64,
    /// Of these, never came.
    pub given_up: u64,
    /// Datagrams refused because they, or ones far newer, came before.
    pub replayed: u64,
    /// Datagrams refused because the seal is not the peer's, or nothing sensible was sealed.
    pub forged: u64,
}

#[derive(Debug)]
struct Missing {
    noticed: u64,
    asked: u32,
    /// When it was asked for last.
    when: u64,
    due: u64,
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver {
    seen: Box<[u64]>,
    next: u64,
    feedback: u64,
    feedback_seen: u64,
    missing: BTreeMap<u64, Missing>,
    due: BTreeSet<(u64, u64)>,
    late: u64,
    /// Counters.
    pub received: Received,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            seen: vec![0; (WINDOW / 64) as usize].into(),
            next: 0,
            feedback: FEEDBACK,
            feedback_seen: 0,
            missing: BTreeMap::new(),
            due: BTreeSet::new(),
            late: LEAST_LATE,
            received: Received::default(),
        }
    }
}

fn place(counter: u64) -> (usize, u64) {
    ((counter % WINDOW / 64) as usize, 1 << (counter % 64))
}

impl Receiver {
    /// Whether a datagram with this counter can be new. Changes nothing: who sent it is not known.
    pub fn wanted(&self, counter: u64) -> bool {
        if counter >= FEEDBACK {
            let behind = self.feedback.saturating_sub(counter + 1);
            return counter >= self.feedback
                || (behind < FEEDBACK_WINDOW && self.feedback_seen >> behind & 1 == 0);
        }
        let (word, bit) = place(counter);
        counter >= self.next || (self.next - counter <= WINDOW - 64 && self.seen[word] & bit == 0)
    }

    /// A datagram of the peer came, and is new; `true` if it is newer than all before.
    pub fn arrived(&mut self, counter: u64, bytes: usize, trip: &RoundTrip, now: u64) -> bool {
        // What comes sooner after the first question than an answer can was only late.
        let usual = trip.usual();
        self.come(counter, bytes, now, |asked, since| {
            asked == 0 || (asked == 1 && since < usual / 2)
        })
    }

    /// The same where it is known whether it came by itself, or because it was asked for.
    pub fn arrived_as(&mut self, counter: u64, bytes: usize, repair: bool, now: u64) {
        self.come(counter, bytes, now, |_, _| !repair);
    }

    /// `late`: whether one that was asked for so often, the last time so long ago, came by itself.
    fn come(
        &mut self,
        counter: u64,
        bytes: usize,
        now: u64,
        late: impl Fn(u32, u64) -> bool,
    ) -> bool {
        self.received.datagrams += 1;
        self.received.bytes += bytes as u64;
        if counter >= FEEDBACK {
            let newest = counter >= self.feedback;
            if newest {
                let step = counter + 1 - self.feedback;
                self.feedback_seen = self.feedback_seen.checked_shl(step as u32).unwrap_or(0);
                self.feedback = counter + 1;
            }
            self.feedback_seen |= 1 << (self.feedback - counter - 1).min(63);
            return newest;
        }
        let newest = counter >= self.next;
        if newest {
            self.expect(counter, now);
            self.advance(counter + 1);
        } else if let Some(missing) = self.missing.remove(&counter) {
            self.due.remove(&(missing.due, counter));
            if late(missing.asked, now.saturating_sub(missing.when)) {
                let waited = now.saturating_sub(missing.noticed);
                self.received.late += 1;
                self.late = (waited + waited / 4).min(MOST_LATE).max(self.late);
            } else {
                self.received.repaired += 1;
                self.late = (self.late - self.late / 64).max(LEAST_LATE);
            }
        }
        let (word, bit) = place(counter);
        self.seen[word] |= bit;
        newest
    }

    /// Begins, or goes on, at a counter: nothing before it is missed.
    pub fn skip_to(&mut self, counter: u64) {
        self.received.given_up += self.missing.len() as u64;
        self.missing.clear();
        self.due.clear();
        if counter > self.next {
            self.advance(counter);
        }
    }

    /// The window reaches up to `next`; the places it comes to are clean.
    fn advance(&mut self, next: u64) {
        if next - self.next >= WINDOW {
            self.seen.fill(0);
        } else {
            for counter in self.next..next {
                let (word, bit) = place(counter);
                self.seen[word] &= !bit;
            }
        }
        self.next = next;
    }

    /// The peer has sent everything before `next`.
    pub fn expect(&mut self, next: u64, now: u64) {
        if next <= self.next {
            return;
        }
        self.received.lost += next - self.next;
        let first = self.next.max(next.saturating_sub(MAX_MISSING as u64));
        self.received.given_up += first - self.next;
        let due = now + self.late;
        for counter in first..next {
            let missing = Missing {
                noticed: now,
                asked: 0,
                when: 0,
                due,
            };
            self.missing.insert(counter, missing);
            self.due.insert((due, counter));
        }
        self.advance(next);
        while self.missing.len() > MAX_MISSING {
            self.give_up_first();
        }
    }

    fn give_up_first(&mut self) {
        if let Some((counter, missing)) = self.missing.pop_first() {
            self.due.remove(&(missing.due, counter));
            self.received.given_up += 1;
        }
    }

    /// The peer keeps nothing before `oldest` any more. What is on its way may still come.
    pub fn gone(&mut self, oldest: u64, patience: u64, now: u64) {
        while let Some((counter, missing)) = self.missing.first_key_value()
            && *counter < oldest
            && missing.noticed + patience <= now
        {
            self.give_up_first();
        }
    }

    /// Gives up what has been missing for longer than anybody keeps it.
    pub fn expire(&mut self, now: u64) {
        while let Some((_, missing)) = self.missing.first_key_value()
            && missing.noticed + HORIZON <= now
        {
            self.give_up_first();
        }
    }

    /// Everything before this counter came or was given up.
    pub fn settled(&self) -> u64 {
        let first = self.missing.first_key_value();
        first.map_or(self.next, |(counter, _)| *counter)
    }

    /// When something is to be asked for, or given up.
    pub fn due(&self) -> Option<u64> {
        let asked = self.due.first().map(|(due, _)| *due);
        let expires = self.missing.first_key_value();
        let expires = expires.map(|(_, missing)| missing.noticed + HORIZON);
        [asked, expires].into_iter().flatten().min()
    }

    /// What to ask for now, as much as one report takes.
    pub fn requests(&mut self, round_trip: &RoundTrip, now: u64) -> Vec<(u64, u16)> {
        let mut runs: Vec<(u64, u16)> = Vec::new();
        while let Some((due, counter)) = self.due.first().copied()
            && due <= now
        {
            let full = runs.len() >= MAX_RUNS;
            match runs.last_mut() {
                Some((first, count))
                    if *first + u64::from(*count) == counter && *count < u16::MAX =>
                {
                    *count += 1;
                }
                _ if full => break,
                _ => runs.push((counter, 1)),
            }
            self.due.pop_first();
            if let Some(missing) = self.missing.get_mut(&counter) {
                // Answers that do not come are most likely lost; where all are, asking ever more
                // often helps nobody.
                let patience = round_trip.patience() * u64::from(2 + missing.asked) / 2;
                missing.asked += 1;
                missing.when = now;
                missing.due = now + patience;
                self.due.insert((missing.due, counter));
            }
        }
        runs
    }
}
