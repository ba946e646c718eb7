//! Connections taken over from Python: RTSP with interleaved packets, WebSocket with frames.

use super::{Gone, Plane, ReportPath};
use crate::event::Id;
use crate::lock;
use crate::net::conn::{Conn, Speech, Stream};
use crate::net::endpoint::Route;
use crate::net::sys;
use crate::net::websocket;
use crate::net::worker::Command;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

impl Plane {
    /// Takes a connected socket over.
    pub fn adopt(
        &self,
        fd: RawFd,
        websocket: bool,
        received: &[u8],
        max_message: usize,
    ) -> io::Result<Id> {
        let (stream, received, queued) = if let Some(taken) = self.take_from_tls(fd, received)? {
            (Stream::Tls(taken.stream), taken.received, taken.queued)
        } else {
            let socket = sys::adopt_stream(fd)?;
            (Stream::Plain(socket), received.to_vec(), Vec::new())
        };
        let id = self.hub.id();
        let worker = self.hub.pick_worker();
        let speech = if websocket {
            Speech::WebSocket(websocket::Parser::default())
        } else {
            Speech::Rtsp
        };
        lock(&self.hub.tables).conns.insert(id, (worker, websocket));
        let conn = Conn::new(id, stream, speech, received, queued, max_message);
        self.hub.order(worker, Command::Adopt(Box::new(conn)));
        Ok(id)
    }

    fn conn_worker(&self, conn: Id) -> Option<usize> {
        lock(&self.hub.tables)
            .conns
            .get(&conn)
            .map(|(worker, _)| *worker)
    }

    /// Queues a message in order with the media.
    pub fn conn_send(&self, conn: Id, data: Vec<u8>) {
        if let Some(worker) = self.conn_worker(conn) {
            self.hub.order(worker, Command::Send(conn, data));
        }
    }

    /// Packets on a connection's channels feed an input.
    pub fn conn_publish(&self, conn: Id, input: Id, tracks: &[(u8, u8, u8)]) -> Result<(), Gone> {
        let (source, cell) = self.input_cell(input)?;
        let worker = self.conn_worker(conn).ok_or(Gone(conn))?;
        let mut routes = Vec::new();
        for (track, media, control) in tracks {
            let route = Arc::new(Route::new(&cell, source, input, *track));
            routes.push((*media, Arc::clone(&route), false));
            routes.push((*control, route, true));
            let path = ReportPath::Conn(worker, conn, *control);
            lock(&self.hub.tables).paths.insert((source, *track), path);
        }
        self.hub.order(worker, Command::Publish(conn, routes));
        Ok(())
    }

    /// Writes what is queued, then closes.
    pub fn conn_close(&self, conn: Id) {
        if let Some(worker) = self.conn_worker(conn) {
            self.hub.order(worker, Command::Close(conn));
        }
    }
}
