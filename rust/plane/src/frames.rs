//! Access units for readers that want frames (browsers): made once a channel from its packets,
//! framed once for the wire, shared by all.

use crate::codec::{AccessUnit, Assembler};
use crate::media::{Kind, TrackSpec};
use crate::ring::{DISCONTINUITY, Item, KEY, RTCP, Ring};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Length of the header before each access unit; `docs/wire/websocket.md` names its fields.
pub const FRAME_HEADER: usize = 32;
/// Where the flags stand in that header.
pub const FRAME_FLAGS: usize = 2;

/// Packets held back for an earlier one, at most: a keyframe of 100 KB.
const MAX_REORDER: usize = 96;
/// How long an earlier packet is waited for, µs: above common jitter, below what a person notices.
const REORDER_PATIENCE: u64 = 60_000;

/// Turns RTP timestamps of a track into presentation times on the common clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockMap {
    /// An RTP timestamp readers see.
    pub rtp: u32,
    /// The instant it stands for, Unix µs.
    pub wall_us: u64,
    /// Timestamp units a second.
    pub rate: u32,
}

impl ClockMap {
    /// The instant of a timestamp, which lies within 2³¹ units of the pair.
    pub fn wall(&self, timestamp: u32) -> u64 {
        let units = i64::from(timestamp.wrapping_sub(self.rtp) as i32);
        self.wall_us
            .saturating_add_signed(units * 1_000_000 / i64::from(self.rate.max(1)))
    }

    /// The timestamp of an instant.
    pub fn timestamp(&self, wall_us: u64) -> u32 {
        let us = wall_us as i64 - self.wall_us as i64;
        let units = i128::from(us) * i128::from(self.rate) / 1_000_000;
        self.rtp.wrapping_add(units as u32)
    }
}

struct TrackFrames {
    spec: TrackSpec,
    assembler: Assembler,
    expected: Option<u64>,
    waiting: BTreeMap<u64, Arc<Item>>,
    epoch: u32,
    frames: u64,
    broken: bool,
}

impl std::fmt::Debug for TrackFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrackFrames({}, {} frames)", self.spec.id, self.frames)
    }
}

/// The frames of one channel.
#[derive(Debug)]
pub struct FrameLog {
    /// The frames, framed for the wire.
    pub ring: Ring,
    tracks: Vec<TrackFrames>,
    units: Vec<AccessUnit>,
}

impl FrameLog {
    /// An empty log for these tracks.
    pub fn new(tracks: &[TrackSpec], depth_us: u64, max_bytes: usize) -> Self {
        let tracks = tracks
            .iter()
            .map(|spec| TrackFrames {
                assembler: Assembler::new(spec.codec, spec.parameter_sets.clone()),
                spec: spec.clone(),
                expected: None,
                waiting: BTreeMap::new(),
                epoch: 0,
                frames: 0,
                broken: false,
            })
            .collect();
        Self {
            ring: Ring::new(depth_us, max_bytes),
            tracks,
            units: Vec::new(),
        }
    }

    /// The parameter sets of a source that takes over in the same format.
    pub fn set_parameter_sets(&mut self, tracks: &[TrackSpec]) {
        for track in &mut self.tracks {
            if let Some(spec) = tracks.iter().find(|spec| spec.id == track.spec.id) {
                track
                    .assembler
                    .set_parameter_sets(spec.parameter_sets.clone());
            }
        }
    }

    /// Takes a relayed packet in. `clock` maps its track's timestamps.
    pub fn take(&mut self, item: &Arc<Item>, clock: &ClockMap) {
        if item.flags & RTCP != 0 {
            return;
        }
        let Some(track) = self
            .tracks
            .iter_mut()
            .find(|track| track.spec.id == item.track)
        else {
            return;
        };
        if track.epoch != item.epoch {
            track.waiting.clear();
            track.assembler.reset();
            track.broken = track.epoch != 0;
            track.epoch = item.epoch;
            track.expected = Some(item.number);
        }
        let expected = *track.expected.get_or_insert(item.number);
        if item.number < expected {
            return;
        }
        if item.number > expected {
            track.waiting.insert(item.number, Arc::clone(item));
        } else {
            track.assemble(item, false, &mut self.units);
        }
        track.release(item.arrival, &mut self.units);
        for unit in self.units.drain(..) {
            self.ring.push(track.frame(&unit, item, clock));
        }
    }
}

impl TrackFrames {
    fn assemble(&mut self, item: &Item, gap: bool, units: &mut Vec<AccessUnit>) {
        self.expected = Some(item.number + 1);
        if let Ok(header) = crate::rtp::parse(&item.data) {
            let payload = &item.data[header.start..header.end];
            self.assembler
                .push(payload, header.timestamp, header.marker, gap, units);
        }
    }

    /// Lets go of packets that no longer wait for an earlier one.
    fn release(&mut self, now: u64, units: &mut Vec<AccessUnit>) {
        while let Some((&number, first)) = self.waiting.first_key_value() {
            let next = self.expected == Some(number);
            let given_up =
                self.waiting.len() > MAX_REORDER || first.arrival + REORDER_PATIENCE < now;
            if !next && !given_up {
                break;
            }
            if let Some((_, item)) = self.waiting.pop_first() {
                self.assemble(&item, !next, units);
            }
        }
    }

    fn frame(&mut self, unit: &AccessUnit, last: &Item, clock: &ClockMap) -> Item {
        let broken = std::mem::take(&mut self.broken) || unit.after_loss;
        let mut flags = 0;
        if unit.key {
            flags |= KEY;
        }
        if broken {
            flags |= DISCONTINUITY;
        }
        let pts = clock.wall(unit.timestamp);
        let mut data = Vec::with_capacity(FRAME_HEADER + unit.data.len());
        data.extend_from_slice(&[1, self.spec.id, flags, 0]);
        data.extend_from_slice(&last.epoch.to_be_bytes());
        data.extend_from_slice(&self.frames.to_be_bytes());
        data.extend_from_slice(&pts.to_be_bytes());
        data.extend_from_slice(&last.arrival.to_be_bytes());
        data.extend_from_slice(&unit.data);
        let number = self.frames;
        self.frames += 1;
        let video = self.spec.kind == Kind::Video;
        if !video {
            flags &= !KEY; // a reader may begin anywhere in sound, and must begin at a picture
        }
        Item {
            track: self.spec.id,
            flags,
            video,
            epoch: last.epoch,
            number,
            time: pts,
            arrival: last.arrival,
            data: data.into(),
        }
    }
}

/// The newest whole key access unit of a track among packets held.
pub fn newest_keyframe(spec: &TrackSpec, packets: &[Arc<Item>]) -> Option<Vec<u8>> {
    let mut assembler = Assembler::new(spec.codec, spec.parameter_sets.clone());
    let mut packets: Vec<_> = packets
        .iter()
        .filter(|item| item.track == spec.id && item.flags & RTCP == 0)
        .collect();
    packets.sort_by_key(|item| item.number);
    let mut units = Vec::new();
    let mut previous: Option<u64> = None;
    for item in packets {
        let Ok(header) = crate::rtp::parse(&item.data) else {
            continue;
        };
        let gap = previous.is_some_and(|number| number + 1 != item.number);
        previous = Some(item.number);
        let payload = &item.data[header.start..header.end];
        assembler.push(payload, header.timestamp, header.marker, gap, &mut units);
    }
    units
        .into_iter()
        .rfind(|unit| unit.key)
        .map(|unit| unit.data)
}
