//! Blocks that were fed and hold packets that were not sent.

use super::block::{Block, FIRST, KEY, Record};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
struct Held {
    block: Arc<Block>,
    /// Position of its first packet.
    base: u64,
    /// Packets of it that are done.
    done: usize,
}

/// The blocks, in order of media time. A packet's position is how many were fed before it; of a part
/// of a title, whose blocks may come late, how many the title has before it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    held: VecDeque<Held>,
    fed: u64,
    bytes: usize,
}

/// A packet that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting<'a> {
    pub(super) block: &'a Arc<Block>,
    pub(super) record: Record,
    pub(super) due_us: u64,
    pub(super) position: u64,
    /// Packets of all tracks of the title before it.
    pub(super) total: u64,
}

impl Queue {
    pub(super) fn push(&mut self, block: Block) {
        self.bytes += block.size();
        let packets = block.records().len() as u64;
        self.held.push_back(Held {
            block: Arc::new(block),
            base: self.fed,
            done: 0,
        });
        self.fed += packets;
        self.drop_done();
    }

    /// Puts a block of a part where it belongs; what is fed late goes before what waits.
    pub(super) fn insert(&mut self, block: Block) {
        self.bytes += block.size();
        let base = block.total;
        self.fed = self.fed.max(base + block.records().len() as u64);
        let at = self
            .held
            .partition_point(|held| held.block.due_us <= block.due_us);
        let block = Arc::new(block);
        self.held.insert(
            at,
            Held {
                block,
                base,
                done: 0,
            },
        );
        self.drop_done();
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.fed = 0; // every track's beginning is found anew
        self.bytes = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The packets that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.held.iter().flat_map(|held| {
            let records = held.block.records().iter().enumerate().skip(held.done);
            records.map(move |(index, record)| Waiting {
                block: &held.block,
                record: *record,
                due_us: held.block.due(record),
                position: held.base + index as u64,
                total: held.block.total.wrapping_add(index as u64),
            })
        })
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<Waiting<'_>> {
        self.waiting().next()
    }

    /// The next one is done.
    pub(super) fn advance(&mut self) {
        if let Some(first) = self.held.front_mut() {
            first.done += 1;
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        while let Some(first) = self.held.front()
            && first.done >= first.block.records().len()
        {
            self.bytes -= first.block.size();
            self.held.pop_front();
        }
    }

    /// By track: position and due time of its last key unit due at a media time or before.
    pub(super) fn entries(&self, from_us: u64) -> Vec<(u8, u64, u64)> {
        let mut found: Vec<(u8, u64, u64)> = Vec::new();
        for one in self.waiting().take_while(|one| one.due_us <= from_us) {
            if one.record.flags & (KEY | FIRST) == KEY | FIRST {
                let entry = (one.record.track, one.position, one.due_us);
                match found.iter_mut().find(|known| known.0 == entry.0) {
                    Some(known) => *known = entry,
                    None => found.push(entry),
                }
            }
        }
        found
    }

    /// Position of the first packet due at a media time or later.
    pub(super) fn from(&self, from_us: u64) -> u64 {
        self.waiting()
            .find(|one| one.due_us >= from_us)
            .map_or(self.fed, |one| one.position)
    }
}
