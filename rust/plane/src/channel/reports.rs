//! Reports: what those of sources say of their clocks, and what sources are told of reception.

use super::{Channel, Reject};
use crate::event::Id;
use crate::frames::ClockMap;
use crate::media::Kind;
use crate::rtcp::{self, Block, Report};
use crate::source::{Held, TrackIn};

/// Between two sender reports of a track and two receiver reports to a source, µs (RFC 3550 §6.2).
pub(super) const REPORT_INTERVAL: u64 = 5_000_000;

/// A changed clock is told at once, but not more often than this, µs.
const CLOCK_CHANGE_INTERVAL: u64 = 200_000;

/// The canonical name in our reports; tracks of one channel share it, which is all it is for.
pub(super) const CNAME: &str = "heliograph";

impl Channel {
    /// One RTCP packet that came with a source's track.
    pub fn rtcp(&mut self, source: Id, track: u8, data: &[u8], now: u64) -> Result<(), Reject> {
        let Some(reports) = rtcp::parse(data) else {
            self.rejected += 1;
            return Err(Reject::Malformed);
        };
        let at = self.index(source).ok_or(Reject::Unknown)?;
        let index = self.sources[at].track_index(track).ok_or(Reject::Unknown)?;
        for report in reports {
            let Report::Sender { ntp, rtp, .. } = report else {
                continue;
            };
            let held = self.held(at);
            let source = &mut self.sources[at];
            let unrelated = source.clock_offset.is_none();
            if !source.clock_report(index, ntp, rtp, held, now) {
                source.rejected += 1;
            } else if unrelated {
                // Reports of other tracks may have waited for this one.
                for index in 0..self.sources[at].tracks.len() {
                    self.set_clock(at, index, now);
                }
            } else {
                self.set_clock(at, index, now);
            }
        }
        Ok(())
    }

    /// Whose instants readers keep while the relayed source's clock becomes known: the picture's,
    /// or else the first track's.
    fn held(&self, at: usize) -> Option<Held> {
        let source = &self.sources[at];
        if self.active != Some(source.id) {
            return None;
        }
        let relayed = |(index, track): (usize, &TrackIn)| {
            track.base?;
            let out = self
                .layout
                .iter()
                .find(|out| out.spec.id == track.spec.id)?;
            let held = Held {
                track: index,
                clock: out.clock?,
                shift: track.timestamp_shift,
            };
            Some((out.spec.kind != Kind::Video, held))
        };
        let found = source.tracks.iter().enumerate().filter_map(relayed);
        found.min_by_key(|(sound, _)| *sound).map(|(_, held)| held)
    }

    /// Readers' clock of a track becomes what its source's latest report says.
    fn set_clock(&mut self, at: usize, index: usize, now: u64) {
        let source = &self.sources[at];
        let track = &source.tracks[index];
        let (Some(_), Some(pair)) = (track.base, track.clock) else {
            return;
        };
        let Some(wall) = source.wall(index, pair.rtp) else {
            return;
        };
        if self.active != Some(source.id) {
            return;
        }
        let shifted = pair.rtp.wrapping_add(track.timestamp_shift);
        let id = track.spec.id;
        let Some(out) = self.layout.iter_mut().find(|out| out.spec.id == id) else {
            return;
        };
        let clock = ClockMap {
            rtp: shifted,
            wall_us: wall,
            rate: out.spec.clock_rate,
        };
        let moved = out
            .clock
            .is_none_or(|old| old.wall(shifted).abs_diff(wall) > 1_000);
        out.clock = Some(clock);
        if moved {
            let soonest = out.report_due.saturating_sub(REPORT_INTERVAL) + CLOCK_CHANGE_INTERVAL;
            out.report_due = soonest.max(now).min(out.report_due);
        }
    }

    /// Makes a receiver report for every track that packets came of.
    pub(super) fn report_reception(&mut self, now: u64) {
        for source in &mut self.sources {
            for track in &mut source.tracks {
                let Some(ssrc) = track.numbering.ssrc() else {
                    continue;
                };
                let since = track
                    .clock
                    .map_or(0, |clock| now.saturating_sub(clock.arrival));
                let block = Block {
                    ssrc,
                    fraction_lost: track.numbering.fraction_lost(),
                    lost: track.numbering.lost() as u32,
                    highest: track.numbering.highest() as u32,
                    jitter: track.numbering.jitter(),
                    last_report: track.clock.map_or(0, |clock| clock.compact),
                    delay: (since * 65_536 / 1_000_000) as u32,
                };
                let report = rtcp::receiver_report(ssrc ^ 1, &block, CNAME);
                self.reports.push((source.id, track.spec.id, report));
            }
        }
    }
}
