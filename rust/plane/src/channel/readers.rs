//! What readers ask: where to begin, keyframes, frames instead of packets.

use super::{Channel, TrackOut};
use crate::frames::{FrameLog, newest_keyframe};
use crate::media::{Kind, TrackSpec};
use crate::ring::{Item, RTCP, Ring};
use std::sync::Arc;

/// A keyframe younger than this is good to begin with, µs.
const FRESH: u64 = 1_000_000;

impl Channel {
    /// Whether pictures come in another order than they are shown in.
    pub fn reorders(&self) -> bool {
        let mut video = self
            .layout
            .iter()
            .filter(|out| out.spec.kind == Kind::Video);
        video.any(TrackOut::reorders)
    }

    /// The video tracks whose newest keyframe is old: who begins there begins far behind.
    pub fn stale_video(&self, now: u64) -> Vec<u8> {
        let newest = self.ring.get(self.ring.entry());
        if newest.is_some_and(|item| now.saturating_sub(item.arrival) < FRESH) {
            return Vec::new();
        }
        let video = self
            .layout
            .iter()
            .filter(|out| out.spec.kind == Kind::Video);
        video.map(|out| out.spec.id).collect()
    }

    /// Forgets what was relayed: who comes next begins with what comes next.
    pub fn flush(&mut self) {
        self.ring.clear();
        self.complete = self.ring.head();
        if let Some(frames) = &mut self.frames {
            frames.ring.clear();
        }
    }

    /// Where a reader begins, and the next sequence number and timestamp of each track there.
    pub fn entry(&self, now: u64) -> (u64, Vec<(u8, u16, u32)>) {
        let position = self.ring.entry();
        let next = |out: &TrackOut| {
            let held = self
                .ring
                .from(position)
                .find(|item| item.track == out.spec.id && item.flags & RTCP == 0);
            match (held, out.clock) {
                (Some(item), _) => (out.spec.id, item.number as u16, item.time as u32),
                (None, Some(clock)) => (out.spec.id, out.next as u16, clock.timestamp(now)),
                (None, None) => (out.spec.id, out.next as u16, 0),
            }
        };
        (position, self.layout.iter().map(next).collect())
    }

    /// Somebody wants frames: makes the log out of what the ring holds.
    pub fn use_frames(&mut self) {
        self.frame_users += 1;
        if self.frames.is_none() {
            self.rebuild_frames();
        }
    }

    /// Somebody wants them no more.
    pub fn release_frames(&mut self) {
        self.frame_users = self.frame_users.saturating_sub(1);
        if self.frame_users == 0 {
            self.frames = None;
        }
    }

    pub(super) fn rebuild_frames(&mut self) {
        let specs: Vec<TrackSpec> = self.layout.iter().map(|out| out.spec.clone()).collect();
        let mut log = FrameLog::new(&specs, self.config.depth_us, self.config.max_bytes);
        if let Some(old) = &self.frames {
            log.ring.continue_from(old.ring.head());
        }
        for item in self.ring.from(self.ring.entry()) {
            let clock = self.layout.iter().find(|out| out.spec.id == item.track);
            if let Some(clock) = clock.and_then(|out| out.clock) {
                log.take(item, &clock);
            }
        }
        self.frames = Some(log);
    }

    /// The newest whole key access unit of a track.
    pub fn keyframe(&self, track: u8) -> Option<Vec<u8>> {
        let spec = &self.layout.iter().find(|out| out.spec.id == track)?.spec;
        let from = self.ring.key()?;
        let packets: Vec<Arc<Item>> = self.ring.from(from).cloned().collect();
        newest_keyframe(spec, &packets)
    }

    /// The packets or the frames.
    pub fn log(&self, frames: bool) -> Option<&Ring> {
        if frames {
            self.frames.as_ref().map(|log| &log.ring)
        } else {
            Some(&self.ring)
        }
    }
}
