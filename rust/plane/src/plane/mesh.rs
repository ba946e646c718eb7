//! What Python calls about mesh links and about channels that other units number.

use super::{Gone, Plane};
use crate::channel::Channel;
use crate::clock;
use crate::event::Id;
use crate::lock;
use crate::media::TrackSpec;
use crate::mesh::cast::Outgoing;
use crate::mesh::control::Refused;
use crate::mesh::link::Counters;
use crate::mesh::receiver::Received;
use crate::mesh::seal::Key;
use crate::net::mesh::{
    CastCounters, MeshPort, Multicast, NotHeard, PortCounters, Route, ServeCounters, Terms,
};
use crate::net::worker::Command;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Why a link or a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// No such port, link, channel or input.
    Gone(Id),
    /// The message is too long, or too many wait.
    Refused(Refused),
    /// Another link of the port has this name.
    NameInUse(u32),
}

impl From<Gone> for NotTaken {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone.0)
    }
}

impl Plane {
    /// Announces a source whose packets another unit numbers.
    pub fn add_mesh_source(
        &self,
        channel: Id,
        priority: i64,
        tracks: Vec<TrackSpec>,
    ) -> Result<Id, Gone> {
        let cell = self.cell(channel)?;
        let id = self.hub.id();
        lock(&self.hub.tables).sources.insert(id, channel);
        lock(&cell.state).add_numbered_source(id, priority, tracks);
        Ok(id)
    }

    /// What of each track is complete: (track, epoch, number).
    pub fn channel_marks(&self, channel: Id) -> Result<Vec<(u8, u32, u64)>, Gone> {
        self.with_channel(channel, |channel| channel.marks(clock::now()))
    }

    /// The next source of this unit gets an epoch above this.
    pub fn claim_epoch(&self, channel: Id, epoch: u32) -> Result<(), Gone> {
        self.with_channel(channel, |channel| channel.claim_epoch(epoch))
    }

    /// What a source of this unit brings is above this epoch and these numbers, from its next packet.
    pub fn overtake_epoch(
        &self,
        channel: Id,
        epoch: u32,
        numbers: &[(u8, u64)],
    ) -> Result<(), Gone> {
        self.with_channel(channel, |channel| channel.overtake_epoch(epoch, numbers))
    }

    /// Forgets what a channel relayed.
    pub fn flush_channel(&self, channel: Id) -> Result<(), Gone> {
        self.with_channel(channel, Channel::flush)
    }

    /// Binds a port for mesh links, by UDP, TCP and, where wanted, multicast; its id and number.
    pub fn mesh_open(
        &self,
        address: SocketAddr,
        multicast: Option<Multicast>,
    ) -> io::Result<(Id, u16)> {
        let id = self.hub.id();
        let worker = self.hub.pick_worker();
        let port = Arc::new(MeshPort::bind(id, worker, address, multicast)?);
        lock(&self.hub.tables)
            .mesh_ports
            .insert(id, Arc::clone(&port));
        let number = port.port();
        self.hub.order(worker, Command::AddMesh(port));
        Ok((id, number))
    }

    /// Closes it; the peers of its links are told.
    pub fn mesh_shut(&self, id: Id) {
        let port = lock(&self.hub.tables).mesh_ports.remove(&id);
        if let Some(port) = port {
            self.hub.order(port.worker, Command::RemoveMesh(id));
        }
    }

    fn mesh_port(&self, id: Id) -> Result<Arc<MeshPort>, Gone> {
        let tables = lock(&self.hub.tables);
        tables.mesh_ports.get(&id).cloned().ok_or(Gone(id))
    }

    fn mesh_wake(&self, port: &MeshPort) {
        self.hub.workers[port.worker].wake.raise();
    }

    /// Opens our end of a link.
    pub fn mesh_link(&self, port: Id, terms: Terms) -> Result<Id, NotTaken> {
        let port = self.mesh_port(port)?;
        let id = self.hub.id();
        let name = terms.options.local;
        if !port.link(id, terms, clock::now()) {
            return Err(NotTaken::NameInUse(name));
        }
        self.mesh_wake(&port);
        Ok(id)
    }

    /// Queues a message for the peer.
    pub fn mesh_send(&self, port: Id, link: Id, message: &[u8]) -> Result<(), NotTaken> {
        let port = self.mesh_port(port)?;
        port.send(link, message)
            .ok_or(Gone(link))?
            .map_err(NotTaken::Refused)?;
        self.mesh_wake(&port);
        Ok(())
    }

    /// A channel goes out under a number, after what the peer has.
    pub fn mesh_serve(
        &self,
        port: Id,
        link: Id,
        wire: u16,
        channel: Id,
        after: &[(u8, u32, u64)],
    ) -> Result<(), Gone> {
        let port = self.mesh_port(port)?;
        let cell = self.cell(channel)?;
        let now = clock::now();
        port.serve(link, wire, &cell, after, now)
            .ok_or(Gone(link))?;
        if after.is_empty() {
            self.hub.freshen(&cell, now); // the peer begins at a keyframe, as readers do
        }
        self.mesh_wake(&port);
        Ok(())
    }

    /// What its ring holds by now goes out under the number, and then no more.
    pub fn mesh_rest(&self, port: Id, link: Id, wire: u16) {
        if let Ok(port) = self.mesh_port(port) {
            port.rest(link, wire);
        }
    }

    /// A channel goes out to a multicast group under a name; the cast's id. `None`: there is no
    /// multicast, or the name is in use.
    pub fn mesh_cast(
        &self,
        port: Id,
        name: u32,
        key: Key,
        keepalive_us: u64,
        channel: Id,
        group: Ipv4Addr,
    ) -> Result<Option<Id>, Gone> {
        let port = self.mesh_port(port)?;
        let cell = self.cell(channel)?;
        let (id, now) = (self.hub.id(), clock::now());
        let outgoing = Outgoing::new(name, key, keepalive_us, now);
        let begun = port.cast(id, outgoing, &cell, group, now);
        self.mesh_wake(&port);
        Ok(begun.then_some(id))
    }

    /// It goes out no more.
    pub fn mesh_end_cast(&self, port: Id, cast: Id) {
        if let Ok(port) = self.mesh_port(port) {
            port.end_cast(cast);
        }
    }

    /// A link's peer receives a cast.
    pub fn mesh_admit(&self, port: Id, cast: Id, link: Id) -> Result<(), Gone> {
        let port = self.mesh_port(port)?;
        port.admit(cast, link, clock::now()).ok_or(Gone(cast))
    }

    /// It does not any more.
    pub fn mesh_dismiss(&self, port: Id, cast: Id, link: Id) {
        if let Ok(port) = self.mesh_port(port) {
            port.dismiss(cast, link);
        }
    }

    /// A cast of a link's peer feeds what the link's number feeds.
    pub fn mesh_listen(
        &self,
        port: Id,
        link: Id,
        name: u32,
        wire: u16,
        key: Key,
        group: Ipv4Addr,
    ) -> Result<(), NotHeard> {
        let port = self.mesh_port(port).map_err(|_gone| NotHeard::Gone)?;
        port.listen(link, name, wire, key, group)
    }

    /// It does not any more.
    pub fn mesh_ignore(&self, port: Id, link: Id, name: u32) {
        if let Ok(port) = self.mesh_port(port) {
            port.ignore(link, name);
        }
    }

    /// What a cast counts.
    pub fn mesh_cast_stats(&self, port: Id, cast: Id) -> Result<CastCounters, Gone> {
        self.mesh_port(port)?.cast_counters(cast).ok_or(Gone(cast))
    }

    /// What is counted of a cast that is received.
    pub fn mesh_heard_stats(
        &self,
        port: Id,
        link: Id,
        name: u32,
    ) -> Result<(Received, u64, u64, bool), Gone> {
        let port = self.mesh_port(port)?;
        port.heard_counters(link, name).ok_or(Gone(link))
    }

    /// It does not any more.
    pub fn mesh_stop(&self, port: Id, link: Id, wire: u16) {
        if let Ok(port) = self.mesh_port(port) {
            port.stop(link, wire);
        }
    }

    /// What comes under a number feeds an input.
    pub fn mesh_take(&self, port: Id, link: Id, wire: u16, input: Id) -> Result<(), Gone> {
        let port = self.mesh_port(port)?;
        let (source, cell) = self.input_cell(input)?;
        let route = Route {
            cell,
            source,
            input,
        };
        port.take(link, wire, route).ok_or(Gone(link))
    }

    /// It feeds none any more.
    pub fn mesh_release(&self, port: Id, link: Id, wire: u16) {
        if let Ok(port) = self.mesh_port(port) {
            port.release(link, wire);
        }
    }

    /// Ends a link; the peer is told.
    pub fn mesh_close_link(&self, port: Id, link: Id) {
        if let Ok(port) = self.mesh_port(port) {
            port.close_link(link);
            self.mesh_wake(&port);
        }
    }

    /// What a link counts.
    pub fn mesh_stats(&self, port: Id, link: Id) -> Result<(Counters, ServeCounters), Gone> {
        self.mesh_port(port)?
            .stats(link, clock::now())
            .ok_or(Gone(link))
    }

    /// What a port counts.
    pub fn mesh_counters(&self, port: Id) -> Result<PortCounters, Gone> {
        Ok(self.mesh_port(port)?.counters())
    }
}
