//! A thread of the plane: waits for sockets and orders, feeds channels, serves readers.
//!
//! It never takes Python's lock and never waits for anything but its own epoll.

use crate::channel::Reject;
use crate::event::{Event, Id};
use crate::net::conn::{Conn, Incoming};
use crate::net::endpoint::{Control, Endpoint, Route};
use crate::net::fanout::{Conns, Fanout};
use crate::net::rtc::RtcPort;
use crate::net::sys::{Epoll, Headers, Ready, Receiver, SockAddr};
use crate::plane::{ChannelCell, Hub, ReportPath};
use crate::reader::ReaderShared;
use crate::{clock, lock, rtp};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Silence is noticed within this time, µs.
const TICK: u64 = 25_000;
/// Longest sleep, µs: nothing depends on it but the checks of closing connections.
const IDLE: u64 = 200_000;
/// Batches taken from one UDP socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;
/// How long a closing connection may take to swallow its last words, µs.
const CLOSE_PATIENCE: u64 = 2_000_000;

/// Token kinds, in a token's low bits.
const WAKE: u64 = 0;
const MEDIA: u64 = 1;
const CONTROL: u64 = 2;
const STREAM: u64 = 3;

/// An order from Python's side.
#[derive(Debug)]
pub enum Command {
    /// Listen on an endpoint.
    AddEndpoint(Arc<Endpoint>),
    /// Stop listening.
    RemoveEndpoint(Id),
    /// Take a connection over.
    Adopt(Box<Conn>),
    /// Queue a control message.
    Send(Id, Vec<u8>),
    /// Queue an RTCP packet on an interleaved channel.
    Report(Id, u8, Vec<u8>),
    /// Packets on these channels feed a source.
    Publish(Id, Vec<(u8, Arc<Route>, bool)>),
    /// Write what is queued, then close.
    Close(Id),
    /// A reader on a connection.
    AddStream(Arc<ReaderShared>, Id, Vec<(u8, u8, u8)>),
    /// A reader by datagram.
    AddUdp(
        Arc<ReaderShared>,
        Arc<Endpoint>,
        Vec<(u8, SockAddr, Option<SockAddr>)>,
    ),
    /// Begin or go on.
    Start(Arc<ReaderShared>),
    /// Stop for a while.
    Pause(Arc<ReaderShared>),
    /// Forget it.
    Remove(Arc<ReaderShared>),
    /// Serve a WebRTC port.
    AddRtc(Arc<RtcPort>),
    /// Serve it no more.
    RemoveRtc(Id),
    /// End the thread.
    Stop,
}

/// The thread's state.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    hub: Arc<Hub>,
    epoll: Epoll,
    conns: Conns,
    endpoints: HashMap<Id, Arc<Endpoint>>,
    rtc_ports: HashMap<Id, Arc<RtcPort>>,
    fanouts: HashMap<Id, Fanout>,
    due: BTreeSet<(u64, Id)>,
    receiver: Receiver,
    headers: Headers,
    scratch: Vec<u8>,
    closing: Vec<Id>,
    stopping: bool,
}

impl Worker {
    /// Worker number `index` of the hub.
    pub fn new(index: usize, hub: Arc<Hub>) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(hub.workers[index].wake.fd(), WAKE)?;
        Ok(Self {
            index,
            hub,
            epoll,
            conns: HashMap::new(),
            endpoints: HashMap::new(),
            rtc_ports: HashMap::new(),
            fanouts: HashMap::new(),
            due: BTreeSet::new(),
            receiver: Receiver::default(),
            headers: Headers::default(),
            scratch: vec![0; 64 << 10],
            closing: Vec::new(),
            stopping: false,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        let mut next_tick = 0;
        while !self.stopping {
            let now = clock::now();
            let mut wake = now + IDLE;
            if self.index == 0 {
                wake = wake.min(next_tick);
            }
            if let Some((due, _)) = self.due.first() {
                wake = wake.min(*due);
            }
            for due in self.rtc_ports.values().filter_map(|port| port.due()) {
                wake = wake.min(due);
            }
            ready.clear();
            if let Err(error) = self.epoll.wait(wake.saturating_sub(now), &mut ready) {
                // Only a broken epoll can fail here; without it the thread has no work.
                eprintln!("packet plane: worker {} cannot wait: {error}", self.index);
                return;
            }
            for event in &ready {
                self.handle(*event);
            }
            self.obey();
            let now = clock::now();
            self.run_rtc(now); // what publishers sent is news for others
            self.notice_dirty(now);
            self.run_rtc(now);
            while let Some((due, id)) = self.due.first().copied() {
                if due > now {
                    break;
                }
                self.due.pop_first();
                self.run_fanout(id, now);
            }
            if self.index == 0 && now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
            self.finish_closing(now);
        }
    }

    fn handle(&mut self, event: Ready) {
        let id = event.token >> 2;
        match event.token & 3 {
            WAKE => self.hub.workers[self.index].wake.clear(),
            MEDIA => self.receive_media(id),
            CONTROL => self.receive_control(id),
            _ => {
                if event.writable {
                    self.writable(id);
                }
                if event.readable {
                    self.readable(id);
                }
            }
        }
    }

    // ---- datagrams

    fn receive_media(&mut self, id: Id) {
        if let Some(port) = self.rtc_ports.get(&id) {
            port.receive(&mut self.receiver, clock::now());
            return;
        }
        let Some(endpoint) = self.endpoints.get(&id).cloned() else {
            return;
        };
        let mut touched: Vec<Arc<ChannelCell>> = Vec::new();
        for _ in 0..RECEIVE_ROUNDS {
            let count = self.receiver.receive(endpoint.rtp_fd()).unwrap_or(0);
            let now = clock::now();
            for n in 0..count {
                let (from, data) = self.receiver.datagram(n);
                let Some(from) = from else { continue };
                let payload_type = data.get(1).map_or(0, |byte| byte & 0x7f);
                let Some(route) = endpoint.route(from, payload_type, now) else {
                    self.hub
                        .totals
                        .foreign_packets
                        .fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                if rtp::is_rtcp(data) {
                    self.hub.source_report(&route, data, now);
                } else {
                    self.hub.media(&route, data, now);
                }
                if !touched.iter().any(|cell| cell.id == route.cell.id) {
                    touched.push(Arc::clone(&route.cell));
                }
            }
            if count == 0 || count < crate::net::sys::RECEIVE_BATCH {
                break;
            }
        }
        for cell in touched {
            self.hub.notify(&cell, Some(self.index));
        }
    }

    fn receive_control(&mut self, id: Id) {
        if let Some(port) = self.rtc_ports.get(&id) {
            port.receive_streams(clock::now());
            return;
        }
        let Some(endpoint) = self.endpoints.get(&id).cloned() else {
            return;
        };
        let Some(fd) = endpoint.rtcp_fd() else { return };
        let count = self.receiver.receive(fd).unwrap_or(0);
        let now = clock::now();
        for n in 0..count {
            let (from, data) = self.receiver.datagram(n);
            match from.and_then(|from| endpoint.control(from)) {
                Some(Control::Source(route)) => self.hub.source_report(&route, data, now),
                Some(Control::Reader(reader)) => self.hub.reader_report(&reader, data, now),
                None => {
                    self.hub
                        .totals
                        .foreign_packets
                        .fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    // ---- connections

    fn readable(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let ended = conn.read(&mut self.scratch);
        self.understand(id);
        if let Some(reason) = ended {
            self.end(id, reason);
        }
    }

    fn understand(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let mut found = Vec::new();
        let used = conn.parse(&mut found);
        let mut ended = None;
        let mut touched: Vec<Arc<ChannelCell>> = Vec::new();
        let now = clock::now();
        for incoming in found {
            match incoming {
                Incoming::Control(data) => self.hub.events.push(Event::Control { conn: id, data }),
                Incoming::Ended(reason) => ended = Some(reason),
                Incoming::Packet(channel, range) => {
                    let data = &conn.buffer[range];
                    if let Some((route, control)) = conn.publishes.get(&channel) {
                        if *control {
                            self.hub.source_report(route, data, now);
                        } else {
                            self.hub.media(route, data, now);
                        }
                        if !touched.iter().any(|cell| cell.id == route.cell.id) {
                            touched.push(Arc::clone(&route.cell));
                        }
                    } else if let Some(reader) = self.hub.reader_on(&conn.readers) {
                        self.hub.reader_report(&reader, data, now);
                    } else {
                        self.hub
                            .totals
                            .foreign_packets
                            .fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        conn.consume(used);
        if conn.flush().is_err() {
            ended = ended.or(Some("reset"));
        }
        self.watch(id);
        for cell in touched {
            self.hub.notify(&cell, Some(self.index));
        }
        if let Some(reason) = ended {
            self.end(id, reason);
        }
    }

    fn writable(&mut self, id: Id) {
        let now = clock::now();
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.flush().is_err() {
            self.end(id, "reset");
            return;
        }
        conn.watching_write = !conn.clear();
        for (reader, channel) in conn.readers.clone() {
            if let Some(fanout) = self.fanouts.get_mut(&channel) {
                fanout
                    .packets
                    .resume(reader, &fanout.cell, conn, &self.hub, now);
                fanout
                    .frames
                    .resume(reader, &fanout.cell, conn, &self.hub, now);
            }
        }
        let watch = conn.watching_write;
        let _ = self.epoll.modify(conn.fd(), id << 2 | STREAM, watch);
    }

    /// Has epoll tell when a connection can be written, if something waits for that.
    fn watch(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(&id) {
            let waits = !conn.clear() || conn.watching_write;
            conn.watching_write = waits;
            let _ = self.epoll.modify(conn.fd(), id << 2 | STREAM, waits);
        }
    }

    fn end(&mut self, id: Id, reason: &'static str) {
        let Some(mut conn) = self.conns.remove(&id) else {
            return;
        };
        let _ = conn.flush();
        conn.shut();
        self.epoll.remove(conn.fd());
        self.closing.retain(|closing| *closing != id);
        for (reader, _) in std::mem::take(&mut conn.readers) {
            if let Some(shared) = self.hub.forget_reader(reader) {
                self.remove_reader(&shared);
                self.hub.events.push(Event::ReaderClosed { reader, reason });
            }
        }
        self.hub.forget_conn(id);
        self.hub.events.push(Event::ConnClosed { conn: id, reason });
    }

    fn finish_closing(&mut self, now: u64) {
        for id in std::mem::take(&mut self.closing) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            let _ = conn.flush();
            if conn.clear() || conn.deadline.is_some_and(|deadline| deadline <= now) {
                self.end(id, "closed");
            } else {
                self.closing.push(id);
            }
        }
    }

    // ---- orders

    fn obey(&mut self) {
        let commands = std::mem::take(&mut *lock(&self.hub.workers[self.index].commands));
        for command in commands {
            self.execute(command);
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::AddEndpoint(endpoint) => {
                let id = endpoint.id;
                let _ = self.epoll.add(endpoint.rtp_fd(), id << 2 | MEDIA);
                if let Some(fd) = endpoint.rtcp_fd() {
                    let _ = self.epoll.add(fd, id << 2 | CONTROL);
                }
                self.endpoints.insert(id, endpoint);
            }
            Command::RemoveEndpoint(id) => {
                if let Some(endpoint) = self.endpoints.remove(&id) {
                    self.epoll.remove(endpoint.rtp_fd());
                    if let Some(fd) = endpoint.rtcp_fd() {
                        self.epoll.remove(fd);
                    }
                }
            }
            Command::Adopt(conn) => {
                let id = conn.id;
                let added = self.epoll.add(conn.fd(), id << 2 | STREAM);
                let secured = conn.secured();
                self.conns.insert(id, *conn);
                if added.is_err() {
                    self.end(id, "reset");
                } else if secured {
                    self.readable(id); // what its session holds already, no socket tells
                } else {
                    // What the socket holds is told later, when the orders given with this one
                    // say what it is.
                    self.understand(id);
                }
            }
            Command::Send(id, data) => self.say(id, |conn| conn.send(&data)),
            Command::Report(id, channel, data) => {
                self.say(id, |conn| conn.send_packet(channel, &data));
            }
            Command::Publish(id, routes) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    for (channel, route, control) in routes {
                        conn.publishes.insert(channel, (route, control));
                    }
                }
            }
            Command::Close(id) => {
                if let Some(conn) = self.conns.get_mut(&id)
                    && !conn.closing
                {
                    conn.say_close();
                    conn.closing = true;
                    conn.deadline = Some(clock::now() + CLOSE_PATIENCE);
                    self.closing.push(id);
                }
            }
            Command::AddStream(reader, id, channels) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.readers.push((reader.id, reader.cell.id));
                    let fanout = self.fanout(&reader.cell);
                    let log = if reader.frames {
                        &mut fanout.frames
                    } else {
                        &mut fanout.packets
                    };
                    log.add(reader, id, channels);
                } else if self.hub.forget_reader(reader.id).is_some() {
                    let event = Event::ReaderClosed {
                        reader: reader.id,
                        reason: "eof",
                    };
                    self.hub.events.push(event);
                }
            }
            Command::AddUdp(reader, endpoint, targets) => {
                self.fanout(&reader.cell).udp.add(reader, endpoint, targets);
            }
            Command::Start(reader) => {
                let now = clock::now();
                if let Some(fanout) = self.fanouts.get_mut(&reader.cell.id) {
                    self.hub.freshen(&reader.cell, now);
                    fanout.start(&reader, &mut self.conns, &self.hub, now);
                    self.run_fanout(reader.cell.id, now);
                }
            }
            Command::Pause(reader) => {
                if let Some(fanout) = self.fanouts.get_mut(&reader.cell.id) {
                    fanout.pause(&reader);
                }
            }
            Command::Remove(reader) => {
                let conn = self.remove_reader(&reader);
                if let Some(conn) = conn.and_then(|id| self.conns.get_mut(&id)) {
                    conn.readers.retain(|(id, _)| *id != reader.id);
                }
            }
            Command::AddRtc(port) => self.add_rtc(port),
            Command::RemoveRtc(id) => self.remove_rtc(id),
            Command::Stop => self.stopping = true,
        }
    }

    fn add_rtc(&mut self, port: Arc<RtcPort>) {
        let _ = self.epoll.add(port.fd(), port.id << 2 | MEDIA);
        if let Some(fd) = port.streams_fd() {
            let _ = self.epoll.add(fd, port.id << 2 | CONTROL);
        }
        self.rtc_ports.insert(port.id, port);
    }

    fn remove_rtc(&mut self, id: Id) {
        if let Some(port) = self.rtc_ports.remove(&id) {
            port.farewell(&self.hub, &mut self.headers, clock::now());
            self.epoll.remove(port.fd());
            if let Some(fd) = port.streams_fd() {
                self.epoll.remove(fd);
            }
        }
    }

    fn say(&mut self, id: Id, queue: impl FnOnce(&mut Conn) -> bool) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if !queue(conn) {
            self.end(id, "overflow");
        } else if conn.flush().is_err() {
            self.end(id, "reset");
        } else {
            self.watch(id);
        }
    }

    // ---- channels

    fn fanout(&mut self, cell: &Arc<ChannelCell>) -> &mut Fanout {
        self.fanouts
            .entry(cell.id)
            .or_insert_with(|| Fanout::new(cell))
    }

    /// The connection it was on.
    fn remove_reader(&mut self, reader: &ReaderShared) -> Option<Id> {
        let id = reader.cell.id;
        let fanout = self.fanouts.get_mut(&id)?;
        let conn = fanout.remove(reader);
        if fanout.is_empty() {
            self.unschedule(id);
            self.fanouts.remove(&id);
        }
        conn
    }

    fn notice_dirty(&mut self, now: u64) {
        let dirty = std::mem::take(&mut *lock(&self.hub.workers[self.index].dirty));
        for cell in dirty {
            cell.clean(self.index);
            for port in self.rtc_ports.values() {
                port.dirty(&cell, now);
            }
            if let Some(fanout) = self.fanouts.get_mut(&cell.id) {
                let before = fanout.due();
                fanout.dirty(now);
                let after = fanout.due();
                self.reschedule(cell.id, before, after);
            }
        }
    }

    fn run_rtc(&mut self, now: u64) {
        for port in self.rtc_ports.values() {
            if port.due().is_some_and(|due| due <= now) {
                port.run(&self.hub, &mut self.headers, now);
            }
        }
    }

    fn run_fanout(&mut self, id: Id, now: u64) {
        let Some(fanout) = self.fanouts.get_mut(&id) else {
            return;
        };
        let before = fanout.due();
        fanout.run(&mut self.conns, &mut self.headers, &self.hub, now);
        let after = fanout.due();
        // Sockets that did not take everything are watched until they do.
        for blocked in fanout
            .packets
            .blocked
            .drain(..)
            .chain(fanout.frames.blocked.drain(..))
        {
            if let Some(conn) = self.conns.get(&blocked) {
                let _ = self.epoll.modify(conn.fd(), blocked << 2 | STREAM, true);
            }
        }
        self.reschedule(id, before, after);
    }

    fn reschedule(&mut self, id: Id, before: Option<u64>, after: Option<u64>) {
        if let Some(due) = before {
            self.due.remove(&(due, id));
        }
        if let Some(due) = after {
            self.due.insert((due, id));
        }
    }

    fn unschedule(&mut self, id: Id) {
        self.due.retain(|(_, known)| *known != id);
    }

    /// Lets channels notice silence, and sends what they have to report to their sources.
    fn tick(&mut self, now: u64) {
        for cell in self.hub.channels() {
            let (reports, moved) = {
                let mut channel = lock(&cell.state);
                let head = channel.ring.head();
                channel.tick(now);
                self.hub.pass_on(&mut channel);
                (
                    std::mem::take(&mut channel.reports),
                    channel.ring.head() != head,
                )
            };
            for (source, track, data) in reports {
                match self.hub.report_path(source, track) {
                    Some(ReportPath::Udp(endpoint, to)) => {
                        let fd = endpoint.rtcp_fd().unwrap_or_else(|| endpoint.rtp_fd());
                        crate::net::sys::send_to(fd, &data, &to);
                    }
                    Some(ReportPath::Conn(worker, conn, channel)) => {
                        self.hub.order(worker, Command::Report(conn, channel, data));
                    }
                    None => {}
                }
            }
            if moved {
                self.hub.notify(&cell, Some(self.index));
            }
        }
    }
}

/// A packet was refused: counts it where it belongs.
pub fn count(hub: &Hub, result: Result<(), Reject>) {
    match result {
        Ok(()) => {}
        Err(Reject::Malformed) => {
            hub.totals.malformed_packets.fetch_add(1, Ordering::Relaxed);
        }
        Err(Reject::PayloadType | Reject::Unknown) => {
            hub.totals.foreign_packets.fetch_add(1, Ordering::Relaxed);
        }
    }
}
