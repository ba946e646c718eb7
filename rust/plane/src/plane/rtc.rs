//! What Python calls about WebRTC.

use super::{Gone, Plane};
use crate::clock;
use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Route;
use crate::net::rtc::{PortCounters, RtcPort};
use crate::net::worker::Command;
use crate::reader::Way;
use crate::webrtc::Refused;
use crate::webrtc::session::{PublishOptions, PublishedTrack, ViewOptions};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a session could not be opened.
#[derive(Debug)]
pub enum NotOpened {
    /// No such port, channel or input.
    Gone(Id),
    /// The offer was refused.
    Refused(Refused),
}

impl From<Gone> for NotOpened {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone.0)
    }
}

impl From<Refused> for NotOpened {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Plane {
    /// Binds a port for WebRTC, with `tcp` for connections too; its id and number.
    pub fn rtc_open(
        &self,
        address: SocketAddr,
        candidates: &[SocketAddr],
        tcp: bool,
        capacity: usize,
    ) -> io::Result<(Id, u16)> {
        let id = self.hub.id();
        let worker = self.hub.pick_worker();
        let now = clock::now();
        let port = RtcPort::bind(id, worker, address, candidates, tcp, capacity, now)?;
        let port = Arc::new(port);
        lock(&self.hub.tables)
            .rtc_ports
            .insert(id, Arc::clone(&port));
        let number = port.port();
        self.hub.order(worker, Command::AddRtc(port));
        Ok((id, number))
    }

    /// Closes it; its sessions' peers are told.
    pub fn rtc_shut(&self, id: Id) {
        let port = lock(&self.hub.tables).rtc_ports.remove(&id);
        if let Some(port) = port {
            self.hub.order(port.worker, Command::RemoveRtc(id));
        }
    }

    fn rtc_port(&self, id: Id) -> Result<Arc<RtcPort>, Gone> {
        let tables = lock(&self.hub.tables);
        tables.rtc_ports.get(&id).cloned().ok_or(Gone(id))
    }

    fn rtc_of(&self, session: Id) -> Result<Arc<RtcPort>, Gone> {
        let tables = lock(&self.hub.tables);
        let port = tables.sessions.get(&session).ok_or(Gone(session))?;
        tables.rtc_ports.get(port).cloned().ok_or(Gone(session))
    }

    fn rtc_wake(&self, port: &RtcPort) {
        self.hub.workers[port.worker].wake.raise();
    }

    /// Opens a publisher's session: its id, the answer and the tracks.
    pub fn rtc_publish(
        &self,
        port: Id,
        offer: &str,
        options: &PublishOptions,
    ) -> Result<(Id, String, Vec<PublishedTrack>), NotOpened> {
        let port = self.rtc_port(port)?;
        let id = self.hub.id();
        let (answer, tracks) = port.publish(id, offer, options, clock::now())?;
        lock(&self.hub.tables).sessions.insert(id, port.id);
        self.rtc_wake(&port);
        Ok((id, answer, tracks))
    }

    /// A publisher's tracks feed an input: for each its place in the answer, and the track.
    pub fn rtc_attach(&self, session: Id, input: Id, places: &[(usize, u8)]) -> Result<(), Gone> {
        let port = self.rtc_of(session)?;
        let (source, cell) = self.input_cell(input)?;
        for (place, track) in places {
            let route = Arc::new(Route::new(&cell, source, input, *track));
            port.attach(session, *place, route);
        }
        Ok(())
    }

    /// The layer so many places below the best of the publisher's track at `place` feeds a track of
    /// an input too, until that is removed.
    pub fn rtc_attach_lower(
        &self,
        session: Id,
        input: Id,
        place: usize,
        track: u8,
        below: usize,
    ) -> Result<(), Gone> {
        let port = self.rtc_of(session)?;
        let (source, cell) = self.input_cell(input)?;
        let route = Arc::new(Route::new(&cell, source, input, track));
        if port.attach_lower(session, place, below, route, clock::now()) {
            Ok(())
        } else {
            Err(Gone(session))
        }
    }

    /// Opens a viewer's session on a channel: its id, which is the reader's, and the answer.
    pub fn rtc_view(
        &self,
        port: Id,
        channel: Id,
        offer: &str,
        options: &ViewOptions,
    ) -> Result<(Id, String), NotOpened> {
        let port = self.rtc_port(port)?;
        let cell = self.cell(channel)?;
        let reader = self.new_reader(&cell, Way::Rtc, port.worker, false);
        match port.view(&reader, offer, options, clock::now()) {
            Ok(answer) => {
                lock(&self.hub.tables).sessions.insert(reader.id, port.id);
                self.rtc_wake(&port);
                Ok((reader.id, answer))
            }
            Err(refused) => {
                self.hub.forget_reader(reader.id);
                Err(refused.into())
            }
        }
    }

    /// Takes candidates, or a restart whose answer is returned.
    pub fn rtc_patch(&self, session: Id, fragment: &str) -> Result<Option<String>, NotOpened> {
        let port = self.rtc_of(session)?;
        let answer = port.patch(session, fragment, clock::now())?;
        self.rtc_wake(&port);
        Ok(answer)
    }

    /// Ends a session.
    pub fn rtc_close(&self, session: Id) {
        if let Ok(port) = self.rtc_of(session) {
            port.close(session, clock::now());
            self.rtc_wake(&port);
        }
    }

    /// A viewer wants nothing better than this track.
    pub fn rtc_limit(&self, session: Id, track: Option<u8>) -> Result<(), Gone> {
        let port = self.rtc_of(session)?;
        port.limit(session, track, clock::now());
        self.rtc_wake(&port);
        Ok(())
    }

    /// A port's counters.
    pub fn rtc_counters(&self, port: Id) -> Result<PortCounters, Gone> {
        Ok(self.rtc_port(port)?.counters())
    }
}
