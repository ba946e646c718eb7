//! HTTPS as Python sees it.

use crate::net::tls::port::NotOpened;
use crate::net::tls::{self, Limits};
use crate::plane;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl From<NotOpened> for PyErr {
    fn from(why: NotOpened) -> Self {
        match why {
            NotOpened::Certificate(bad) => PyValueError::new_err(bad.0),
            NotOpened::System(error) => error.into(),
        }
    }
}

pub(super) fn open(
    plane: &plane::Plane,
    py: Python<'_>,
    fd: i32,
    chain: &[u8],
    key: &[u8],
    connections: usize,
    handshake_ms: u64,
) -> PyResult<TlsPort> {
    let limits = Limits {
        connections,
        handshake_us: handshake_ms * 1_000,
    };
    let port = py.detach(|| plane.tls_open(fd, chain, key, limits))?;
    Ok(TlsPort(port))
}

/// A port for HTTPS.
#[pyclass(frozen, module = "heliograph.plane._plane")]
pub(super) struct TlsPort(Arc<tls::TlsPort>);

#[pymethods]
impl TlsPort {
    fn fileno(&self) -> i32 {
        self.0.fileno()
    }

    #[pyo3(signature = (limit = 64))]
    fn accept(&self, py: Python<'_>, limit: usize) -> Vec<(i32, String, u16)> {
        py.detach(|| self.0.accept(limit))
            .into_iter()
            .map(|one| {
                let peer = (one.peer.ip().to_string(), one.peer.port());
                (one.fd.into_raw_fd(), peer.0, peer.1)
            })
            .collect()
    }

    fn certify(&self, py: Python<'_>, chain: &[u8], key: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.certify(chain, key))
            .map_err(|bad| PyValueError::new_err(bad.0))
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = &self.0.counters;
        let dict = PyDict::new(py);
        for (name, counter) in [
            ("accepted", &counters.accepted),
            ("secured", &counters.secured),
            ("taken", &counters.taken),
            ("refused", &counters.refused),
            ("refused_handshakes", &counters.refused_handshakes),
            ("timeouts", &counters.timeouts),
            ("failed", &counters.failed),
            ("plain", &counters.plain),
            ("accept_errors", &counters.accept_errors),
        ] {
            dict.set_item(name, counter.load(Ordering::Relaxed))?;
        }
        dict.set_item("open", self.0.open.load(Ordering::Relaxed))?;
        dict.set_item("shaking", self.0.shaking.load(Ordering::Relaxed))?;
        Ok(dict)
    }

    fn shut(&self) {
        self.0.shut();
    }
}
