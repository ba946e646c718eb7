//! The sessions of one thread. Only those with work due are touched: those that received something,
//! or are to send, stand in a row; a heap holds the others' due times.
//!
//! A session has tens of kilobytes of state. So what it is to send waits in the row until its turn,
//! in which all is done that there is to do: with a thousand viewers each turn finds the state cold
//! once, not once a step.

use super::mux::{Dropped, Mux, SessionId};
use super::session::{Closed, MediaIn, Output, ServerOptions, Session, Transport, ViewTrack};
use super::view::Packet;
use super::{Refused, Timeline};
use crate::ids::ById;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// Outputs taken from one session before others have their turn. A keyframe of a viewer that has
/// just begun is a few hundred packets; more than this waits for the next poll.
const OUTPUTS_A_TURN: usize = 512;

/// Datagrams after which a poll stops for them to be sent: they are still in the cache then, and so
/// is the memory that the next ones take.
const DATAGRAMS_A_POLL: usize = 128;

/// Entries of the heap that may be outdated, per session, before it is built anew.
const HEAP_SLACK: usize = 4;

/// A datagram to be sent.
#[derive(Debug)]
pub struct Datagram {
    /// Whose it is.
    pub session: SessionId,
    /// By which way; [`Transport::Tcp`] wants framing and the connection from this address.
    pub transport: Transport,
    /// To whom.
    pub to: SocketAddr,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Something a session has to say besides datagrams.
#[derive(Debug)]
pub enum Event {
    /// A publisher's packet.
    Media(SessionId, MediaIn),
    /// A viewer needs a keyframe of a track.
    KeyframeWanted(SessionId, u8),
    /// The way to a viewer takes so many bits a second.
    Estimate(SessionId, u64),
    /// A viewer is sent this video track; `None` for sound only.
    Showing(SessionId, Option<u8>),
    /// The peer is there.
    Connected(SessionId),
    /// Nothing is heard of it.
    Disconnected(SessionId),
    /// The session is gone, and forgotten.
    Closed(SessionId, Closed),
}

/// What a poll gives. Reused by the caller, so that its vectors grow once.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be sent, in this order; those of one session stand together.
    pub datagrams: Vec<Datagram>,
    /// To be acted upon.
    pub events: Vec<Event>,
}

impl Batch {
    /// Empties it.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.events.clear();
    }
}

/// Counters of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams refused by sessions.
    pub refused: u64,
    /// Datagrams for nobody.
    pub dropped: Dropped,
    /// Datagrams to be sent.
    pub sent: u64,
    /// Sessions polled.
    pub polls: u64,
}

#[derive(Debug)]
struct Slot {
    session: Session,
    /// When it wants its turn.
    due: u64,
    /// The earliest time the heap has it under; that is moved only when the session is due earlier,
    /// since most are due later each time they have had their turn.
    filed: u64,
    /// Whether it stands in the row because of what it received.
    queued: bool,
}

/// A place in the row.
#[derive(Debug)]
struct Turn {
    id: SessionId,
    /// What it is to send: a place among what was delivered.
    packets: Option<usize>,
}

/// Many sessions. See the module.
#[derive(Debug)]
pub struct Shard {
    server: ServerOptions,
    timeline: Timeline,
    capacity: usize,
    sessions: ById<Box<Slot>>,
    mux: Mux,
    row: VecDeque<Turn>,
    /// What those in the row are to send.
    delivered: Vec<Arc<[Packet]>>,
    /// When the first of the row came to stand in it.
    waits: u64,
    heap: BinaryHeap<Reverse<(u64, SessionId)>>,
    received: u64,
    refused: u64,
    sent: u64,
    polls: u64,
}

impl Shard {
    /// A shard of at most `capacity` sessions. `now` must be this moment.
    pub fn new(server: ServerOptions, capacity: usize, now: u64) -> Self {
        Self {
            server,
            timeline: Timeline::new(now),
            capacity,
            sessions: ById::default(),
            mux: Mux::default(),
            row: VecDeque::new(),
            delivered: Vec::new(),
            waits: now,
            heap: BinaryHeap::new(),
            received: 0,
            refused: 0,
            sent: 0,
            polls: 0,
        }
    }

    /// What a session is made with, where there is room for one. Making it takes a millisecond or
    /// two: whoever shares the shard makes it while others use that, and has it admitted.
    pub fn terms(&self) -> Result<(ServerOptions, Timeline), Refused> {
        self.room()?;
        Ok((self.server.clone(), self.timeline))
    }

    /// Takes a session in under an id of the caller's.
    pub fn admit(&mut self, now: u64, id: SessionId, session: Session) -> Result<(), Refused> {
        self.room()?;
        self.add(now, id, session);
        Ok(())
    }

    fn room(&self) -> Result<(), Refused> {
        if self.sessions.len() >= self.capacity {
            return Err(Refused::Full);
        }
        Ok(())
    }

    fn add(&mut self, now: u64, id: SessionId, session: Session) {
        self.remove(id);
        self.mux.add(id, session.ufrag());
        let slot = Slot {
            session,
            due: u64::MAX,
            filed: u64::MAX,
            queued: false,
        };
        self.sessions.insert(id, Box::new(slot));
        self.wake(now, id);
    }

    /// Takes a `PATCH` for a session; the answer of a restart.
    pub fn patch(
        &mut self,
        now: u64,
        id: SessionId,
        text: &str,
    ) -> Result<Option<String>, Refused> {
        let slot = self.sessions.get_mut(&id).ok_or(Refused::Unknown)?;
        let answer = slot.session.patch(text, now)?;
        if answer.is_some() {
            self.mux.add(id, slot.session.ufrag());
        }
        self.wake(now, id);
        Ok(answer)
    }

    /// Says goodbye to a peer; [`Event::Closed`] follows.
    pub fn close(&mut self, now: u64, id: SessionId) {
        if let Some(slot) = self.sessions.get_mut(&id) {
            slot.session.close();
            self.wake(now, id);
        }
    }

    fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.mux.remove(id);
    }

    /// A datagram, or an unframed packet of a TCP connection, came. Tells whose it was.
    pub fn receive(
        &mut self,
        now: u64,
        transport: Transport,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Option<SessionId> {
        self.received += 1;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let id = self.mux.route(now, from, data)?;
        let slot = self.sessions.get_mut(&id)?;
        let before = slot.session.refused;
        if slot.session.handle_datagram(now, transport, from, to, data) {
            self.mux.learn(now, from, id);
        }
        self.refused += slot.session.refused - before;
        if slot.session.restless(now) {
            self.wake(now, id);
        }
        Some(id)
    }

    /// The session that has proved to be at an address.
    pub fn owner(&self, address: SocketAddr) -> Option<SessionId> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.mux.owner(address)
    }

    /// Ids of all sessions.
    pub fn ids(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// Has these viewers send these packets, which are all of one channel, at the next poll.
    pub fn deliver(&mut self, now: u64, ids: &[SessionId], packets: impl Into<Arc<[Packet]>>) {
        let all = packets.into();
        if all.is_empty() {
            return;
        }
        self.stand(now);
        let packets = Some(self.delivered.len());
        self.row
            .extend(ids.iter().map(|id| Turn { id: *id, packets }));
        self.delivered.push(all);
    }

    /// The channel's tracks or their rates changed for this viewer.
    pub fn set_tracks(&mut self, now: u64, id: SessionId, tracks: &[ViewTrack]) {
        if let Some(slot) = self.sessions.get_mut(&id) {
            slot.session.set_tracks(tracks);
            self.wake(now, id);
        }
    }

    /// A viewer wants nothing better than this track.
    pub fn limit(&mut self, now: u64, id: SessionId, track: Option<u8>) {
        if let Some(slot) = self.sessions.get_mut(&id) {
            slot.session.limit(now, track);
            self.wake(now, id);
        }
    }

    /// Asks a publisher for a keyframe; `false` when that was done a moment ago.
    pub fn request_keyframe(
        &mut self,
        now: u64,
        id: SessionId,
        track: usize,
        layer: usize,
    ) -> bool {
        let Some(slot) = self.sessions.get_mut(&id) else {
            return false;
        };
        let asked = slot.session.request_keyframe(now, track, layer);
        self.wake(now, id);
        asked
    }

    fn wake(&mut self, now: u64, id: SessionId) {
        if let Some(slot) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.stand(now);
            self.row.push_back(Turn { id, packets: None });
        }
    }

    /// Somebody comes to stand in the row.
    fn stand(&mut self, now: u64) {
        if self.row.is_empty() {
            self.waits = now;
            self.delivered.clear();
        }
    }

    /// When [`Shard::poll`] has something to do; `None` when nothing is to be done.
    pub fn due(&mut self) -> Option<u64> {
        if !self.row.is_empty() {
            return Some(self.waits);
        }
        while let Some(Reverse((filed, id))) = self.heap.peek().copied() {
            match self.sessions.get_mut(&id) {
                Some(slot) if slot.filed == filed && slot.due == filed => return Some(filed),
                Some(slot) if slot.filed == filed => {
                    self.heap.pop();
                    slot.filed = u64::MAX;
                    file(&mut self.heap, slot, id);
                }
                _ => drop(self.heap.pop()), // filed anew, or gone
            }
        }
        None
    }

    /// Polls sessions that are due, until none is or there is much to be sent; `true` when it is to
    /// be called again with the same `now`.
    pub fn poll(&mut self, now: u64, out: &mut Batch) -> bool {
        let many = out.datagrams.len() + DATAGRAMS_A_POLL;
        loop {
            if out.datagrams.len() >= many {
                return true;
            }
            if let Some(turn) = self.row.pop_front() {
                self.turn(now, &turn, out);
                continue;
            }
            if self.due().is_none_or(|due| due > now) {
                break;
            }
            if let Some(Reverse((_, id))) = self.heap.pop() {
                if let Some(slot) = self.sessions.get_mut(&id) {
                    slot.filed = u64::MAX;
                }
                self.turn(now, &Turn { id, packets: None }, out);
            }
        }
        self.delivered.clear();
        if self.heap.len() > 64 + HEAP_SLACK * self.sessions.len() {
            self.heap.clear();
            for (id, slot) in &mut self.sessions {
                slot.filed = u64::MAX;
                file(&mut self.heap, slot, *id);
            }
        }
        false
    }

    /// A session does all that it has to do.
    fn turn(&mut self, now: u64, turn: &Turn, out: &mut Batch) {
        let id = turn.id;
        let Some(slot) = self.sessions.get_mut(&id) else {
            return;
        };
        self.polls += 1;
        match turn.packets.and_then(|at| self.delivered.get(at)) {
            Some(packets) => {
                for packet in packets.iter() {
                    slot.session.write(now, packet);
                }
            }
            None => slot.queued = false,
        }
        let before = out.datagrams.len();
        slot.due = drain(&mut slot.session, id, now, out);
        self.sent += (out.datagrams.len() - before) as u64;
        if slot.session.closed() {
            self.remove(id);
        } else {
            file(&mut self.heap, slot, id);
        }
    }

    /// A session, to be looked at.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id).map(|slot| &slot.session)
    }

    /// Sessions held.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Counters.
    pub fn counters(&self) -> Counters {
        Counters {
            received: self.received,
            refused: self.refused,
            dropped: self.mux.dropped,
            sent: self.sent,
            polls: self.polls,
        }
    }
}

/// Sees to it that the heap has a session under the time it is due, or an earlier one.
fn file(heap: &mut BinaryHeap<Reverse<(u64, SessionId)>>, slot: &mut Slot, id: SessionId) {
    if slot.due < slot.filed {
        slot.filed = slot.due;
        heap.push(Reverse((slot.due, id)));
    }
}

/// Takes a session's outputs; gives the time it is due again, which is later than now: nobody keeps
/// the others from their turn.
fn drain(session: &mut Session, id: SessionId, now: u64, out: &mut Batch) -> u64 {
    for _ in 0..OUTPUTS_A_TURN {
        let event = match session.poll(now) {
            Output::Transmit {
                transport,
                to,
                data,
            } => {
                out.datagrams.push(Datagram {
                    session: id,
                    transport,
                    to,
                    data,
                });
                continue;
            }
            Output::Media(media) => Event::Media(id, media),
            Output::KeyframeWanted(track) => Event::KeyframeWanted(id, track),
            Output::Estimate(estimate) => Event::Estimate(id, estimate),
            Output::Showing(track) => Event::Showing(id, track),
            Output::Connected => Event::Connected(id),
            Output::Disconnected => Event::Disconnected(id),
            Output::Closed(why) => {
                out.events.push(Event::Closed(id, why));
                return u64::MAX;
            }
            Output::Due(due) => return due.max(now + 1),
        };
        out.events.push(event);
    }
    now + 1
}
