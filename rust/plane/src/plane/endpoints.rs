//! Endpoints: the UDP ports by which sources come and readers are sent to.

use super::{Gone, Plane, ReportPath};
use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Endpoint;
use crate::net::worker::Command;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

impl Plane {
    /// Binds an endpoint; its id and ports.
    pub fn bind_udp(
        &self,
        address: SocketAddr,
        rtcp: bool,
        group: Option<IpAddr>,
        interface: Option<Ipv4Addr>,
        ttl: u8,
    ) -> io::Result<(Id, u16, u16)> {
        let id = self.hub.id();
        let endpoint = Arc::new(Endpoint::bind(id, address, rtcp, group.is_some())?);
        endpoint.multicast(group, interface, ttl)?;
        let ports = endpoint.ports()?;
        let worker = self.hub.pick_worker();
        lock(&self.hub.tables)
            .endpoints
            .insert(id, (Arc::clone(&endpoint), worker));
        self.hub.order(worker, Command::AddEndpoint(endpoint));
        Ok((id, ports.0, ports.1))
    }

    /// Closes it, once nobody sends by it any more.
    pub fn close_endpoint(&self, id: Id) {
        let known = lock(&self.hub.tables).endpoints.remove(&id);
        if let Some((_, worker)) = known {
            self.hub.order(worker, Command::RemoveEndpoint(id));
        }
    }

    pub(super) fn endpoint(&self, id: Id) -> Result<Arc<Endpoint>, Gone> {
        let tables = lock(&self.hub.tables);
        tables
            .endpoints
            .get(&id)
            .map(|(endpoint, _)| Arc::clone(endpoint))
            .ok_or(Gone(id))
    }

    /// Takes a track's packets from an endpoint.
    pub fn attach_udp(
        &self,
        input: Id,
        track: u8,
        endpoint: Id,
        payload_type: u8,
        remote: (Option<IpAddr>, Option<u16>, Option<u16>),
    ) -> Result<(), Gone> {
        let (source, cell) = self.input_cell(input)?;
        let endpoint = self.endpoint(endpoint)?;
        endpoint.attach(&cell, (source, input, track), payload_type, remote);
        if let (Some(ip), _, Some(port)) = remote {
            let to = endpoint.address(SocketAddr::new(ip, port));
            let path = ReportPath::Udp(endpoint, to);
            lock(&self.hub.tables).paths.insert((source, track), path);
        }
        Ok(())
    }
}
