//! Packets of a node's sender that were sent, kept for a while to be sent again.

use super::block::{Block, Record};
use super::track::NODE_HEADER;
use std::collections::VecDeque;
use std::sync::Arc;

/// Packets kept at most: two seconds of 45 Mbit/s in packets of a tenth of their usual size.
const MAX_KEPT: usize = 1 << 16;

/// A packet as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) track: u8,
    pub(super) head: [u8; NODE_HEADER],
    pub(super) block: Arc<Block>,
    pub(super) record: Record,
}

/// The packets by node sequence number; `None` once it was asked for.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: VecDeque<(u64, Option<Sent>)>,
    /// Node sequence number of the first row.
    first: u32,
}

impl Kept {
    /// The number of the packet that comes next.
    pub(super) fn next(&self) -> u32 {
        self.first.wrapping_add(self.rows.len() as u32)
    }

    /// Keeps the next packet.
    pub(super) fn push(&mut self, now: u64, sent: Sent) {
        if self.rows.len() >= MAX_KEPT {
            self.drop_first();
        }
        self.rows.push_back((now, Some(sent)));
    }

    /// Forgets what was sent longer ago than `keep_us`.
    pub(super) fn forget(&mut self, now: u64, keep_us: u64) {
        while self
            .rows
            .front()
            .is_some_and(|(when, _)| now.saturating_sub(*when) > keep_us)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        self.rows.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Takes a packet out.
    pub(super) fn take(&mut self, number: u32) -> Option<Sent> {
        let at = number.wrapping_sub(self.first) as usize;
        self.rows.get_mut(at)?.1.take()
    }
}
