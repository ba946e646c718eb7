//! Who publishes and who watches by one port, and what passes between them and their channels.

use super::audience::Audience;
use super::publisher::{Publisher, Simulcast};
use super::streams::Streams;
use crate::event::{Event, Id};
use crate::ids::ById;
use crate::lock;
use crate::net::endpoint::Route;
use crate::plane::{ChannelCell, Hub};
use crate::reader::{AUDIO_ONLY, PLAYING, ReaderShared};
use crate::rtcp;
use crate::webrtc::keyframes::Keyframes;
use crate::webrtc::session::{Closed, MediaIn, PublishedTrack, Session};
use crate::webrtc::shard::{Batch, Event as SessionEvent, Shard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Ids of simulcast layers among a channel's tracks; tracks themselves are counted from 0 and are
/// few. Ids go round, so that layers of a publisher and its successor's are told apart.
const LAYER_IDS: std::ops::RangeInclusive<u8> = 128..=255;

/// A keyframe of this track of this channel.
type Wanted = (Id, u8);

#[derive(Debug)]
pub(super) struct State {
    pub(super) shard: Shard,
    pub(super) publishers: HashMap<Id, Publisher>,
    pub(super) viewers: ById<Arc<ReaderShared>>,
    pub(super) audiences: HashMap<Id, Audience>,
    pub(super) keyframes: Keyframes<Wanted>,
    /// Asked for here, and to be asked for at units that feed the channels.
    pub(super) asked: Vec<Wanted>,
    pub(super) streams: Option<Streams>,
    pub(super) batch: Batch,
    pub(super) scratch: Vec<u8>,
    pub(super) touched: Vec<Arc<ChannelCell>>,
    pub(super) next_layer: u8,
}

/// Lets the viewers of a channel choose among the layers of the publisher that is relayed, if it
/// has any.
pub(super) fn arrange(audience: &mut Audience, publishers: &HashMap<Id, Publisher>, now: u64) {
    let relayed = |simulcast: &&Simulcast| {
        simulcast.route.cell.id == audience.cell.id
            && audience.active == Some(simulcast.route.source)
    };
    let found = publishers
        .values()
        .flat_map(|publisher| publisher.simulcasts.values())
        .find(relayed)
        .map(|simulcast| (simulcast.route.track, simulcast.coming(now)));
    let (picture, layers) =
        found.map_or((None, Vec::new()), |(track, layers)| (Some(track), layers));
    audience.arrange(picture, &layers);
}

impl State {
    /// Nobody is there yet.
    pub(super) fn new(shard: Shard, streams: Option<Streams>) -> Self {
        Self {
            shard,
            publishers: HashMap::new(),
            viewers: ById::default(),
            audiences: HashMap::new(),
            keyframes: Keyframes::default(),
            asked: Vec::new(),
            streams,
            batch: Batch::default(),
            scratch: Vec::new(),
            touched: Vec::new(),
            next_layer: *LAYER_IDS.start(),
        }
    }

    /// A publisher's track, by its place in the answer, feeds a source's.
    pub(super) fn attach(&mut self, session: Id, place: usize, route: Arc<Route>) {
        let tracks = self.shard.session(session).map(Session::tracks);
        let track: Option<PublishedTrack> = tracks.and_then(|tracks| tracks.get(place).cloned());
        let (Some(track), Some(publisher)) = (track, self.publishers.get_mut(&session)) else {
            return;
        };
        if track.rids.len() < 2 {
            publisher.routes.insert((place, 0), route);
            return;
        }
        let mut ids = Vec::new();
        for _ in &track.rids {
            ids.push(self.next_layer);
            self.next_layer = self.next_layer.checked_add(1).unwrap_or(*LAYER_IDS.start());
        }
        let simulcast = Simulcast::new(&track, ids, route);
        publisher.simulcasts.insert(place, simulcast);
    }

    /// The layer so many places below the best of a publisher's track feeds an input too.
    pub(super) fn attach_lower(
        &mut self,
        session: Id,
        place: usize,
        below: usize,
        route: Arc<Route>,
        now: u64,
    ) -> bool {
        let publisher = self.publishers.get_mut(&session);
        let simulcast = publisher.and_then(|publisher| publisher.simulcasts.get_mut(&place));
        let found = simulcast.is_some();
        if let Some(simulcast) = simulcast {
            simulcast.lower(below, route, now);
        }
        found
    }

    /// Nothing feeds this input any more.
    pub(super) fn detach(&mut self, input: Id) {
        let publishers = self.publishers.values_mut();
        for simulcast in publishers.flat_map(|publisher| publisher.simulcasts.values_mut()) {
            for wanted in simulcast.drop_lower(input) {
                self.keyframes.remove(wanted);
            }
        }
    }

    /// Gives viewers what is new.
    pub(super) fn serve(&mut self, now: u64) {
        let State {
            audiences,
            shard,
            publishers,
            keyframes,
            ..
        } = self;
        for audience in audiences.values_mut() {
            if audience.due.is_none_or(|due| due > now) {
                continue;
            }
            let before = audience.active;
            let packets = audience.take();
            for packet in packets.iter().filter(|packet| packet.key) {
                keyframes.arrived((audience.cell.id, packet.track));
            }
            let measured = audience.measure(now);
            if measured || audience.active != before {
                arrange(audience, publishers, now);
                for viewer in &audience.viewers {
                    shard.set_tracks(now, *viewer, audience.tracks());
                }
            }
            if audience.reordered {
                // Their next offer is refused, so that they come another way.
                for viewer in &audience.viewers {
                    shard.close(now, *viewer);
                }
                continue;
            }
            shard.deliver(now, &audience.viewers, packets);
        }
    }

    /// Passes requests for keyframes on to the publishers that are relayed.
    pub(super) fn ask_for_keyframes(&mut self, now: u64) {
        let State {
            keyframes,
            publishers,
            shard,
            asked,
            ..
        } = self;
        keyframes.poll(now, |(channel, track)| {
            asked.push((channel, track));
            for (session, publisher) in publishers.iter() {
                for ((place, layer), route) in &publisher.routes {
                    if route.cell.id == channel && route.track == track {
                        shard.request_keyframe(now, *session, *place, *layer);
                    }
                }
                for (place, simulcast) in &publisher.simulcasts {
                    for layer in simulcast.answering(channel, track) {
                        shard.request_keyframe(now, *session, *place, layer);
                    }
                }
            }
        });
    }

    pub(super) fn hear(&mut self, event: SessionEvent, worker: usize, hub: &Hub, now: u64) {
        match event {
            SessionEvent::Media(id, media) => self.media(id, &media, hub, now),
            SessionEvent::KeyframeWanted(id, track) => {
                if let Some(reader) = self.viewers.get(&id) {
                    self.keyframes.request((reader.cell.id, track));
                }
            }
            SessionEvent::Estimate(id, estimate) => {
                if let Some(reader) = self.viewers.get(&id) {
                    reader.estimate.store(estimate, Ordering::Relaxed);
                }
            }
            SessionEvent::Showing(id, track) => self.showing(id, track),
            SessionEvent::Connected(id) => {
                self.admit(id, now);
                hub.events.push(Event::RtcState {
                    session: id,
                    state: "connected",
                });
            }
            SessionEvent::Disconnected(id) => {
                hub.events.push(Event::RtcState {
                    session: id,
                    state: "disconnected",
                });
            }
            SessionEvent::Closed(id, why) => self.forget(id, why, worker, hub, now),
        }
    }

    fn showing(&self, id: Id, track: Option<u8>) {
        let Some(reader) = self.viewers.get(&id) else {
            return;
        };
        let state = if track.is_some() { PLAYING } else { AUDIO_ONLY };
        reader.state.store(state, Ordering::Relaxed);
        let mut simulcasts = self
            .publishers
            .values()
            .flat_map(|publisher| publisher.simulcasts.values())
            .filter(|simulcast| simulcast.route.cell.id == reader.cell.id);
        let rid = track.and_then(|track| simulcasts.find_map(|one| one.rid(track)));
        rid.unwrap_or_default().clone_into(&mut lock(&reader.layer));
    }

    fn media(&mut self, id: Id, media: &MediaIn, hub: &Hub, now: u64) {
        let Some(publisher) = self.publishers.get_mut(&id) else {
            return;
        };
        if let Some(simulcast) = publisher.simulcasts.get_mut(&media.track) {
            let (packet, relayed) = simulcast.take(media, now, &mut self.scratch);
            if let Some(layer) = simulcast.feed.wanted(now) {
                self.shard.request_keyframe(now, id, media.track, layer);
            }
            let (shard, keyframes) = (&mut self.shard, &mut self.keyframes);
            simulcast.spread(
                media,
                &packet,
                hub,
                now,
                |layer| {
                    shard.request_keyframe(now, id, media.track, layer);
                },
                |wanted| keyframes.arrived(wanted),
            );
            let route = Arc::clone(&simulcast.route);
            if relayed {
                if let Some(report) = simulcast.report() {
                    hub.source_report(&route, &report, now);
                }
                hub.media(&route, &self.scratch, now);
                if packet.key {
                    self.keyframes.arrived((route.cell.id, route.track));
                }
                self.touch(&route.cell);
            }
            if let Some(audience) = self.audiences.get_mut(&route.cell.id)
                && audience.active == Some(route.source)
                && !audience.viewers.is_empty()
            {
                audience.push(packet, now);
            }
            return;
        }
        let stream = (media.track, media.layer);
        let Some(route) = publisher.routes.get(&stream) else {
            return; // not attached yet
        };
        if let Some((ntp, rtp)) = media.clock
            && publisher.clocks.insert(stream, ntp) != Some(ntp)
        {
            let report = rtcp::sender_report(media.ssrc, ntp, rtp, 0, 0, "publisher");
            hub.source_report(route, &report, now);
        }
        media.write(&mut self.scratch);
        hub.media(route, &self.scratch, now);
        let cell = Arc::clone(&route.cell);
        self.touch(&cell);
    }

    fn touch(&mut self, cell: &Arc<ChannelCell>) {
        if !self.touched.iter().any(|known| known.id == cell.id) {
            self.touched.push(Arc::clone(cell));
        }
    }

    /// A viewer is there: it gets what the others had since the last keyframe.
    fn admit(&mut self, id: Id, now: u64) {
        let Some(reader) = self.viewers.get(&id) else {
            return;
        };
        let Some(audience) = self.audiences.get_mut(&reader.cell.id) else {
            return;
        };
        if audience.viewers.contains(&id) {
            return; // connected again
        }
        reader.state.store(PLAYING, Ordering::Relaxed);
        audience.join(id);
        if audience.has_layers() {
            return; // its session has asked for the keyframe of the layer it wants
        }
        let stale = lock(&reader.cell.state).stale_video(now);
        let answers = |publisher: &Publisher| publisher.feeds(reader.cell.id);
        if !stale.is_empty() && self.publishers.values().any(answers) {
            // A fresh keyframe comes sooner than everything since the last could be sent.
            for track in stale {
                self.keyframes.request((reader.cell.id, track));
            }
            return;
        }
        let past = audience.past();
        self.shard.deliver(now, &[id], past);
    }

    fn forget(&mut self, id: Id, why: Closed, worker: usize, hub: &Hub, now: u64) {
        let reason = match why {
            Closed::ByPeer => "eof",
            Closed::ByUs => "closed",
            Closed::NeverConnected => "never connected",
            Closed::Silent => "silent",
            Closed::Failed => "failed",
        };
        if let Some(streams) = &mut self.streams {
            streams.end(id, now);
        }
        if let Some(publisher) = self.publishers.remove(&id) {
            for simulcast in publisher.simulcasts.values() {
                for layer in simulcast.ids() {
                    self.keyframes.remove((simulcast.route.cell.id, layer));
                }
                for lower in &simulcast.lowers {
                    let route = &lower.route;
                    self.keyframes.remove((route.cell.id, route.track));
                }
            }
        }
        if let Some(reader) = self.viewers.remove(&id) {
            let channel = reader.cell.id;
            if let Some(audience) = self.audiences.get_mut(&channel) {
                audience.viewers.retain(|viewer| *viewer != id);
            }
            if !self.viewers.values().any(|other| other.cell.id == channel) {
                self.audiences.remove(&channel);
                reader.cell.interest_rtc(worker, false);
            }
            if hub.forget_reader(id).is_some() {
                hub.events.push(Event::ReaderClosed { reader: id, reason });
            }
        }
        hub.forget_session(id);
        hub.events.push(Event::RtcClosed {
            session: id,
            reason,
        });
    }
}
