//! What a publisher's streams feed: a source's track each, or, with simulcast, one track by the best
//! layer that comes, viewers by WebRTC by all of them, and renditions below the best where they are
//! wanted ([`super::lower`]).

use super::lower::Lower;
use crate::codec::{Codec, starts_keyframe};
use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Route;
use crate::rtcp;
use crate::webrtc::feed::Feed;
use crate::webrtc::session::{MediaIn, PublishedTrack};
use crate::webrtc::view::Packet;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// A publisher's stream: track and simulcast layer, by their places in the answer.
pub type Stream = (usize, usize);

/// What one publisher's streams feed.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    pub(super) routes: HashMap<Stream, Arc<Route>>,
    pub(super) simulcasts: HashMap<usize, Simulcast>,
    pub(super) clocks: HashMap<Stream, u64>,
}

impl Publisher {
    /// Whether it feeds a channel.
    pub(super) fn feeds(&self, channel: Id) -> bool {
        let mut all = self
            .routes
            .values()
            .chain(self.simulcasts.values().map(|one| &one.route));
        all.any(|route| route.cell.id == channel)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    id: u8,
    rid: String,
    clock: Option<(u64, u32)>,
    key_timestamp: Option<u32>,
}

/// A track that comes in several layers.
#[derive(Debug)]
pub(super) struct Simulcast {
    /// Where the best of them goes.
    pub(super) route: Arc<Route>,
    pub(super) feed: Feed,
    /// Renditions below the best that somebody wants.
    pub(super) lowers: Vec<Lower>,
    layers: Vec<Layer>,
    codec: Codec,
    pub(super) clock_rate: u32,
    pub(super) payload_type: u8,
    ssrc: u32,
    /// Added to the publisher's wall clock to get ours, µs.
    pub(super) offset: Option<i64>,
    reported: Option<(usize, u64)>,
}

impl Simulcast {
    /// `ids` name its layers among the channel's tracks, one for each.
    pub(super) fn new(track: &PublishedTrack, ids: Vec<u8>, route: Arc<Route>) -> Self {
        let random = RandomState::new().hash_one(route.input);
        let layers = ids.into_iter().zip(&track.rids).map(|(id, rid)| Layer {
            id,
            rid: rid.clone(),
            clock: None,
            key_timestamp: None,
        });
        let clock_rate = track.format.clock_rate;
        Self {
            feed: Feed::new(track.rids.len(), clock_rate, random as u16 & 0x7fff),
            lowers: Vec::new(),
            layers: layers.collect(),
            codec: track.format.codec,
            clock_rate,
            payload_type: track.payload_type,
            ssrc: (random >> 32) as u32,
            offset: None,
            reported: None,
            route,
        }
    }

    /// The layer with this id.
    pub(super) fn layer(&self, id: u8) -> Option<usize> {
        self.layers.iter().position(|layer| layer.id == id)
    }

    /// The publisher's name of the layer with this id.
    pub(super) fn rid(&self, id: u8) -> Option<&str> {
        Some(&self.layers[self.layer(id)?].rid)
    }

    /// Ids of all layers.
    pub(super) fn ids(&self) -> impl Iterator<Item = u8> {
        self.layers.iter().map(|layer| layer.id)
    }

    /// Ids and rates of the layers that come. One that was not measured yet is left out, unless
    /// none was.
    pub(super) fn coming(&self, now: u64) -> Vec<(u8, u64)> {
        let coming = (0..self.layers.len()).filter(|at| self.feed.comes(*at, now));
        let mut all: Vec<_> = coming
            .map(|at| (self.layers[at].id, self.feed.rate(at)))
            .collect();
        if all.iter().any(|(_, rate)| *rate > 0) {
            all.retain(|(_, rate)| *rate > 0);
        }
        all
    }

    /// Takes a packet of a layer in: as viewers of that layer get it, and what goes to the
    /// channel's track, if the layer is relayed there, written into `out`.
    pub(super) fn take(&mut self, media: &MediaIn, now: u64, out: &mut Vec<u8>) -> (Packet, bool) {
        self.learn_clock(media);
        let layer = &mut self.layers[media.layer];
        let begins = layer.key_timestamp != Some(media.timestamp)
            && starts_keyframe(&self.codec, &media.payload);
        if begins {
            layer.key_timestamp = Some(media.timestamp);
        }
        let packet = Packet {
            track: layer.id,
            key: begins,
            marker: media.marker,
            video: true,
            number: media.number,
            timestamp: media.timestamp,
            wall: self.wall(media).unwrap_or(now),
            payload: Arc::clone(&media.payload),
        };
        out.clear();
        let placed = self.feed.take(media.layer, &packet, now);
        if let Some((number, timestamp)) = placed {
            let stands = MediaIn {
                number,
                timestamp,
                ssrc: self.ssrc,
                payload_type: self.payload_type,
                payload: Arc::clone(&media.payload),
                ..*media
            };
            stands.write(out);
        }
        (packet, placed.is_some())
    }

    fn learn_clock(&mut self, media: &MediaIn) {
        let layer = &mut self.layers[media.layer];
        if media.clock.is_some() && layer.clock != media.clock {
            layer.clock = media.clock;
            // The channel knows the relation between the publisher's clock and ours, which its
            // sound is timed by as well.
            let mut channel = lock(&self.route.cell.state);
            let source = channel.source(self.route.source);
            self.offset = source.and_then(|source| source.clock_offset);
        }
    }

    /// A layer's clock by its latest sender report: NTP and RTP timestamp.
    pub(super) fn clock(&self, layer: usize) -> Option<(u64, u32)> {
        self.layers[layer].clock
    }

    pub(super) fn wall(&self, media: &MediaIn) -> Option<u64> {
        let (ntp, rtp) = self.layers[media.layer].clock?;
        let units = i64::from(media.timestamp.wrapping_sub(rtp) as i32);
        let us = units * 1_000_000 / i64::from(self.clock_rate.max(1));
        u64::try_from(rtcp::from_ntp(ntp) + self.offset? + us).ok()
    }

    /// The sender report that tells the channel's track what its timestamps mean, when there is a
    /// new one.
    pub(super) fn report(&mut self) -> Option<Vec<u8>> {
        let current = self.feed.current()?;
        let (ntp, rtp) = self.layers[current].clock?;
        if self.reported == Some((current, ntp)) {
            return None;
        }
        self.reported = Some((current, ntp));
        let rtp = rtp.wrapping_add(self.feed.timestamp_shift());
        Some(rtcp::sender_report(self.ssrc, ntp, rtp, 0, 0, "publisher"))
    }
}
