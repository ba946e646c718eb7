//! A UDP endpoint: a pair of ports shared by any number of sources and readers, told apart by the
//! addresses they speak from.

use crate::event::Id;
use crate::lock;
use crate::net::senders::SenderCell;
use crate::net::sys::{self, SockAddr};
use crate::plane::ChannelCell;
use crate::reader::ReaderShared;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A sender that was kept and says nothing for so long may be replaced by another, µs: a program
/// that is started again comes from another port.
const KEEP_SENDER: u64 = 2_000_000;

/// Attempts to find two adjacent free ports.
const PORT_ATTEMPTS: usize = 64;

/// Where a source's packets go.
#[derive(Debug)]
pub struct Route {
    /// The channel.
    pub cell: Arc<ChannelCell>,
    /// The source.
    pub source: Id,
    /// The way they come.
    pub input: Id,
    /// The track.
    pub track: u8,
    /// Payload type that tells tracks from one address apart.
    pub payload_type: u8,
    /// When the newest packet came.
    last: AtomicU64,
}

impl Route {
    /// A route that needs no address: packets of a connection.
    pub fn new(cell: &Arc<ChannelCell>, source: Id, input: Id, track: u8) -> Self {
        let cell = Arc::clone(cell);
        Self {
            cell,
            source,
            input,
            track,
            payload_type: 0,
            last: AtomicU64::new(0),
        }
    }
}

#[derive(Debug)]
struct Open {
    ip: Option<IpAddr>,
    route: Arc<Route>,
    kept: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Routes {
    exact: HashMap<SocketAddr, Vec<Arc<Route>>>,
    control: HashMap<SocketAddr, Arc<Route>>,
    readers: HashMap<SocketAddr, Arc<ReaderShared>>,
    senders: HashMap<SocketAddr, Arc<SenderCell>>,
    open: Vec<Open>,
}

/// Who sent an RTCP packet.
#[derive(Debug)]
pub enum Control {
    /// A source.
    Source(Arc<Route>),
    /// A reader.
    Reader(Arc<ReaderShared>),
    /// The viewer of a paced sender.
    Viewer(Arc<SenderCell>),
}

/// The endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: Id,
    rtp: OwnedFd,
    rtcp: Option<OwnedFd>,
    dual: bool,
    routes: Mutex<Routes>,
}

impl Endpoint {
    /// Binds the ports; port 0 finds an even one with its odd neighbour.
    pub fn bind(id: Id, address: SocketAddr, rtcp: bool, shared: bool) -> io::Result<Self> {
        let at = |port| SocketAddr::new(address.ip(), port);
        let attempts = if address.port() == 0 && rtcp {
            PORT_ATTEMPTS
        } else {
            1
        };
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..attempts {
            let media = sys::udp_socket(address, shared)?;
            let port = sys::local_port(media.as_raw_fd())?;
            if attempts > 1 && port % 2 == 1 {
                continue;
            }
            let control = if rtcp {
                match port
                    .checked_add(1)
                    .map(|port| sys::udp_socket(at(port), shared))
                {
                    Some(Ok(socket)) => Some(socket),
                    Some(Err(error)) => {
                        failure = error;
                        continue;
                    }
                    None => continue,
                }
            } else {
                None
            };
            let dual = address.is_ipv6();
            return Ok(Self {
                id,
                rtp: media,
                rtcp: control,
                dual,
                routes: Mutex::default(),
            });
        }
        Err(failure)
    }

    /// Joins a group and sets the reach of what is sent.
    pub fn multicast(
        &self,
        group: Option<IpAddr>,
        interface: Option<Ipv4Addr>,
        ttl: u8,
    ) -> io::Result<()> {
        sys::multicast(self.rtp_fd(), group, interface, ttl)?;
        match &self.rtcp {
            Some(fd) => sys::multicast(fd.as_raw_fd(), group, interface, ttl),
            None => Ok(()),
        }
    }

    /// Media socket.
    pub fn rtp_fd(&self) -> RawFd {
        self.rtp.as_raw_fd()
    }

    /// Control socket, if there is one.
    pub fn rtcp_fd(&self) -> Option<RawFd> {
        self.rtcp.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Both port numbers, 0 for none.
    pub fn ports(&self) -> io::Result<(u16, u16)> {
        let control = self.rtcp_fd().map_or(Ok(0), sys::local_port)?;
        Ok((sys::local_port(self.rtp_fd())?, control))
    }

    /// An address in the form this endpoint's sockets want.
    pub fn address(&self, address: SocketAddr) -> SockAddr {
        SockAddr::new(address, self.dual)
    }

    /// Takes a track's packets from an address, or from the first that sends.
    pub fn attach(
        &self,
        cell: &Arc<ChannelCell>,
        ids: (Id, Id, u8),
        payload_type: u8,
        remote: (Option<IpAddr>, Option<u16>, Option<u16>),
    ) {
        let (source, input, track) = ids;
        let route = Arc::new(Route {
            payload_type,
            ..Route::new(cell, source, input, track)
        });
        let mut routes = lock(&self.routes);
        let (ip, rtp, rtcp) = remote;
        if let (Some(ip), Some(port)) = (ip, rtp) {
            routes
                .exact
                .entry(SocketAddr::new(ip, port))
                .or_default()
                .push(Arc::clone(&route));
        } else {
            routes.open.push(Open {
                ip,
                route: Arc::clone(&route),
                kept: None,
            });
        }
        if let (Some(ip), Some(port)) = (ip, rtcp) {
            routes.control.insert(SocketAddr::new(ip, port), route);
        }
    }

    /// Forgets everything about an input.
    pub fn detach(&self, input: Id) {
        let mut routes = lock(&self.routes);
        routes.exact.retain(|_, list| {
            list.retain(|route| route.input != input);
            !list.is_empty()
        });
        routes.control.retain(|_, route| route.input != input);
        routes.open.retain(|open| open.route.input != input);
    }

    /// Knows the receiver reports of a reader by their address.
    pub fn add_reader(&self, control: SocketAddr, reader: &Arc<ReaderShared>) {
        lock(&self.routes)
            .readers
            .insert(control, Arc::clone(reader));
    }

    /// Forgets a reader.
    pub fn remove_reader(&self, reader: Id) {
        lock(&self.routes)
            .readers
            .retain(|_, known| known.id != reader);
    }

    /// Knows the receiver reports of a sender's viewer by their address.
    pub fn add_sender(&self, control: SocketAddr, sender: &Arc<SenderCell>) {
        lock(&self.routes)
            .senders
            .insert(control, Arc::clone(sender));
    }

    /// Forgets a sender.
    pub fn remove_sender(&self, sender: Id) {
        lock(&self.routes)
            .senders
            .retain(|_, known| known.id != sender);
    }

    /// Whose packet this is.
    pub fn route(&self, from: SocketAddr, payload_type: u8, now: u64) -> Option<Arc<Route>> {
        let mut routes = lock(&self.routes);
        if let Some(list) = routes.exact.get(&from) {
            let route = list
                .iter()
                .find(|route| route.payload_type == payload_type)
                .or_else(|| list.first())?;
            route.last.store(now, Ordering::Relaxed);
            return Some(Arc::clone(route));
        }
        let mut previous = None;
        let mut found = None;
        for open in &mut routes.open {
            let last = open.route.last.load(Ordering::Relaxed);
            let free = open.kept.is_none() || now.saturating_sub(last) > KEEP_SENDER;
            if open.route.payload_type == payload_type
                && free
                && open.ip.is_none_or(|ip| ip == from.ip())
            {
                previous = open.kept.replace(from);
                open.route.last.store(now, Ordering::Relaxed);
                found = Some(Arc::clone(&open.route));
                break;
            }
        }
        let route = found?;
        if let Some(previous) = previous {
            routes.exact.remove(&previous);
        }
        routes
            .exact
            .entry(from)
            .or_default()
            .push(Arc::clone(&route));
        Some(route)
    }

    /// Whose control packet this is.
    pub fn control(&self, from: SocketAddr) -> Option<Control> {
        let routes = lock(&self.routes);
        if let Some(reader) = routes.readers.get(&from) {
            return Some(Control::Reader(Arc::clone(reader)));
        }
        if let Some(sender) = routes.senders.get(&from) {
            return Some(Control::Viewer(Arc::clone(sender)));
        }
        if let Some(route) = routes.control.get(&from) {
            return Some(Control::Source(Arc::clone(route)));
        }
        // Plain RTP names no control port: the sender's other port is it by custom.
        let same_host = |open: &&Open| open.kept.is_some_and(|kept| kept.ip() == from.ip());
        routes
            .open
            .iter()
            .find(same_host)
            .map(|open| Control::Source(Arc::clone(&open.route)))
    }
}
