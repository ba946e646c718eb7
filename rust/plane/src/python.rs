//! The boundary with Python; its specification is `_plane.pyi`, and stubtest holds the two together.
//! Every call lets go of Python's lock before it takes one of the plane's.
#![allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]

mod convert;
mod mesh;
mod rtc;
mod sender;
mod stats;
mod tls;

use crate::channel::Config;
use crate::clock;
use crate::event::Id;
use crate::media::TrackSpec;
use crate::plane;
use convert::{Spec, address, event, track};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The packet plane.
#[pyclass(frozen, module = "heliograph.plane._plane")]
struct Plane(Arc<plane::Plane>);

#[pymethods]
impl Plane {
    #[new]
    #[pyo3(signature = (*, workers = 1, events = 65_536))]
    fn new(workers: usize, events: usize) -> PyResult<Self> {
        Ok(Self(Arc::new(plane::Plane::new(workers, events)?)))
    }

    fn fileno(&self) -> i32 {
        self.0.hub().events.fd()
    }

    #[pyo3(signature = (limit = 4_096))]
    fn drain<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let (events, lost) = py.detach(|| self.0.hub().events.drain(limit));
        let list = PyList::empty(py);
        for one in events {
            list.append(event(py, one)?)?;
        }
        if lost > 0 {
            list.append(("overflow", lost))?;
        }
        Ok(list)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    #[pyo3(signature = (*, depth_ms = 3_000, max_bytes = 16 << 20, silence_ms = 1_000, return_ms = -1,
                        coalesce_us = 1_500, tcp_interval_ms = 0, lag_ms = 1_000))]
    fn open_channel(
        &self,
        depth_ms: u64,
        max_bytes: usize,
        silence_ms: u64,
        return_ms: i64,
        coalesce_us: u64,
        tcp_interval_ms: u64,
        lag_ms: u64,
    ) -> Id {
        self.0.open_channel(Config {
            depth_us: depth_ms * 1_000,
            max_bytes,
            silence_us: silence_ms * 1_000,
            return_us: u64::try_from(return_ms).ok().map(|ms| ms * 1_000),
            coalesce_us,
            tcp_interval_us: tcp_interval_ms * 1_000,
            lag_us: lag_ms * 1_000,
        })
    }

    fn close_channel(&self, py: Python<'_>, channel: Id) {
        py.detach(|| self.0.close_channel(channel));
    }

    fn add_source(&self, channel: Id, priority: i64, tracks: Vec<Spec>) -> PyResult<Id> {
        let tracks: PyResult<Vec<TrackSpec>> = tracks.into_iter().map(track).collect();
        Ok(self.0.add_source(channel, priority, tracks?)?)
    }

    fn add_mesh_source(&self, channel: Id, priority: i64, tracks: Vec<Spec>) -> PyResult<Id> {
        let tracks: PyResult<Vec<TrackSpec>> = tracks.into_iter().map(track).collect();
        Ok(self.0.add_mesh_source(channel, priority, tracks?)?)
    }

    fn channel_marks(&self, py: Python<'_>, channel: Id) -> PyResult<Vec<(u8, u32, u64)>> {
        Ok(py.detach(|| self.0.channel_marks(channel))?)
    }

    fn flush_channel(&self, py: Python<'_>, channel: Id) -> PyResult<()> {
        Ok(py.detach(|| self.0.flush_channel(channel))?)
    }

    fn claim_epoch(&self, channel: Id, epoch: u32) -> PyResult<()> {
        Ok(self.0.claim_epoch(channel, epoch)?)
    }

    fn overtake_epoch(
        &self,
        py: Python<'_>,
        channel: Id,
        epoch: u32,
        numbers: Vec<(u8, u64)>,
    ) -> PyResult<()> {
        Ok(py.detach(|| self.0.overtake_epoch(channel, epoch, &numbers))?)
    }

    fn remove_source(&self, py: Python<'_>, source: Id) {
        py.detach(|| self.0.remove_source(source));
    }

    fn add_input(&self, source: Id) -> PyResult<Id> {
        Ok(self.0.add_input(source)?)
    }

    fn remove_input(&self, py: Python<'_>, input: Id) {
        py.detach(|| self.0.remove_input(input));
    }

    fn push(&self, input: Id, track: u8, packets: Vec<Bound<'_, PyBytes>>) -> PyResult<usize> {
        let packets: Vec<&[u8]> = packets.iter().map(PyBytesMethods::as_bytes).collect();
        Ok(self.0.push(input, track, &packets)?)
    }

    fn push_rtcp(&self, input: Id, track: u8, packet: &[u8]) -> PyResult<()> {
        Ok(self.0.push_rtcp(input, track, packet)?)
    }

    #[pyo3(signature = (address, port, *, rtcp = true, group = None, interface = None, ttl = 16))]
    fn bind_udp(
        &self,
        address: &str,
        port: u16,
        rtcp: bool,
        group: Option<&str>,
        interface: Option<&str>,
        ttl: u8,
    ) -> PyResult<(Id, u16, u16)> {
        let bind = SocketAddr::new(self::address(address)?, port);
        let group = group.map(self::address).transpose()?;
        let interface: Option<Ipv4Addr> = match interface.map(self::address).transpose()? {
            Some(IpAddr::V4(v4)) => Some(v4),
            Some(IpAddr::V6(_)) => {
                return Err(PyValueError::new_err(
                    "an interface is named by its IPv4 address",
                ));
            }
            None => None,
        };
        Ok(self.0.bind_udp(bind, rtcp, group, interface, ttl)?)
    }

    fn close_endpoint(&self, endpoint: Id) {
        self.0.close_endpoint(endpoint);
    }

    #[pyo3(signature = (input, track, endpoint, *, payload_type, remote = None, rtp_port = None,
                        rtcp_port = None))]
    fn attach_udp(
        &self,
        input: Id,
        track: u8,
        endpoint: Id,
        payload_type: u8,
        remote: Option<&str>,
        rtp_port: Option<u16>,
        rtcp_port: Option<u16>,
    ) -> PyResult<()> {
        let remote = remote.map(address).transpose()?;
        let remote = (remote, rtp_port, rtcp_port);
        Ok(self
            .0
            .attach_udp(input, track, endpoint, payload_type, remote)?)
    }

    #[pyo3(signature = (fd, kind, received = None, max_message = 65_536))]
    fn adopt(
        &self,
        py: Python<'_>,
        fd: i32,
        kind: &str,
        received: Option<&[u8]>,
        max_message: usize,
    ) -> PyResult<Id> {
        let websocket = match kind {
            "rtsp" => false,
            "websocket" => true,
            other => {
                return Err(PyValueError::new_err(format!(
                    "not rtsp or websocket: {other:?}"
                )));
            }
        };
        let received = received.unwrap_or_default();
        Ok(py.detach(|| self.0.adopt(fd, websocket, received, max_message))?)
    }

    fn conn_send(&self, conn: Id, data: Vec<u8>) {
        self.0.conn_send(conn, data);
    }

    fn conn_publish(&self, conn: Id, input: Id, tracks: Vec<(u8, u8, u8)>) -> PyResult<()> {
        Ok(self.0.conn_publish(conn, input, &tracks)?)
    }

    fn conn_close(&self, conn: Id) {
        self.0.conn_close(conn);
    }

    fn add_conn_reader(
        &self,
        py: Python<'_>,
        channel: Id,
        conn: Id,
        tracks: Vec<(u8, u8, u8)>,
    ) -> PyResult<Id> {
        Ok(py.detach(|| self.0.add_conn_reader(channel, conn, tracks))?)
    }

    fn add_udp_reader(
        &self,
        channel: Id,
        endpoint: Id,
        tracks: Vec<(u8, String, u16, u16)>,
    ) -> PyResult<Id> {
        let targets: PyResult<Vec<plane::UdpTarget>> = tracks
            .into_iter()
            .map(|(track, ip, media, control)| Ok((track, address(&ip)?, media, control)))
            .collect();
        Ok(self.0.add_udp_reader(channel, endpoint, &targets?)?)
    }

    #[pyo3(signature = (channel, tracks, *, frames = false, capacity = 1_024))]
    fn add_tap(&self, channel: Id, tracks: Vec<u8>, frames: bool, capacity: u64) -> PyResult<Id> {
        Ok(self.0.add_tap(channel, tracks, frames, capacity)?)
    }

    fn position_reader(&self, reader: Id) -> PyResult<Vec<(u8, u16, u32)>> {
        Ok(self.0.position_reader(reader)?)
    }

    fn start_reader(&self, reader: Id) {
        self.0.start_reader(reader);
    }

    fn pause_reader(&self, reader: Id) {
        self.0.pause_reader(reader);
    }

    fn remove_reader(&self, reader: Id) {
        self.0.remove_reader(reader);
    }

    #[pyo3(signature = (reader, limit = 256))]
    fn read_tap<'py>(
        &self,
        py: Python<'py>,
        reader: Id,
        limit: usize,
    ) -> PyResult<(Bound<'py, PyList>, u64)> {
        let frames = self.0.reader(reader)?.frames;
        let (items, lost) = py.detach(|| self.0.read_tap(reader, limit))?;
        let list = PyList::empty(py);
        for item in items {
            let skip = if frames {
                crate::frames::FRAME_HEADER
            } else {
                0
            };
            list.append((
                item.track,
                item.epoch,
                item.number,
                item.time,
                item.arrival,
                item.flags,
                PyBytes::new(py, &item.data[skip..]),
            ))?;
        }
        Ok((list, lost))
    }

    fn keyframe<'py>(
        &self,
        py: Python<'py>,
        channel: Id,
        track: u8,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let keyframe = py.detach(|| self.0.keyframe(channel, track))?;
        Ok(keyframe.map(|data| PyBytes::new(py, &data)))
    }

    fn want_keyframe(&self, py: Python<'_>, channel: Id, track: u8) {
        py.detach(|| self.0.want_keyframe(channel, track));
    }

    #[allow(clippy::unused_self)] // a method of the plane in Python, where the twin has its own clock
    fn monotonic_us(&self) -> u64 {
        crate::net::sys::monotonic_us()
    }

    #[pyo3(signature = (tracks, *, cname = "", low_us = 3_000_000, max_bytes = 32 << 20,
                        node = None, keep_us = 2_000_000, ahead_us = 0))]
    fn open_sender(
        &self,
        tracks: Vec<sender::Spec>,
        cname: &str,
        low_us: u64,
        max_bytes: usize,
        node: Option<(u16, u8)>,
        keep_us: u64,
        ahead_us: u64,
    ) -> PyResult<Id> {
        let plane = &self.0;
        sender::open(
            plane, tracks, cname, low_us, max_bytes, node, keep_us, ahead_us,
        )
    }

    fn limit_ahead(&self, bits: u64) {
        self.0.limit_ahead(bits);
    }

    fn sender_to_udp(
        &self,
        sender: Id,
        endpoint: Id,
        destinations: Vec<(u8, String, u16, u16)>,
    ) -> PyResult<()> {
        sender::to_udp(&self.0, sender, endpoint, destinations)
    }

    fn sender_to_conn(&self, sender: Id, conn: Id, tracks: Vec<(u8, u8, u8)>) -> PyResult<()> {
        Ok(self.0.sender_to_conn(sender, conn, tracks)?)
    }

    /// The block stays Python's: what is done with is let go of at a later call, as the threads of
    /// the plane never take Python's lock.
    fn sender_feed(&self, py: Python<'_>, sender: Id, block: PyBackedBytes) -> PyResult<()> {
        Ok(py.detach(|| self.0.sender_feed(sender, Box::new(block)))?)
    }

    #[pyo3(signature = (sender, from_us, *, at_us = None, rate = 1.0, scale = 1.0,
                        keys_only = None, until_us = None, tracks = None))]
    fn sender_start(
        &self,
        py: Python<'_>,
        sender: Id,
        from_us: u64,
        at_us: Option<u64>,
        rate: f64,
        scale: f64,
        keys_only: Option<bool>,
        until_us: Option<u64>,
        tracks: Option<Vec<u8>>,
    ) -> PyResult<Vec<(u8, u16, u32)>> {
        py.detach(|| {
            let plane = &self.0;
            sender::start(
                plane, sender, from_us, at_us, rate, scale, keys_only, until_us, tracks,
            )
        })
    }

    fn sender_pause(&self, py: Python<'_>, sender: Id) -> PyResult<u64> {
        Ok(py.detach(|| self.0.sender_pause(sender))?)
    }

    #[pyo3(signature = (sender, rate, *, at_us = None, from_us = None))]
    fn sender_rate(
        &self,
        py: Python<'_>,
        sender: Id,
        rate: f64,
        at_us: Option<u64>,
        from_us: Option<u64>,
    ) -> PyResult<()> {
        let at = at_us.map_or_else(clock::now, clock::from_monotonic);
        Ok(py.detach(|| self.0.sender_rate(sender, rate, at, from_us))?)
    }

    fn sender_flush(&self, py: Python<'_>, sender: Id) -> PyResult<()> {
        Ok(py.detach(|| self.0.sender_flush(sender))?)
    }

    fn sender_end(&self, py: Python<'_>, sender: Id) -> PyResult<()> {
        Ok(py.detach(|| self.0.sender_end(sender))?)
    }

    fn sender_resend(&self, py: Python<'_>, sender: Id, numbers: Vec<u32>) -> PyResult<usize> {
        Ok(py.detach(|| self.0.sender_resend(sender, &numbers))?)
    }

    fn sender_stats<'py>(&self, py: Python<'py>, sender: Id) -> PyResult<Bound<'py, PyDict>> {
        sender::stats(&self.0, py, sender)
    }

    fn close_sender(&self, py: Python<'_>, sender: Id) {
        py.detach(|| self.0.close_sender(sender));
    }

    #[pyo3(signature = (address, candidates, *, capacity = 10_000, tcp = true))]
    fn rtc_open(
        &self,
        py: Python<'_>,
        address: String,
        candidates: Vec<String>,
        capacity: usize,
        tcp: bool,
    ) -> PyResult<rtc::RtcPort> {
        rtc::open(&self.0, py, &address, &candidates, tcp, capacity)
    }

    #[pyo3(signature = (address, *, multicast_port = 0, multicast_interface = "",
                        multicast_ttl = 1))]
    fn mesh_open(
        &self,
        py: Python<'_>,
        address: String,
        multicast_port: u16,
        multicast_interface: &str,
        multicast_ttl: u8,
    ) -> PyResult<mesh::MeshPort> {
        let (port, ttl) = (multicast_port, multicast_ttl);
        mesh::open(&self.0, py, &address, port, multicast_interface, ttl)
    }

    #[pyo3(signature = (fd, chain, key, *, connections = 20_000, handshake_ms = 5_000))]
    fn tls_open(
        &self,
        py: Python<'_>,
        fd: i32,
        chain: &[u8],
        key: &[u8],
        connections: usize,
        handshake_ms: u64,
    ) -> PyResult<tls::TlsPort> {
        tls::open(&self.0, py, fd, chain, key, connections, handshake_ms)
    }

    fn totals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats::totals(&self.0, py)
    }

    fn channel_stats<'py>(&self, py: Python<'py>, channel: Id) -> PyResult<Bound<'py, PyDict>> {
        stats::channel(&self.0, py, channel)
    }

    fn reader_stats<'py>(&self, py: Python<'py>, reader: Id) -> PyResult<Bound<'py, PyDict>> {
        stats::reader(&self.0, py, reader)
    }
}

#[pymodule]
mod _plane {
    #[pymodule_export]
    use super::Plane;
    #[pymodule_export]
    use super::mesh::MeshPort;
    #[pymodule_export]
    use super::rtc::RtcPort;
    #[pymodule_export]
    use super::tls::TlsPort;
}
