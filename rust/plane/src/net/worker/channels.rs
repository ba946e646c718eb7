//! Channels: who has news, whose readers are due, what their sources are told.

use super::{Command, STREAM, Worker};
use crate::event::Id;
use crate::lock;
use crate::net::fanout::Fanout;
use crate::net::sys;
use crate::plane::{ChannelCell, ReportPath};
use crate::reader::ReaderShared;
use std::sync::Arc;

impl Worker {
    pub(super) fn fanout(&mut self, cell: &Arc<ChannelCell>) -> &mut Fanout {
        self.fanouts
            .entry(cell.id)
            .or_insert_with(|| Fanout::new(cell))
    }

    /// The connection it was on.
    pub(super) fn remove_reader(&mut self, reader: &ReaderShared) -> Option<Id> {
        let id = reader.cell.id;
        let fanout = self.fanouts.get_mut(&id)?;
        let conn = fanout.remove(reader);
        if fanout.is_empty() {
            self.unschedule(id);
            self.fanouts.remove(&id);
        }
        conn
    }

    pub(super) fn notice_dirty(&mut self, now: u64) {
        let dirty = std::mem::take(&mut *lock(&self.hub.workers[self.index].dirty));
        for cell in dirty {
            cell.clean(self.index);
            for port in self.rtc_ports.values() {
                port.dirty(&cell, now);
            }
            for port in self.mesh_ports.values() {
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

    pub(super) fn run_rtc(&mut self, now: u64) {
        for port in self.rtc_ports.values() {
            if port.due().is_some_and(|due| due <= now) {
                port.run(&self.hub, &mut self.headers, now);
                for (channel, track) in port.take_asked() {
                    self.hub.wish(channel, track, now);
                }
            }
        }
    }

    pub(super) fn run_mesh(&mut self, now: u64) {
        for port in self.mesh_ports.values() {
            if port.due().is_some_and(|due| due <= now) {
                port.run(&self.hub, &mut self.headers, now);
            }
        }
    }

    pub(super) fn run_fanout(&mut self, id: Id, now: u64) {
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

    /// Lets channels notice silence, and sends what they have to report to their sources; when that
    /// is due again.
    pub(super) fn tick(&mut self, now: u64) -> u64 {
        let mut due = u64::MAX;
        for cell in self.hub.channels() {
            let (reports, moved) = {
                let mut channel = lock(&cell.state);
                let head = channel.ring.head();
                channel.tick(now);
                self.hub.pass_on(&mut channel);
                due = due.min(channel.due(now));
                (
                    std::mem::take(&mut channel.reports),
                    channel.ring.head() != head,
                )
            };
            for (source, track, data) in reports {
                match self.hub.report_path(source, track) {
                    Some(ReportPath::Udp(endpoint, to)) => {
                        let fd = endpoint.rtcp_fd().unwrap_or_else(|| endpoint.rtp_fd());
                        sys::send_to(fd, &data, &to);
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
        due
    }
}
