//! One channel's readers on one worker: when they are served, and with what.

use crate::event::Id;
use crate::lock;
use crate::net::conn::Conn;
use crate::net::fanout_tcp::StreamFanout;
use crate::net::fanout_udp::UdpFanout;
use crate::net::sys::Headers;
use crate::plane::{ChannelCell, Hub};
use crate::reader::{PAUSED, PLAYING, ReaderShared};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection's table, by id.
pub type Conns = HashMap<Id, Conn>;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begin {
    /// What it gets first.
    pub position: u64,
    /// Behind the newest there is.
    pub head: u64,
    /// The time, µs.
    pub now: u64,
}

/// The readers.
#[derive(Debug)]
pub struct Fanout {
    /// The channel.
    pub cell: Arc<ChannelCell>,
    /// Readers by datagram.
    pub udp: UdpFanout,
    /// Readers of packets on connections.
    pub packets: StreamFanout,
    /// Readers of frames on connections.
    pub frames: StreamFanout,
    due_udp: Option<u64>,
    due_catch_up: Option<u64>,
    due_tcp: Option<u64>,
    tcp_ready: u64,
}

impl Fanout {
    /// Nobody yet.
    pub fn new(cell: &Arc<ChannelCell>) -> Self {
        Self {
            cell: Arc::clone(cell),
            udp: UdpFanout::default(),
            packets: StreamFanout::new(false),
            frames: StreamFanout::new(true),
            due_udp: None,
            due_catch_up: None,
            due_tcp: None,
            tcp_ready: 0,
        }
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.packets.is_empty() && self.frames.is_empty()
    }

    /// When it wants to be run.
    pub fn due(&self) -> Option<u64> {
        [self.due_udp, self.due_catch_up, self.due_tcp]
            .into_iter()
            .flatten()
            .min()
    }

    /// New packets are in the ring: decides when they go out. A whole picture goes at once, a part
    /// of one waits a little for the rest, since packets that go down together cost least.
    pub fn dirty(&mut self, now: u64) {
        let channel = lock(&self.cell.state);
        let config = channel.config;
        let level = self.udp.level().min(self.packets.level());
        let when = if channel.complete > level {
            now
        } else {
            channel
                .ring
                .get(level)
                .map_or(now, |item| item.arrival + config.coalesce_us)
        };
        drop(channel);
        if !self.udp.is_empty() {
            self.due_udp = Some(self.due_udp.map_or(when, |due| due.min(when)));
        }
        if !(self.packets.is_empty() && self.frames.is_empty()) {
            let when = when.max(self.tcp_ready);
            self.due_tcp = Some(self.due_tcp.map_or(when, |due| due.min(when)));
        }
    }

    /// Serves whoever is due.
    pub fn run(&mut self, conns: &mut Conns, headers: &mut Headers, hub: &Hub, now: u64) {
        if self.due_udp.is_some_and(|due| due <= now) {
            self.due_udp = None;
            self.udp.flush(&self.cell, headers, hub, now);
        }
        if self.due_catch_up.is_some_and(|due| due <= now) {
            self.due_catch_up = self.udp.catch_up(&self.cell, headers, hub, now);
        }
        if self.due_tcp.is_some_and(|due| due <= now) {
            self.due_tcp = None;
            let interval = lock(&self.cell.state).config.tcp_interval_us;
            self.tcp_ready = now + interval;
            self.packets.flush(&self.cell, conns, hub, now);
            self.frames.flush(&self.cell, conns, hub, now);
        }
    }

    /// A reader begins, or goes on where it stopped.
    pub fn start(&mut self, reader: &ReaderShared, conns: &mut Conns, hub: &Hub, now: u64) {
        reader.state.store(PLAYING, Ordering::Relaxed);
        // Before it is read what there is: what comes from then on is told to this worker.
        self.cell.interest(reader.worker, true);
        let (begin, reports) = {
            let channel = lock(&self.cell.state);
            let begin = channel.log(reader.frames).map_or(Begin::default(), |ring| {
                let wanted = reader.position.swap(u64::MAX, Ordering::Relaxed);
                let known = wanted >= ring.tail() && wanted <= ring.head();
                Begin {
                    position: if known { wanted } else { ring.entry() },
                    head: ring.head(),
                    now,
                }
            });
            let reports: Vec<_> = channel
                .layout
                .iter()
                .filter_map(|out| Some((out.spec.id, out.report(now)?)))
                .collect();
            (begin, reports)
        };
        if self.udp.start(reader.id, begin, &reports) {
            self.due_catch_up = Some(now);
        }
        let cell = &self.cell;
        self.packets
            .start(reader.id, begin, &reports, cell, conns, hub);
        self.frames.start(reader.id, begin, &[], cell, conns, hub);
    }

    /// A reader stops for a while.
    pub fn pause(&mut self, reader: &ReaderShared) {
        reader.state.store(PAUSED, Ordering::Relaxed);
        self.udp.pause(reader.id);
        self.packets.pause(reader.id);
        self.frames.pause(reader.id);
    }

    /// A reader goes; the connection it was on.
    pub fn remove(&mut self, reader: &ReaderShared) -> Option<Id> {
        self.udp.remove(reader.id);
        let conn = self.packets.remove(reader.id);
        let conn = conn.or(self.frames.remove(reader.id));
        if self.is_empty() {
            self.cell.interest(reader.worker, false);
        }
        conn
    }
}
