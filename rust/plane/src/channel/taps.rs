//! Readers in Python: they come and take what they have not seen, and are told when there is more.

use super::Channel;
use crate::event::{Event, Id};
use crate::ring::{Item, Ring};
use std::sync::Arc;

/// A reader in Python: a cursor, and whether it wants to be told of the next item.
#[derive(Debug)]
pub struct Tap {
    /// Its id.
    pub id: Id,
    /// Frames instead of packets.
    pub frames: bool,
    /// Tracks wanted.
    pub tracks: Vec<u8>,
    /// Items that may wait.
    pub capacity: u64,
    /// Next position.
    pub cursor: u64,
    /// Whether it runs.
    pub playing: bool,
    armed: bool,
    lost: u64,
}

impl Channel {
    /// Adds a reader in Python.
    pub fn add_tap(&mut self, id: Id, tracks: Vec<u8>, frames: bool, capacity: u64) {
        if frames {
            self.use_frames();
        }
        let cursor = self.log(frames).map_or(0, Ring::entry);
        let tap = Tap {
            id,
            frames,
            tracks,
            capacity,
            cursor,
            playing: false,
            armed: true,
            lost: 0,
        };
        self.taps.push(tap);
    }

    /// Takes it away; `true` if it was there.
    pub fn remove_tap(&mut self, id: Id) -> bool {
        let Some(at) = self.taps.iter().position(|tap| tap.id == id) else {
            return false;
        };
        if self.taps.swap_remove(at).frames {
            self.release_frames();
        }
        true
    }

    /// The tap with this id.
    pub fn tap(&mut self, id: Id) -> Option<&mut Tap> {
        self.taps.iter_mut().find(|tap| tap.id == id)
    }

    /// Up to `limit` items a tap has not seen, and how many it lost since the last call.
    pub fn read_tap(&mut self, id: Id, limit: usize) -> Option<(Vec<Arc<Item>>, u64)> {
        let at = self.taps.iter().position(|tap| tap.id == id)?;
        let tap = &self.taps[at];
        let Some(ring) = self.log(tap.frames) else {
            return Some((Vec::new(), 0));
        };
        let oldest = ring.tail().max(ring.head().saturating_sub(tap.capacity));
        let lost = oldest.saturating_sub(tap.cursor);
        let mut cursor = tap.cursor.max(oldest);
        let mut items = Vec::new();
        if tap.playing {
            for item in ring.from(cursor) {
                if items.len() >= limit {
                    break;
                }
                cursor += 1;
                if tap.tracks.is_empty() || tap.tracks.contains(&item.track) {
                    items.push(Arc::clone(item));
                }
            }
        }
        let level = cursor >= ring.head();
        let tap = &mut self.taps[at];
        tap.cursor = cursor;
        tap.armed = level;
        tap.lost += lost;
        Some((items, lost))
    }

    /// Tells taps that were empty that they are not any more.
    pub fn wake_taps(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        let heads = [
            self.ring.head(),
            self.frames.as_ref().map_or(0, |log| log.ring.head()),
        ];
        for tap in &mut self.taps {
            if tap.armed && tap.playing && tap.cursor < heads[usize::from(tap.frames)] {
                tap.armed = false;
                self.events.push(Event::TapReady { reader: tap.id });
            }
        }
    }

    /// Ids of the taps.
    pub fn tap_ids(&self) -> impl Iterator<Item = Id> {
        self.taps.iter().map(|tap| tap.id)
    }
}
