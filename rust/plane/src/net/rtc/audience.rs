//! Those who watch one channel by one port: packets are made ready once and given to all of them.

use crate::channel::Channel;
use crate::codec::Codec;
use crate::event::Id;
use crate::lock;
use crate::media::Kind;
use crate::plane::ChannelCell;
use crate::ring::Item;
use crate::webrtc::prepare::Preparer;
use crate::webrtc::session::ViewTrack;
use crate::webrtc::view::Packet;
use std::collections::HashMap;
use std::sync::Arc;

/// How often the rates of tracks are measured, µs.
const RATE_INTERVAL: u64 = 1_000_000;

/// Those who watch one channel.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) cell: Arc<ChannelCell>,
    /// When something is to be given to viewers.
    pub(super) due: Option<u64>,
    /// Who is connected.
    pub(super) viewers: Vec<Id>,
    /// The source being relayed, as of the last look into the ring.
    pub(super) active: Option<Id>,
    /// Whether pictures come in reordered, as of the last look.
    pub(super) reordered: bool,
    /// What there is to choose from: the channel's tracks, simulcast layers in place of their own.
    tracks: Vec<ViewTrack>,
    /// The channel's tracks.
    plain: Vec<ViewTrack>,
    /// Packets of simulcast layers not yet given to anybody.
    layered: Vec<Packet>,
    /// How long a part of a picture may wait for the rest, µs.
    coalesce: u64,
    cursor: u64,
    preparer: Preparer,
    bytes: HashMap<u8, u64>,
    measured: u64,
}

impl Audience {
    pub(super) fn new(cell: &Arc<ChannelCell>, tracks: &[ViewTrack], now: u64) -> Self {
        let rates = tracks
            .iter()
            .map(|track| (track.id, track.format.clock_rate));
        let channel = lock(&cell.state);
        Self {
            cell: Arc::clone(cell),
            due: None,
            viewers: Vec::new(),
            active: channel.active(),
            reordered: false,
            tracks: tracks.to_vec(),
            plain: tracks.to_vec(),
            layered: Vec::new(),
            coalesce: channel.config.coalesce_us,
            cursor: channel.ring.head(),
            preparer: Preparer::new(rates),
            bytes: HashMap::new(),
            measured: now,
        }
    }

    /// The channel's tracks as its newest viewer was told of them.
    pub(super) fn set_plain(&mut self, tracks: &[ViewTrack]) {
        for track in tracks {
            self.preparer.set_rate(track.id, track.format.clock_rate);
        }
        let mut tracks = tracks.to_vec();
        for track in &mut tracks {
            let known = self.plain.iter().find(|known| known.id == track.id);
            track.rate = known.map_or(track.rate, |known| known.rate);
        }
        self.plain = tracks;
    }

    /// Decides when new packets go out: whole pictures at once, as they cost least together.
    pub(super) fn dirty(&mut self, now: u64) {
        let channel = lock(&self.cell.state);
        let when = if channel.complete > self.cursor {
            now
        } else {
            let item = channel.ring.get(self.cursor);
            item.map_or(now, |item| item.arrival + channel.config.coalesce_us)
        };
        drop(channel);
        self.wake(when);
    }

    fn wake(&mut self, when: u64) {
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }

    /// A packet of a simulcast layer of the source being relayed.
    pub(super) fn push(&mut self, packet: Packet, now: u64) {
        let wait = if packet.marker { 0 } else { self.coalesce };
        self.layered.push(packet);
        self.wake(now + wait);
    }

    /// Whether simulcast layers stand in for the channel's picture.
    pub(super) fn has_layers(&self) -> bool {
        let plain = |track: &&ViewTrack| self.plain.iter().any(|known| known.id == track.id);
        !self.tracks.iter().all(|track| plain(&track))
    }

    /// A viewer is there, and is given packets from now on.
    pub(super) fn join(&mut self, viewer: Id) {
        if self.viewers.is_empty() {
            self.preparer.restart();
        }
        self.viewers.push(viewer);
    }

    /// What came since the last time.
    pub(super) fn take(&mut self) -> Vec<Packet> {
        self.due = None;
        let items: Vec<Arc<Item>> = {
            let channel = lock(&self.cell.state);
            let from = self.cursor.max(channel.ring.tail());
            self.cursor = channel.ring.head();
            self.active = channel.active();
            self.reordered = channel.reorders();
            learn_parameter_sets(&mut self.preparer, &channel);
            channel.ring.from(from).cloned().collect()
        };
        for item in &items {
            *self.bytes.entry(item.track).or_default() += item.data.len() as u64;
        }
        let mut packets = self.prepare(items);
        packets.append(&mut self.layered);
        packets
    }

    /// What a new viewer gets before it goes on with the others: everything since the last keyframe.
    pub(super) fn past(&mut self) -> Vec<Packet> {
        let items: Vec<Arc<Item>> = {
            let channel = lock(&self.cell.state);
            let entry = channel.ring.entry();
            let count = usize::try_from(self.cursor.saturating_sub(entry)).unwrap_or(0);
            learn_parameter_sets(&mut self.preparer, &channel);
            channel.ring.from(entry).take(count).cloned().collect()
        };
        self.prepare(items)
    }

    fn prepare(&mut self, mut items: Vec<Arc<Item>>) -> Vec<Packet> {
        if self.has_layers() {
            let wanted = |item: &Item| self.tracks.iter().any(|track| track.id == item.track);
            items.retain(|item| wanted(item));
        }
        let mut packets = Vec::with_capacity(items.len());
        self.preparer.prepare(&items, &mut packets);
        packets
    }

    /// Whether the rates of tracks are to be measured anew.
    pub(super) fn measure(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.measured);
        if passed < RATE_INTERVAL {
            return false;
        }
        self.measured = now;
        for track in &mut self.plain {
            track.rate = self.bytes.remove(&track.id).unwrap_or(0) * 8_000_000 / passed;
        }
        self.bytes.clear();
        true
    }

    /// Lets viewers choose among the channel's tracks, or among these layers (id, bits a second) in
    /// place of its picture; the tracks.
    pub(super) fn arrange(&mut self, picture: Option<u8>, layers: &[(u8, u64)]) -> &[ViewTrack] {
        self.tracks.clear();
        for track in &self.plain {
            if track.kind == Kind::Video && Some(track.id) == picture && !layers.is_empty() {
                self.tracks
                    .extend(layers.iter().map(|(id, rate)| ViewTrack {
                        id: *id,
                        rate: *rate,
                        ..track.clone()
                    }));
            } else {
                self.tracks.push(track.clone());
            }
        }
        &self.tracks
    }

    /// What viewers choose from.
    pub(super) fn tracks(&self) -> &[ViewTrack] {
        &self.tracks
    }
}

fn learn_parameter_sets(preparer: &mut Preparer, channel: &Channel) {
    for out in &channel.layout {
        if out.spec.codec == Codec::H264 {
            preparer.set_parameter_sets(out.spec.id, &out.spec.parameter_sets);
        }
    }
}
