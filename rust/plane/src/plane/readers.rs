//! Readers: on connections, by datagram, and in Python, which is called a tap.

use super::{ChannelCell, Gone, Plane, Tally};
use crate::event::Id;
use crate::net::worker::Command;
use crate::reader::{PAUSED, PLAYING, ReaderShared, Way};
use crate::ring::Item;
use crate::{clock, lock};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A track of a reader by datagram: track, address, RTP port, RTCP port or 0.
pub type UdpTarget = (u8, IpAddr, u16, u16);

impl Plane {
    pub(super) fn new_reader(
        &self,
        cell: &Arc<ChannelCell>,
        way: Way,
        worker: usize,
        frames: bool,
    ) -> Arc<ReaderShared> {
        let reader = Arc::new(ReaderShared::new(self.hub.id(), cell, way, worker, frames));
        lock(&self.hub.tables)
            .readers
            .insert(reader.id, Arc::clone(&reader));
        cell.readers.fetch_add(1, Ordering::Relaxed);
        reader
    }

    /// A reader on an adopted connection.
    pub fn add_conn_reader(
        &self,
        channel: Id,
        conn: Id,
        tracks: Vec<(u8, u8, u8)>,
    ) -> Result<Id, Gone> {
        let cell = self.cell(channel)?;
        let (worker, frames) = lock(&self.hub.tables)
            .conns
            .get(&conn)
            .copied()
            .ok_or(Gone(conn))?;
        let reader = self.new_reader(&cell, Way::Stream, worker, frames);
        if frames {
            lock(&cell.state).use_frames();
        }
        let id = reader.id;
        self.hub
            .order(worker, Command::AddStream(reader, conn, tracks));
        Ok(id)
    }

    /// A reader by datagram.
    pub fn add_udp_reader(
        &self,
        channel: Id,
        endpoint: Id,
        tracks: &[UdpTarget],
    ) -> Result<Id, Gone> {
        let cell = self.cell(channel)?;
        let endpoint = self.endpoint(endpoint)?;
        let worker = self.hub.pick_worker();
        let reader = self.new_reader(&cell, Way::Udp, worker, false);
        let mut targets = Vec::new();
        for (track, ip, media, control) in tracks {
            let to = |port: u16| SocketAddr::new(*ip, port);
            let rtcp = (*control != 0).then(|| endpoint.address(to(*control)));
            if *control != 0 && !ip.is_multicast() {
                endpoint.add_reader(to(*control), &reader);
            }
            targets.push((*track, endpoint.address(to(*media)), rtcp));
        }
        let id = reader.id;
        lock(&self.hub.tables)
            .reader_endpoints
            .insert(id, Arc::clone(&endpoint));
        self.hub
            .order(worker, Command::AddUdp(reader, endpoint, targets));
        Ok(id)
    }

    /// A reader in Python.
    pub fn add_tap(
        &self,
        channel: Id,
        tracks: Vec<u8>,
        frames: bool,
        capacity: u64,
    ) -> Result<Id, Gone> {
        let cell = self.cell(channel)?;
        let reader = self.new_reader(&cell, Way::Tap, 0, frames);
        lock(&cell.state).add_tap(reader.id, tracks, frames, capacity);
        Ok(reader.id)
    }

    /// A reader by its id.
    pub fn reader(&self, id: Id) -> Result<Arc<ReaderShared>, Gone> {
        lock(&self.hub.tables)
            .readers
            .get(&id)
            .cloned()
            .ok_or(Gone(id))
    }

    /// Puts a reader at the last keyframe; what each track's next packet will be numbered.
    pub fn position_reader(&self, id: Id) -> Result<Vec<(u8, u16, u32)>, Gone> {
        let reader = self.reader(id)?;
        let channel = lock(&reader.cell.state);
        let (packets, next) = channel.entry(clock::now());
        let position = if reader.frames {
            channel.log(true).map_or(0, crate::ring::Ring::entry)
        } else {
            packets
        };
        reader.position.store(position, Ordering::Relaxed);
        Ok(next)
    }

    /// Starts a reader, or lets it go on.
    pub fn start_reader(&self, id: Id) {
        let Ok(reader) = self.reader(id) else { return };
        if reader.way == Way::Tap {
            reader.state.store(PLAYING, Ordering::Relaxed);
            let mut channel = lock(&reader.cell.state);
            let entry = channel
                .log(reader.frames)
                .map_or(0, crate::ring::Ring::entry);
            if let Some(tap) = channel.tap(id) {
                tap.playing = true;
                tap.cursor = entry;
            }
            channel.wake_taps();
            self.hub.pass_on(&mut channel);
        } else {
            self.hub.order(reader.worker, Command::Start(reader));
        }
    }

    /// Stops it for a while.
    pub fn pause_reader(&self, id: Id) {
        let Ok(reader) = self.reader(id) else { return };
        if reader.way == Way::Tap {
            reader.state.store(PAUSED, Ordering::Relaxed);
            if let Some(tap) = lock(&reader.cell.state).tap(id) {
                tap.playing = false;
            }
        } else {
            self.hub.order(reader.worker, Command::Pause(reader));
        }
    }

    /// Removes it.
    pub fn remove_reader(&self, id: Id) {
        match self.hub.forget_reader(id) {
            Some(reader) if reader.way == Way::Rtc => self.rtc_close(id),
            Some(reader) if reader.way != Way::Tap => {
                self.hub.order(reader.worker, Command::Remove(reader));
            }
            _ => {}
        }
    }

    /// What a tap has not seen, and how much it lost.
    pub fn read_tap(&self, id: Id, limit: usize) -> Result<(Vec<Arc<Item>>, u64), Gone> {
        let reader = self.reader(id)?;
        let taken = lock(&reader.cell.state)
            .read_tap(id, limit)
            .ok_or(Gone(id))?;
        if let Some(last) = taken.0.last() {
            reader
                .lag_us
                .store(clock::now().saturating_sub(last.arrival), Ordering::Relaxed);
        }
        let bytes = taken.0.iter().map(|item| item.data.len() as u64).sum();
        let packets = taken.0.len() as u64;
        reader.sent(packets, bytes);
        reader.cell.sent(&self.hub, &Tally { packets, bytes });
        reader.dropped_video.fetch_add(taken.1, Ordering::Relaxed);
        Ok(taken)
    }
}
