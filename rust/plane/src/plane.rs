//! What Python calls: the tables of channels, sources, inputs, connections and readers, and the
//! threads behind them.

pub mod rtc;
pub mod tls;

use crate::channel::{Channel, Config};
use crate::event::{Event, Events, Id};
use crate::net::conn::{Conn, Speech, Stream};
use crate::net::endpoint::{Endpoint, Route};
use crate::net::rtc::RtcPort;
use crate::net::sys::{self, EventFd, SockAddr};
use crate::net::tls::TlsPort;
use crate::net::websocket;
use crate::net::worker::{Command, Worker, count};
use crate::reader::{PAUSED, PLAYING, ReaderShared, Way};
use crate::ring::Item;
use crate::source::{State, TrackSpec};
use crate::{clock, lock};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::AddAssign;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A channel, its lock, and which threads want to know of news.
#[derive(Debug)]
pub struct ChannelCell {
    /// Its id.
    pub id: Id,
    /// Its state.
    pub state: Mutex<Channel>,
    /// Packets and frames sent to readers, those who left included.
    pub packets_out: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
    /// Readers now.
    pub readers: AtomicUsize,
    interested: Box<[AtomicBool]>,
    watched: Box<[AtomicBool]>,
    dirty: Box<[AtomicBool]>,
}

/// What was sent in one go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets and frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl ChannelCell {
    fn new(id: Id, config: Config, workers: usize) -> Self {
        let flags = || (0..workers).map(|_| AtomicBool::new(false)).collect();
        let state = Mutex::new(Channel::new(id, config));
        Self {
            id,
            state,
            packets_out: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
            interested: flags(),
            watched: flags(),
            dirty: flags(),
        }
    }

    /// Counts what readers were sent.
    pub fn sent(&self, hub: &Hub, tally: &Tally) {
        if tally.packets == 0 && tally.bytes == 0 {
            return;
        }
        for (counter, count) in [
            (&self.packets_out, tally.packets),
            (&hub.totals.packets_out, tally.packets),
            (&self.bytes_out, tally.bytes),
            (&hub.totals.bytes_out, tally.bytes),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A worker has readers of the channel, or has none any more.
    pub fn interest(&self, worker: usize, wanted: bool) {
        self.interested[worker].store(wanted, Ordering::SeqCst);
    }

    /// As [`ChannelCell::interest`], for viewers by WebRTC.
    pub fn interest_rtc(&self, worker: usize, wanted: bool) {
        self.watched[worker].store(wanted, Ordering::SeqCst);
    }

    /// A worker has taken notice.
    pub fn clean(&self, worker: usize) {
        self.dirty[worker].store(false, Ordering::SeqCst);
    }
}

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

/// Where receiver reports to a source's track go.
#[derive(Clone, Debug)]
pub enum ReportPath {
    /// By datagram.
    Udp(Arc<Endpoint>, SockAddr),
    /// Worker, connection, interleaved channel.
    Conn(usize, Id, u8),
}

#[derive(Debug, Default)]
struct Tables {
    channels: HashMap<Id, Arc<ChannelCell>>,
    /// Source to channel.
    sources: HashMap<Id, Id>,
    /// Input to source.
    inputs: HashMap<Id, Id>,
    endpoints: HashMap<Id, (Arc<Endpoint>, usize)>,
    readers: HashMap<Id, Arc<ReaderShared>>,
    /// Connection to worker, and whether it wants frames.
    conns: HashMap<Id, (usize, bool)>,
    /// UDP readers' endpoints, to forget their control addresses.
    reader_endpoints: HashMap<Id, Arc<Endpoint>>,
    paths: HashMap<(Id, u8), ReportPath>,
    rtc_ports: HashMap<Id, Arc<RtcPort>>,
    /// WebRTC sessions to their ports.
    sessions: HashMap<Id, Id>,
    tls_ports: Vec<Arc<TlsPort>>,
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
    tables: Mutex<Tables>,
    next_id: AtomicU64,
    next_worker: AtomicUsize,
}

impl Hub {
    /// Gives an order to a worker.
    pub fn order(&self, worker: usize, command: Command) {
        lock(&self.workers[worker].commands).push_back(command);
        self.workers[worker].wake.raise();
    }

    /// Tells the workers that serve a channel that it has news.
    pub fn notify(&self, cell: &Arc<ChannelCell>, from: Option<usize>) {
        for (index, worker) in self.workers.iter().enumerate() {
            let wanted = cell.interested[index].load(Ordering::SeqCst)
                || cell.watched[index].load(Ordering::SeqCst);
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
        let ports: Vec<Arc<RtcPort>> = lock(&self.tables).rtc_ports.values().cloned().collect();
        if ports.is_empty() {
            return;
        }
        // Not in the loop's head, where the channel would stay locked while ports are: the threads
        // that serve ports lock the other way round.
        let stale = lock(&cell.state).stale_video(now);
        for track in stale {
            for port in &ports {
                port.want_keyframe(cell.id, track);
                self.workers[port.worker].wake.raise();
            }
        }
    }

    fn id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn pick_worker(&self) -> usize {
        self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}

/// No such channel, source, input, endpoint, connection or reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone(pub Id);

/// A track of a reader by datagram: track, address, RTP port, RTCP port or 0.
pub type UdpTarget = (u8, IpAddr, u16, u16);

/// The plane.
#[derive(Debug)]
pub struct Plane {
    hub: Arc<Hub>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Plane {
    /// Starts `workers` threads.
    pub fn new(workers: usize, events: usize) -> io::Result<Self> {
        let handles: io::Result<Vec<WorkerHandle>> = (0..workers.max(1))
            .map(|_| {
                Ok(WorkerHandle {
                    commands: Mutex::default(),
                    dirty: Mutex::default(),
                    wake: EventFd::new()?,
                })
            })
            .collect();
        let hub = Arc::new(Hub {
            events: Events::new(events)?,
            workers: handles?,
            totals: Totals::default(),
            tables: Mutex::default(),
            next_id: AtomicU64::new(1),
            next_worker: AtomicUsize::new(0),
        });
        let mut threads = Vec::new();
        for index in 0..hub.workers.len() {
            let worker = Worker::new(index, Arc::clone(&hub))?;
            let name = format!("helio-plane-{index}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || worker.run())?,
            );
        }
        Ok(Self {
            hub,
            threads: Mutex::new(threads),
        })
    }

    /// The hub, for counters and events.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stops the threads and waits for them.
    pub fn close(&self) {
        self.close_tls();
        for index in 0..self.hub.workers.len() {
            self.hub.order(index, Command::Stop);
        }
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }

    // ---- channels

    /// Opens a channel.
    pub fn open_channel(&self, config: Config) -> Id {
        let id = self.hub.id();
        let cell = Arc::new(ChannelCell::new(id, config, self.hub.workers.len()));
        lock(&self.hub.tables).channels.insert(id, cell);
        id
    }

    /// Closes it; its readers are told.
    pub fn close_channel(&self, id: Id) {
        let (cell, readers) = {
            let mut tables = lock(&self.hub.tables);
            let Some(cell) = tables.channels.remove(&id) else {
                return;
            };
            let sources: Vec<Id> = tables
                .sources
                .iter()
                .filter(|(_, of)| **of == id)
                .map(|(id, _)| *id)
                .collect();
            for source in sources {
                tables.forget_source(source);
            }
            let readers: Vec<Id> = tables
                .readers
                .values()
                .filter(|reader| reader.cell.id == id)
                .map(|reader| reader.id)
                .collect();
            (cell, readers)
        };
        let inputs: Vec<Id> = lock(&cell.state)
            .sources
            .iter()
            .flat_map(|source| source.inputs.iter().map(|input| input.id))
            .collect();
        for input in inputs {
            self.detach(input);
        }
        for reader in readers {
            self.remove_reader(reader);
            self.hub.events.push(Event::ReaderClosed {
                reader,
                reason: "channel",
            });
        }
    }

    /// A channel by its id.
    pub fn cell(&self, id: Id) -> Result<Arc<ChannelCell>, Gone> {
        lock(&self.hub.tables)
            .channels
            .get(&id)
            .cloned()
            .ok_or(Gone(id))
    }

    fn source_cell(&self, source: Id) -> Result<Arc<ChannelCell>, Gone> {
        let tables = lock(&self.hub.tables);
        let channel = tables.sources.get(&source).ok_or(Gone(source))?;
        tables.channels.get(channel).cloned().ok_or(Gone(source))
    }

    fn input_cell(&self, input: Id) -> Result<(Id, Arc<ChannelCell>), Gone> {
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

    fn detach(&self, input: Id) {
        let endpoints: Vec<_> = {
            let mut tables = lock(&self.hub.tables);
            tables.inputs.remove(&input);
            tables
                .endpoints
                .values()
                .map(|(endpoint, _)| Arc::clone(endpoint))
                .collect()
        };
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

    // ---- datagrams

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

    fn endpoint(&self, id: Id) -> Result<Arc<Endpoint>, Gone> {
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

    // ---- connections

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

    // ---- readers

    fn new_reader(
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

    /// The newest whole key access unit of a video track.
    pub fn keyframe(&self, channel: Id, track: u8) -> Result<Option<Vec<u8>>, Gone> {
        let cell = self.cell(channel)?;
        let keyframe = lock(&cell.state).keyframe(track);
        Ok(keyframe)
    }

    // ---- numbers

    /// Readers and connections now.
    pub fn population(&self) -> (usize, usize) {
        let tables = lock(&self.hub.tables);
        (tables.readers.len(), tables.conns.len())
    }

    /// A channel's numbers, by way of its locked state.
    pub fn with_channel<T>(&self, id: Id, look: impl FnOnce(&mut Channel) -> T) -> Result<T, Gone> {
        let cell = self.cell(id)?;
        let mut channel = lock(&cell.state);
        Ok(look(&mut channel))
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.close();
    }
}

impl Tables {
    fn forget_source(&mut self, source: Id) {
        self.sources.remove(&source);
        self.inputs.retain(|_, of| *of != source);
        self.paths.retain(|(of, _), _| *of != source);
    }
}

/// A source's state in a word.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Silent => "silent",
        State::Standby => "standby",
        State::Active => "active",
    }
}
