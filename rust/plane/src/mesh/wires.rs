//! What comes under each wire channel, whole and in the order it was sent.
//!
//! A packet waits for those sent before it under the same number until they came or the link has
//! given up what was sent before it. Channels do not wait for each other.

use super::wire::Media;
use crate::numbered::Numbered;
use std::collections::{BTreeMap, HashMap};

/// Bytes of packets that wait, of all channels of a link: the repair horizon at 128 Mbit/s.
const MAX_WAITING: usize = 16 << 20;

/// A packet that is further ahead than this belongs to nothing that is still awaited.
const MAX_AHEAD: u64 = 1 << 18;

/// A packet of a wire channel.
#[derive(Debug)]
pub struct Delivered {
    /// The channel's number on the link.
    pub wire: u16,
    /// The packet.
    pub item: Numbered,
}

#[derive(Debug)]
struct Waiting {
    /// Counter of its first datagram; its parts have those that follow.
    counter: u64,
    media: Media,
    parts: Vec<Option<Box<[u8]>>>,
    bytes: usize,
}

impl Waiting {
    fn join(self) -> Numbered {
        let mut parts = self.parts.into_iter().flatten();
        let data = match (parts.next(), parts.next()) {
            (Some(only), None) => only,
            (first, second) => {
                let pieces: Vec<_> = first.into_iter().chain(second).chain(parts).collect();
                pieces.concat().into()
            }
        };
        item(&self.media, data)
    }
}

fn item(media: &Media, data: Box<[u8]>) -> Numbered {
    Numbered {
        track: media.track,
        flags: media.flags,
        epoch: media.epoch,
        number: media.number,
        data,
    }
}

#[derive(Debug, Default)]
struct Wire {
    next: u64,
    listed: bool,
    waiting: BTreeMap<u64, Waiting>,
}

impl Wire {
    /// The place of a 32-bit order, nearest to what is expected.
    fn place(&self, order: u32) -> Option<u64> {
        let step = order.wrapping_sub(self.next as u32) as i32;
        self.next.checked_add_signed(i64::from(step))
    }
}

/// The channels.
#[derive(Debug, Default)]
pub struct Wires {
    by_number: HashMap<u16, Wire>,
    /// Channels in which something waits.
    busy: Vec<u16>,
    bytes: usize,
    /// Packets that came.
    pub delivered: u64,
    /// Packets whose parts did not all come.
    pub broken: u64,
}

impl Wires {
    /// A wire channel begins, or goes on, at an order: nothing before it is waited for.
    pub fn begin(&mut self, wire: u16, order: u32) {
        if let Some(old) = self.by_number.remove(&wire) {
            self.bytes -= old.waiting.values().map(|one| one.bytes).sum::<usize>();
            self.busy.retain(|busy| *busy != wire);
        }
        let begun = Wire {
            // One round up, so that what is before it is told from what is far ahead.
            next: u64::from(order) + (1 << 32),
            ..Wire::default()
        };
        self.by_number.insert(wire, begun);
    }

    /// Takes a packet, or with `part` (which, of how many) a part of one.
    pub fn take(
        &mut self,
        counter: u64,
        media: Media,
        part: Option<(u8, u8)>,
        data: &[u8],
        out: &mut Vec<Delivered>,
    ) {
        let wire = self.by_number.entry(media.wire).or_default();
        let Some(order) = wire.place(media.order) else {
            return;
        };
        if order < wire.next || order - wire.next > MAX_AHEAD {
            return; // given up before
        }
        if order == wire.next && part.is_none() && wire.waiting.is_empty() {
            wire.next += 1;
            self.delivered += 1;
            let (wire, item) = (media.wire, item(&media, data.into()));
            out.push(Delivered { wire, item });
            return;
        }
        if !wire.listed {
            wire.listed = true;
            self.busy.push(media.wire);
        }
        let (index, count) = part.unwrap_or((0, 1));
        let waiting = wire.waiting.entry(order).or_insert_with(|| Waiting {
            counter: counter.saturating_sub(u64::from(index)),
            media,
            parts: vec![None; usize::from(count)],
            bytes: 0,
        });
        if let Some(place) = waiting.parts.get_mut(usize::from(index))
            && place.is_none()
        {
            *place = Some(data.into());
            waiting.bytes += data.len();
            self.bytes += data.len();
        }
        self.release(media.wire, 0, out);
        if self.bytes > MAX_WAITING {
            self.settle(u64::MAX, out);
        }
    }

    /// Everything before this counter came or was given up.
    pub fn settle(&mut self, settled: u64, out: &mut Vec<Delivered>) {
        for wire in std::mem::take(&mut self.busy) {
            self.release(wire, settled, out);
            if let Some(known) = self.by_number.get_mut(&wire) {
                known.listed = !known.waiting.is_empty();
                if known.listed {
                    self.busy.push(wire);
                }
            }
        }
    }

    fn release(&mut self, id: u16, settled: u64, out: &mut Vec<Delivered>) {
        let Some(wire) = self.by_number.get_mut(&id) else {
            return;
        };
        while let Some(first) = wire.waiting.first_entry() {
            let waiting = first.get();
            let whole = waiting.parts.iter().all(Option::is_some);
            // Nothing that was sent before it comes any more, or nothing of itself.
            let alone = settled >= waiting.counter;
            let over = settled >= waiting.counter.saturating_add(waiting.parts.len() as u64);
            if !(whole && (*first.key() == wire.next || alone) || over) {
                return;
            }
            let (order, waiting) = first.remove_entry();
            wire.next = order + 1;
            self.bytes -= waiting.bytes;
            if whole {
                self.delivered += 1;
                let item = waiting.join();
                out.push(Delivered { wire: id, item });
            } else {
                self.broken += 1;
            }
        }
    }
}
