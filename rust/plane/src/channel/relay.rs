//! The way of a packet: from a source into the ring, numbered and timed as readers see it.

use super::reports::REPORT_INTERVAL;
use super::{Channel, Reject};
use crate::event::Id;
use crate::frames::ClockMap;
use crate::media::Kind;
use crate::ring::{Item, KEY, MARKER, RTCP};
use crate::rtp;
use crate::source::Taken;

impl Channel {
    /// One RTP packet of a source's track.
    pub fn rtp(
        &mut self,
        source: Id,
        input: Id,
        track: u8,
        data: &[u8],
        now: u64,
    ) -> Result<(), Reject> {
        let result = self.take(source, input, track, data, now);
        if result.is_err() {
            self.rejected += 1;
        }
        result
    }

    fn take(
        &mut self,
        source: Id,
        input: Id,
        track: u8,
        data: &[u8],
        now: u64,
    ) -> Result<(), Reject> {
        let header = rtp::parse(data).map_err(|_| Reject::Malformed)?;
        let at = self.index(source).ok_or(Reject::Unknown)?;
        let source = &mut self.sources[at];
        if source.numbered.is_some() {
            return Err(Reject::Unknown); // without its epoch and number it is nothing
        }
        let index = source.track_index(track).ok_or(Reject::Unknown)?;
        if header.payload_type != source.tracks[index].spec.payload_type {
            source.rejected += 1;
            return Err(Reject::PayloadType);
        }
        if let Some(input) = source.inputs.iter_mut().find(|known| known.id == input) {
            input.packets += 1;
            input.bytes += data.len() as u64;
        }
        match source.take(index, &header, data, now) {
            Taken::Relay { number, key } => self.relay(at, index, number, key, data, now),
            Taken::Dropped => {}
            Taken::Kept => self.consider(at, now),
            Taken::Restarted => {
                if self.active == Some(self.sources[at].id) {
                    self.active = None;
                }
                self.consider(at, now);
            }
        }
        self.wake_taps();
        Ok(())
    }

    pub(super) fn relay(
        &mut self,
        at: usize,
        index: usize,
        number: u64,
        key: bool,
        data: &[u8],
        now: u64,
    ) {
        let source = &mut self.sources[at];
        let Ok(header) = rtp::parse(data) else { return };
        let id = source.tracks[index].spec.id;
        let Some(out) = self.layout.iter_mut().find(|out| out.spec.id == id) else {
            return;
        };
        if source.tracks[index].gated {
            if !key {
                return;
            }
            source.tracks[index].gated = false;
        }
        let (from, to) = if let Some(base) = source.tracks[index].base {
            base
        } else {
            let wall = source.wall(index, header.timestamp).unwrap_or(now);
            let wall = out.not_before(wall);
            source.hold(index, header.timestamp, wall);
            let timestamp = out.begin(header.timestamp, wall, now);
            let track = &mut source.tracks[index];
            track.timestamp_shift = timestamp.wrapping_sub(header.timestamp);
            *track.base.insert((number, out.next))
        };
        let Some(offset) = number.checked_sub(from) else {
            source.rejected += 1;
            return; // overtook the packet its epoch began with
        };
        let number = to + offset;
        let newest = number >= out.next;
        out.next = out.next.max(number + 1);
        let timestamp = header
            .timestamp
            .wrapping_add(source.tracks[index].timestamp_shift);
        out.reached(timestamp);
        if newest {
            out.newest(timestamp);
        }
        let mut copy: Box<[u8]> = data.into();
        rtp::rewrite(
            &mut copy,
            out.spec.payload_type,
            number as u16,
            timestamp,
            out.ssrc,
        );
        let video = out.spec.kind == Kind::Video;
        if now >= out.report_due
            && let Some(report) = out.report(now)
        {
            out.report_due = now + REPORT_INTERVAL;
            self.ring.push(Item {
                track: id,
                flags: RTCP,
                video,
                epoch: self.epoch,
                number: 0,
                time: 0,
                arrival: now,
                data: report.into(),
            });
        }
        out.packets += 1;
        out.octets += (header.end - header.start) as u64;
        let clock = out.clock;
        let flags = if key { KEY } else { 0 } | if header.marker { MARKER } else { 0 };
        let item = Item {
            track: id,
            flags,
            video,
            epoch: self.epoch,
            number,
            time: u64::from(timestamp),
            arrival: now,
            data: copy,
        };
        self.append(item, clock);
    }

    /// A packet as readers get it goes into the ring and the frames.
    pub(super) fn append(&mut self, item: Item, clock: Option<ClockMap>) {
        self.packets += 1;
        self.bytes += item.data.len() as u64;
        self.rate.add(item.data.len(), item.arrival);
        let last_of_picture = item.video && item.flags & MARKER != 0;
        self.ring.push(item);
        if last_of_picture {
            self.complete = self.ring.head();
        }
        if let (Some(frames), Some(clock)) = (&mut self.frames, clock)
            && let Some(item) = self.ring.get(self.ring.head() - 1)
        {
            frames.take(item, &clock);
        }
    }
}
