//! One end of a link.

use super::clock::RoundTrip;
use super::control::{Inbox, Outbox, Refused};
use super::receiver::{Received, Receiver};
use super::seal::Key;
use super::sender::{Budget, Sender, Sent};
use super::wire::{Body, Header, Report};
use super::wires::{Delivered, Wires};
use crate::ring::Item;
use std::collections::HashMap;
use std::sync::Arc;

/// An acknowledgement of messages waits for others so long, µs.
const ACKNOWLEDGE: u64 = 5_000;

/// How often a peer that has not answered yet is told that we are here, µs.
const KNOCK: u64 = 20_000;

/// A peer that has never answered is silent after so long, µs: both ends learn of the link over the
/// bus, one a little later than the other.
const FIRST_SILENCE: u64 = 2_000_000;

/// How often what is kept for repair is looked through when nothing is sent, µs.
const HOUSEKEEPING: u64 = 500_000;

/// How a link is made; both ends settled it over the bus.
#[derive(Debug)]
pub struct Options {
    /// Our name for the link.
    pub local: u32,
    /// The peer's.
    pub remote: u32,
    /// Seals what we send.
    pub send: Key,
    /// Opens what we receive.
    pub receive: Key,
    /// Between two reports, µs.
    pub keepalive_us: u64,
    /// A peer that says nothing for so long is silent, µs.
    pub silence_us: u64,
}

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Both ends hear each other.
    Up,
    /// A message of the peer.
    Message(Vec<u8>),
    /// Nothing is heard.
    Silent,
    /// The peer is heard again.
    Back,
    /// The link is over, and why in one word.
    Closed(&'static str),
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It, or one far newer, came before.
    Replayed,
    /// The peer did not make it.
    Forged,
}

/// What a link counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Of what was sent.
    pub sent: Sent,
    /// Of what came.
    pub received: Received,
    /// Packets sent, and received whole.
    pub items: (u64, u64),
    /// Packets of which parts were lost.
    pub broken: u64,
    /// There and back, µs.
    pub round_trip: u64,
    /// Since the peer was heard, µs; -1 for never.
    pub heard: i64,
}

/// One end of a link. See the module.
#[derive(Debug)]
pub struct Link {
    /// Our name for it.
    pub local: u32,
    /// Datagrams to be sent, in order.
    pub outgoing: Vec<Arc<Vec<u8>>>,
    /// Packets that came.
    pub delivered: Vec<Delivered>,
    /// What happened.
    pub events: Vec<Event>,
    /// Keyframes the peer needs of what we send: (wire channel, track).
    pub wishes: Vec<(u16, u8)>,
    /// What the peer misses of casts: (cast, first counter and how many).
    pub asks: Vec<(u32, Vec<(u64, u16)>)>,
    /// Messages are not taken now; the peer sends them again.
    pub crowded: bool,
    key: Key,
    sender: Sender,
    budget: Budget,
    receiver: Receiver,
    wires: Wires,
    orders: HashMap<u16, u32>,
    outbox: Outbox,
    inbox: Inbox,
    round_trip: RoundTrip,
    keepalive: u64,
    silence: u64,
    report_due: u64,
    clean_due: u64,
    silent_due: Option<u64>,
    /// The peer's newest stamp, and when it came.
    stamp: (u32, u64),
    heard: Option<u64>,
    /// Until when the peer is known to have heard us.
    confirmed: u64,
    up: bool,
    closed: bool,
    items: u64,
    room: Vec<u8>,
}

impl Link {
    /// An end that has heard nothing yet.
    pub fn new(options: Options, now: u64) -> Self {
        let sender = Sender::new(options.send, options.remote);
        Self {
            local: options.local,
            outgoing: Vec::new(),
            delivered: Vec::new(),
            events: Vec::new(),
            wishes: Vec::new(),
            asks: Vec::new(),
            crowded: false,
            key: options.receive,
            budget: Budget::new(&sender, now),
            sender,
            receiver: Receiver::default(),
            wires: Wires::default(),
            orders: HashMap::new(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            round_trip: RoundTrip::default(),
            keepalive: options.keepalive_us.max(1_000),
            silence: options.silence_us.max(1_000),
            report_due: now,
            clean_due: now + HOUSEKEEPING,
            silent_due: Some(now + FIRST_SILENCE.max(options.silence_us)),
            stamp: (0, 0),
            heard: None,
            confirmed: now,
            up: false,
            closed: false,
            items: 0,
            room: Vec::new(),
        }
    }

    /// Whether both ends hear each other, or did.
    pub fn up(&self) -> bool {
        self.up
    }

    /// Whether both ends hear each other now, as far as is known: a way may be cut in one direction
    /// only, which the peer's reports tell.
    pub fn hears(&self, now: u64) -> bool {
        let patience = self.silence + self.round_trip.usual();
        self.up && self.silent_due.is_some() && now.saturating_sub(self.confirmed) < patience
    }

    /// Until when the peer is known to have heard us.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// A peer that says nothing for so long is silent, µs.
    pub fn silence(&self) -> u64 {
        self.silence
    }

    /// Whether it is over.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Counters.
    pub fn counters(&self, now: u64) -> Counters {
        Counters {
            sent: self.sender.sent,
            received: self.receiver.received,
            items: (self.items, self.wires.delivered),
            broken: self.wires.broken,
            round_trip: self.round_trip.usual(),
            heard: self
                .heard
                .map_or(-1, |heard| now.saturating_sub(heard) as i64),
        }
    }

    // ---- what comes

    /// Takes a datagram that names this link; `true` if it is newer than all before, so that where
    /// it came from is where the peer is.
    pub fn receive(&mut self, header: &Header, data: &[u8], now: u64) -> Result<bool, Refusal> {
        if !self.receiver.wanted(header.counter) {
            self.receiver.received.replayed += 1;
            return Err(Refusal::Replayed);
        }
        let mut room = std::mem::take(&mut self.room);
        let opened = self.key.open(header, data, &mut room);
        let body = opened.and_then(|(kind, plain)| Body::parse(kind, plain).ok());
        let taken = match body {
            Some(body) if !self.closed => Ok(self.take(header.counter, data.len(), body, now)),
            Some(_) => Ok(false),
            None => {
                self.receiver.received.forged += 1;
                Err(Refusal::Forged)
            }
        };
        self.room = room;
        taken
    }

    fn take(&mut self, counter: u64, bytes: usize, body: Body<'_>, now: u64) -> bool {
        let newest = self.receiver.arrived(counter, bytes, &self.round_trip, now);
        self.heard = Some(now);
        if self.up {
            if self.silent_due.is_none() {
                self.events.push(Event::Back);
            }
            self.silent_due = Some(now + self.silence);
        }
        match body {
            Body::Media(media, data) => {
                self.wires
                    .take(counter, media, None, data, &mut self.delivered);
            }
            Body::Part(media, index, count, data) => {
                let part = Some((index, count));
                self.wires
                    .take(counter, media, part, data, &mut self.delivered);
            }
            Body::Control(..) if self.crowded => {}
            Body::Control(offset, data) => match self.inbox.take(offset, data) {
                Ok(messages) => {
                    self.events.extend(messages.into_iter().map(Event::Message));
                    self.report_due = self.report_due.min(now + ACKNOWLEDGE);
                }
                Err(_too_long) => self.end("malformed"),
            },
            Body::Report(report) => self.hear(&report, now),
            Body::Goodbye => self.end("peer"),
            Body::Wish(wire, track) => self.wishes.push((wire, track)),
            Body::Ask(cast, runs) => self.asks.push((cast, runs)),
        }
        self.settle();
        newest
    }

    /// Lets packets go that wait for nothing any more.
    fn settle(&mut self) {
        let settled = self.receiver.settled();
        self.wires.settle(settled, &mut self.delivered);
    }

    fn hear(&mut self, report: &Report, now: u64) {
        if report.echo != 0 {
            let sent = now as u32 | 1;
            let away = sent.wrapping_sub(report.echo).saturating_sub(report.held);
            self.round_trip.measured(u64::from(away));
            let then = now.saturating_sub(u64::from(report.held));
            self.confirmed = self.confirmed.max(then);
            if !self.up {
                self.up = true;
                self.silent_due = Some(now + self.silence);
                self.events.push(Event::Up);
            }
        } else {
            self.report_due = now; // it has not heard us yet
        }
        if report.stamp.wrapping_sub(self.stamp.0) as i32 > 0 || self.stamp.1 == 0 {
            self.stamp = (report.stamp, now);
        }
        self.receiver.expect(report.next, now);
        let patience = self.round_trip.patience();
        self.receiver.gone(report.oldest, patience, now);
        self.outbox.acknowledge(report.received, patience, now);
        self.sender.forget(now);
        let recent = self.round_trip.usual() / 2;
        self.sender.repair(
            &mut self.budget,
            &report.runs,
            recent,
            now,
            &mut self.outgoing,
        );
    }

    fn end(&mut self, reason: &'static str) {
        if !self.closed {
            self.closed = true;
            self.events.push(Event::Closed(reason));
        }
    }

    // ---- what goes

    /// Sends an item of a channel's ring under a number.
    pub fn media(&mut self, wire: u16, item: &Item, now: u64) {
        let order = self.orders.entry(wire).or_default();
        self.sender
            .media(wire, *order, item, now, &mut self.outgoing);
        *order = order.wrapping_add(1);
        self.items += 1;
    }

    /// Asks for a keyframe. It is not repaired: who still waits asks again.
    pub fn wish(&mut self, wire: u16, track: u8) {
        let wish = self.sender.seal_feedback(&Body::Wish(wire, track));
        self.outgoing.push(wish);
    }

    /// Asks for what is missing of a cast of the peer's. What does not come is asked for again.
    pub fn ask(&mut self, cast: u32, runs: Vec<(u64, u16)>) {
        let ask = self.sender.seal_feedback(&Body::Ask(cast, runs));
        self.outgoing.push(ask);
    }

    /// How long an answer takes.
    pub fn round_trip(&self) -> &RoundTrip {
        &self.round_trip
    }

    /// Queues a message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.outbox.push(message)
    }

    /// Lets go of all that is kept for repair, as time does.
    pub fn forget(&mut self) {
        self.sender.forget(u64::MAX);
    }

    /// Says goodbye; nothing more is sent or taken.
    pub fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.outgoing
                .push(self.sender.seal_feedback(&Body::Goodbye));
        }
    }

    /// When [`Link::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        if self.closed {
            return None;
        }
        [
            Some(self.report_due),
            Some(self.clean_due),
            self.silent_due,
            self.receiver.due(),
            self.outbox.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub fn run(&mut self, now: u64) {
        if self.closed {
            return;
        }
        if self.silent_due.is_some_and(|due| due <= now) {
            self.silent_due = None;
            self.events.push(Event::Silent);
        }
        self.receiver.expire(now);
        self.settle();
        let patience = self.round_trip.patience();
        while let Some((offset, piece)) = self.outbox.piece(patience, now) {
            let body = Body::Control(offset, &piece);
            self.outgoing.push(self.sender.seal(&body, now));
        }
        if self.clean_due <= now {
            self.clean_due = now + HOUSEKEEPING;
            self.sender.forget(now);
        }
        loop {
            let runs = self.receiver.requests(&self.round_trip, now);
            if runs.is_empty() && self.report_due > now {
                break;
            }
            self.report(runs, now);
        }
    }

    fn report(&mut self, runs: Vec<(u64, u16)>, now: u64) {
        self.report_due = now
            + if self.up {
                self.keepalive
            } else {
                KNOCK.min(self.keepalive)
            };
        let report = Report {
            next: self.sender.next(),
            oldest: self.sender.oldest(),
            stamp: now as u32 | 1,
            echo: self.stamp.0,
            held: now.saturating_sub(self.stamp.1).min(u64::from(u32::MAX)) as u32,
            received: self.inbox.received(),
            runs,
        };
        let data = self.sender.seal_feedback(&Body::Report(report));
        self.outgoing.push(data);
    }
}
