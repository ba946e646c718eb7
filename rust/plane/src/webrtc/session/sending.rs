//! The viewer's side of a session: ring packets out, renditions chosen.

use super::stack::Stack;
use super::{Outgoing, Output, Phase, Session, ViewOptions, ViewTrack, Waiting};
use crate::media::Kind;
use crate::webrtc::direct::{Extensions, Terms};
use crate::webrtc::layers::{Action, Chooser, Layer};
use crate::webrtc::offer::Chosen;
use crate::webrtc::path;
use crate::webrtc::sent::Trend;
use crate::webrtc::view::{Packet, Renumber};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use str0m::bwe::Bitrate;
use str0m::media::{Mid, Pt};
use str0m::rtp::{Extension, RtpWrite, StreamTxQueueInfo};

/// Packets remembered for retransmission, and for how long: what is repaired later comes after its
/// picture was due. Payloads are shared with the ring, so a packet costs a viewer about 350 bytes.
const CACHE_PACKETS: usize = 512;
const CACHE_BYTES: usize = 2 << 20;
const CACHE_AGE: Duration = Duration::from_secs(1);
/// Largest payload, for bounding the cache in bytes.
const MAX_PAYLOAD: usize = 1_400;
/// Retransmissions may take this part of the rate. `str0m`'s default of 0.15 gives up on the very
/// packets that a keyframe needs when 5 % are lost in bursts.
const REPAIR_SHARE: f32 = 0.35;

/// Video waiting in the pacer longer than this is thrown away up to the next keyframe, µs.
const MAX_QUEUE_AGE: u64 = 2_000_000;

/// Packets of video that may wait while the path is tried: 2 s at 5 Mbit/s.
const MAX_WAITING: usize = 1_024;

impl Session {
    /// Has a section send; `false` when it cannot.
    pub(super) fn send_as(&mut self, chosen: &Chosen, options: &ViewOptions) -> bool {
        let mid = Mid::from(chosen.mid.as_str());
        let repairable = chosen.offered.rtx.is_some();
        let random = RandomState::new().hash_one(&chosen.mid) as u16 & 0x7fff;
        self.outgoing.push(Outgoing {
            kind: chosen.kind,
            format: options
                .tracks
                .iter()
                .find(|track| track.kind == chosen.kind)
                .map(|track| track.format.clone()),
            tracks: Vec::new(),
            mid,
            pt: Pt::from(chosen.offered.pt),
            numbers: Renumber::new(chosen.offered.format.clock_rate, random),
            repairable,
            asked: None,
            waiting: VecDeque::new(),
        });
        self.forget_sent(self.outgoing.len() - 1);
        self.add_direct(chosen)
    }

    /// Tells whoever seals the media what was agreed on.
    fn add_direct(&mut self, chosen: &Chosen) -> bool {
        let mid = Mid::from(chosen.mid.as_str());
        let Some((direct, _)) = &mut self.direct else {
            return true;
        };
        let extensions = self
            .rtc
            .media(mid)
            .map_or_else(Extensions::default, |media| {
                let number = |extension| media.remote_extmap().id_of(extension);
                media.cname().clone_into(&mut direct.cname);
                Extensions {
                    mid: number(Extension::RtpMid),
                    transport: number(Extension::TransportSequenceNumber),
                    sent: number(Extension::AbsoluteSendTime),
                }
            });
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return false;
        };
        direct.add(Terms {
            mid: mid.to_string(),
            ssrc: *stream.ssrc(),
            payload_type: chosen.offered.pt,
            repair: stream.rtx().map(|ssrc| *ssrc).zip(chosen.offered.rtx),
            clock_rate: chosen.offered.format.clock_rate,
            video: chosen.kind == Kind::Video,
            extensions,
        });
        true
    }

    /// Empties a retransmission cache: repairs of a picture that is no longer shown would take the
    /// place of the sound.
    fn forget_sent(&mut self, at: usize) {
        if let Some((direct, _)) = &mut self.direct {
            direct.forget(at);
            return;
        }
        let outgoing = &self.outgoing[at];
        let packets = if outgoing.repairable {
            CACHE_PACKETS.min(CACHE_BYTES / MAX_PAYLOAD)
        } else {
            0
        };
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(outgoing.mid, None) {
            stream.set_rtx_cache(packets, CACHE_AGE, Some(REPAIR_SHARE));
        }
    }

    fn hide(&mut self) {
        self.queue.push_back(Output::Showing(None));
        if let Some(at) = self.video() {
            self.dropped += self.outgoing[at].waiting.len() as u64;
            self.outgoing[at].waiting.clear();
            self.forget_sent(at);
        }
    }

    fn video(&self) -> Option<usize> {
        let video = |outgoing: &Outgoing| outgoing.kind == Kind::Video;
        self.outgoing.iter().position(video)
    }

    /// The channel's tracks or their rates changed. Formats stay as they were negotiated: tracks of
    /// another codec are not sent.
    pub fn set_tracks(&mut self, tracks: &[ViewTrack]) {
        let mut audio_rate = 0;
        for outgoing in &mut self.outgoing {
            let fits = |track: &&ViewTrack| {
                track.kind == outgoing.kind
                    && outgoing.format.as_ref().is_some_and(|format| {
                        (format.codec, format.clock_rate)
                            == (track.format.codec, track.format.clock_rate)
                    })
            };
            let usable: Vec<&ViewTrack> = tracks.iter().filter(fits).collect();
            outgoing.tracks = usable.iter().map(|track| track.id).collect();
            if outgoing.kind == Kind::Audio {
                outgoing.tracks.truncate(1); // renditions are of pictures only
                audio_rate = usable.first().map_or(0, |track| track.rate);
            }
        }
        let layers: Vec<Layer> = tracks
            .iter()
            .filter(|track| {
                let video = |outgoing: &&Outgoing| outgoing.kind == Kind::Video;
                let outgoing = self.outgoing.iter().find(video);
                outgoing.is_some_and(|outgoing| outgoing.tracks.contains(&track.id))
            })
            .filter(|track| track.kind == Kind::Video)
            .map(|track| Layer {
                track: track.id,
                rate: track.rate,
            })
            .collect();
        match &mut self.chooser {
            Some(chooser) => chooser.set_layers(layers),
            None if layers.is_empty() => {}
            None => self.chooser = Some(Chooser::new(layers, audio_rate)),
        }
        if self.showing().is_none()
            && let Some(at) = self.video()
        {
            self.outgoing[at].waiting.clear(); // of a track that is gone
        }
        self.set_desired();
    }

    /// The viewer wants no better rendition than this track.
    pub fn limit(&mut self, now: u64, track: Option<u8>) {
        if let Some(chooser) = &mut self.chooser {
            chooser.set_limit(track);
        }
        self.set_desired();
        self.choose(now);
        self.stir();
    }

    fn set_desired(&mut self) {
        if let Some(chooser) = &self.chooser
            && self.desired != chooser.desired()
        {
            self.desired = chooser.desired();
            let desired = Bitrate::bps(self.desired);
            self.rtc.bwe().set_bitrate(Bitrate::ZERO, desired);
            self.stack = Stack::Given;
        }
    }

    /// Which video track is being sent.
    pub fn showing(&self) -> Option<u8> {
        self.chooser.as_ref().and_then(Chooser::current)
    }

    pub(super) fn choose(&mut self, now: u64) {
        if self.phase != Phase::Connected {
            return;
        }
        let Some(chooser) = &mut self.chooser else {
            return;
        };
        let mut hidden = false;
        while let Some(action) = chooser.poll(now) {
            match action {
                Action::RequestKeyframe(track) => {
                    self.queue.push_back(Output::KeyframeWanted(track));
                }
                Action::DropVideo => hidden = true,
                Action::Switch(track) => self.queue.push_back(Output::Showing(Some(track))),
            }
        }
        if hidden {
            self.hide();
        }
        self.set_desired();
    }

    pub(super) fn asked_for_keyframe(&mut self, at: usize, now: u64) {
        if self.video() == Some(at)
            && let Some(chooser) = &self.chooser
            && !chooser.paused(now)
            && let Some(track) = chooser.current().or(chooser.target())
        {
            self.queue.push_back(Output::KeyframeWanted(track));
        }
    }

    /// Sends a packet, if the viewer is to have it. What it costs is paid at the next poll.
    pub fn write(&mut self, now: u64, packet: &Packet) {
        if self.phase != Phase::Connected {
            return;
        }
        let found = |outgoing: &Outgoing| outgoing.tracks.contains(&packet.track);
        let Some(at) = self.outgoing.iter().position(found) else {
            return;
        };
        if self.outgoing[at].kind == Kind::Video {
            if !self.admit(at, packet, now) {
                return;
            }
            if self
                .direct
                .as_ref()
                .is_some_and(|(_, path)| path.climbing())
            {
                self.wait(at, packet, now);
                return;
            }
        }
        self.transmit(at, packet, now);
    }

    fn transmit(&mut self, at: usize, packet: &Packet, now: u64) {
        let outgoing = &mut self.outgoing[at];
        let Some((number, timestamp)) = outgoing.numbers.take(packet) else {
            return;
        };
        if let Some((direct, _)) = &mut self.direct {
            let output = direct.send(now, at, number, timestamp, packet);
            self.sent += u64::from(output.is_some());
            self.queue.extend(output);
            return;
        }
        let wall = self.timeline.instant(packet.wall);
        let write = RtpWrite::new(
            outgoing.pt,
            number.into(),
            timestamp,
            wall,
            packet.payload.clone(),
        )
        .marker(packet.marker)
        .nackable(outgoing.repairable);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(outgoing.mid, None) {
            stream.write_rtp(write);
            self.sent += 1;
            self.stir();
        }
    }

    /// Whether a packet of video is of the rendition being sent, which may begin with it.
    fn admit(&mut self, at: usize, packet: &Packet, now: u64) -> bool {
        let Some(chooser) = &mut self.chooser else {
            return false;
        };
        if packet.key && chooser.keyframe(packet.track, now).is_some() {
            self.outgoing[at].numbers.restart();
            self.queue.push_back(Output::Showing(Some(packet.track)));
            if let Some((_, path)) = &mut self.direct {
                path.begin(now);
            }
        }
        if chooser.current() != Some(packet.track) {
            if chooser.current().is_none() {
                self.dropped += 1;
            }
            return false;
        }
        // Asked once a picture: what is queued grows by pictures, and looking it up costs as much
        // as a tenth of sending a packet.
        let asked = self.outgoing[at].asked.replace(packet.timestamp);
        if packet.key || asked == Some(packet.timestamp) || !self.backed_up(at, now) {
            return true;
        }
        // The pacer cannot get rid of what it has: a picture later is better than all pictures late.
        self.dropped += 1;
        self.interrupt(now, 0);
        false
    }

    /// Sound only, for so long at least.
    fn interrupt(&mut self, now: u64, pause: u64) {
        if let Some(chooser) = &mut self.chooser {
            chooser.interrupt(now + pause);
        }
        self.hide();
        self.choose(now);
    }

    /// Sends the reports that are due, and looks at what part of what was sent in the last second the
    /// viewer has not got.
    pub(super) fn look(&mut self, now: u64) {
        if self.phase != Phase::Connected {
            return;
        }
        let Some((direct, path)) = &mut self.direct else {
            return;
        };
        self.queue.extend(direct.poll(now));
        if now < self.look_at {
            return;
        }
        self.look_at = now + path::REPORT_EVERY;
        if let Some((loss, trip)) = direct.look(now)
            && path.report(now, loss, trip)
            && self.showing().is_some()
        {
            self.give_up_picture(now);
        }
    }

    /// How packets have come to the viewer.
    pub(super) fn arrived(&mut self, trend: Trend, now: u64) {
        if let Some((_, path)) = &mut self.direct
            && path.arrived(now, trend)
            && self.showing().is_some()
        {
            self.give_up_picture(now);
        }
    }

    fn give_up_picture(&mut self, now: u64) {
        let pause = self.direct.as_ref().map_or(0, |(_, path)| path.pause());
        self.interrupt(now, pause);
    }

    /// The path is being tried: a packet of video waits until it may be sent.
    fn wait(&mut self, at: usize, packet: &Packet, now: u64) {
        let waiting = &mut self.outgoing[at].waiting;
        let newest = waiting.back().map(|last| last.packet.timestamp);
        // What a viewer can begin with makes what is before it needless.
        let begins = packet.key && newest != Some(packet.timestamp);
        if begins {
            self.dropped += waiting.len() as u64;
            waiting.clear();
        }
        waiting.push_back(Waiting {
            packet: packet.clone(),
            begins,
        });
        self.written = true;
        if waiting.len() > MAX_WAITING {
            if let Some((_, path)) = &mut self.direct {
                path.give_up();
            }
            self.give_up_picture(now);
        }
    }

    /// Sends of what waits what may be sent now.
    pub(super) fn release(&mut self, now: u64) {
        let Some(at) = self.video() else {
            return;
        };
        let path = self.direct.as_mut().map(|(_, path)| path);
        let Some(path) = path.filter(|path| path.climbing()) else {
            return;
        };
        path.refill(now);
        while let Some((_, path)) = &mut self.direct
            && let Some(first) = self.outgoing[at].waiting.front()
            && path.admits(first.packet.payload.len())
            && let Some(first) = self.outgoing[at].waiting.pop_front()
        {
            if first.begins {
                self.outgoing[at].numbers.restart();
            }
            self.transmit(at, &first.packet, now);
        }
        if self.outgoing[at].waiting.is_empty()
            && let Some((_, path)) = &mut self.direct
        {
            path.level(now);
        }
    }

    fn backed_up(&mut self, at: usize, now: u64) -> bool {
        if self.direct.is_some() {
            return false; // nothing waits
        }
        let timeline = self.timeline;
        let mid = self.outgoing[at].mid;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return false;
        };
        stream
            .queue_info()
            .and_then(StreamTxQueueInfo::first_unsent)
            .is_some_and(|since| now.saturating_sub(timeline.us(since)) > MAX_QUEUE_AGE)
    }
}
