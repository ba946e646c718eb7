//! Orders from Python's side, and how they are carried out.

use super::senders::SenderOrder;
use super::{CONTROL, MEDIA, STREAM, Worker};
use crate::event::{Event, Id};
use crate::net::conn::Conn;
use crate::net::endpoint::{Endpoint, Route};
use crate::net::mesh::MeshPort;
use crate::net::rtc::RtcPort;
use crate::net::sys::SockAddr;
use crate::reader::ReaderShared;
use crate::{clock, lock};
use std::sync::Arc;

/// How long a closing connection may take to swallow its last words, µs.
const CLOSE_PATIENCE: u64 = 2_000_000;

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
    /// Serve a port for mesh links.
    AddMesh(Arc<MeshPort>),
    /// Serve it no more.
    RemoveMesh(Id),
    /// What a paced sender wants.
    Sender(SenderOrder),
    /// End the thread.
    Stop,
}

impl Worker {
    pub(super) fn obey(&mut self) {
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
            Command::AddMesh(port) => self.add_mesh(port),
            Command::RemoveMesh(id) => self.remove_mesh(id),
            Command::Sender(order) => self.execute_sender(order),
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

    fn add_mesh(&mut self, port: Arc<MeshPort>) {
        let _ = self.epoll.add(port.fd(), port.id << 2 | MEDIA);
        let _ = self.epoll.add(port.streams_fd(), port.id << 2 | CONTROL);
        if let Some(fd) = port.casts_fd() {
            let _ = self.epoll.add(fd, port.id << 2 | STREAM);
        }
        self.mesh_ports.insert(port.id, port);
    }

    fn remove_mesh(&mut self, id: Id) {
        if let Some(port) = self.mesh_ports.remove(&id) {
            port.farewell(&self.hub, &mut self.headers);
            self.epoll.remove(port.fd());
            self.epoll.remove(port.streams_fd());
            if let Some(fd) = port.casts_fd() {
                self.epoll.remove(fd);
            }
        }
    }
}
