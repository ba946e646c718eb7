//! Casts on a port: channels that go to several links' peers at once, by multicast.
//!
//! Sent and received on a socket of their own, since a group's port is the same at all units and a
//! machine may have several. Repairs go by the links.

use super::peer::{Carrier, Peer, Serve, ServeCounters};
use crate::event::Id;
use crate::mesh::cast::Outgoing;
use crate::mesh::sender::{Budget, Sent};
use crate::net::sys::{self, Headers, Sender, SockAddr};
use crate::plane::ChannelCell;
use crate::ring::Item;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// How often, µs, a channel that is behind sends its next part.
const SERVE_INTERVAL: u64 = 5_000;

/// How multicast is sent and received.
#[derive(Clone, Copy, Debug)]
pub struct Multicast {
    /// The groups' UDP port.
    pub port: u16,
    /// Address of the interface; else the routes decide.
    pub interface: Option<Ipv4Addr>,
    /// Routers that may be crossed.
    pub ttl: u8,
}

/// What a cast counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct CastCounters {
    /// What was sent; repairs went to single receivers.
    pub sent: Sent,
    /// Packets.
    pub items: u64,
    /// Links whose peers may receive it.
    pub receivers: usize,
    /// What the ring forgot, what the kernel would not send.
    pub serving: ServeCounters,
}

impl Carrier for Outgoing {
    fn carry(&mut self, _wire: u16, item: &Item, now: u64) {
        self.media(item, now);
    }
}

/// A channel that goes out.
#[derive(Debug)]
struct Cast {
    outgoing: Outgoing,
    serve: Serve,
    serve_due: Option<u64>,
    group: SockAddr,
    receivers: HashMap<Id, Budget>,
    counters: ServeCounters,
}

/// The casts that a port sends, and the socket for these and for those it receives.
#[derive(Debug)]
pub struct Casts {
    socket: Option<(OwnedFd, Multicast)>,
    worker: usize,
    sent: HashMap<Id, Cast>,
    names: HashMap<u32, Id>,
    /// Groups whose casts are received, and how many of these.
    joined: HashMap<Ipv4Addr, usize>,
}

impl Casts {
    pub fn open(multicast: Option<Multicast>, worker: usize) -> io::Result<Self> {
        let socket = multicast.map(|how| {
            let any = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, how.port));
            let socket = sys::udp_socket(any, true)?;
            sys::multicast(socket.as_raw_fd(), None, how.interface, how.ttl)?;
            sys::joined_groups_only(socket.as_raw_fd())?;
            Ok::<_, io::Error>((socket, how))
        });
        Ok(Self {
            socket: socket.transpose()?,
            worker,
            sent: HashMap::new(),
            names: HashMap::new(),
            joined: HashMap::new(),
        })
    }

    /// The socket, where there is one.
    pub fn fd(&self) -> Option<RawFd> {
        self.socket.as_ref().map(|(socket, _)| socket.as_raw_fd())
    }

    /// Casts that are sent now.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    // ---- what is received

    /// Receives what is sent to a group.
    pub fn join(&mut self, group: Ipv4Addr) -> io::Result<()> {
        let Some((socket, how)) = &self.socket else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        };
        let count = self.joined.entry(group).or_default();
        if *count == 0
            && let Err(error) = sys::multicast(
                socket.as_raw_fd(),
                Some(group.into()),
                how.interface,
                how.ttl,
            )
        {
            self.joined.remove(&group);
            return Err(error);
        }
        *count += 1;
        Ok(())
    }

    /// One cast less of that group.
    pub fn part(&mut self, group: Ipv4Addr) {
        if let Some(count) = self.joined.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.joined.remove(&group);
                if let Some((socket, how)) = &self.socket {
                    sys::leave_group(socket.as_raw_fd(), group, how.interface);
                }
            }
        }
    }

    // ---- what is sent

    /// A channel goes out from what comes next on; `None` without multicast, or if the name is in use.
    pub fn begin(
        &mut self,
        id: Id,
        outgoing: Outgoing,
        cell: &Arc<ChannelCell>,
        group: Ipv4Addr,
        now: u64,
    ) -> Option<()> {
        let (_, how) = self.socket.as_ref()?;
        if self.names.contains_key(&outgoing.name) {
            return None;
        }
        let group = SockAddr::new(SocketAddrV4::new(group, how.port).into(), false);
        self.names.insert(outgoing.name, id);
        cell.carry(self.worker);
        let cast = Cast {
            outgoing,
            serve: Serve::from_now_on(0, cell),
            serve_due: Some(now),
            group,
            receivers: HashMap::new(),
            counters: ServeCounters::default(),
        };
        self.sent.insert(id, cast);
        Some(())
    }

    /// It goes out no more.
    pub fn end(&mut self, id: Id) {
        if let Some(cast) = self.sent.remove(&id) {
            self.names.remove(&cast.outgoing.name);
            cast.serve.cell.drop_carrier(self.worker);
        }
    }

    /// Ends all.
    pub fn end_all(&mut self) {
        for id in self.sent.keys().copied().collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// A link's peer may ask for what it misses; `None` without such a cast.
    pub fn admit(&mut self, id: Id, link: Id, now: u64) -> Option<()> {
        let cast = self.sent.get_mut(&id)?;
        let budget = cast.outgoing.budget(now);
        cast.receivers.entry(link).or_insert(budget);
        Some(())
    }

    /// It may not any more.
    pub fn dismiss(&mut self, id: Id, link: Id) {
        if let Some(cast) = self.sent.get_mut(&id) {
            cast.receivers.remove(&link);
        }
    }

    /// A link is over.
    pub fn forget(&mut self, link: Id) {
        for cast in self.sent.values_mut() {
            cast.receivers.remove(&link);
        }
    }

    /// Answers what a link's peer misses, by the link; what it is no receiver of it does not get.
    pub fn repair(&mut self, link: Id, peer: &mut Peer, now: u64) {
        for (name, runs) in std::mem::take(&mut peer.link.asks) {
            let cast = self.names.get(&name).and_then(|id| self.sent.get_mut(id));
            if let Some(cast) = cast
                && let Some(budget) = cast.receivers.get_mut(&link)
            {
                let out = &mut peer.link.outgoing;
                cast.outgoing.repair(budget, &runs, now, out);
            }
        }
    }

    /// What a cast counts.
    pub fn counters(&self, id: Id) -> Option<CastCounters> {
        self.sent.get(&id).map(|cast| CastCounters {
            sent: cast.outgoing.sent(),
            items: cast.outgoing.items,
            receivers: cast.receivers.len(),
            serving: cast.counters,
        })
    }

    /// A channel has news.
    pub fn dirty(&mut self, cell: Id, now: u64) {
        for cast in self.sent.values_mut() {
            if cast.serve.cell.id == cell {
                cast.serve_due = Some(cast.serve_due.map_or(now, |due| due.min(now)));
            }
        }
    }

    /// When [`Casts::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let due = |cast: &Cast| cast.serve_due.unwrap_or(u64::MAX).min(cast.outgoing.due());
        self.sent.values().map(due).min()
    }

    /// Sends what is due.
    pub fn run(&mut self, headers: &mut Headers, now: u64) {
        let Some((socket, _)) = &self.socket else {
            return;
        };
        for cast in self.sent.values_mut() {
            if cast.serve_due.is_some_and(|due| due <= now) {
                let more = cast.serve.pump(&mut cast.outgoing, &mut cast.counters, now);
                cast.serve_due = more.then_some(now + SERVE_INTERVAL);
            }
            cast.outgoing.run(now);
            let datagrams = std::mem::take(&mut cast.outgoing.outgoing);
            let packets: Vec<&[u8]> = datagrams.iter().map(|data| data.as_slice()).collect();
            let mut sender = Sender::new(headers);
            for group in sender.plan(&packets) {
                sender.push(group, cast.group);
            }
            let failed = &mut cast.counters.send_errors;
            sender.send(socket.as_raw_fd(), |_, _| *failed += 1);
        }
    }
}
