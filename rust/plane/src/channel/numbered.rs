//! Packets that another unit numbered: they enter the ring as they are, each once.
//!
//! What readers are told of tracks is kept current by them, so that a source of this unit goes on
//! where they end, in the next epoch.

use super::{Channel, Reject, TrackOut};
use crate::event::{Event, Id};
use crate::frames::ClockMap;
use crate::media::{Kind, TrackSpec};
use crate::numbered::{Numbered, Seen, Verdict};
use crate::ring::{Item, KEY, RTCP};
use crate::rtcp::{self, Report};
use crate::rtp;
use crate::source::{Source, State};

/// Numbers a successor leaves out: readers elsewhere may have seen packets of the epoch before that
/// never came here, and a player drops what has a number it saw. It is a quarter of a second at
/// 8 Mbit/s.
pub const SUCCESSION_STEP: u64 = 256;

/// No track gets as far: 8 Mbit/s of small packets, for centuries.
const MAX_NUMBER: u64 = 1 << 48;

impl Channel {
    /// Announces a source whose packets another unit numbers; `tracks` as readers there see them.
    pub fn add_numbered_source(&mut self, id: Id, priority: i64, tracks: Vec<TrackSpec>) {
        self.sources.push(Source::numbered(id, priority, tracks));
    }

    /// The next source of this unit that is relayed gets an epoch above this.
    pub fn claim_epoch(&mut self, epoch: u32) {
        self.claimed = self.claimed.max(epoch);
    }

    /// Readers elsewhere got packets of `epoch` that another unit numbered, up to `numbers` (track,
    /// number), and take none of below from then on: what a source of this unit brings goes on
    /// above them, from its next packet.
    pub fn overtake_epoch(&mut self, epoch: u32, numbers: &[(u8, u64)]) {
        self.claim_epoch(epoch);
        let Some(at) = self.active.and_then(|id| self.index(id)) else {
            return;
        };
        if self.foreign || self.epoch > epoch {
            return;
        }
        self.epoch = self.claimed.saturating_add(1);
        for out in &mut self.layout {
            let told = numbers.iter().filter(|(track, _)| *track == out.spec.id);
            let reached = told.map(|(_, number)| (*number).min(MAX_NUMBER) + 1).max();
            let next = out.next.max(reached.unwrap_or(0)) + SUCCESSION_STEP;
            let step = next - out.next;
            out.next = next;
            out.report_due = 0; // what timestamps mean is told anew
            let mut tracks = self.sources[at].tracks.iter_mut();
            if let Some(track) = tracks.find(|track| track.spec.id == out.spec.id)
                && let Some((_, to)) = &mut track.base
            {
                *to += step;
            }
        }
        self.events.push(Event::SourceActive {
            channel: self.id,
            source: self.sources[at].id,
            epoch: self.epoch,
            layout_changed: false,
        });
    }

    /// A source of this unit is about to be relayed: its epoch.
    pub(super) fn succeed(&mut self) -> u32 {
        if self.foreign {
            self.foreign = false;
            for out in &mut self.layout {
                out.next += SUCCESSION_STEP;
            }
        }
        self.epoch.max(self.claimed).saturating_add(1)
    }

    /// For each track its newest number such that nothing before it is missing: (track, epoch,
    /// number).
    pub fn marks(&mut self, now: u64) -> Vec<(u8, u32, u64)> {
        let (depth, epoch, foreign) = (self.config.depth_us, self.epoch, self.foreign);
        let marks = self
            .layout
            .iter_mut()
            .filter_map(|out| match &mut out.seen {
                Some(seen) if foreign && seen.started() => {
                    Some((out.spec.id, seen.epoch(), seen.complete(depth, now)))
                }
                _ if !foreign && out.clock.is_some() => Some((out.spec.id, epoch, out.next - 1)),
                _ => None,
            });
        marks.collect()
    }

    /// One packet, or report, of such a source. What comes of any other is numbered here.
    pub fn numbered(
        &mut self,
        source: Id,
        input: Id,
        item: Numbered,
        now: u64,
    ) -> Result<(), Reject> {
        let renumbered = self
            .source(source)
            .is_some_and(|source| source.numbered.is_none());
        if renumbered {
            return if item.flags & RTCP == 0 {
                self.rtp(source, input, item.track, &item.data, now)
            } else {
                self.rtcp(source, item.track, &item.data, now)
            };
        }
        let result = self.take_numbered(source, input, item, now);
        if result.is_err() {
            self.rejected += 1;
        }
        result
    }

    fn take_numbered(
        &mut self,
        source: Id,
        input: Id,
        item: Numbered,
        now: u64,
    ) -> Result<(), Reject> {
        let rtcp = item.flags & RTCP != 0;
        if rtcp {
            rtcp::parse(&item.data).ok_or(Reject::Malformed)?;
        } else {
            rtp::parse(&item.data).map_err(|_| Reject::Malformed)?;
        }
        let at = self.index(source).ok_or(Reject::Unknown)?;
        let current = (self.epoch, self.foreign);
        let source = &mut self.sources[at];
        let index = source.track_index(item.track).ok_or(Reject::Unknown)?;
        if let Some(input) = source.inputs.iter_mut().find(|known| known.id == input) {
            input.packets += 1;
            input.bytes += item.data.len() as u64;
        }
        let keyed = source.keyed();
        let (Some(numbered), Some(seen)) = (&mut source.numbered, &mut source.tracks[index].seen)
        else {
            return Err(Reject::Unknown);
        };
        if item.epoch < numbered.epoch
            || item.epoch < current.0
            || (item.epoch == current.0 && !current.1)
        {
            source.rejected += 1; // the epoch is over
            return Ok(());
        }
        if !rtcp
            && matches!(
                seen.take(item.epoch, item.number, now),
                Verdict::Duplicate | Verdict::TooOld
            )
        {
            source.heard(now);
            return Ok(());
        }
        if item.epoch > numbered.epoch {
            numbered.epoch = item.epoch;
            if source.state != State::Active {
                numbered.clear();
            }
        }
        numbered.continues = current.1 && item.epoch == current.0;
        let active = source.state == State::Active;
        if !active {
            numbered.keep(item.clone(), keyed, now);
        }
        source.heard(now);
        if active {
            self.carry(at, item, now);
        } else {
            self.consider(at, now);
        }
        self.wake_taps();
        Ok(())
    }

    /// Such a source is relayed from now on.
    pub(super) fn activate_numbered(&mut self, at: usize) {
        let source = &mut self.sources[at];
        let (id, keyed) = (source.id, source.keyed());
        let Some(numbered) = &mut source.numbered else {
            return;
        };
        let epoch = numbered.epoch;
        let (waiting, whole) = numbered.activate();
        source.state = State::Active;
        for track in &mut source.tracks {
            track.gated = keyed && !whole && track.spec.has_keyframes();
        }
        self.active = Some(id);
        self.enter(epoch);
        let layout_changed = self.adopt_layout(at);
        for out in &mut self.layout {
            let spec = self.sources[at]
                .tracks
                .iter()
                .find(|track| track.spec.id == out.spec.id);
            if let Some(track) = spec {
                out.spec.payload_type = track.spec.payload_type;
            }
        }
        self.events.push(Event::SourceActive {
            channel: self.id,
            source: id,
            epoch,
            layout_changed,
        });
        for (item, arrival) in waiting {
            self.carry(at, item, arrival);
        }
        self.wake_taps();
    }

    fn enter(&mut self, epoch: u32) {
        if self.epoch != epoch || !self.foreign {
            (self.epoch, self.foreign) = (epoch, true);
            for out in &mut self.layout {
                out.clock = None; // what timestamps mean is told anew
                out.forget_order();
            }
        }
    }

    /// A packet of the source that is relayed.
    fn carry(&mut self, at: usize, item: Numbered, now: u64) {
        if item.epoch != self.epoch {
            self.enter(item.epoch);
            self.events.push(Event::SourceActive {
                channel: self.id,
                source: self.sources[at].id,
                epoch: item.epoch,
                layout_changed: false,
            });
        }
        let Some(out) = self.layout.iter_mut().find(|out| out.spec.id == item.track) else {
            return;
        };
        if item.flags & RTCP != 0 {
            if !out.heard(&item.data) {
                return;
            }
            self.ring.push(Item {
                track: item.track,
                flags: item.flags,
                video: out.spec.kind == Kind::Video,
                epoch: item.epoch,
                number: 0,
                time: 0,
                arrival: now,
                data: item.data,
            });
            return;
        }
        let key = item.flags & KEY != 0;
        let gate = self.sources[at]
            .tracks
            .iter_mut()
            .find(|track| track.spec.id == item.track && track.gated);
        if let Some(track) = gate {
            if !key {
                return;
            }
            track.gated = false;
        }
        // Another source of the same numbers may have brought it before.
        let seen = out.seen.get_or_insert_with(Seen::default);
        let newest = match seen.take(item.epoch, item.number, now) {
            Verdict::Newest => true,
            Verdict::Late => false,
            Verdict::Duplicate | Verdict::TooOld => return,
        };
        let Ok(header) = rtp::parse(&item.data) else {
            return;
        };
        out.carried(&header, item.number, newest, now);
        let clock = out.clock;
        let item = Item {
            track: item.track,
            flags: item.flags,
            video: out.spec.kind == Kind::Video,
            epoch: item.epoch,
            number: item.number,
            time: u64::from(header.timestamp),
            arrival: now,
            data: item.data,
        };
        self.append(item, clock);
    }
}

impl TrackOut {
    /// Takes over what a packet says that another unit numbered.
    fn carried(&mut self, header: &rtp::Header, number: u64, newest: bool, now: u64) {
        self.ssrc = header.ssrc;
        self.packets += 1;
        self.octets += (header.end - header.start) as u64;
        self.reached(header.timestamp);
        if newest {
            self.next = number + 1;
            self.newest(header.timestamp);
        }
        // Until the numbering unit's report tells; it is sent before the first packet.
        self.clock.get_or_insert(ClockMap {
            rtp: header.timestamp,
            wall_us: now,
            rate: self.spec.clock_rate,
        });
    }

    /// Takes over a report of the numbering unit; `false` if it is no news.
    fn heard(&mut self, data: &[u8]) -> bool {
        let reports = rtcp::parse(data).unwrap_or_default();
        for report in reports {
            let Report::Sender { ntp, rtp, .. } = report else {
                continue;
            };
            let Ok(wall_us) = u64::try_from(rtcp::from_ntp(ntp)) else {
                continue;
            };
            if ntp <= self.reported && self.clock.is_some() {
                return false; // a copy by another way
            }
            self.reported = ntp;
            self.clock = Some(ClockMap {
                rtp,
                wall_us,
                rate: self.spec.clock_rate,
            });
        }
        true
    }
}
