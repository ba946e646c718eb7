//! What Python calls about HTTPS.

use super::Plane;
use crate::lock;
use crate::net::sys;
use crate::net::tls::link::Taken;
use crate::net::tls::port::NotOpened;
use crate::net::tls::{Limits, TlsPort};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

impl Plane {
    /// Serves a listening socket; see [`TlsPort::open`].
    pub fn tls_open(
        &self,
        fd: RawFd,
        chain: &[u8],
        key: &[u8],
        limits: Limits,
    ) -> Result<Arc<TlsPort>, NotOpened> {
        let port = TlsPort::open(self.hub.id(), fd, chain, key, limits)?;
        lock(&self.hub.tables).tls_ports.push(Arc::clone(&port));
        Ok(port)
    }

    pub(super) fn close_tls(&self) {
        let ports = std::mem::take(&mut lock(&self.hub.tables).tls_ports);
        for port in ports {
            port.close();
        }
    }

    /// The TLS session behind a socket that Python was given by an HTTPS port; `None` for others.
    pub(super) fn take_from_tls(&self, fd: RawFd, received: &[u8]) -> io::Result<Option<Taken>> {
        let ports = lock(&self.hub.tables).tls_ports.clone();
        for port in ports {
            if let Some(taken) = port.take(fd, received)? {
                sys::fit_for_media(taken.stream.fd())?;
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }
}
