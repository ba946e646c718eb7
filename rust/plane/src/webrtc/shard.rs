//! The sessions of one thread. Only those with work due are touched: those that received something,
//! or are to send, stand in a row; a heap holds the others' due times.
//!
//! A session has tens of kilobytes of state. So what it is to send waits in the row until its turn,
//! in which all is done that there is to do: with a thousand viewers each turn finds the state cold
//! once, not once a step.

mod types;

pub use types::*;

use super::guard::guarded;
use super::mux::{Mux, SessionId};
use super::session::{Closed, Output, ServerOptions, Session, Transport, ViewTrack};
use super::view::Packet;
use super::{Refused, Timeline};
use crate::ids::ById;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Write as _};
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
    faults: u64,
    /// Sessions that brought about a fault, and whose end is not told yet.
    failed: Vec<SessionId>,
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
            faults: 0,
            failed: Vec::new(),
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
        if !self.sessions.contains_key(&id) {
            return Err(Refused::Unknown);
        }
        let patched = self.with(now, id, |session| {
            let answer = session.patch(text, now)?;
            Ok((answer, session.ufrag().to_owned()))
        });
        let (answer, ufrag) = patched.unwrap_or(Err(Refused::Fault))?;
        if answer.is_some() {
            self.mux.add(id, &ufrag);
        }
        self.wake(now, id);
        Ok(answer)
    }

    /// Says goodbye to a peer; [`Event::Closed`] follows.
    pub fn close(&mut self, now: u64, id: SessionId) {
        if self.with(now, id, Session::close).is_some() {
            self.wake(now, id);
        }
    }

    /// Does something with a session; `None` where there is none, or where that brought about a
    /// fault and the session is gone.
    fn with<T>(
        &mut self,
        now: u64,
        id: SessionId,
        work: impl FnOnce(&mut Session) -> T,
    ) -> Option<T> {
        let slot = self.sessions.get_mut(&id)?;
        let done = guarded(|| work(&mut slot.session));
        if done.is_none() {
            self.fail(now, id);
        }
        done
    }

    /// A session brought about a fault: nothing it holds can be relied on. [`Event::Closed`] follows.
    fn fail(&mut self, now: u64, id: SessionId) {
        // Not by eprintln, which panics where nobody reads the errors.
        let _ = writeln!(
            io::stderr(),
            "packet plane: WebRTC session {id} is ended because of a fault"
        );
        let slot = self.sessions.remove(&id);
        let _ = guarded(|| drop(slot));
        self.mux.remove(id);
        self.faults += 1;
        self.stand(now);
        self.failed.push(id);
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
        let (proved, refused, restless) = self.with(now, id, |session| {
            let before = session.refused;
            let proved = session.handle_datagram(now, transport, from, to, data);
            (proved, session.refused - before, session.restless(now))
        })?;
        if proved {
            self.mux.learn(now, from, id);
        }
        self.refused += refused;
        if restless {
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
        let set = self.with(now, id, |session| session.set_tracks(tracks));
        if set.is_some() {
            self.wake(now, id);
        }
    }

    /// A viewer wants nothing better than this track.
    pub fn limit(&mut self, now: u64, id: SessionId, track: Option<u8>) {
        let limited = self.with(now, id, |session| session.limit(now, track));
        if limited.is_some() {
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
        let asked = self.with(now, id, |session| {
            session.request_keyframe(now, track, layer)
        });
        self.wake(now, id);
        asked == Some(true)
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
        if !(self.row.is_empty() && self.failed.is_empty()) {
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
            let failed = self.failed.drain(..);
            out.events
                .extend(failed.map(|id| Event::Closed(id, Closed::Failed)));
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
        let packets = turn.packets.and_then(|at| self.delivered.get(at));
        if packets.is_none() {
            slot.queued = false;
        }
        let before = out.datagrams.len();
        let due = guarded(|| {
            for packet in packets.into_iter().flat_map(|packets| packets.iter()) {
                slot.session.write(now, packet);
            }
            drain(&mut slot.session, id, now, out)
        });
        self.sent += (out.datagrams.len() - before) as u64;
        let Some(due) = due else {
            self.fail(now, id);
            return;
        };
        slot.due = due;
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

    /// Has a session bring about a fault.
    #[cfg(test)]
    pub(super) fn lay(&mut self, id: SessionId, trap: super::guard::Trap) {
        if let Some(slot) = self.sessions.get_mut(&id) {
            slot.session.trap = Some(trap);
        }
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
            faults: self.faults,
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
