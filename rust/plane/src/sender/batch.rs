//! What goes out at one time: headers made for it, payloads that stay in their blocks.

use super::block::{Block, Record};
use std::sync::Arc;

#[derive(Debug)]
struct Item {
    track: u8,
    head: (u32, u8),
    block: u32,
    record: Record,
}

/// Packets to be sent, in order, and reports.
#[derive(Debug, Default)]
pub struct Batch {
    heads: Vec<u8>,
    blocks: Vec<Arc<Block>>,
    items: Vec<Item>,
    /// Track and RTCP packet; to be sent before the packets.
    pub reports: Vec<(u8, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    /// Empties it; the room stays.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.blocks.clear();
        self.items.clear();
        self.reports.clear();
        self.bytes = 0;
    }

    /// Packets in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.reports.is_empty()
    }

    /// Their bytes, with headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A packet's track.
    pub fn track(&self, at: usize) -> u8 {
        self.items[at].track
    }

    /// A packet: header and payload.
    pub fn packet(&self, at: usize) -> [&[u8]; 2] {
        let item = &self.items[at];
        let (from, length) = item.head;
        let head = &self.heads[from as usize..from as usize + usize::from(length)];
        [head, self.blocks[item.block as usize].payload(&item.record)]
    }

    pub(super) fn push(&mut self, track: u8, head: &[u8], block: &Arc<Block>, record: Record) {
        if !self
            .blocks
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, block))
        {
            self.blocks.push(Arc::clone(block));
        }
        let from = self.heads.len() as u32;
        self.heads.extend_from_slice(head);
        self.bytes += head.len() + block.payload(&record).len();
        self.items.push(Item {
            track,
            head: (from, head.len() as u8),
            block: self.blocks.len() as u32 - 1,
            record,
        });
    }
}
