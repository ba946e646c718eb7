//! One peer: a publisher (WHIP) or a viewer (WHEP).
//!
//! The session is ICE-lite and the passive side of DTLS: it answers checks on addresses that are
//! given, so it needs no port of its own and no discovery (RFC 8445 §2.5).

mod opening;
mod receiving;
mod sending;
mod types;

pub use types::*;

use super::direct::{Direct, Wish};
use super::formats::Format;
use super::layers::Chooser;
use super::mux::{self, Class};
use super::path::Path;
use super::view::{Packet, Renumber};
use super::{Refused, Timeline, fragment};
use crate::media::Kind;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use str0m::bwe::BweKind;
use str0m::change::SdpOffer;
use str0m::media::{Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Ssrc;
use str0m::{Candidate, Event as RtcEvent, Input, Output as RtcOutput, Rtc};

/// A peer that has not connected after this time is given up, µs; ICE itself tries for 20–30 s.
pub const CONNECT_TIMEOUT: u64 = 30_000_000;

/// A connected peer that says nothing for so long is called disconnected, µs. Checks and receiver
/// reports come several times in it.
pub const DISCONNECT_AFTER: u64 = 8_000_000;

/// A peer that says nothing for so long has gone, µs: its consent has expired (RFC 7675 §5.1).
pub const GONE_AFTER: u64 = 30_000_000;

/// Errors of the protocol stack in a row after which a session is closed.
const MAX_ERRORS: u32 = 16;

/// Times in a row that time is told without anything coming of it, and the pause after that, µs:
/// whatever asks for it then, it does not get all of the thread.
const MAX_IDLE: u32 = 4;
const IDLE_PAUSE: u64 = 1_000;

#[derive(Debug)]
struct Outgoing {
    kind: Kind,
    format: Option<Format>,
    tracks: Vec<u8>,
    mid: Mid,
    pt: Pt,
    numbers: Renumber,
    repairable: bool,
    /// The picture for which it was asked whether the way keeps up.
    asked: Option<u32>,
    /// Video that waits while the path is tried.
    waiting: VecDeque<Waiting>,
}

/// A packet that waits; with `begins`, nothing before it is sent any more.
#[derive(Debug)]
struct Waiting {
    packet: Packet,
    begins: bool,
}

#[derive(Debug)]
struct Incoming {
    mid: Mid,
    track: PublishedTrack,
    asked: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Disconnected,
    Closing(Closed),
    Closed,
}

/// A session. See the module.
#[derive(Debug)]
pub struct Session {
    rtc: Rtc,
    timeline: Timeline,
    offer: String,
    peer: (String, String),
    ufrag: String,
    candidates: Vec<(Transport, SocketAddr)>,
    phase: Phase,
    began: u64,
    heard: u64,
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming>,
    streams: HashMap<Ssrc, (usize, usize)>,
    chooser: Option<Chooser>,
    /// The media of a viewer for whom no bandwidth is estimated, and the path to it.
    direct: Option<(Direct, Path)>,
    /// When that path is looked at next.
    look_at: u64,
    desired: u64,
    queue: VecDeque<Output>,
    written: bool,
    next_due: u64,
    errors: u32,
    /// Datagrams that were refused.
    pub refused: u64,
    /// Packets of video not sent because the way to the viewer was too narrow.
    pub dropped: u64,
    /// Packets sent for the first time.
    pub sent: u64,
}

impl Session {
    /// Our half of the ICE name: what requests for this session call it.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The publisher's tracks; empty for a viewer.
    pub fn tracks(&self) -> Vec<PublishedTrack> {
        self.incoming
            .iter()
            .map(|known| known.track.clone())
            .collect()
    }

    /// Whether it has ended and said so.
    pub fn closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Takes a `PATCH`: candidates, or a restart, whose answer is to be sent back.
    pub fn patch(&mut self, text: &str, now: u64) -> Result<Option<String>, Refused> {
        if text.len() > fragment::MAX_FRAGMENT {
            return Err(Refused::TooLarge);
        }
        let malformed = || Refused::Malformed("no fragment of a description".to_owned());
        let fragment = fragment::parse(text).ok_or_else(malformed)?;
        let mut answer = None;
        if let Some(credentials) = fragment.credentials
            && credentials != self.peer
        {
            let again = fragment::restarted_offer(&self.offer, &credentials);
            let parsed = SdpOffer::from_sdp_string(&again)
                .map_err(|error| Refused::Malformed(error.to_string()))?;
            let full = self
                .rtc
                .sdp_api()
                .accept_offer(parsed)
                .map_err(|error| Refused::Malformed(error.to_string()))?;
            self.ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
            self.peer = credentials;
            self.offer = again;
            self.heard = now;
            answer = Some(fragment::of_answer(&full.to_sdp_string()));
        }
        for candidate in &fragment.candidates {
            // One that we cannot use, such as a name on the peer's link (mDNS), is no error: its
            // checks reach us and tell the address.
            if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
                self.rtc.add_remote_candidate(candidate);
            }
        }
        self.written = true;
        Ok(answer)
    }

    /// Takes a datagram; `true` when it was a request with the right password, so that the address
    /// is known to be the peer's.
    pub fn handle_datagram(
        &mut self,
        now: u64,
        transport: Transport,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> bool {
        if matches!(self.phase, Phase::Closed | Phase::Closing(_)) {
            return false;
        }
        if let Some((direct, _)) = &mut self.direct
            && matches!(mux::classify(data), Class::Rtp | Class::Rtcp)
        {
            match direct.receive(now, data) {
                Some((outputs, wishes)) => self.listen(now, outputs, &wishes),
                None => self.refused += 1,
            }
            return false;
        }
        let Some(to) = self.candidate_for(transport, from, to) else {
            self.refused += 1;
            return false;
        };
        let Ok(receive) = Receive::new(transport.protocol(), from, to, data) else {
            self.refused += 1;
            return false;
        };
        let input = Input::Receive(self.timeline.instant(now), receive);
        let stun = mux::classify(data) == Class::Stun;
        let accepted = self.rtc.accepts(&input);
        if stun && !accepted {
            self.refused += 1;
            return false;
        }
        if let Err(_error) = self.rtc.handle_input(input) {
            // One bad packet ends nothing: whatever is left is judged by `is_alive` and time-outs.
            self.refused += 1;
            return false;
        }
        self.pump(now);
        if accepted {
            self.hear(now);
        }
        stun
    }

    /// The peer is there.
    fn hear(&mut self, now: u64) {
        self.heard = now;
        if self.phase == Phase::Disconnected {
            self.phase = Phase::Connected;
            self.queue.push_back(Output::Connected);
        }
    }

    /// A viewer has said something about its media.
    fn listen(&mut self, now: u64, outputs: Vec<Output>, wishes: &[Wish]) {
        self.hear(now);
        self.queue.extend(outputs);
        for wish in wishes {
            match wish {
                Wish::Keyframe(at) => self.asked_for_keyframe(*at, now),
                Wish::Estimate(bits) => self.estimated(*bits, now),
                Wish::Trend(trend) => self.arrived(*trend, now),
            }
        }
    }

    fn estimated(&mut self, bits: u64, now: u64) {
        self.queue.push_back(Output::Estimate(bits));
        if let Some(chooser) = &mut self.chooser {
            chooser.estimate(bits);
        }
        self.choose(now);
    }

    /// The candidate a datagram came to: behind a NAT its destination is none of them.
    fn candidate_for(
        &self,
        transport: Transport,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let fits = |candidate: &&(Transport, SocketAddr)| {
            candidate.0 == transport && candidate.1.is_ipv4() == from.is_ipv4()
        };
        let exact = self.candidates.iter().filter(fits).find(|c| c.1 == to);
        exact
            .or_else(|| self.candidates.iter().find(fits))
            .map(|candidate| candidate.1)
    }

    /// Time passes.
    pub fn handle_timeout(&mut self, now: u64) {
        self.release(now);
        let instant = self.timeline.instant(now);
        if self.rtc.handle_input(Input::Timeout(instant)).is_err() {
            self.errors += 1;
        }
        self.written = false;
        self.next_due = u64::MAX;
        self.look(now);
        self.check_silence(now);
        self.choose(now);
    }

    fn check_silence(&mut self, now: u64) {
        let silent = now.saturating_sub(self.heard);
        match self.phase {
            Phase::Connecting if now.saturating_sub(self.began) >= CONNECT_TIMEOUT => {
                self.end(Closed::NeverConnected);
            }
            Phase::Connected if silent >= DISCONNECT_AFTER => {
                self.phase = Phase::Disconnected;
                self.queue.push_back(Output::Disconnected);
            }
            Phase::Disconnected if silent >= GONE_AFTER => self.end(Closed::Silent),
            _ => {}
        }
    }

    /// Ends the session; the goodbye is among the next outputs.
    pub fn close(&mut self) {
        self.end(Closed::ByUs);
    }

    fn end(&mut self, why: Closed) {
        if matches!(self.phase, Phase::Closed | Phase::Closing(_)) {
            return;
        }
        self.phase = Phase::Closing(why);
        if why == Closed::ByUs
            && let Some((direct, _)) = &mut self.direct
        {
            self.queue.extend(direct.goodbye());
        }
        if why != Closed::ByUs || self.rtc.close().is_err() {
            self.rtc.disconnect();
        }
    }

    /// The next thing to do; to be called until it says [`Output::Due`] or [`Output::Closed`].
    pub fn poll(&mut self, now: u64) -> Output {
        if self.written || now >= self.next_due {
            self.handle_timeout(now);
        }
        let mut idle = 0;
        loop {
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            if self.phase == Phase::Closed {
                return Output::Due(u64::MAX);
            }
            let Some(at) = self.pump(now) else {
                let why = match self.phase {
                    Phase::Closing(why) => why,
                    _ => Closed::Failed,
                };
                self.phase = Phase::Closed;
                self.rtc.disconnect();
                self.queue.push_back(Output::Closed(why));
                continue;
            };
            if !self.queue.is_empty() {
                continue;
            }
            let due = self.due(at);
            // The pacer wants time told between any two packets.
            if due <= now && idle < MAX_IDLE {
                idle += 1;
                self.handle_timeout(now);
                continue;
            }
            self.next_due = due.max(now + IDLE_PAUSE * u64::from(due <= now));
            return Output::Due(self.next_due);
        }
    }

    /// Moves what the protocol stack has to say into the queue, and gives the time it wants to be
    /// told next; `None` when it has ended. It remembers one received packet only, so this follows
    /// every datagram.
    fn pump(&mut self, now: u64) -> Option<u64> {
        while self.rtc.is_alive() && self.errors <= MAX_ERRORS {
            match self.rtc.poll_output() {
                Ok(RtcOutput::Transmit(transmit)) => {
                    self.errors = 0;
                    let (transport, to) = way(transmit.proto, transmit.destination);
                    if let Some((direct, _)) = &mut self.direct
                        && mux::classify(&transmit.contents) == Class::Dtls
                    {
                        direct.way = Some((transport, to)); // that is where ICE has led
                    }
                    self.queue.push_back(Output::Transmit {
                        transport,
                        to,
                        data: transmit.contents.into(),
                    });
                }
                Ok(RtcOutput::Event(event)) => self.event(event, now),
                Ok(RtcOutput::Timeout(at)) if self.rtc.is_alive() => {
                    return Some(self.timeline.us(at));
                }
                Ok(RtcOutput::Timeout(_)) => {}
                Err(_error) => self.errors += 1,
            }
        }
        None
    }

    fn due(&self, rtc: u64) -> u64 {
        let phase = match self.phase {
            Phase::Connecting => self.began + CONNECT_TIMEOUT,
            Phase::Connected => self.heard + DISCONNECT_AFTER,
            Phase::Disconnected => self.heard + GONE_AFTER,
            Phase::Closing(_) | Phase::Closed => u64::MAX,
        };
        let choice = self
            .chooser
            .as_ref()
            .filter(|_| self.phase == Phase::Connected)
            .and_then(Chooser::due)
            .unwrap_or(u64::MAX);
        let direct = self
            .direct
            .as_ref()
            .filter(|_| self.phase == Phase::Connected)
            .map_or(u64::MAX, |(direct, path)| {
                let dues = [direct.due(), path.due()];
                dues.into_iter().flatten().fold(self.look_at, u64::min)
            });
        rtc.min(phase).min(choice).min(direct)
    }

    fn event(&mut self, event: RtcEvent, now: u64) {
        match event {
            RtcEvent::Connected => {
                self.phase = Phase::Connected;
                self.heard = now;
                self.queue.push_back(Output::Connected);
                self.choose(now);
            }
            RtcEvent::RtpPacket(packet) => self.media(packet),
            RtcEvent::KeyframeRequest(request) => {
                let asked = |one: &Outgoing| one.mid == request.mid;
                if let Some(at) = self.outgoing.iter().position(asked) {
                    self.asked_for_keyframe(at, now);
                }
            }
            RtcEvent::PeerStats(stats) => {
                if let Some((direct, _)) = &mut self.direct
                    && let Some(pair) = stats.selected_candidate_pair
                {
                    direct.way = Some(way(pair.protocol, pair.remote.addr));
                }
            }
            RtcEvent::EgressBitrateEstimate(
                BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. },
            ) => self.estimated(estimate.as_u64(), now),
            RtcEvent::Closed if !matches!(self.phase, Phase::Closing(_) | Phase::Closed) => {
                self.phase = Phase::Closing(Closed::ByPeer);
            }
            _ => {}
        }
    }
}

fn way(protocol: Protocol, to: SocketAddr) -> (Transport, SocketAddr) {
    match protocol {
        Protocol::Udp => (Transport::Udp, to),
        _ => (Transport::Tcp, to),
    }
}
