//! One link with what it carries: where the peer is, which channels go out, what comes feeds.

use super::streams::Streams;
use crate::event::Id;
use crate::lock;
use crate::mesh::cast::Incoming;
use crate::mesh::link::Link;
use crate::mesh::wires::Delivered;
use crate::plane::ChannelCell;
use crate::ring::{Item, RTCP};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What one channel sends at a time: less than a common receive buffer holds (212 KB), so that a
/// replay from the ring arrives whole.
const SERVE_BYTES: usize = 48 << 10;
/// How often, µs, while it is behind: together 77 Mbit/s.
const SERVE_INTERVAL: u64 = 5_000;

/// A connection is tried again after so long, µs: the peer was told of the link when we were, and
/// more often than this would only cost it work.
const RECONNECT: u64 = 250_000;

/// What the peer may have missed before it heard us last, µs: disorder on the way there.
const REWIND: u64 = 100_000;

/// Where what comes under a number goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The channel.
    pub cell: Arc<ChannelCell>,
    /// Its source.
    pub source: Id,
    /// The source's input.
    pub input: Id,
}

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Udp(SocketAddr),
    /// A connection.
    Tcp(u64),
    /// A multicast group: of no single peer.
    Group,
}

/// What serving counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeCounters {
    /// Items the ring forgot before the link took them.
    pub overtaken: u64,
    /// Messages the kernel would not send; each is a few datagrams, which are repaired.
    pub send_errors: u64,
}

/// What takes packets of a channel, to send them on.
pub trait Carrier {
    /// Takes one, under the channel's number.
    fn carry(&mut self, wire: u16, item: &Item, now: u64);
}

impl Carrier for Link {
    fn carry(&mut self, wire: u16, item: &Item, now: u64) {
        self.media(wire, item, now);
    }
}

/// A cast of the peer's that is received.
#[derive(Debug)]
pub struct Cast {
    pub incoming: Incoming,
    pub group: Ipv4Addr,
}

/// A channel that goes out.
#[derive(Debug)]
pub struct Serve {
    wire: u16,
    pub cell: Arc<ChannelCell>,
    cursor: u64,
    /// What the peer has of each track: nothing up to it is sent, while the cursor is before `until`.
    marks: Vec<(u8, u32, u64)>,
    /// Tracks that the peer has nothing of begin here.
    entry: u64,
    until: u64,
    /// What timestamps mean is said before the first packet.
    opened: bool,
    /// Nothing is sent from here on: it comes to the peer by a cast.
    rests_at: Option<u64>,
}

/// A link. See the module.
#[derive(Debug)]
pub struct Peer {
    pub link: Link,
    pub place: Option<Place>,
    pub takes: HashMap<u16, Route>,
    /// Casts that are received, by name.
    pub casts: HashMap<u32, Cast>,
    pub counters: ServeCounters,
    serves: Vec<Serve>,
    serve_due: Option<u64>,
    tcp: bool,
    /// Where to connect to, and when.
    connect: Option<SocketAddr>,
    connect_due: u64,
    worker: usize,
    /// Both ends hear each other.
    hears: bool,
}

impl Peer {
    pub fn new(
        link: Link,
        peer: Option<SocketAddr>,
        tcp: bool,
        connect: bool,
        worker: usize,
        now: u64,
    ) -> Self {
        let address = peer.filter(|_| connect);
        Self {
            link,
            place: address.filter(|_| !tcp).map(Place::Udp),
            takes: HashMap::new(),
            casts: HashMap::new(),
            counters: ServeCounters::default(),
            serves: Vec::new(),
            serve_due: None,
            tcp,
            connect: address.filter(|_| tcp),
            connect_due: now,
            worker,
            hears: false,
        }
    }

    // ---- where the peer is

    /// A datagram newer than all before came from here; where the peer was.
    pub fn follow(&mut self, from: Place, now: u64) -> Option<Place> {
        if self.tcp != matches!(from, Place::Tcp(_)) {
            return None;
        }
        if self.place != Some(from) {
            self.woken(now);
        }
        self.place.replace(from)
    }

    /// Makes the connection, when it is time.
    pub fn connect(&mut self, id: Id, streams: &mut Streams, now: u64) {
        if let Some(address) = self.connect
            && self.place.is_none()
            && self.connect_due <= now
            && !self.link.closed()
        {
            self.connect_due = now + RECONNECT;
            self.place = streams.connect(address, id).map(Place::Tcp);
        }
    }

    /// A connection ended.
    pub fn disconnected(&mut self, token: u64, now: u64) {
        if self.place == Some(Place::Tcp(token)) {
            self.place = None;
            self.connect_due = self.connect_due.max(now);
        }
    }

    // ---- channels that go out

    /// A channel goes out under a number from now on.
    pub fn serve(
        &mut self,
        wire: u16,
        cell: &Arc<ChannelCell>,
        after: &[(u8, u32, u64)],
        now: u64,
    ) {
        // First: a packet that comes while the ring is looked at is told of.
        cell.carry(self.worker);
        self.stop(wire);
        let channel = lock(&cell.state);
        let ring = &channel.ring;
        let serve = Serve {
            wire,
            cell: Arc::clone(cell),
            cursor: if after.is_empty() {
                ring.entry()
            } else {
                ring.tail()
            },
            marks: after.to_vec(),
            entry: ring.entry(),
            until: ring.head(),
            opened: false,
            rests_at: None,
        };
        drop(channel);
        self.serves.push(serve);
        self.woken(now);
    }

    /// What is in the ring by now is sent, and no more: the rest comes by a cast. Wishes for
    /// keyframes go on.
    pub fn rest(&mut self, wire: u16) {
        for serve in &mut self.serves {
            if serve.wire == wire {
                let head = lock(&serve.cell.state).ring.head();
                serve.rests_at.get_or_insert(head);
            }
        }
    }

    /// It does not any more.
    pub fn stop(&mut self, wire: u16) {
        self.serves.retain(|serve| {
            if serve.wire == wire {
                serve.cell.drop_carrier(self.worker);
            }
            serve.wire != wire
        });
    }

    pub fn stop_all(&mut self) {
        for serve in self.serves.drain(..) {
            serve.cell.drop_carrier(self.worker);
        }
    }

    /// A channel has news.
    pub fn dirty(&mut self, cell: Id, now: u64) {
        if self.serves.iter().any(|serve| serve.cell.id == cell) {
            self.woken(now);
        }
    }

    /// There may be something to be sent.
    pub fn woken(&mut self, now: u64) {
        if !self.serves.is_empty() {
            self.serve_due = Some(self.serve_due.map_or(now, |due| due.min(now)));
        }
    }

    /// Notes whether both ends hear each other. What was sent since they did is sent again when they
    /// do, out of the ring, which reaches further than the repair.
    pub fn listen(&mut self, now: u64) {
        let hears = self.link.hears(now);
        if self.hears && !hears {
            let since = self.link.confirmed().saturating_sub(REWIND);
            for serve in &mut self.serves {
                serve.rewind(since);
            }
        }
        if hears && !self.hears {
            self.woken(now);
        }
        self.hears = hears;
    }

    /// Asks for a keyframe, if the peer feeds the channel.
    pub fn wish(&mut self, channel: Id, track: u8) -> bool {
        let feeds = self.takes.iter().filter(|(_, to)| to.cell.id == channel);
        let wires: Vec<u16> = feeds.map(|(wire, _)| *wire).collect();
        for wire in &wires {
            self.link.wish(*wire, track);
        }
        !wires.is_empty()
    }

    /// Whether something came, or happened, that is to be passed on.
    pub fn has_news(&self) -> bool {
        let casts = self.casts.values().any(|cast| cast.incoming.waits());
        casts || !(self.link.events.is_empty() && self.link.delivered.is_empty())
    }

    /// Packets that came, by the link and by casts.
    pub fn take_delivered(&mut self) -> Vec<Delivered> {
        let mut came = std::mem::take(&mut self.link.delivered);
        for cast in self.casts.values_mut() {
            if cast.incoming.joined() {
                came.extend(cast.incoming.delivered());
            }
        }
        for Cast { incoming, .. } in self.casts.values_mut() {
            if !incoming.joined() {
                let wire = incoming.wire();
                for one in came.iter().filter(|one| one.wire == wire) {
                    incoming.reached(one.item.track, one.item.epoch, one.item.number);
                }
                came.extend(incoming.delivered());
            }
        }
        came
    }

    /// Casts of which it changed whether they are heard.
    pub fn cast_news(&mut self) -> Vec<(u32, bool)> {
        let casts = self.casts.iter_mut();
        casts
            .filter_map(|(name, cast)| Some((*name, cast.incoming.news()?)))
            .collect()
    }

    /// Keyframes that the peer needs: (channel, track).
    pub fn wishes(&mut self) -> Vec<(Id, u8)> {
        let serves = &self.serves;
        let known = |(wire, track)| {
            let serve = serves.iter().find(|serve| serve.wire == wire)?;
            Some((serve.cell.id, track))
        };
        self.link.wishes.drain(..).filter_map(known).collect()
    }

    /// When [`Peer::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        if self.link.closed() {
            return Some(0); // it is to be forgotten
        }
        let connect = (self.connect.is_some() && self.place.is_none()).then_some(self.connect_due);
        let says = (!self.link.outgoing.is_empty()).then_some(0);
        let casts = self.casts.values().filter_map(|cast| cast.incoming.due());
        [self.link.due(), self.serve_due, connect, says]
            .into_iter()
            .flatten()
            .chain(casts)
            .min()
    }

    /// Sends what is due.
    pub fn run(&mut self, streams: &Streams, now: u64) {
        self.link.run(now);
        for (name, cast) in &mut self.casts {
            for runs in cast.incoming.run(self.link.round_trip(), now) {
                self.link.ask(*name, runs);
            }
        }
        self.listen(now);
        if self.serve_due.is_none_or(|due| due > now) {
            return;
        }
        self.serve_due = None;
        if self.place.is_none() || !self.hears || self.link.closed() {
            return; // it is woken when that changes
        }
        for serve in &mut self.serves {
            if let Some(Place::Tcp(token)) = self.place
                && !streams.room(token)
            {
                return; // it is woken when there is
            }
            if serve.pump(&mut self.link, &mut self.counters, now) {
                self.serve_due = Some(now + SERVE_INTERVAL);
            }
        }
    }
}

impl Serve {
    /// What comes next, and nothing before.
    pub fn from_now_on(wire: u16, cell: &Arc<ChannelCell>) -> Self {
        let head = lock(&cell.state).ring.head();
        Self {
            wire,
            cell: Arc::clone(cell),
            cursor: head,
            marks: Vec::new(),
            entry: head,
            until: head,
            opened: false,
            rests_at: None,
        }
    }

    /// Goes back to what came since an instant.
    fn rewind(&mut self, since: u64) {
        let channel = lock(&self.cell.state);
        while let Some(item) = channel.ring.get(self.cursor.wrapping_sub(1))
            && item.arrival >= since
        {
            self.cursor -= 1;
        }
    }

    /// Whether the peer lacks an item.
    fn wanted(&self, position: u64, item: &Item) -> bool {
        if position >= self.until || self.marks.is_empty() {
            return true;
        }
        if item.flags & RTCP != 0 {
            return self.opened;
        }
        match self.marks.iter().find(|(track, ..)| *track == item.track) {
            Some((_, epoch, number)) => (item.epoch, item.number) > (*epoch, *number),
            None => position >= self.entry,
        }
    }

    /// Sends a part of what the link has not taken; `true` if there is more.
    pub fn pump(
        &mut self,
        carrier: &mut impl Carrier,
        counters: &mut ServeCounters,
        now: u64,
    ) -> bool {
        if self.rests_at.is_some_and(|end| self.cursor >= end) {
            return false;
        }
        let channel = lock(&self.cell.state);
        let ring = &channel.ring;
        if self.cursor < ring.tail() {
            // What a joining peer asked for and is not held any more was never promised.
            if self.opened {
                counters.overtaken += ring.tail() - self.cursor;
            }
            self.cursor = ring.tail();
        }
        let mut bytes = 0;
        let mut items: Vec<Arc<Item>> = Vec::new();
        let end = self.rests_at.unwrap_or(u64::MAX);
        for item in ring.from(self.cursor) {
            if bytes >= SERVE_BYTES || self.cursor >= end {
                break;
            }
            if self.wanted(self.cursor, item) {
                bytes += item.data.len();
                items.push(Arc::clone(item));
            }
            self.cursor += 1;
        }
        let more = self.cursor < ring.head().min(end);
        let mut opening = Vec::new();
        if let Some(first) = items.first()
            && !self.opened
        {
            self.opened = true;
            for out in &channel.layout {
                opening.extend(out.report(now).map(|report| Item {
                    track: out.spec.id,
                    flags: RTCP,
                    video: false,
                    epoch: first.epoch,
                    number: 0,
                    time: 0,
                    arrival: now,
                    data: report.into(),
                }));
            }
        }
        drop(channel);
        for item in &opening {
            carrier.carry(self.wire, item, now);
        }
        for item in &items {
            carrier.carry(self.wire, item, now);
        }
        more
    }
}
