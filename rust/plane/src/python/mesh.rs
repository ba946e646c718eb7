//! Mesh links as Python sees them.

use crate::event::Id;
use crate::mesh::control::{MAX_MESSAGE, Refused};
use crate::mesh::link::Options;
use crate::mesh::seal::Key;
use crate::net::mesh::{Multicast, NotHeard, Terms};
use crate::plane::{self, mesh::NotTaken};
use pyo3::exceptions::{PyBlockingIOError, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

impl From<NotTaken> for PyErr {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Gone(id) => PyKeyError::new_err(id),
            NotTaken::Refused(Refused::TooLong) => {
                PyValueError::new_err(format!("a message is at most {MAX_MESSAGE} bytes long"))
            }
            NotTaken::Refused(Refused::Full) => {
                PyBlockingIOError::new_err("too many messages wait for the link's peer")
            }
            NotTaken::NameInUse(name) => {
                PyValueError::new_err(format!("a link of this port has the name {name} already"))
            }
        }
    }
}

fn socket_address(text: &str) -> PyResult<SocketAddr> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("not an address with a port: {text:?}")))
}

fn key(bytes: &[u8]) -> PyResult<Key> {
    Key::new(bytes).ok_or_else(|| {
        PyValueError::new_err("a key has 16 bytes (AES-128-GCM) or 32 (ChaCha20-Poly1305)")
    })
}

impl From<NotHeard> for PyErr {
    fn from(why: NotHeard) -> Self {
        match why {
            NotHeard::Gone => PyKeyError::new_err("no such link"),
            NotHeard::NameInUse => {
                PyValueError::new_err("a link or another cast of this port has that name")
            }
            NotHeard::Network(error) => error.into(),
        }
    }
}

fn ipv4(text: &str) -> PyResult<Ipv4Addr> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("not an IPv4 address: {text:?}")))
}

fn group(text: &str) -> PyResult<Ipv4Addr> {
    let group = ipv4(text)?;
    if group.is_multicast() {
        Ok(group)
    } else {
        Err(PyValueError::new_err(format!(
            "not a multicast address: {text:?}"
        )))
    }
}

pub(super) fn open(
    plane: &Arc<plane::Plane>,
    py: Python<'_>,
    address: &str,
    multicast_port: u16,
    multicast_interface: &str,
    multicast_ttl: u8,
) -> PyResult<MeshPort> {
    let address = socket_address(address)?;
    let interface = if multicast_interface.is_empty() {
        None
    } else {
        Some(ipv4(multicast_interface)?)
    };
    let multicast = (multicast_port != 0).then_some(Multicast {
        port: multicast_port,
        interface,
        ttl: multicast_ttl,
    });
    let (id, port) = py.detach(|| plane.mesh_open(address, multicast))?;
    Ok(MeshPort {
        plane: Arc::clone(plane),
        id,
        port,
    })
}

/// A port for mesh links.
#[pyclass(frozen, module = "heliograph.plane._plane")]
pub(super) struct MeshPort {
    plane: Arc<plane::Plane>,
    id: Id,
    #[pyo3(get)]
    port: u16,
}

#[pymethods]
impl MeshPort {
    #[pyo3(signature = (local, remote, peer, send_key, receive_key, *, tcp = false, connect = true,
                        keepalive_ms = 50, silence_ms = 200))]
    fn link(
        &self,
        py: Python<'_>,
        local: u32,
        remote: u32,
        peer: &str,
        send_key: &[u8],
        receive_key: &[u8],
        tcp: bool,
        connect: bool,
        keepalive_ms: u32,
        silence_ms: u32,
    ) -> PyResult<Id> {
        let peer = if peer.is_empty() && !connect {
            None
        } else {
            Some(socket_address(peer)?)
        };
        let terms = Terms {
            options: Options {
                local,
                remote,
                send: key(send_key)?,
                receive: key(receive_key)?,
                keepalive_us: u64::from(keepalive_ms) * 1_000,
                silence_us: u64::from(silence_ms) * 1_000,
            },
            peer,
            tcp,
            connect,
        };
        Ok(py.detach(|| self.plane.mesh_link(self.id, terms))?)
    }

    fn send(&self, py: Python<'_>, link: Id, message: &[u8]) -> PyResult<()> {
        Ok(py.detach(|| self.plane.mesh_send(self.id, link, message))?)
    }

    fn serve(
        &self,
        py: Python<'_>,
        link: Id,
        wire: u16,
        channel: Id,
        after: Vec<(u8, u32, u64)>,
    ) -> PyResult<()> {
        py.detach(|| self.plane.mesh_serve(self.id, link, wire, channel, &after))?;
        Ok(())
    }

    fn stop(&self, py: Python<'_>, link: Id, wire: u16) {
        py.detach(|| self.plane.mesh_stop(self.id, link, wire));
    }

    fn rest(&self, py: Python<'_>, link: Id, wire: u16) {
        py.detach(|| self.plane.mesh_rest(self.id, link, wire));
    }

    #[pyo3(signature = (name, key, channel, group, *, keepalive_ms = 50))]
    fn cast(
        &self,
        py: Python<'_>,
        name: u32,
        key: &[u8],
        channel: Id,
        group: &str,
        keepalive_ms: u32,
    ) -> PyResult<Id> {
        let (key, group) = (self::key(key)?, self::group(group)?);
        let keepalive = u64::from(keepalive_ms) * 1_000;
        let cast = py.detach(|| {
            self.plane
                .mesh_cast(self.id, name, key, keepalive, channel, group)
        })?;
        cast.ok_or_else(|| {
            PyValueError::new_err("the port has no multicast, or sends another cast of that name")
        })
    }

    fn end_cast(&self, py: Python<'_>, cast: Id) {
        py.detach(|| self.plane.mesh_end_cast(self.id, cast));
    }

    fn admit(&self, py: Python<'_>, cast: Id, link: Id) -> PyResult<()> {
        py.detach(|| self.plane.mesh_admit(self.id, cast, link))?;
        Ok(())
    }

    fn dismiss(&self, py: Python<'_>, cast: Id, link: Id) {
        py.detach(|| self.plane.mesh_dismiss(self.id, cast, link));
    }

    fn listen(
        &self,
        py: Python<'_>,
        link: Id,
        wire: u16,
        name: u32,
        key: &[u8],
        group: &str,
    ) -> PyResult<()> {
        let (key, group) = (self::key(key)?, self::group(group)?);
        py.detach(|| {
            self.plane
                .mesh_listen(self.id, link, name, wire, key, group)
        })?;
        Ok(())
    }

    fn ignore(&self, py: Python<'_>, link: Id, name: u32) {
        py.detach(|| self.plane.mesh_ignore(self.id, link, name));
    }

    fn cast_stats<'py>(&self, py: Python<'py>, cast: Id) -> PyResult<Bound<'py, PyDict>> {
        let found = py.detach(|| self.plane.mesh_cast_stats(self.id, cast))?;
        let dict = PyDict::new(py);
        for (name, count) in [
            ("receivers", found.receivers as u64),
            ("sent_datagrams", found.sent.datagrams),
            ("sent_bytes", found.sent.bytes),
            ("sent_items", found.items),
            ("sent_repairs", found.sent.repaired),
            ("sent_repair_bytes", found.sent.repaired_bytes),
            ("repairs_refused", found.sent.refused),
            ("send_errors", found.serving.send_errors),
            ("overtaken", found.serving.overtaken),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn heard_stats<'py>(
        &self,
        py: Python<'py>,
        link: Id,
        name: u32,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (received, items, broken, hears) =
            py.detach(|| self.plane.mesh_heard_stats(self.id, link, name))?;
        let dict = PyDict::new(py);
        for (name, count) in [
            ("heard", u64::from(hears)),
            ("received_datagrams", received.datagrams),
            ("received_bytes", received.bytes),
            ("received_items", items),
            ("lost", received.lost),
            ("repaired", received.repaired),
            ("late", received.late),
            ("given_up", received.given_up),
            ("broken", broken),
            ("replayed", received.replayed),
            ("forged", received.forged),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn take(&self, py: Python<'_>, link: Id, wire: u16, input: Id) -> PyResult<()> {
        py.detach(|| self.plane.mesh_take(self.id, link, wire, input))?;
        Ok(())
    }

    fn release(&self, py: Python<'_>, link: Id, wire: u16) {
        py.detach(|| self.plane.mesh_release(self.id, link, wire));
    }

    fn close_link(&self, py: Python<'_>, link: Id) {
        py.detach(|| self.plane.mesh_close_link(self.id, link));
    }

    fn stats<'py>(&self, py: Python<'py>, link: Id) -> PyResult<Bound<'py, PyDict>> {
        let (counters, serving) = py.detach(|| self.plane.mesh_stats(self.id, link))?;
        let (sent, received) = (counters.sent, counters.received);
        let dict = PyDict::new(py);
        for (name, count) in [
            ("sent_datagrams", sent.datagrams),
            ("sent_bytes", sent.bytes),
            ("sent_items", counters.items.0),
            ("sent_repairs", sent.repaired),
            ("sent_repair_bytes", sent.repaired_bytes),
            ("repairs_refused", sent.refused),
            ("send_errors", serving.send_errors),
            ("overtaken", serving.overtaken),
            ("received_datagrams", received.datagrams),
            ("received_bytes", received.bytes),
            ("received_items", counters.items.1),
            ("lost", received.lost),
            ("repaired", received.repaired),
            ("late", received.late),
            ("given_up", received.given_up),
            ("broken", counters.broken),
            ("replayed", received.replayed),
            ("forged", received.forged),
            ("round_trip_us", counters.round_trip),
        ] {
            dict.set_item(name, count)?;
        }
        let heard = counters.heard;
        dict.set_item("heard_ms", if heard < 0 { -1 } else { heard / 1_000 })?;
        Ok(dict)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = py.detach(|| self.plane.mesh_counters(self.id))?;
        let dict = PyDict::new(py);
        for (name, count) in [
            ("links", counters.links as u64),
            ("connections", counters.connections as u64),
            ("casts_sent", counters.casts.0 as u64),
            ("casts_received", counters.casts.1 as u64),
            ("taken", counters.taken),
            ("foreign", counters.foreign),
            ("forged", counters.forged),
            ("replayed", counters.replayed),
            ("unwanted", counters.unwanted),
            ("connections_accepted", counters.streams.accepted),
            ("connections_refused", counters.streams.refused),
            ("connections_dropped", counters.streams.dropped),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.plane.mesh_shut(self.id));
    }
}
