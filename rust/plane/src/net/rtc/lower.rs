//! Renditions of a simulcast publisher below the best, each relayed into a channel of its own while
//! somebody wants it: for those who choose among renditions themselves, such as players of HLS.

use super::publisher::Simulcast;
use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Route;
use crate::plane::Hub;
use crate::rtcp;
use crate::webrtc::feed::Rung;
use crate::webrtc::session::MediaIn;
use crate::webrtc::view::Packet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// How long a rendition waits for the sender report that relates its pictures to those of the others,
/// µs. Browsers send one a second; who sends none has pictures timed by their arrival.
const CLOCK_PATIENCE: u64 = 5_000_000;

/// A rendition below the best.
#[derive(Debug)]
pub(super) struct Lower {
    /// Where it goes.
    pub(super) route: Arc<Route>,
    rung: Rung,
    ssrc: u32,
    since: u64,
    reported: Option<(usize, u64)>,
}

impl Lower {
    fn new(place: usize, clock_rate: u32, route: Arc<Route>, now: u64) -> Self {
        let random = RandomState::new().hash_one(route.input);
        Self {
            rung: Rung::new(place, clock_rate, random as u16 & 0x7fff),
            ssrc: (random >> 32) as u32,
            since: now,
            reported: None,
            route,
        }
    }

    /// The layer it shows.
    pub(super) fn current(&self) -> Option<usize> {
        self.rung.current()
    }
}

impl Simulcast {
    /// From now on the layer so many places below the best is relayed there too.
    pub(super) fn lower(&mut self, place: usize, route: Arc<Route>, now: u64) {
        let lower = Lower::new(place, self.clock_rate, route, now);
        self.lowers.push(lower);
    }

    /// Relays a packet of a layer to the renditions it belongs to; `asked` is told the layers whose
    /// keyframe is needed, `begun` the channels' tracks that had one.
    pub(super) fn spread(
        &mut self,
        media: &MediaIn,
        packet: &Packet,
        hub: &Hub,
        now: u64,
        mut asked: impl FnMut(usize),
        mut begun: impl FnMut((Id, u8)),
    ) {
        let timed = self.wall(media).is_some();
        let clock = self.clock(media.layer);
        let mut data = Vec::new();
        for lower in &mut self.lowers {
            if let Some(layer) = lower.rung.wanted(&self.feed, now) {
                asked(layer);
            }
            if !timed && now < lower.since + CLOCK_PATIENCE {
                continue; // its time would jump, beside the other renditions', when the report comes
            }
            let placed = lower.rung.take(&self.feed, media.layer, packet, now);
            let Some((number, timestamp)) = placed else {
                continue;
            };
            let stands = MediaIn {
                number,
                timestamp,
                ssrc: lower.ssrc,
                payload_type: self.payload_type,
                payload: Arc::clone(&media.payload),
                ..*media
            };
            stands.write(&mut data);
            let route = &lower.route;
            let mut channel = lock(&route.cell.state);
            if let Some((ntp, rtp)) = clock
                && lower.reported != Some((media.layer, ntp))
            {
                lower.reported = Some((media.layer, ntp));
                // One relation between the publisher's clock and ours for all renditions: that of
                // the channel, which its sound is timed by as well.
                if let Some(source) = channel.source(route.source) {
                    source.clock_offset = self.offset;
                }
                let rtp = rtp.wrapping_add(lower.rung.timestamp_shift());
                let report = rtcp::sender_report(lower.ssrc, ntp, rtp, 0, 0, "publisher");
                let _ = channel.rtcp(route.source, route.track, &report, now);
            }
            // What it may refuse came to the channel itself too, and is counted there.
            let _ = channel.rtp(route.source, route.input, route.track, &data, now);
            hub.pass_on(&mut channel);
            drop(channel);
            if packet.key {
                begun((route.cell.id, route.track));
            }
        }
    }

    /// What feeds an input does so no more; the tracks that ended.
    pub(super) fn drop_lower(&mut self, input: Id) -> Vec<(Id, u8)> {
        let mut gone = Vec::new();
        self.lowers.retain(|lower| {
            let keep = lower.route.input != input;
            if !keep {
                gone.push((lower.route.cell.id, lower.route.track));
            }
            keep
        });
        gone
    }

    /// The layers whose keyframe is wanted where one of a channel's track is.
    pub(super) fn answering(&self, channel: Id, track: u8) -> impl Iterator<Item = usize> {
        let lowers = self
            .lowers
            .iter()
            .filter(move |lower| (lower.route.cell.id, lower.route.track) == (channel, track));
        let own = self.route.cell.id == channel;
        let relayed = if self.route.track == track {
            self.feed.current()
        } else {
            self.layer(track)
        };
        let relayed = relayed.filter(|_| own);
        relayed.into_iter().chain(lowers.filter_map(Lower::current))
    }
}
