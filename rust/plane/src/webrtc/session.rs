//! One peer: a publisher (WHIP) or a viewer (WHEP).
//!
//! The session is ICE-lite and the passive side of DTLS: it answers checks on addresses that are
//! given, so it needs no port of its own and no discovery (RFC 8445 §2.5).

mod nominate;
mod opening;
mod receiving;
mod sending;
mod stack;
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
use nominate::Nomination;
use stack::{SETTLING, Stack};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use str0m::change::SdpOffer;
use str0m::media::{Mid, Pt};
use str0m::net::Receive;
use str0m::rtp::Ssrc;
use str0m::{Candidate, Input, Rtc};

/// A peer that has not connected after this time is given up, µs; ICE itself tries for 20–30 s.
pub const CONNECT_TIMEOUT: u64 = 30_000_000;

/// A connected peer that says nothing for so long is called disconnected, µs. Checks and receiver
/// reports come several times in it.
pub const DISCONNECT_AFTER: u64 = 8_000_000;

/// A peer that says nothing for so long has gone, µs: its consent has expired (RFC 7675 §5.1).
pub const GONE_AFTER: u64 = 30_000_000;

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
    /// Whether it sends again, on the same stream, what it is told is lost.
    repeats: bool,
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
    nomination: Nomination,
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
    /// Whether something was given that is seen to when time is told.
    written: bool,
    stack: Stack,
    /// Until when the stack has its time as it asks for it.
    settling: u64,
    next_due: u64,
    errors: u32,
    #[cfg(test)]
    pub(super) trap: Option<super::guard::Trap>,
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
        #[cfg(test)]
        self.spring(super::guard::Trap::Patch);
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
        self.stir();
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
        #[cfg(test)]
        self.spring(super::guard::Trap::Datagram);
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
        let class = mux::classify(data);
        let stun = class == Class::Stun;
        let accepted = self.rtc.accepts(&input);
        if stun && !accepted {
            self.refused += 1;
            return false;
        }
        match class {
            Class::Stun => self.note_check((transport, from), data),
            Class::Dtls => self.note_handshake(now, (transport, from), to),
            _ => {}
        }
        self.stack = Stack::Given;
        if let Some((direct, _)) = &self.direct
            && direct.way.is_some_and(|way| way != (transport, from))
        {
            self.settling = now + SETTLING;
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
        if now >= self.stack.due() {
            let instant = self.timeline.instant(now);
            if self.rtc.handle_input(Input::Timeout(instant)).is_err() {
                self.errors += 1;
            }
            self.stack = Stack::Given;
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

    #[cfg(test)]
    fn spring(&self, at: super::guard::Trap) {
        assert_ne!(self.trap, Some(at), "a trap");
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
        self.stack = Stack::Given;
        if why == Closed::ByUs
            && let Some((direct, _)) = &mut self.direct
        {
            self.queue.extend(direct.goodbye());
        }
        if why != Closed::ByUs || self.rtc.close().is_err() {
            self.rtc.disconnect();
        }
    }
}
