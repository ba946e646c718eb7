//! The HTTPS port as Python and the workers see it; what happens on its sockets is the thread's.

use crate::event::Id;
use crate::lock;
use crate::net::sys::{self, EventFd};
use crate::net::tls::certificate::{BadCertificate, configure};
use crate::net::tls::link::{Link, Taken};
use crate::net::tls::thread::Server;
use rustls::ServerConfig;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Connections whose handshake is done and that Python has not taken: a burst after a break.
const QUEUE: usize = 1_024;

/// A connection, until a worker takes it.
pub(super) type Shared = Arc<Mutex<Option<Link>>>;

/// Bounds of the port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections here at a time; those that workers have taken count no more.
    pub connections: usize,
    /// How long a handshake may take, µs.
    pub handshake_us: u64,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted from the kernel.
    pub accepted: AtomicU64,
    /// Handshakes done.
    pub secured: AtomicU64,
    /// Those that workers took.
    pub taken: AtomicU64,
    /// Closed at once: too many connections.
    pub refused: AtomicU64,
    /// Closed at once: too many handshakes from one address, or altogether.
    pub refused_handshakes: AtomicU64,
    /// Handshakes that were too slow.
    pub timeouts: AtomicU64,
    /// Connections ended by an error of TLS: nothing in common, rules broken, or an alert of the
    /// peer, such as that it does not trust the certificate.
    pub failed: AtomicU64,
    /// Requests by plain HTTP.
    pub plain: AtomicU64,
    /// Times the machine could not accept: no descriptors, no memory.
    pub accept_errors: AtomicU64,
}

/// A secured connection for Python.
#[derive(Debug)]
pub struct Accepted {
    /// One end of a socket pair, for plaintext.
    pub fd: OwnedFd,
    /// The peer.
    pub peer: SocketAddr,
}

/// The port.
#[derive(Debug)]
pub struct TlsPort {
    /// Its id.
    pub id: Id,
    /// What happened.
    pub counters: Counters,
    /// Connections here.
    pub open: AtomicUsize,
    /// Handshakes that go on.
    pub shaking: AtomicUsize,
    pub(super) limits: Limits,
    pub(super) wake: EventFd,
    /// Until the port is shut; the thread has another descriptor of it.
    listener: Mutex<Option<OwnedFd>>,
    /// Accept no more.
    pub(super) shut: AtomicBool,
    /// End soon, whatever goes on.
    pub(super) halt: AtomicBool,
    /// Links that workers took, for the thread to forget.
    pub(super) moved: Mutex<Vec<u64>>,
    ready: EventFd,
    queue: Mutex<VecDeque<Accepted>>,
    config: Mutex<Arc<ServerConfig>>,
    /// Python's end of a pair (its cookie) to the link it belongs to.
    ends: Mutex<HashMap<u64, (u64, Shared)>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a port could not be opened.
#[derive(Debug)]
pub enum NotOpened {
    /// The certificate.
    Certificate(BadCertificate),
    /// The machine.
    System(io::Error),
}

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl TlsPort {
    /// Serves a listening socket, which is duplicated, with a certificate chain and key in PEM.
    pub fn open(
        id: Id,
        fd: RawFd,
        chain: &[u8],
        key: &[u8],
        limits: Limits,
    ) -> Result<Arc<Self>, NotOpened> {
        let config = configure(chain, key).map_err(NotOpened::Certificate)?;
        let listener = TcpListener::from(sys::duplicate(fd)?);
        let shuttable = sys::duplicate(fd)?;
        listener.set_nonblocking(true)?;
        let port = Arc::new(Self {
            id,
            counters: Counters::default(),
            open: AtomicUsize::new(0),
            shaking: AtomicUsize::new(0),
            limits,
            wake: EventFd::new()?,
            listener: Mutex::new(Some(shuttable)),
            shut: AtomicBool::new(false),
            halt: AtomicBool::new(false),
            moved: Mutex::default(),
            ready: EventFd::new()?,
            queue: Mutex::default(),
            config: Mutex::new(config),
            ends: Mutex::default(),
            thread: Mutex::default(),
        });
        let server = Server::new(Arc::clone(&port), listener)?;
        let thread = std::thread::Builder::new()
            .name("helio-tls".to_owned())
            .spawn(move || server.run())?;
        *lock(&port.thread) = Some(thread);
        Ok(port)
    }

    /// The descriptor that is readable while connections wait for [`TlsPort::accept`].
    pub fn fileno(&self) -> RawFd {
        self.ready.fd()
    }

    /// Takes up to `limit` secured connections.
    pub fn accept(&self, limit: usize) -> Vec<Accepted> {
        let mut queue = lock(&self.queue);
        self.ready.clear();
        let count = limit.min(queue.len());
        let taken = queue.drain(..count).collect();
        if !queue.is_empty() {
            self.ready.raise();
        }
        taken
    }

    /// Uses another certificate from now on; connections that are open keep theirs.
    pub fn certify(&self, chain: &[u8], key: &[u8]) -> Result<(), BadCertificate> {
        let config = configure(chain, key)?;
        *lock(&self.config) = config;
        Ok(())
    }

    /// Takes the connection whose end of a pair is `theirs` away from the port; `None` when it is
    /// none of this port's. `received` was read from it before.
    pub fn take(&self, theirs: RawFd, received: &[u8]) -> io::Result<Option<Taken>> {
        let Some((key, shared)) = lock(&self.ends).remove(&sys::cookie(theirs)?) else {
            return Ok(None);
        };
        let link = lock(&shared).take();
        lock(&self.moved).push(key);
        self.wake.raise();
        let link = link.ok_or(io::ErrorKind::NotConnected)?;
        let taken = link.take(theirs, received)?;
        self.counters.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Some(taken))
    }

    /// Accepts no more: the kernel refuses who comes after this, and nothing is offered any longer
    /// but what [`TlsPort::accept`] has now. Open connections go on.
    pub fn shut(&self) {
        let queue = lock(&self.queue); // whoever offers has done so, or sees the flag
        self.shut.store(true, Ordering::SeqCst);
        drop(queue);
        if let Some(listener) = lock(&self.listener).take() {
            sys::shutdown(listener.as_raw_fd());
        }
        self.wake.raise();
    }

    /// Ends the thread, and with it all connections that are still here; waits for it (bounded).
    pub fn close(&self) {
        self.halt.store(true, Ordering::SeqCst);
        self.shut();
        lock(&self.queue).clear();
        if let Some(thread) = lock(&self.thread).take() {
            // A thread that died has nothing left to close.
            let _ = thread.join();
        }
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.config))
    }

    /// Offers a secured connection to Python: the cookie of its end; `None` when too many wait, or
    /// nobody takes them any longer.
    pub(super) fn offer(&self, key: u64, shared: &Shared, accepted: Accepted) -> Option<u64> {
        let cookie = sys::cookie(accepted.fd.as_raw_fd()).ok()?;
        let mut queue = lock(&self.queue);
        if queue.len() >= QUEUE || self.shut.load(Ordering::SeqCst) {
            return None;
        }
        lock(&self.ends).insert(cookie, (key, Arc::clone(shared)));
        let first = queue.is_empty();
        queue.push_back(accepted);
        drop(queue);
        if first {
            self.ready.raise();
        }
        Some(cookie)
    }

    pub(super) fn forget(&self, cookie: u64) {
        lock(&self.ends).remove(&cookie);
    }
}
