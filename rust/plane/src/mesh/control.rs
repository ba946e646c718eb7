//! Messages: one stream of bytes, each message behind its length, sent until it is acknowledged.
//!
//! Its datagrams are repaired as packets are. What the repair gives up is sent anew: a message is
//! lost only with its link.

use super::wire::ROOM;
use std::collections::{BTreeMap, VecDeque};

/// Longest message.
pub const MAX_MESSAGE: usize = 64 << 10;

/// Bytes on their way at a time: 20 Mbit/s at 100 ms there and back, more than messages need.
const FLIGHT: usize = 256 << 10;

/// Bytes that may wait for their turn, those on their way included. Messages are small and few; a
/// peer that takes none is found silent long before.
const MAX_QUEUED: usize = 4 << 20;

/// Bytes in one datagram, behind their offset.
const PIECE: usize = ROOM - 8;

/// How long an acknowledgement is awaited at least, µs: the repair comes first.
const PATIENCE: u64 = 300_000;

/// And at most, µs.
const MOST_PATIENCE: u64 = 2_000_000;

/// A message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than [`MAX_MESSAGE`].
    TooLong,
    /// Too many wait already.
    Full,
}

/// Messages to the peer.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: VecDeque<u8>,
    acknowledged: u64,
    sent: u64,
    /// The most that was ever sent.
    most: u64,
    deadline: Option<u64>,
    tries: u32,
}

impl Outbox {
    /// Queues a message.
    pub fn push(&mut self, message: &[u8]) -> Result<(), Refused> {
        if message.len() > MAX_MESSAGE {
            return Err(Refused::TooLong);
        }
        if self.bytes.len() + 4 + message.len() > MAX_QUEUED {
            return Err(Refused::Full);
        }
        self.bytes.extend((message.len() as u32).to_be_bytes());
        self.bytes.extend(message);
        Ok(())
    }

    /// The peer has everything up to here.
    pub fn acknowledge(&mut self, received: u64, patience: u64, now: u64) {
        if received > self.acknowledged && received <= self.most {
            self.bytes.drain(..(received - self.acknowledged) as usize);
            self.acknowledged = received;
            self.sent = self.sent.max(received);
            self.tries = 0;
            // What is still on its way has its time from now on.
            let waits = self.sent > received;
            self.deadline = waits.then(|| now + self.limit(patience));
        }
    }

    /// How long an acknowledgement is awaited.
    fn limit(&self, patience: u64) -> u64 {
        (PATIENCE.max(4 * patience) << self.tries.min(3)).min(MOST_PATIENCE)
    }

    /// Bytes to be sent now and their offset; to be called until there are none.
    pub fn piece(&mut self, patience: u64, now: u64) -> Option<(u64, Vec<u8>)> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.sent = self.acknowledged; // all of it again
            self.deadline = None;
            self.tries += 1;
        }
        let start = (self.sent - self.acknowledged) as usize;
        let end = self.bytes.len().min(start + PIECE).min(FLIGHT);
        if start >= end {
            return None;
        }
        let offset = self.sent;
        self.sent += (end - start) as u64;
        self.most = self.most.max(self.sent);
        let deadline = now + self.limit(patience);
        self.deadline.get_or_insert(deadline);
        Some((offset, self.bytes.range(start..end).copied().collect()))
    }

    /// When something is to be sent again; at once when something was never sent.
    pub fn due(&self) -> Option<u64> {
        let sent = (self.sent - self.acknowledged) as usize;
        if sent < self.bytes.len().min(FLIGHT) {
            return Some(0);
        }
        self.deadline
    }
}

/// Messages of the peer.
#[derive(Debug, Default)]
pub struct Inbox {
    received: u64,
    early: BTreeMap<u64, Box<[u8]>>,
    bytes: Vec<u8>,
}

/// The peer announced a message that is longer than any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Inbox {
    /// Everything before this offset came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes bytes at an offset; the messages they complete.
    pub fn take(&mut self, offset: u64, data: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let Some(end) = offset.checked_add(data.len() as u64) else {
            return Ok(Vec::new());
        };
        if end <= self.received || end > self.received + FLIGHT as u64 {
            return Ok(Vec::new()); // known, or more than may be on its way
        }
        if offset > self.received {
            self.early.entry(offset).or_insert_with(|| data.into());
            return Ok(Vec::new());
        }
        self.append(offset, data);
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.received
        {
            let (offset, data) = first.remove_entry();
            self.append(offset, &data);
        }
        self.messages()
    }

    fn append(&mut self, offset: u64, data: &[u8]) {
        let known = (self.received - offset) as usize;
        if let Some(fresh) = data.get(known..) {
            self.bytes.extend_from_slice(fresh);
            self.received += fresh.len() as u64;
        }
    }

    fn messages(&mut self) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut found = Vec::new();
        let mut start = 0;
        while let Some((head, rest)) = self.bytes[start..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if length > MAX_MESSAGE {
                return Err(TooLong);
            }
            let Some(message) = rest.get(..length) else {
                break;
            };
            found.push(message.to_vec());
            start += 4 + length;
        }
        self.bytes.drain(..start);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_too_long_or_too_much_is_refused() {
        let mut outbox = Outbox::default();
        let long = vec![0; MAX_MESSAGE + 1];
        assert_eq!(outbox.push(&long), Err(Refused::TooLong));
        for _ in 0..MAX_QUEUED / (MAX_MESSAGE + 4) {
            outbox.push(&long[1..]).unwrap();
        }
        assert_eq!(outbox.push(&long[1..]), Err(Refused::Full));
    }

    #[test]
    fn a_length_that_lies_ends_it() {
        assert_eq!(Inbox::default().take(0, &[255; 8]), Err(TooLong));
    }

    proptest! {
        /// Whatever is lost or doubled, all messages come, once and in order.
        #[test]
        fn everything_comes_in_the_end(
            sizes in prop::collection::vec(0_usize..9_000, 1..12),
            fates in prop::collection::vec(0_u8..4, 1..60),
        ) {
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
            let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
            for message in &sent {
                outbox.push(message).unwrap();
            }
            let mut fate = fates.iter().cycle().chain([&0]);
            let (mut got, mut now, mut held) = (Vec::new(), 0, Vec::new());
            for round in 0..2_000 {
                while let Some((offset, piece)) = outbox.piece(1_000, now) {
                    // Later rounds lose nothing, so that the end comes.
                    match if round < 20 { *fate.next().unwrap() } else { 0 } {
                        0 => got.extend(inbox.take(offset, &piece).unwrap()),
                        1 => {}
                        2 => held.push((offset, piece)),
                        _ => for _ in 0..2 {
                            got.extend(inbox.take(offset, &piece).unwrap());
                        },
                    }
                }
                for (offset, piece) in held.drain(..) {
                    got.extend(inbox.take(offset, &piece).unwrap());
                }
                outbox.acknowledge(inbox.received(), 1_000, now);
                now += 500_000;
            }
            prop_assert_eq!(got, sent);
        }
    }
}
