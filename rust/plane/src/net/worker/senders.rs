//! Paced senders: orders for them, and running those that are due.

use super::{STREAM, Worker};
use crate::clock;
use crate::event::{Event, Id};
use crate::net::senders::{SenderCell, Way};
use std::sync::Arc;

/// An order about a paced sender.
#[derive(Debug)]
pub enum SenderOrder {
    /// Serve it.
    Add(Arc<SenderCell>, Way),
    /// Look at it again.
    Run(Id),
    /// Serve it no more; whether its viewer is told.
    Remove(Id, bool),
}

impl Worker {
    pub(super) fn execute_sender(&mut self, order: SenderOrder) {
        match order {
            SenderOrder::Add(cell, way) => self.add_sender(cell, way),
            SenderOrder::Run(id) => self.senders.call(id, 0),
            SenderOrder::Remove(id, farewell) => {
                let now = clock::now();
                let conn = self.senders.remove(id, farewell, &mut self.conns, now);
                if let Some(conn) = conn.and_then(|conn| self.conns.get_mut(&conn)) {
                    conn.senders.retain(|sender| sender.id != id);
                    let conn = conn.id;
                    self.watch(conn);
                }
            }
        }
    }

    fn add_sender(&mut self, cell: Arc<SenderCell>, way: Way) {
        if let Way::Conn(id, _) = &way {
            let Some(conn) = self.conns.get_mut(id) else {
                self.end_sender(cell.id, "eof");
                return;
            };
            conn.senders.push(Arc::clone(&cell));
        }
        self.senders.add(cell, way);
    }

    /// One goes with its connection.
    pub(super) fn end_sender(&mut self, sender: Id, reason: &'static str) {
        self.senders.remove(sender, false, &mut self.conns, 0);
        if self.hub.forget_sender(sender) {
            self.hub.events.push(Event::SenderClosed { sender, reason });
        }
    }

    pub(super) fn run_senders(&mut self, now: u64) {
        if self.senders.due().is_none_or(|due| due > now) {
            return;
        }
        let (conns, headers) = (&mut self.conns, &mut self.headers);
        for blocked in self.senders.run(conns, headers, &self.hub, now) {
            if let Some(conn) = self.conns.get(&blocked) {
                let _ = self.epoll.modify(conn.fd(), blocked << 2 | STREAM, true);
            }
        }
    }
}
