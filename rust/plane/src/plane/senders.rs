//! What Python calls about paced senders.

use super::{Gone, Plane, UdpTarget};
use crate::event::Id;
use crate::net::senders::{NOWHERE, SenderCell, Way};
use crate::net::worker::{Command, SenderOrder};
use crate::sender::{Block, Bytes, Node, Refused, Sender, Start, State, TrackSpec};
use crate::{clock, lock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// No such sender, endpoint or connection.
    Gone(Id),
    /// The sender refuses it.
    Refused(Refused),
}

impl From<Gone> for NotDone {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone.0)
    }
}

impl From<Refused> for NotDone {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

/// What there is to know of a sender.
#[derive(Clone, Copy, Debug)]
pub struct SenderNumbers {
    /// What it is at.
    pub state: State,
    /// Media time that plays, µs.
    pub position_us: u64,
    /// Media time that waits, µs.
    pub queued_us: u64,
    /// Bytes that wait.
    pub queued_bytes: usize,
    /// Counters.
    pub counters: crate::sender::Counters,
    /// What the viewer says.
    pub heard: crate::sender::Heard,
}

impl Plane {
    /// Opens a sender.
    pub fn open_sender(
        &self,
        tracks: &[TrackSpec],
        cname: &str,
        low_us: u64,
        max_bytes: usize,
        node: Option<Node>,
    ) -> Result<Id, NotDone> {
        let sender = Sender::new(tracks, cname, low_us, max_bytes, node)?;
        let id = self.hub.id();
        let cell = Arc::new(SenderCell::new(id, sender));
        lock(&self.hub.tables).senders.insert(id, cell);
        Ok(id)
    }

    fn sender(&self, id: Id) -> Result<Arc<SenderCell>, Gone> {
        let tables = lock(&self.hub.tables);
        tables.senders.get(&id).cloned().ok_or(Gone(id))
    }

    fn order_sender(&self, worker: usize, order: SenderOrder) {
        self.hub.order(worker, Command::Sender(order));
    }

    /// Its worker looks at it again.
    fn run_sender(&self, cell: &SenderCell) {
        if let Some(worker) = cell.worker() {
            self.order_sender(worker, SenderOrder::Run(cell.id));
        }
    }

    /// Takes it off where it was, and puts it on a worker.
    fn attach_sender(&self, cell: &Arc<SenderCell>, worker: usize, tracks: &[u8], way: Way) {
        self.detach_sender(cell, false);
        lock(&cell.state).reach(tracks);
        cell.worker.store(worker, Ordering::Relaxed);
        self.order_sender(worker, SenderOrder::Add(Arc::clone(cell), way));
    }

    fn detach_sender(&self, cell: &SenderCell, farewell: bool) {
        if let Some(endpoint) = lock(&cell.endpoint).take() {
            endpoint.remove_sender(cell.id);
        }
        let worker = cell.worker.swap(NOWHERE, Ordering::Relaxed);
        if worker != NOWHERE {
            self.order_sender(worker, SenderOrder::Remove(cell.id, farewell));
        }
    }

    /// Packets of paced senders go before they are due while all that is sent is less than so many
    /// bits a second, with all headers; 0: none does.
    pub fn limit_ahead(&self, bits: u64) {
        self.hub.budget.limit(bits, clock::now(), self.hub.sent());
    }

    /// Sends by datagram.
    pub fn sender_to_udp(&self, id: Id, endpoint: Id, to: &[UdpTarget]) -> Result<(), Gone> {
        let cell = self.sender(id)?;
        let endpoint = self.endpoint(endpoint)?;
        let mut targets = Vec::new();
        for (track, ip, media, control) in to {
            let at = |port: u16| endpoint.address(SocketAddr::new(*ip, port));
            targets.push((*track, at(*media), (*control != 0).then(|| at(*control))));
        }
        let tracks: Vec<u8> = to.iter().map(|target| target.0).collect();
        let way = Way::Udp(Arc::clone(&endpoint), targets);
        self.attach_sender(&cell, self.hub.pick_worker(), &tracks, way);
        for (_, ip, _, control) in to.iter().filter(|target| target.3 != 0) {
            endpoint.add_sender(SocketAddr::new(*ip, *control), &cell);
        }
        *lock(&cell.endpoint) = Some(endpoint);
        Ok(())
    }

    /// Sends on a connection.
    pub fn sender_to_conn(
        &self,
        id: Id,
        conn: Id,
        channels: Vec<(u8, u8, u8)>,
    ) -> Result<(), NotDone> {
        let cell = self.sender(id)?;
        let known = lock(&self.hub.tables).conns.get(&conn).copied();
        let (worker, websocket) = known.ok_or(Gone(conn))?;
        if websocket {
            let why = Refused::Value("packets go on RTSP connections only");
            return Err(why.into());
        }
        let tracks: Vec<u8> = channels.iter().map(|one| one.0).collect();
        self.attach_sender(&cell, worker, &tracks, Way::Conn(conn, channels));
        Ok(())
    }

    /// Queues a block.
    pub fn sender_feed(&self, id: Id, data: Bytes) -> Result<(), NotDone> {
        let cell = self.sender(id)?;
        let block = Block::parse(data).map_err(Refused::Malformed)?;
        lock(&cell.state).feed(block)?;
        self.run_sender(&cell);
        Ok(())
    }

    /// Plays.
    pub fn sender_start(&self, id: Id, start: &Start) -> Result<Vec<(u8, u16, u32)>, NotDone> {
        let cell = self.sender(id)?;
        let found = lock(&cell.state).start(start, clock::now())?;
        self.run_sender(&cell);
        Ok(found)
    }

    /// Stops for a while.
    pub fn sender_pause(&self, id: Id) -> Result<u64, Gone> {
        Ok(lock(&self.sender(id)?.state).pause(clock::now()))
    }

    /// Changes how fast packets go out.
    pub fn sender_rate(
        &self,
        id: Id,
        rate: f64,
        at: u64,
        from_us: Option<u64>,
    ) -> Result<(), NotDone> {
        let cell = self.sender(id)?;
        lock(&cell.state).set_rate(rate, at, from_us)?;
        self.run_sender(&cell);
        Ok(())
    }

    /// Forgets what was fed.
    pub fn sender_flush(&self, id: Id) -> Result<(), Gone> {
        lock(&self.sender(id)?.state).flush(clock::now());
        Ok(())
    }

    /// Nothing more is fed.
    pub fn sender_end(&self, id: Id) -> Result<(), Gone> {
        let cell = self.sender(id)?;
        lock(&cell.state).finish();
        self.run_sender(&cell);
        Ok(())
    }

    /// Sends packets again.
    pub fn sender_resend(&self, id: Id, numbers: &[u32]) -> Result<usize, NotDone> {
        let cell = self.sender(id)?;
        let found = lock(&cell.state).resend(numbers, clock::now())?;
        self.run_sender(&cell);
        Ok(found)
    }

    /// Numbers of a sender.
    pub fn sender_numbers(&self, id: Id) -> Result<SenderNumbers, Gone> {
        let cell = self.sender(id)?;
        let (sender, now) = (lock(&cell.state), clock::now());
        let (queued_us, queued_bytes) = sender.queued(now);
        Ok(SenderNumbers {
            state: sender.state(),
            position_us: sender.position(now),
            queued_us,
            queued_bytes,
            counters: sender.counters(now),
            heard: sender.heard,
        })
    }

    /// Closes it; its viewer is told.
    pub fn close_sender(&self, id: Id) {
        let cell = lock(&self.hub.tables).senders.remove(&id);
        if let Some(cell) = cell {
            self.detach_sender(&cell, true);
        }
    }
}
