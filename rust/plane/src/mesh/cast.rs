//! A cast: one channel sent to several receivers at once, by multicast.
//!
//! It is half a link, made of the same datagrams: media and parts, sealed with a key that all its
//! receivers have, and reports that only say what was sent. What a receiver misses it asks for over
//! its own link to the sender, and gets it there, as the very same bytes. Whether a network carries
//! multicast is found by trying: [`Incoming::hears`] tells.

use super::clock::RoundTrip;
use super::link::Refusal;
use super::receiver::{Received, Receiver};
use super::seal::Key;
use super::sender::{Budget, Sender, Sent};
use super::wire::{Body, Header, Report};
use super::wires::{Delivered, Wires};
use crate::ring::{Item, RTCP};
use std::sync::Arc;

/// The wire channel in datagrams of a cast, which carries one only.
const WIRE: u16 = 0;

/// How long what a cast brings waits for the link to come up to it, µs: longer than a ring takes to
/// be sent. Without the link's part it goes on alone.
const JOIN_PATIENCE: u64 = 1_000_000;

/// Bytes that wait so at most.
const MAX_HELD: usize = 4 << 20;

/// How often what is kept for repair is looked through when nothing is sent, µs.
const HOUSEKEEPING: u64 = 500_000;

/// The sending end.
#[derive(Debug)]
pub struct Outgoing {
    /// The receivers' name for it.
    pub name: u32,
    /// Datagrams to be sent to the group, in order.
    pub outgoing: Vec<Arc<Vec<u8>>>,
    /// Packets sent.
    pub items: u64,
    sender: Sender,
    order: u32,
    keepalive: u64,
    report_due: u64,
    clean_due: u64,
}

impl Outgoing {
    /// Nothing sent yet. The key is of this cast alone.
    pub fn new(name: u32, key: Key, keepalive_us: u64, now: u64) -> Self {
        Self {
            name,
            outgoing: Vec::new(),
            items: 0,
            sender: Sender::new(key, name),
            order: 0,
            keepalive: keepalive_us.max(1_000),
            report_due: now,
            clean_due: now + HOUSEKEEPING,
        }
    }

    /// What was sent.
    pub fn sent(&self) -> Sent {
        self.sender.sent
    }

    /// What one receiver may have repaired.
    pub fn budget(&self, now: u64) -> Budget {
        Budget::new(&self.sender, now)
    }

    /// Sends an item of the channel's ring.
    pub fn media(&mut self, item: &Item, now: u64) {
        self.sender
            .media(WIRE, self.order, item, now, &mut self.outgoing);
        self.order = self.order.wrapping_add(1);
        self.items += 1;
    }

    /// Repairs what one receiver asks for, to be sent to it alone. What others asked for a moment
    /// ago does not come to this one, so nothing is held back because of that.
    pub fn repair(
        &mut self,
        budget: &mut Budget,
        runs: &[(u64, u16)],
        now: u64,
        out: &mut Vec<Arc<Vec<u8>>>,
    ) {
        self.sender.forget(now);
        self.sender.repair(budget, runs, 0, now, out);
    }

    /// When [`Outgoing::run`] has something to do.
    pub fn due(&self) -> u64 {
        self.report_due.min(self.clean_due)
    }

    /// Does what is due.
    pub fn run(&mut self, now: u64) {
        if self.clean_due <= now {
            self.clean_due = now + HOUSEKEEPING;
            self.sender.forget(now);
        }
        if self.report_due <= now {
            self.report_due = now + self.keepalive;
            let report = Report {
                next: self.sender.next(),
                oldest: self.sender.oldest(),
                stamp: now as u32 | 1,
                ..Report::default()
            };
            let data = self.sender.seal_feedback(&Body::Report(report));
            self.outgoing.push(data);
        }
    }
}

/// A receiving end.
#[derive(Debug)]
pub struct Incoming {
    /// The number under which its packets come on the link to the sender.
    wire: u16,
    key: Key,
    receiver: Receiver,
    wires: Wires,
    came: Vec<Delivered>,
    /// What the link brings has reached what the cast began with: nothing overtakes anything now.
    joined: bool,
    /// The first packet: track, epoch, number.
    first: Option<(u8, u32, u64)>,
    join_by: Option<u64>,
    /// Counters before which nothing is missed are known: it was heard.
    begun: bool,
    silence: u64,
    /// While packets come by multicast: when that is over if none comes.
    silent_due: Option<u64>,
    /// What was told of that last.
    told: bool,
    room: Vec<u8>,
}

impl Incoming {
    /// An end that has heard nothing yet; its packets are those of `wire` on the sender's link.
    pub fn new(wire: u16, key: Key, silence_us: u64) -> Self {
        Self {
            wire,
            key,
            receiver: Receiver::default(),
            wires: Wires::default(),
            came: Vec::new(),
            joined: false,
            first: None,
            join_by: None,
            begun: false,
            silence: silence_us.max(1_000),
            silent_due: None,
            told: false,
            room: Vec::new(),
        }
    }

    /// Whether it is heard by multicast, and needs nothing else to go on.
    pub fn hears(&self) -> bool {
        self.silent_due.is_some() && self.joined
    }

    /// The number on the link.
    pub fn wire(&self) -> u16 {
        self.wire
    }

    /// Whether its packets are given out as they come.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// A packet of the same channel came by the link, or by another cast.
    pub fn reached(&mut self, track: u8, epoch: u32, number: u64) {
        if let Some(first) = self.first {
            self.joined |= track == first.0 && (epoch, number) >= (first.1, first.2);
        }
    }

    /// That, when it has changed since this was called last.
    pub fn news(&mut self) -> Option<bool> {
        let changed = self.told != self.hears();
        self.told = self.hears();
        changed.then_some(self.told)
    }

    /// What came, packets delivered, and packets of which parts were lost.
    pub fn counters(&self) -> (Received, u64, u64) {
        (
            self.receiver.received,
            self.wires.delivered,
            self.wires.broken,
        )
    }

    /// Takes a datagram that names this cast; `multicast` unless it was sent to us alone.
    pub fn receive(
        &mut self,
        header: &Header,
        data: &[u8],
        multicast: bool,
        trip: &RoundTrip,
        now: u64,
    ) -> Result<(), Refusal> {
        if !self.receiver.wanted(header.counter) || !(self.begun || multicast) {
            self.receiver.received.replayed += 1;
            return Err(Refusal::Replayed);
        }
        let mut room = std::mem::take(&mut self.room);
        let opened = self.key.open(header, data, &mut room);
        let body = opened.and_then(|(kind, plain)| Body::parse(kind, plain).ok());
        let taken = match body {
            Some(body) => self.take(header.counter, data.len(), body, multicast, trip, now),
            None => Err(Refusal::Forged),
        };
        self.room = room;
        match taken {
            Ok(()) if multicast && self.begun => {
                self.silent_due = Some(now + self.silence);
            }
            Ok(()) => {}
            Err(_forged) => self.receiver.received.forged += 1,
        }
        taken
    }

    fn take(
        &mut self,
        counter: u64,
        bytes: usize,
        body: Body<'_>,
        multicast: bool,
        trip: &RoundTrip,
        now: u64,
    ) -> Result<(), Refusal> {
        let (media, part, data) = match body {
            Body::Media(media, data) if media.wire == WIRE => (media, None, data),
            Body::Part(media, index, count, data) if media.wire == WIRE => {
                (media, Some((index, count)), data)
            }
            Body::Report(report) => {
                self.receiver.arrived_as(counter, bytes, !multicast, now);
                if self.begun {
                    self.receiver.expect(report.next, now);
                    self.receiver.gone(report.oldest, trip.patience(), now);
                    self.settle();
                }
                return Ok(());
            }
            _ => return Err(Refusal::Forged),
        };
        if !self.begun {
            self.begun = true;
            self.join_by = Some(now + JOIN_PATIENCE);
            self.receiver.skip_to(counter);
            self.wires.begin(WIRE, media.order);
        }
        self.receiver.arrived_as(counter, bytes, !multicast, now);
        self.wires.take(counter, media, part, data, &mut self.came);
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        let settled = self.receiver.settled();
        self.wires.settle(settled, &mut self.came);
        if !self.joined {
            let held: usize = self.came.iter().map(|one| one.item.data.len()).sum();
            self.joined = held > MAX_HELD;
            let media = |one: &&Delivered| one.item.flags & RTCP == 0;
            if self.first.is_none()
                && let Some(Delivered { item, .. }) = self.came.iter().find(media)
            {
                self.first = Some((item.track, item.epoch, item.number));
            }
        }
    }

    /// Whether packets wait to be taken out.
    pub fn waits(&self) -> bool {
        (self.joined && !self.came.is_empty()) || self.told != self.hears()
    }

    /// Packets that came, under their number on the link.
    pub fn delivered(&mut self) -> impl Iterator<Item = Delivered> + '_ {
        let wire = self.wire;
        let ready = if self.joined { self.came.len() } else { 0 };
        self.came
            .drain(..ready)
            .map(move |one| Delivered { wire, ..one })
    }

    /// When [`Incoming::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let join_by = self.join_by.filter(|_| !self.joined);
        [self.silent_due, self.receiver.due(), join_by]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due; what to ask the sender for, in as many requests as that takes.
    pub fn run(&mut self, trip: &RoundTrip, now: u64) -> Vec<Vec<(u64, u16)>> {
        if self.silent_due.is_some_and(|due| due <= now) {
            // The channel comes by the link from now on, and what is missing with it. When this is
            // heard again it goes on from there.
            self.silent_due = None;
            (self.begun, self.joined) = (false, false);
            (self.first, self.join_by) = (None, None);
            self.came.clear();
            self.receiver.skip_to(0);
        }
        if self.join_by.is_some_and(|due| due <= now) {
            self.joined = true;
            self.join_by = None;
        }
        self.receiver.expire(now);
        self.settle();
        let mut asked = Vec::new();
        loop {
            let runs = self.receiver.requests(trip, now);
            if runs.is_empty() {
                return asked;
            }
            asked.push(runs);
        }
    }
}
