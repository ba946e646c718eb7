//! The publisher's side of a session: packets in, keyframe requests out.

use super::{MediaIn, Output, Session};
use crate::rtcp;
use std::time::SystemTime;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::rtp::{RtpPacket, Ssrc};

/// Least time between two keyframe requests for one layer of a publisher, µs.
pub const KEYFRAME_SPACING: u64 = 250_000;

/// Streams whose place is remembered; a publisher with three layers and sound has four.
const MAX_STREAMS: usize = 64;

impl Session {
    pub(super) fn media(&mut self, packet: RtpPacket) {
        let ssrc = packet.header.ssrc;
        let place = match self.streams.get(&ssrc) {
            Some(place) => Some(*place),
            None => self.place(ssrc),
        };
        let Some((track, layer)) = place else {
            self.refused += 1;
            return;
        };
        self.queue.push_back(Output::Media(MediaIn {
            track,
            layer,
            number: *packet.seq_no,
            timestamp: packet.header.timestamp,
            ssrc: *ssrc,
            marker: packet.header.marker,
            payload_type: *packet.header.payload_type,
            clock: packet.last_sender_info.and_then(|info| {
                let since = info.ntp_time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                let wall = u64::try_from(since.as_micros()).ok()?;
                Some((rtcp::to_ntp(wall), info.rtp_time.numer() as u32))
            }),
            payload: packet.payload,
        }));
    }

    /// Which track and layer a stream is, by the identifiers its first packets carried.
    fn place(&mut self, ssrc: Ssrc) -> Option<(usize, usize)> {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        let (mid, rid) = (stream.mid(), stream.rid());
        let track = self.incoming.iter().position(|known| known.mid == mid)?;
        if self.incoming[track].repeats {
            // The protocol stack asks only those who have a stream of their own for repairs.
            stream.suppress_nack(false);
        }
        let layer = match rid {
            None => 0,
            Some(rid) => {
                let rids = &self.incoming[track].track.rids;
                rids.iter()
                    .position(|known| rid == Rid::from(known.as_str()))?
            }
        };
        if self.streams.len() >= MAX_STREAMS {
            self.streams.clear(); // a publisher that changes its streams without end
        }
        self.streams.insert(ssrc, (track, layer));
        Some((track, layer))
    }

    /// Asks the publisher for a keyframe (PLI); `false` when it was asked a moment ago, or when
    /// nothing came of that layer yet.
    pub fn request_keyframe(&mut self, now: u64, track: usize, layer: usize) -> bool {
        let Some(known) = self.incoming.get_mut(track) else {
            return false;
        };
        let Some(asked) = known.asked.get_mut(layer) else {
            return false;
        };
        if asked.is_some_and(|asked| now < asked + KEYFRAME_SPACING) {
            return false;
        }
        let mid: Mid = known.mid;
        let rid = known
            .track
            .rids
            .get(layer)
            .map(|rid| Rid::from(rid.as_str()));
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx_by_mid(mid, rid) else {
            return false;
        };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        *asked = Some(now);
        self.stir();
        true
    }
}
