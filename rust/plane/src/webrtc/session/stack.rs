//! What passes between a session and its protocol stack, and between both and the clock.

use super::types::Transport;
use super::{
    CONNECT_TIMEOUT, Closed, DISCONNECT_AFTER, GONE_AFTER, Outgoing, Output, Phase, Session,
};
use crate::webrtc::direct::Direct;
use crate::webrtc::layers::Chooser;
use crate::webrtc::mux::{self, Class};
use crate::webrtc::path::Path;
use std::net::SocketAddr;
use str0m::bwe::BweKind;
use str0m::net::Protocol;
use str0m::{Event as RtcEvent, Output as RtcOutput};

/// The protocol stack of a viewer whose media it does not send has little to do once the way is found:
/// it is told the time so often, µs, which is what ICE asks for when it is idle. Each time costs as
/// much as some packets.
const STACK_REST: u64 = 3_000_000;

/// What is due of looks and reports is done with what is sent; if nothing is, so much later, µs.
const LOOK_LATE: u64 = 100_000;

/// After a check on another path than that of the media it has its time as it asks for it for so
/// long, µs: longer than checks are apart (RFC 7675 section 5.1), so that it is not missed when ICE
/// leads elsewhere. After the handshake for so long: that is the first such look.
pub(super) const SETTLING: u64 = 7_000_000;
const FIRST_LOOK: u64 = 1_000_000;

/// Errors of the protocol stack in a row after which a session is closed.
const MAX_ERRORS: u32 = 16;

/// Times in a row that time is told without anything coming of it, and the pause after that, µs:
/// whatever asks for it then, it does not get all of the thread.
const MAX_IDLE: u32 = 4;
const IDLE_PAUSE: u64 = 1_000;

/// What is between a session and its protocol stack. To ask that for nothing costs as much as to seal
/// a packet, and more when its state is not in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// It was given something: it is asked, and told the time at the next occasion.
    Given,
    /// It has nothing to say before this time.
    Quiet(u64),
}

impl Stack {
    /// When it is to be told the time.
    pub(super) fn due(self) -> u64 {
        match self {
            Self::Given => 0,
            Self::Quiet(until) => until,
        }
    }
}

impl Session {
    /// The protocol stack was given something.
    pub(super) fn stir(&mut self) {
        self.written = true;
        self.stack = Stack::Given;
    }

    /// Whether [`Session::poll`] has something to do at this time.
    pub fn restless(&self, now: u64) -> bool {
        !self.queue.is_empty()
            || self.written
            || now >= self.next_due
            || self.stack.due() < self.next_due
    }

    /// The next thing to do; to be called until it says [`Output::Due`] or [`Output::Closed`].
    pub fn poll(&mut self, now: u64) -> Output {
        #[cfg(test)]
        self.spring(crate::webrtc::guard::Trap::Poll);
        if self.written || now >= self.next_due {
            self.handle_timeout(now);
        } else {
            self.look(now);
        }
        let mut idle = 0;
        loop {
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            if self.phase == Phase::Closed {
                return Output::Due(u64::MAX);
            }
            if self.stack == Stack::Given && !self.pump(now) {
                let why = match self.phase {
                    Phase::Closing(why) => why,
                    _ => Closed::Failed,
                };
                self.phase = Phase::Closed;
                self.rtc.disconnect();
                self.queue.push_back(Output::Closed(why));
                continue;
            }
            if !self.queue.is_empty() {
                continue;
            }
            let due = self.due();
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

    /// Moves what the protocol stack has to say into the queue; `false` when it has ended. It
    /// remembers one received packet only, so this follows every datagram.
    pub(super) fn pump(&mut self, now: u64) -> bool {
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
                    let at = self.timeline.us(at);
                    let least = if self.settled(now) {
                        now + STACK_REST
                    } else {
                        0
                    };
                    self.stack = Stack::Quiet(at.max(least));
                    return true;
                }
                Ok(RtcOutput::Timeout(_)) => {}
                Err(_error) => self.errors += 1,
            }
        }
        self.stack = Stack::Given;
        false
    }

    /// Whether the stack has nothing to do but to answer.
    fn settled(&self, now: u64) -> bool {
        let found = |(direct, _): &(Direct, Path)| direct.way.is_some();
        self.phase == Phase::Connected
            && now >= self.settling
            && self.direct.as_ref().is_some_and(found)
    }

    fn due(&self) -> u64 {
        let stack = self.stack.due();
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
                let looks = direct.due().map_or(self.look_at, |at| at.min(self.look_at));
                path.due()
                    .map_or(looks + LOOK_LATE, |at| at.min(looks + LOOK_LATE))
            });
        stack.min(phase).min(choice).min(direct)
    }

    fn event(&mut self, event: RtcEvent, now: u64) {
        match event {
            RtcEvent::Connected => {
                self.phase = Phase::Connected;
                self.heard = now;
                self.settling = self.settling.max(now + FIRST_LOOK);
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
