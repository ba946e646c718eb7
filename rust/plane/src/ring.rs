//! A channel's memory: what came lately, in the order it came, all tracks together.
//!
//! Readers hold a position and no queue. A position counts items from the channel's beginning and
//! never comes back, so a reader that was overtaken notices by comparing with [`Ring::tail`].

use std::collections::VecDeque;
use std::sync::Arc;

/// First item of a random access point: a reader may begin here.
pub const KEY: u8 = 1;
/// Something before this item is missing.
pub const DISCONTINUITY: u8 = 2;
/// An RTCP packet that travels with the media, so that every reader has the same clock.
pub const RTCP: u8 = 4;
/// Last packet of an access unit.
pub const MARKER: u8 = 8;

/// One item: an RTP packet as readers get it, or a framed access unit.
#[derive(Debug)]
pub struct Item {
    /// Track within the channel.
    pub track: u8,
    /// [`KEY`], [`DISCONTINUITY`], [`RTCP`], [`MARKER`].
    pub flags: u8,
    /// Whether the track is video: what a lagging reader loses first.
    pub video: bool,
    /// The source's epoch.
    pub epoch: u32,
    /// Number within the track, over all epochs.
    pub number: u64,
    /// RTP timestamp for packets, presentation time in Unix µs for access units.
    pub time: u64,
    /// When it came, Unix µs.
    pub arrival: u64,
    /// The bytes.
    pub data: Box<[u8]>,
}

/// Bytes an item costs beside its data: its own fields, the reference count, the ring's slot.
const ITEM_COST: usize = size_of::<Item>() + 24;

/// The ring. See the module.
#[derive(Debug)]
pub struct Ring {
    items: VecDeque<Arc<Item>>,
    tail: u64,
    bytes: usize,
    key: Option<u64>,
    depth_us: u64,
    max_bytes: usize,
}

impl Ring {
    /// A ring that reaches back `depth_us`, and beyond to the last key item, within `max_bytes`.
    pub fn new(depth_us: u64, max_bytes: usize) -> Self {
        Self {
            items: VecDeque::new(),
            tail: 0,
            bytes: 0,
            key: None,
            depth_us,
            max_bytes,
        }
    }

    /// Position one past the newest item.
    pub fn head(&self) -> u64 {
        self.tail + self.items.len() as u64
    }

    /// Position of the oldest item held.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Items held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Position of the newest random access point still held.
    pub fn key(&self) -> Option<u64> {
        self.key
    }

    /// Where a new reader begins: the last key item, else the live edge.
    pub fn entry(&self) -> u64 {
        self.key.unwrap_or_else(|| self.head())
    }

    /// The item at a position, if it is held.
    pub fn get(&self, position: u64) -> Option<&Arc<Item>> {
        self.items
            .get(usize::try_from(position.checked_sub(self.tail)?).ok()?)
    }

    /// The items from a position (or the oldest) on.
    pub fn from(&self, position: u64) -> impl Iterator<Item = &Arc<Item>> {
        let skip = position
            .saturating_sub(self.tail)
            .min(self.items.len() as u64);
        self.items.range(skip as usize..)
    }

    /// Takes an item in and lets go of what is too old or too much.
    pub fn push(&mut self, item: Item) {
        if item.flags & KEY != 0 {
            self.key = Some(self.head());
        }
        let newest = item.arrival;
        self.bytes += item.data.len() + ITEM_COST;
        self.items.push_back(Arc::new(item));
        while let Some(oldest) = self.items.front() {
            let old = oldest.arrival + self.depth_us < newest
                && self.key.is_none_or(|key| self.tail < key);
            if !(old || self.bytes > self.max_bytes) || self.items.len() == 1 {
                break;
            }
            self.bytes -= oldest.data.len() + ITEM_COST;
            self.items.pop_front();
            if self.key == Some(self.tail) {
                self.key = None;
            }
            self.tail += 1;
        }
    }

    /// Makes an empty ring count on where another one ended, so that cursors stay in order.
    pub fn continue_from(&mut self, position: u64) {
        debug_assert!(self.items.is_empty());
        self.tail = position;
    }

    /// Forgets everything; positions count on.
    pub fn clear(&mut self) {
        self.tail = self.head();
        self.items.clear();
        (self.bytes, self.key) = (0, None);
    }

    /// Forgets that a reader may begin at the last key item: what follows is of another format.
    pub fn forget_key(&mut self) {
        self.key = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(arrival: u64, key: bool, length: usize) -> Item {
        Item {
            track: 0,
            flags: if key { KEY } else { 0 },
            video: true,
            epoch: 1,
            number: 0,
            time: 0,
            arrival,
            data: vec![0; length].into(),
        }
    }

    #[test]
    fn a_new_reader_begins_at_the_last_key_item() {
        let mut ring = Ring::new(1_000_000, 1 << 20);
        for n in 0..10 {
            ring.push(item(n * 1000, n % 4 == 0, 10));
        }
        assert_eq!(ring.entry(), 8);
        assert_eq!(ring.head(), 10);
    }

    #[test]
    fn reaches_beyond_its_depth_to_the_last_key_item_only() {
        let mut ring = Ring::new(1_000, 1 << 20);
        ring.push(item(0, true, 10));
        for n in 1..50 {
            ring.push(item(n * 1_000, false, 10));
        }
        assert_eq!(ring.tail(), 0, "the key item is kept");
        ring.push(item(50_000, true, 10));
        assert!(
            ring.tail() >= 48,
            "what precedes the newer key item goes by age"
        );
        assert_eq!(ring.entry(), 50);
    }

    #[test]
    fn never_holds_more_bytes_than_allowed() {
        let mut ring = Ring::new(u64::MAX / 2, 10_000);
        ring.push(item(0, true, 1_000));
        for n in 1..100 {
            ring.push(item(n, false, 1_000));
            assert!(ring.bytes() <= 10_000);
        }
        assert_eq!(ring.key(), None, "the key item had to go");
        assert_eq!(ring.entry(), ring.head());
    }

    #[test]
    fn a_position_that_was_overtaken_is_known_as_such() {
        let mut ring = Ring::new(10, 1 << 20);
        for n in 0..100 {
            ring.push(item(n * 100, false, 1));
        }
        assert!(ring.get(3).is_none());
        assert_eq!(ring.from(3).count(), ring.len());
        assert_eq!(ring.from(ring.head()).count(), 0);
    }
}
