//! Connections: what they say, what is written to them, how they end.

use super::{STREAM, Worker};
use crate::clock;
use crate::event::{Event, Id};
use crate::net::conn::{Conn, Incoming};
use crate::plane::ChannelCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Worker {
    pub(super) fn readable(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let ended = conn.read(&mut self.scratch);
        self.understand(id);
        if let Some(reason) = ended {
            self.end(id, reason);
        }
    }

    pub(super) fn understand(&mut self, id: Id) {
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
                    } else if let Some(sender) = conn.senders.first() {
                        self.hub.viewer_report(sender, data, now);
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

    pub(super) fn writable(&mut self, id: Id) {
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
        for sender in &conn.senders {
            self.senders.call(sender.id, 0);
        }
        let watch = conn.watching_write;
        let _ = self.epoll.modify(conn.fd(), id << 2 | STREAM, watch);
    }

    /// Has epoll tell when a connection can be written, if something waits for that.
    pub(super) fn watch(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(&id) {
            let waits = !conn.clear() || conn.watching_write;
            conn.watching_write = waits;
            let _ = self.epoll.modify(conn.fd(), id << 2 | STREAM, waits);
        }
    }

    pub(super) fn end(&mut self, id: Id, reason: &'static str) {
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
        for sender in std::mem::take(&mut conn.senders) {
            self.end_sender(sender.id, reason);
        }
        self.hub.forget_conn(id);
        self.hub.events.push(Event::ConnClosed { conn: id, reason });
    }

    pub(super) fn finish_closing(&mut self, now: u64) {
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

    /// Queues something on a connection and writes what its socket takes.
    pub(super) fn say(&mut self, id: Id, queue: impl FnOnce(&mut Conn) -> bool) {
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
}
