//! Readers by datagram. All who are level get the same packets, so what goes down is planned once
//! and only the addresses differ. Who has just begun catches up a little at a time.

use crate::event::Id;
use crate::lock;
use crate::net::endpoint::Endpoint;
use crate::net::fanout::Begin;
use crate::net::roster::{Named, Roster};
use crate::net::sys::{self, Headers, Sender, SockAddr};
use crate::plane::{ChannelCell, Hub, Tally};
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
    targets: Vec<Target>,
    cursor: u64,
    playing: bool,
}

impl Named for UdpReader {
    fn id(&self) -> Id {
        self.shared.id
    }
}

/// The readers that are sent from one endpoint.
#[derive(Debug)]
struct Group {
    endpoint: Arc<Endpoint>,
    readers: Roster<UdpReader>,
}

/// The readers.
#[derive(Debug, Default)]
pub struct UdpFanout {
    groups: Vec<Group>,
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
        self.groups.is_empty()
    }

    /// Position up to which all level readers are served; far ahead when there are none.
    pub fn level(&self) -> u64 {
        if self.groups.is_empty() {
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
        let known = self
            .groups
            .iter()
            .position(|group| group.endpoint.id == endpoint.id);
        let at = known.unwrap_or_else(|| {
            self.groups.push(Group {
                endpoint,
                readers: Roster::default(),
            });
            self.groups.len() - 1
        });
        self.groups[at].readers.add(UdpReader {
            shared,
            targets,
            cursor: 0,
            playing: false,
        });
    }

    /// Starts one; `true` if it is here, and then has to catch up.
    pub fn start(&mut self, id: Id, begin: Begin, reports: &[(u8, Vec<u8>)]) -> bool {
        let first = !self.playing().any(|reader| reader.playing);
        let Some((endpoint, reader)) = self.find(id) else {
            return false;
        };
        reader.cursor = begin.position;
        reader.playing = true;
        for target in &reader.targets {
            let report = reports.iter().find(|(track, _)| *track == target.track);
            if let (Some((_, report)), Some(to)) = (report, &target.rtcp) {
                let fd = endpoint.rtcp_fd().unwrap_or_else(|| endpoint.rtp_fd());
                sys::send_to(fd, report, to);
            }
        }
        if first {
            self.level = begin.head;
        }
        true
    }

    fn playing(&self) -> impl Iterator<Item = &UdpReader> {
        self.groups.iter().flat_map(|group| group.readers.rows())
    }

    fn find(&mut self, id: Id) -> Option<(&Endpoint, &mut UdpReader)> {
        self.groups
            .iter_mut()
            .find_map(|group| Some((&*group.endpoint, group.readers.get_mut(id)?)))
    }

    /// Pauses one.
    pub fn pause(&mut self, id: Id) {
        if let Some((_, reader)) = self.find(id) {
            reader.playing = false;
        }
    }

    /// Removes one.
    pub fn remove(&mut self, id: Id) {
        for group in &mut self.groups {
            group.readers.remove(id);
        }
        self.groups.retain(|group| !group.readers.is_empty());
    }

    /// Serves everybody what is new.
    pub fn flush(&mut self, cell: &ChannelCell, headers: &mut Headers, hub: &Hub, now: u64) {
        let level = self.level;
        let (items, head) = {
            let channel = lock(&cell.state);
            (
                channel.ring.from(level).cloned().collect::<Vec<_>>(),
                channel.ring.head(),
            )
        };
        self.level = head;
        self.send_level(level, head, &items, cell, headers, hub, now);
    }

    /// Sends those who have just begun a part of what the others had; the time to go on, unless all
    /// are level.
    pub fn catch_up(
        &mut self,
        cell: &ChannelCell,
        headers: &mut Headers,
        hub: &Hub,
        now: u64,
    ) -> Option<u64> {
        let mut again = None;
        for group in &mut self.groups {
            for reader in group.readers.rows_mut() {
                if reader.playing && reader.cursor < self.level {
                    catch_up(reader, &group.endpoint, self.level, cell, headers, hub, now);
                    if reader.cursor < self.level {
                        again = Some(now + CATCH_UP_INTERVAL);
                    }
                }
            }
        }
        again
    }

    #[allow(clippy::too_many_arguments)] // what is sent, to whom, with what
    fn send_level(
        &mut self,
        level: u64,
        head: u64,
        items: &[Arc<Item>],
        cell: &ChannelCell,
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
        for group in &mut self.groups {
            let readers = group.readers.rows_mut();
            let mut batch = Batch::new(items, headers);
            for (at, reader) in readers.iter_mut().enumerate() {
                if reader.playing && reader.cursor == level {
                    batch.queue(reader, at);
                    reader.cursor = head;
                    reader.shared.lag_us.store(lag, Ordering::Relaxed);
                }
            }
            batch.send(&group.endpoint, cell, hub, |at| {
                readers[at].shared.errors.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// Sends a reader a part of what it has not seen, not further than `until`.
fn catch_up(
    reader: &mut UdpReader,
    endpoint: &Endpoint,
    until: u64,
    cell: &ChannelCell,
    headers: &mut Headers,
    hub: &Hub,
    now: u64,
) {
    let mut items = Vec::new();
    {
        let channel = lock(&cell.state);
        if reader.cursor < channel.ring.tail() {
            reader.cursor = channel.ring.entry(); // overtaken: a new beginning
        }
        let left = usize::try_from(until.saturating_sub(reader.cursor)).unwrap_or(0);
        let mut bytes = 0;
        for item in channel.ring.from(reader.cursor).take(left) {
            bytes += item.data.len();
            if bytes > CATCH_UP_BYTES && !items.is_empty() {
                break;
            }
            items.push(Arc::clone(item));
        }
    }
    reader.cursor += items.len() as u64;
    let lag = items
        .last()
        .map_or(0, |item| now.saturating_sub(item.arrival));
    reader.shared.lag_us.store(lag, Ordering::Relaxed);
    let mut batch = Batch::new(&items, headers);
    batch.queue(reader, 0);
    batch.send(endpoint, cell, hub, |_| {
        reader.shared.errors.fetch_add(1, Ordering::Relaxed);
    });
}

/// Packets planned for sending, and who gets them.
struct Batch<'a> {
    media: Sender<'a>,
    plans: Vec<TrackPlan>,
    control: Vec<(u8, &'a [u8])>,
    reports: Vec<(SockAddr, &'a [u8])>,
    owners: Vec<usize>,
    sent: Tally,
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
            sent: Tally::default(),
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
        self.sent += Tally { packets, bytes };
    }

    fn send(
        mut self,
        endpoint: &Endpoint,
        cell: &ChannelCell,
        hub: &Hub,
        mut failed: impl FnMut(usize),
    ) {
        cell.sent(hub, &self.sent);
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
