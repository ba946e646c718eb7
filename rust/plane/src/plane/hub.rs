//! What Python's side and the threads share: orders, news, counters, and the tables.

use super::tables::Tables;
use super::{ChannelCell, ReportPath};
use crate::channel::Channel;
use crate::event::{Events, Id};
use crate::lock;
use crate::net::budget::Budget;
use crate::net::endpoint::Route;
use crate::net::mesh::MeshPort;
use crate::net::rtc::RtcPort;
use crate::net::senders::SenderCell;
use crate::net::sys::EventFd;
use crate::net::worker::{Command, SenderOrder, count};
use crate::reader::{ReaderShared, Way};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the threads and Python share about one worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Orders not carried out yet.
    pub commands: Mutex<VecDeque<Command>>,
    /// Channels with news.
    pub dirty: Mutex<Vec<Arc<ChannelCell>>>,
    /// Raised after either was added to.
    pub wake: EventFd,
}

/// Counters over everything.
#[derive(Debug, Default)]
pub struct Totals {
    /// Packets that came.
    pub packets_in: AtomicU64,
    /// Their bytes.
    pub bytes_in: AtomicU64,
    /// Packets and frames sent.
    pub packets_out: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
    /// Packets nobody expected.
    pub foreign_packets: AtomicU64,
    /// Packets that are not RTP or RTCP.
    pub malformed_packets: AtomicU64,
    /// Messages the kernel would not send.
    pub send_errors: AtomicU64,
}

/// Shared by Python's side and the threads.
#[derive(Debug)]
pub struct Hub {
    /// To Python.
    pub events: Events,
    /// The threads.
    pub workers: Vec<WorkerHandle>,
    /// Counters.
    pub totals: Totals,
    /// What paced senders may send before it is due.
    pub budget: Budget,
    pub(super) tables: Mutex<Tables>,
    next_id: AtomicU64,
    next_worker: AtomicUsize,
}

impl Hub {
    /// Nothing yet, for `workers` threads and so many events that wait for Python.
    pub(crate) fn new(workers: usize, events: usize) -> io::Result<Self> {
        let handles: io::Result<Vec<WorkerHandle>> = (0..workers.max(1))
            .map(|_| {
                Ok(WorkerHandle {
                    commands: Mutex::default(),
                    dirty: Mutex::default(),
                    wake: EventFd::new()?,
                })
            })
            .collect();
        Ok(Self {
            events: Events::new(events)?,
            workers: handles?,
            totals: Totals::default(),
            budget: Budget::default(),
            tables: Mutex::default(),
            next_id: AtomicU64::new(1),
            next_worker: AtomicUsize::new(0),
        })
    }

    /// Bytes that were sent, with all headers, to viewers of channels and titles.
    pub fn sent(&self) -> u64 {
        let packets = self.totals.packets_out.load(Ordering::Relaxed);
        Budget::cost(packets, self.totals.bytes_out.load(Ordering::Relaxed))
    }

    /// Gives an order to a worker.
    pub fn order(&self, worker: usize, command: Command) {
        lock(&self.workers[worker].commands).push_back(command);
        self.workers[worker].wake.raise();
    }

    /// Tells the workers that serve a channel that it has news.
    pub fn notify(&self, cell: &Arc<ChannelCell>, from: Option<usize>) {
        for (index, worker) in self.workers.iter().enumerate() {
            let wanted = cell.interested[index].load(Ordering::SeqCst)
                || cell.watched[index].load(Ordering::SeqCst)
                || cell.carried[index].load(Ordering::SeqCst) > 0;
            if wanted && !cell.dirty[index].swap(true, Ordering::SeqCst) {
                lock(&worker.dirty).push(Arc::clone(cell));
                if from != Some(index) {
                    worker.wake.raise();
                }
            }
        }
    }

    /// Hands a channel's events to Python.
    pub fn pass_on(&self, channel: &mut Channel) {
        for event in channel.events.drain(..) {
            self.events.push(event);
        }
    }

    /// An RTP packet of a source.
    pub fn media(&self, route: &Route, data: &[u8], now: u64) {
        self.totals.packets_in.fetch_add(1, Ordering::Relaxed);
        self.totals
            .bytes_in
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        let mut channel = lock(&route.cell.state);
        let result = channel.rtp(route.source, route.input, route.track, data, now);
        self.pass_on(&mut channel);
        drop(channel);
        count(self, result);
    }

    /// An RTCP packet of a source.
    pub fn source_report(&self, route: &Route, data: &[u8], now: u64) {
        let result = lock(&route.cell.state).rtcp(route.source, route.track, data, now);
        count(self, result);
    }

    /// An RTCP packet of a reader.
    pub fn reader_report(&self, reader: &ReaderShared, data: &[u8], now: u64) {
        let rates: Vec<(u32, u32)> = lock(&reader.cell.state)
            .layout
            .iter()
            .map(|out| (out.ssrc, out.spec.clock_rate))
            .collect();
        let rate = |ssrc| {
            rates
                .iter()
                .find(|(of, _)| *of == ssrc)
                .map_or(90_000, |(_, rate)| *rate)
        };
        if !reader.report(data, rate, now) {
            self.totals
                .malformed_packets
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An RTCP packet of a sender's viewer.
    pub fn viewer_report(&self, sender: &SenderCell, data: &[u8], now: u64) {
        let heard = lock(&sender.state).hear(data, now);
        if heard.is_none() {
            self.totals
                .malformed_packets
                .fetch_add(1, Ordering::Relaxed);
        }
        // What is sent again does not wait until the next packet is due.
        if heard.is_some_and(|again| again > 0)
            && let Some(worker) = sender.worker()
        {
            self.order(worker, Command::Sender(SenderOrder::Run(sender.id)));
        }
    }

    /// Takes a paced sender out of the tables; whether it was there.
    pub fn forget_sender(&self, id: Id) -> bool {
        let cell = lock(&self.tables).senders.remove(&id);
        cell.is_some()
    }

    /// Every channel.
    pub fn channels(&self) -> Vec<Arc<ChannelCell>> {
        lock(&self.tables).channels.values().cloned().collect()
    }

    /// Where reports on a source's track go.
    pub fn report_path(&self, source: Id, track: u8) -> Option<ReportPath> {
        lock(&self.tables).paths.get(&(source, track)).cloned()
    }

    /// The reader a connection carries.
    pub fn reader_on(&self, readers: &[(Id, Id)]) -> Option<Arc<ReaderShared>> {
        let (id, _) = readers.first()?;
        lock(&self.tables).readers.get(id).cloned()
    }

    /// Takes a reader out of the tables; the frames it wanted are made no more.
    pub fn forget_reader(&self, id: Id) -> Option<Arc<ReaderShared>> {
        let (reader, endpoint) = {
            let mut tables = lock(&self.tables);
            (
                tables.readers.remove(&id)?,
                tables.reader_endpoints.remove(&id),
            )
        };
        reader.cell.readers.fetch_sub(1, Ordering::Relaxed);
        if let Some(endpoint) = endpoint {
            endpoint.remove_reader(id);
        }
        let mut channel = lock(&reader.cell.state);
        if reader.way == Way::Tap {
            channel.remove_tap(id);
        } else if reader.frames {
            channel.release_frames();
        }
        drop(channel);
        Some(reader)
    }

    /// Takes a connection out of the tables.
    pub fn forget_conn(&self, id: Id) {
        let mut tables = lock(&self.tables);
        tables.conns.remove(&id);
        tables
            .paths
            .retain(|_, path| !matches!(path, ReportPath::Conn(_, conn, _) if *conn == id));
    }

    /// Takes a WebRTC session out of the tables.
    pub fn forget_session(&self, id: Id) {
        lock(&self.tables).sessions.remove(&id);
    }

    /// A reader begins: a publisher that sends keyframes on request only is asked for one, unless
    /// the newest is fresh.
    pub fn freshen(&self, cell: &ChannelCell, now: u64) {
        // Not in the loop's head, where the channel would stay locked while ports are: the threads
        // that serve ports lock the other way round.
        let stale = lock(&cell.state).stale_video(now);
        for track in stale {
            self.want_keyframe(cell.id, track, now);
        }
    }

    /// Somebody needs a keyframe: a publisher here is asked for one, and units that feed the channel.
    pub fn want_keyframe(&self, channel: Id, track: u8, now: u64) {
        let ports: Vec<Arc<RtcPort>> = lock(&self.tables).rtc_ports.values().cloned().collect();
        for port in ports {
            port.want_keyframe(channel, track);
            self.workers[port.worker].wake.raise();
        }
        self.wish(channel, track, now);
    }

    /// Units that feed a channel by mesh links are asked for a keyframe.
    pub fn wish(&self, channel: Id, track: u8, now: u64) {
        let ports: Vec<Arc<MeshPort>> = lock(&self.tables).mesh_ports.values().cloned().collect();
        for port in ports {
            if port.wish(channel, track, now) {
                self.workers[port.worker].wake.raise();
            }
        }
    }

    pub(super) fn id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn pick_worker(&self) -> usize {
        self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}
