//! Readers by datagram. All who are level get the same packets, so what goes down is planned once
//! and only the addresses differ. Who has just begun catches up a little at a time.

use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Endpoint;
use crate::net::sys::{self, Headers, Sender, SockAddr};
use crate::plane::{ChannelCell, Hub};
use crate::reader::ReaderShared;
use crate::ring::{Item, RTCP};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a reader that catches up gets at a time: less than a common receive buffer holds (212 KB),
/// so that the burst since the last keyframe arrives whole.
const CATCH_UP_BYTES: usize = 48 << 10;
/// How often, µs: together 77 Mbit/s.
const CATCH_UP_INTERVAL: u64 = 5_000;

/// Where one track goes.
#[derive(Debug)]
struct Target {
    track: u8,
    rtp: SockAddr,
    rtcp: Option<SockAddr>,
}

#[derive(Debug)]
struct UdpReader {
    shared: Arc<ReaderShared>,
    endpoint: Arc<Endpoint>,
    targets: Vec<Target>,
    cursor: u64,
    playing: bool,
}

/// The readers, sorted by endpoint.
#[derive(Debug, Default)]
pub struct UdpFanout {
    readers: Vec<UdpReader>,
    level: u64,
}

/// One track's share of a plan.
struct TrackPlan {
    track: u8,
    groups: Range<usize>,
    packets: u64,
    bytes: u64,
}

impl UdpFanout {
    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Position up to which all level readers are served; far ahead when there are none.
    pub fn level(&self) -> u64 {
        if self.readers.is_empty() {
            u64::MAX
        } else {
            self.level
        }
    }

    /// Adds a reader, paused.
    pub fn add(
        &mut self,
        shared: Arc<ReaderShared>,
        endpoint: Arc<Endpoint>,
        targets: Vec<(u8, SockAddr, Option<SockAddr>)>,
    ) {
        let targets = targets
            .into_iter()
            .map(|(track, rtp, rtcp)| Target { track, rtp, rtcp })
            .collect();
        let at = self
            .readers
            .partition_point(|reader| reader.endpoint.id <= endpoint.id);
        let reader = UdpReader {
            shared,
            endpoint,
            targets,
            cursor: 0,
            playing: false,
        };
        self.readers.insert(at, reader);
    }

    /// Starts one; `true` if it is here.
    pub fn start(&mut self, id: Id, position: u64, reports: &[(u8, Vec<u8>)]) -> bool {
        let first = !self.readers.iter().any(|reader| reader.playing);
        let Some(reader) = self.find(id) else {
            return false;
        };
        reader.cursor = position;
        reader.playing = true;
        for target in &reader.targets {
            let report = reports.iter().find(|(track, _)| *track == target.track);
            if let (Some((_, report)), Some(to)) = (report, &target.rtcp) {
                let fd = reader
                    .endpoint
                    .rtcp_fd()
                    .unwrap_or_else(|| reader.endpoint.rtp_fd());
                sys::send_to(fd, report, to);
            }
        }
        if first {
            self.level = position;
        }
        true
    }

    fn find(&mut self, id: Id) -> Option<&mut UdpReader> {
        self.readers
            .iter_mut()
            .find(|reader| reader.shared.id == id)
    }

    /// Pauses one.
    pub fn pause(&mut self, id: Id) {
        if let Some(reader) = self.find(id) {
            reader.playing = false;
        }
    }

    /// Removes one.
    pub fn remove(&mut self, id: Id) {
        self.readers.retain(|reader| reader.shared.id != id);
    }

    /// Serves everybody; when somebody still has to catch up, the time to go on.
    pub fn flush(
        &mut self,
        cell: &ChannelCell,
        headers: &mut Headers,
        hub: &Hub,
        now: u64,
    ) -> Option<u64> {
        let level = self.level;
        let (items, head) = {
            let channel = lock(&cell.state);
            (
                channel.ring.from(level).cloned().collect::<Vec<_>>(),
                channel.ring.head(),
            )
        };
        self.level = head;
        self.send_level(level, head, &items, headers, hub, now);
        let mut again = None;
        for reader in &mut self.readers {
            if reader.playing && reader.cursor < head && catch_up(reader, cell, headers, hub, now) {
                again = Some(now + CATCH_UP_INTERVAL);
            }
        }
        again
    }

    fn send_level(
        &mut self,
        level: u64,
        head: u64,
        items: &[Arc<Item>],
        headers: &mut Headers,
        hub: &Hub,
        now: u64,
    ) {
        if items.is_empty() {
            return;
        }
        let lag = items
            .first()
            .map_or(0, |item| now.saturating_sub(item.arrival));
        let mut start = 0;
        while start < self.readers.len() {
            let endpoint = Arc::clone(&self.readers[start].endpoint);
            let end = start
                + self.readers[start..]
                    .iter()
                    .take_while(|reader| reader.endpoint.id == endpoint.id)
                    .count();
            let mut batch = Batch::new(items, headers);
            for (at, reader) in self.readers[start..end].iter_mut().enumerate() {
                if reader.playing && reader.cursor == level {
                    batch.queue(reader, start + at);
                    reader.cursor = head;
                    reader.shared.lag_us.store(lag, Ordering::Relaxed);
                }
            }
            batch.send(&endpoint, hub, |at| {
                self.readers[at]
                    .shared
                    .errors
                    .fetch_add(1, Ordering::Relaxed);
            });
            start = end;
        }
    }
}

/// Sends a reader a part of what it has not seen; `true` when more is left.
fn catch_up(
    reader: &mut UdpReader,
    cell: &ChannelCell,
    headers: &mut Headers,
    hub: &Hub,
    now: u64,
) -> bool {
    let mut items = Vec::new();
    let head = {
        let channel = lock(&cell.state);
        if reader.cursor < channel.ring.tail() {
            reader.cursor = channel.ring.entry(); // overtaken: a new beginning
        }
        let mut bytes = 0;
        for item in channel.ring.from(reader.cursor) {
            bytes += item.data.len();
            if bytes > CATCH_UP_BYTES && !items.is_empty() {
                break;
            }
            items.push(Arc::clone(item));
        }
        channel.ring.head()
    };
    reader.cursor += items.len() as u64;
    let lag = items
        .last()
        .map_or(0, |item| now.saturating_sub(item.arrival));
    reader.shared.lag_us.store(lag, Ordering::Relaxed);
    let endpoint = Arc::clone(&reader.endpoint);
    let mut batch = Batch::new(&items, headers);
    batch.queue(reader, 0);
    batch.send(&endpoint, hub, |_| {
        reader.shared.errors.fetch_add(1, Ordering::Relaxed);
    });
    reader.cursor < head
}

/// Packets planned for sending, and who gets them.
struct Batch<'a> {
    media: Sender<'a>,
    plans: Vec<TrackPlan>,
    control: Vec<(u8, &'a [u8])>,
    reports: Vec<(SockAddr, &'a [u8])>,
    owners: Vec<usize>,
    packets: u64,
    bytes: u64,
}

impl<'a> Batch<'a> {
    fn new(items: &'a [Arc<Item>], headers: &'a mut Headers) -> Self {
        let mut media = Sender::new(headers);
        let mut plans: Vec<TrackPlan> = Vec::new();
        let mut control = Vec::new();
        let mut tracks: Vec<u8> = items.iter().map(|item| item.track).collect();
        tracks.sort_unstable();
        tracks.dedup();
        for track in tracks {
            let mut packets: Vec<&[u8]> = Vec::new();
            for item in items.iter().filter(|item| item.track == track) {
                if item.flags & RTCP == 0 {
                    packets.push(&item.data);
                } else {
                    control.push((track, &*item.data));
                }
            }
            let bytes = packets.iter().map(|data| data.len() as u64).sum();
            let groups = media.plan(&packets);
            plans.push(TrackPlan {
                track,
                groups,
                packets: packets.len() as u64,
                bytes,
            });
        }
        Self {
            media,
            plans,
            control,
            reports: Vec::new(),
            owners: Vec::new(),
            packets: 0,
            bytes: 0,
        }
    }

    fn queue(&mut self, reader: &UdpReader, owner: usize) {
        let (mut packets, mut bytes) = (0, 0);
        for target in &reader.targets {
            for (track, report) in &self.control {
                if let (true, Some(to)) = (*track == target.track, target.rtcp) {
                    self.reports.push((to, report));
                }
            }
            let Some(plan) = self.plans.iter().find(|plan| plan.track == target.track) else {
                continue;
            };
            for group in plan.groups.clone() {
                self.media.push(group, target.rtp);
                self.owners.push(owner);
            }
            packets += plan.packets;
            bytes += plan.bytes;
        }
        reader.shared.sent(packets, bytes);
        self.packets += packets;
        self.bytes += bytes;
    }

    fn send(mut self, endpoint: &Endpoint, hub: &Hub, mut failed: impl FnMut(usize)) {
        hub.totals
            .packets_out
            .fetch_add(self.packets, Ordering::Relaxed);
        hub.totals
            .bytes_out
            .fetch_add(self.bytes, Ordering::Relaxed);
        let control = endpoint.rtcp_fd().unwrap_or_else(|| endpoint.rtp_fd());
        for (to, report) in &self.reports {
            sys::send_to(control, report, to);
        }
        let owners = self.owners;
        self.media.send(endpoint.rtp_fd(), |at, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
            if let Some(owner) = owners.get(at) {
                failed(*owner);
            }
        });
    }
}
