//! Paced senders on one worker: when each is run, and how what it gives reaches its viewer. Those that
//! send by one endpoint go down to the kernel together.

use crate::clock;
use crate::event::{Event, Id};
use crate::lock;
use crate::net::conn::interleave;
use crate::net::endpoint::Endpoint;
use crate::net::fanout::Conns;
use crate::net::sys::{self, Headers, SockAddr};
use crate::plane::{Hub, Tally};
use crate::sender::{Batch, Notice, Sender};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

mod ahead;

/// Packets are sent on this grid, µs: what falls due within a millisecond, of many viewers, goes
/// down together.
const GRID: u64 = 1_000;
/// What a viewer by UDP is sent at a time: less than a common receive buffer holds (212 KB).
const BURST: usize = 48 << 10;
/// And how often, µs: together 157 Mbit/s.
const BURST_INTERVAL: u64 = 2_500;
/// What a connection is written at a time, and how often before others have their turn.
const CHUNK: usize = 32 << 10;
const CHUNKS: usize = 8;
/// Senders whose packets go down by one call.
const TOGETHER: usize = 64;
/// No worker.
pub const NOWHERE: usize = usize::MAX;

/// A sender, its lock, and where it is served.
#[derive(Debug)]
pub struct SenderCell {
    /// Its id.
    pub id: Id,
    /// Its state.
    pub state: Mutex<Sender>,
    /// The worker that serves it, or [`NOWHERE`].
    pub worker: AtomicUsize,
    /// Where reports of its viewer are known.
    pub endpoint: Mutex<Option<Arc<Endpoint>>>,
}

impl SenderCell {
    /// One that has no destination.
    pub fn new(id: Id, sender: Sender) -> Self {
        Self {
            id,
            state: Mutex::new(sender),
            worker: AtomicUsize::new(NOWHERE),
            endpoint: Mutex::default(),
        }
    }

    /// Its worker.
    pub fn worker(&self) -> Option<usize> {
        let worker = self.worker.load(Ordering::Relaxed);
        (worker != NOWHERE).then_some(worker)
    }
}

/// Where a track goes by datagram: track, for RTP, for RTCP.
pub type Target = (u8, SockAddr, Option<SockAddr>);

/// How packets reach a viewer.
#[derive(Debug)]
pub enum Way {
    /// From an endpoint.
    Udp(Arc<Endpoint>, Vec<Target>),
    /// On a connection: its id; track, RTP channel, RTCP channel.
    Conn(Id, Vec<(u8, u8, u8)>),
}

#[derive(Debug)]
struct Row {
    cell: Arc<SenderCell>,
    way: Way,
    due: Option<u64>,
    /// From when on its next packet may go before it is due, and when that is due.
    ahead: Option<(u64, u64)>,
}

/// The senders.
#[derive(Debug, Default)]
pub struct Senders {
    rows: HashMap<Id, Row>,
    due: BTreeSet<(u64, Id)>,
    ahead: ahead::Ahead,
    batches: Vec<Batch>,
    framed: Vec<u8>,
}

/// When something due then is looked at.
fn on_grid(due: u64) -> u64 {
    due.div_ceil(GRID) * GRID
}

impl Senders {
    /// Serves one.
    pub fn add(&mut self, cell: Arc<SenderCell>, way: Way) {
        let id = cell.id;
        let row = Row {
            cell,
            way,
            due: None,
            ahead: None,
        };
        self.rows.insert(id, row);
        self.call(id, 0);
    }

    /// Serves it no more; its viewer is told with `farewell`. The connection it was on.
    pub fn remove(&mut self, id: Id, farewell: bool, conns: &mut Conns, now: u64) -> Option<Id> {
        let row = self.rows.remove(&id)?;
        if let Some(due) = row.due {
            self.due.remove(&(due, id));
        }
        if let Some(ahead) = row.ahead {
            self.ahead.remove(id, ahead);
        }
        if farewell {
            let said = lock(&row.cell.state).goodbye(now);
            row.way.report(&said, conns);
        }
        match row.way {
            Way::Conn(conn, _) => Some(conn),
            Way::Udp(..) => None,
        }
    }

    /// Has one looked at, at a time.
    pub fn call(&mut self, id: Id, at: u64) {
        if let Some(row) = self.rows.get_mut(&id) {
            if let Some(due) = row.due.replace(at) {
                self.due.remove(&(due, id));
            }
            self.due.insert((at, id));
        }
    }

    fn rest(&mut self, id: Id) {
        if let Some(row) = self.rows.get_mut(&id)
            && let Some(due) = row.due.take()
        {
            self.due.remove(&(due, id));
        }
    }

    /// When one of them wants to be run.
    pub fn due(&self) -> Option<u64> {
        let due = self.due.first().map(|(due, _)| *due);
        due.into_iter().chain(self.ahead.due()).min()
    }

    /// Runs those that are due; connections that are to be watched until they can be written.
    pub fn run(
        &mut self,
        conns: &mut Conns,
        headers: &mut Headers,
        hub: &Hub,
        now: u64,
    ) -> Vec<Id> {
        let mut blocked = Vec::new();
        let mut by_endpoint: Vec<(Id, Id)> = Vec::new();
        while let Some((due, id)) = self.due.first().copied()
            && due <= now
        {
            self.rest(id);
            match self.rows.get(&id).map(|row| &row.way) {
                Some(Way::Udp(endpoint, _)) => by_endpoint.push((endpoint.id, id)),
                Some(Way::Conn(conn, _)) => {
                    let conn = *conn;
                    if self.run_stream(id, conns, hub, now) {
                        blocked.push(conn);
                    }
                }
                None => {}
            }
        }
        by_endpoint.sort_unstable();
        for same in by_endpoint.chunk_by(|one, other| one.0 == other.0) {
            for together in same.chunks(TOGETHER) {
                self.run_datagrams(together, headers, hub, clock::now());
            }
        }
        self.run_ahead(headers, hub, clock::now());
        blocked
    }

    fn run_datagrams(&mut self, ids: &[(Id, Id)], headers: &mut Headers, hub: &Hub, now: u64) {
        let mut batches = std::mem::take(&mut self.batches);
        batches.resize_with(ids.len().max(batches.len()), Batch::default);
        let mut calls = Vec::with_capacity(ids.len());
        let mut farewells = Vec::new();
        let mut aheads = Vec::with_capacity(ids.len());
        for ((_, id), batch) in ids.iter().zip(&mut batches) {
            batch.clear();
            let Some(row) = self.rows.get(id) else {
                continue;
            };
            let mut sender = lock(&row.cell.state);
            sender.take(now, BURST, batch);
            let ended = pass_on(*id, &mut sender, hub);
            if ended {
                farewells.push((*id, sender.goodbye(now)));
            }
            let next = sender.due();
            aheads.push((*id, sender.ahead()));
            drop(sender);
            let full = batch.bytes() >= BURST;
            let least = if full { now + BURST_INTERVAL } else { now + 1 };
            calls.extend(next.map(|next| (*id, on_grid(next.max(least)))));
        }
        send_together(ids, &batches, &self.rows, headers, hub);
        for (id, said) in farewells {
            if let Some(row) = self.rows.get(&id) {
                row.way.report(&said, &mut Conns::new());
            }
        }
        for (id, next) in calls {
            self.call(id, next);
        }
        for (id, next) in aheads {
            self.place_ahead(id, next);
        }
        batches.iter_mut().for_each(Batch::clear); // blocks that are done are let go
        self.batches = batches;
    }

    /// Writes what is due to a connection; `true` when it is to be watched for room.
    fn run_stream(&mut self, id: Id, conns: &mut Conns, hub: &Hub, now: u64) -> bool {
        let Some(Row { cell, way, .. }) = self.rows.get(&id) else {
            return false;
        };
        let Way::Conn(conn, channels) = way else {
            return false;
        };
        let mut tally = Tally::default();
        let mut batch = self.batches.pop().unwrap_or_default();
        let mut sender = lock(&cell.state);
        let mut blocked = false;
        for _ in 0..CHUNKS {
            let Some(conn) = conns.get_mut(conn) else {
                break;
            };
            batch.clear();
            blocked = !conn.clear();
            sender.take(now, if blocked { 0 } else { CHUNK }, &mut batch);
            self.framed.clear();
            for (track, report) in &batch.reports {
                frame(&mut self.framed, channels, *track, true, &[report]);
            }
            for at in 0..batch.len() {
                let track = batch.track(at);
                frame(&mut self.framed, channels, track, false, &batch.packet(at));
            }
            if pass_on(id, &mut sender, hub) {
                for (track, report) in sender.goodbye(now) {
                    frame(&mut self.framed, channels, track, true, &[&report]);
                }
            }
            tally += Tally {
                packets: batch.len() as u64,
                bytes: batch.bytes() as u64,
            };
            if self.framed.is_empty() {
                break;
            }
            // What the socket does not take now is the connection's to send: it is little.
            match conn.write(&self.framed) {
                Ok(taken) => conn.keep(&self.framed[taken..]),
                Err(_gone) => break, // epoll tells, too
            }
        }
        let next = sender.due();
        drop(sender);
        batch.clear();
        self.batches.push(batch);
        sent(hub, &tally);
        if blocked {
            if let Some(conn) = conns.get_mut(conn) {
                conn.watching_write = true;
            }
        } else if let Some(next) = next {
            self.call(id, on_grid(next.max(now + 1)));
        }
        blocked
    }
}

impl Way {
    /// Sends RTCP packets.
    fn report(&self, said: &[(u8, Vec<u8>)], conns: &mut Conns) {
        match self {
            Self::Udp(endpoint, targets) => {
                let fd = endpoint.rtcp_fd().unwrap_or_else(|| endpoint.rtp_fd());
                for (track, packet) in said {
                    let target = targets.iter().find(|target| target.0 == *track);
                    if let Some((_, _, Some(to))) = target {
                        sys::send_to(fd, packet, to);
                    }
                }
            }
            Self::Conn(id, channels) => {
                let Some(conn) = conns.get_mut(id) else {
                    return;
                };
                for (track, packet) in said {
                    if let Some((_, _, channel)) = channels.iter().find(|one| one.0 == *track) {
                        conn.send_packet(*channel, packet);
                    }
                }
                let _ = conn.flush(); // what is left goes when there is room
            }
        }
    }
}

/// Sends what each of the senders gave, by one endpoint.
fn send_together(
    ids: &[(Id, Id)],
    batches: &[Batch],
    rows: &HashMap<Id, Row>,
    headers: &mut Headers,
    hub: &Hub,
) {
    let mut media = sys::Sender::new(headers);
    let mut owners: Vec<&Row> = Vec::new();
    let mut packets: Vec<[&[u8]; 2]> = Vec::new();
    let mut tally = Tally::default();
    let mut from: Option<&Endpoint> = None;
    for ((_, id), batch) in ids.iter().zip(batches) {
        let Some(row) = rows.get(id) else { continue };
        let Way::Udp(endpoint, targets) = &row.way else {
            continue;
        };
        from = Some(endpoint);
        row.way.report(&batch.reports, &mut Conns::new());
        let mut at = 0;
        while at < batch.len() {
            let track = batch.track(at);
            packets.clear();
            while at < batch.len() && batch.track(at) == track {
                packets.push(batch.packet(at));
                at += 1;
            }
            if let Some((_, to, _)) = targets.iter().find(|target| target.0 == track) {
                for group in media.plan(&packets) {
                    media.push(group, *to);
                    owners.push(row);
                }
            }
        }
        tally += Tally {
            packets: batch.len() as u64,
            bytes: batch.bytes() as u64,
        };
    }
    if let Some(endpoint) = from {
        media.send(endpoint.rtp_fd(), |at, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
            if let Some(row) = owners.get(at) {
                lock(&row.cell.state).counters.send_errors += 1;
            }
        });
    }
    sent(hub, &tally);
}

/// Tells Python what a sender has to tell; whether it has ended.
fn pass_on(id: Id, sender: &mut Sender, hub: &Hub) -> bool {
    let mut ended = false;
    for notice in sender.notices.drain(..) {
        hub.events.push(match notice {
            Notice::Low(queued_us) => Event::SenderLow {
                sender: id,
                queued_us,
            },
            Notice::Ended => {
                ended = true;
                Event::SenderEnded { sender: id }
            }
        });
    }
    ended
}

/// Puts a packet behind its channel's number.
fn frame(out: &mut Vec<u8>, channels: &[(u8, u8, u8)], track: u8, rtcp: bool, pieces: &[&[u8]]) {
    if let Some((_, media, control)) = channels.iter().find(|one| one.0 == track) {
        interleave(out, if rtcp { *control } else { *media }, pieces);
    }
}

fn sent(hub: &Hub, tally: &Tally) {
    hub.totals
        .packets_out
        .fetch_add(tally.packets, Ordering::Relaxed);
    hub.totals
        .bytes_out
        .fetch_add(tally.bytes, Ordering::Relaxed);
}
