//! Sources of a channel, their inputs, and packets that Python pushes into those.

use super::{ChannelCell, Gone, Plane};
use crate::event::Id;
use crate::media::TrackSpec;
use crate::net::worker::count;
use crate::{clock, lock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Plane {
    fn source_cell(&self, source: Id) -> Result<Arc<ChannelCell>, Gone> {
        let tables = lock(&self.hub.tables);
        let channel = tables.sources.get(&source).ok_or(Gone(source))?;
        tables.channels.get(channel).cloned().ok_or(Gone(source))
    }

    pub(super) fn input_cell(&self, input: Id) -> Result<(Id, Arc<ChannelCell>), Gone> {
        let source = *lock(&self.hub.tables)
            .inputs
            .get(&input)
            .ok_or(Gone(input))?;
        Ok((source, self.source_cell(source)?))
    }

    /// Announces a source.
    pub fn add_source(
        &self,
        channel: Id,
        priority: i64,
        tracks: Vec<TrackSpec>,
    ) -> Result<Id, Gone> {
        let cell = self.cell(channel)?;
        let id = self.hub.id();
        lock(&self.hub.tables).sources.insert(id, channel);
        lock(&cell.state).add_source(id, priority, tracks);
        Ok(id)
    }

    /// Withdraws it.
    pub fn remove_source(&self, id: Id) {
        let Ok(cell) = self.source_cell(id) else {
            return;
        };
        lock(&self.hub.tables).forget_source(id);
        let mut channel = lock(&cell.state);
        let inputs: Vec<Id> = channel
            .source(id)
            .map(|source| source.inputs.iter().map(|input| input.id).collect())
            .unwrap_or_default();
        channel.remove_source(id, clock::now());
        self.hub.pass_on(&mut channel);
        drop(channel);
        for input in inputs {
            self.detach(input);
        }
        self.hub.notify(&cell, None);
    }

    /// Adds a way in.
    pub fn add_input(&self, source: Id) -> Result<Id, Gone> {
        let cell = self.source_cell(source)?;
        let id = self.hub.id();
        lock(&self.hub.tables).inputs.insert(id, source);
        lock(&cell.state).add_input(source, id);
        Ok(id)
    }

    /// Removes it.
    pub fn remove_input(&self, id: Id) {
        if let Ok((source, cell)) = self.input_cell(id) {
            lock(&cell.state).remove_input(source, id);
        }
        self.detach(id);
    }

    pub(super) fn detach(&self, input: Id) {
        let (endpoints, ports): (Vec<_>, Vec<_>) = {
            let mut tables = lock(&self.hub.tables);
            tables.inputs.remove(&input);
            let endpoints = tables.endpoints.values();
            let endpoints = endpoints.map(|(endpoint, _)| Arc::clone(endpoint));
            let ports = tables.rtc_ports.values().cloned();
            (endpoints.collect(), ports.collect())
        };
        for port in ports {
            port.detach(input);
        }
        for endpoint in endpoints {
            endpoint.detach(input);
        }
    }

    /// Packets from Python; how many were accepted.
    pub fn push(&self, input: Id, track: u8, packets: &[&[u8]]) -> Result<usize, Gone> {
        let (source, cell) = self.input_cell(input)?;
        let now = clock::now();
        let mut accepted = 0;
        let mut bytes = 0;
        let mut channel = lock(&cell.state);
        for data in packets {
            let result = channel.rtp(source, input, track, data, now);
            accepted += usize::from(result.is_ok());
            bytes += data.len() as u64;
            count(&self.hub, result);
        }
        self.hub.pass_on(&mut channel);
        drop(channel);
        self.hub
            .totals
            .packets_in
            .fetch_add(packets.len() as u64, Ordering::Relaxed);
        self.hub.totals.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.hub.notify(&cell, None);
        Ok(accepted)
    }

    /// An RTCP packet from Python.
    pub fn push_rtcp(&self, input: Id, track: u8, data: &[u8]) -> Result<(), Gone> {
        let (source, cell) = self.input_cell(input)?;
        let result = lock(&cell.state).rtcp(source, track, data, clock::now());
        count(&self.hub, result);
        Ok(())
    }
}
