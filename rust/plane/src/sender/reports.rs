//! RTCP of a sender: its reports and goodbyes, and what its viewer reports (RFC 3550 §6).

use super::pacer::Sender;
use super::track::Track;
use crate::rtcp::{self, Report};

/// Between two sender reports of a track, µs (RFC 3550 §6.2).
pub(super) const REPORT_INTERVAL: u64 = 5_000_000;

/// What the viewer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Loss by its latest report, 1/1000.
    pub loss_permille: u64,
    /// Jitter by its latest report, µs.
    pub jitter_us: u64,
    /// When it was heard last.
    pub last: Option<u64>,
}

/// A sender report of a track, for an instant of RTP's time.
pub(super) fn sender_report(track: &Track, line_us: u64, cname: &str, now: u64) -> Vec<u8> {
    rtcp::sender_report(
        track.spec.ssrc,
        rtcp::to_ntp(now),
        track.timestamp_of(line_us),
        track.packets,
        track.octets,
        cname,
    )
}

impl Sender {
    /// The goodbyes of tracks that had packets: track and RTCP packet.
    pub fn goodbye(&mut self, now: u64) -> Vec<(u8, Vec<u8>)> {
        let line = self.line(now);
        let mut said = Vec::new();
        for track in &mut self.tracks {
            if track.reported.take().is_some() {
                let mut packet = sender_report(track, line, &self.cname, now);
                rtcp::goodbye(&mut packet, track.spec.ssrc);
                said.push((track.spec.track, packet));
            }
        }
        said
    }

    /// An RTCP packet of the viewer; how many packets are sent again for it, `None` when it is
    /// malformed.
    pub fn hear(&mut self, data: &[u8], now: u64) -> Option<usize> {
        let reports = rtcp::parse(data)?;
        self.heard.last = Some(now);
        let mut missed = Vec::new();
        for report in reports {
            let block = match report {
                Report::Block(block) => block,
                Report::Missed { number } => {
                    missed.push(number);
                    continue;
                }
                Report::Sender { .. } | Report::Goodbye { .. } => continue,
            };
            let track = self.tracks.iter().find(|one| one.spec.ssrc == block.ssrc);
            let rate = track.map_or(90_000, |one| u64::from(one.spec.clock_rate));
            self.heard.loss_permille = u64::from(block.fraction_lost) * 1_000 / 256;
            self.heard.jitter_us = u64::from(block.jitter) * 1_000_000 / rate;
        }
        if missed.is_empty() || self.node.is_none() {
            return Some(0); // only a node's packets have numbers to ask for
        }
        Some(self.resend(&missed, now).unwrap_or(0))
    }
}
