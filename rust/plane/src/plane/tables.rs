//! What there is, by its id.

use super::ChannelCell;
use crate::event::Id;
use crate::net::endpoint::Endpoint;
use crate::net::mesh::MeshPort;
use crate::net::rtc::RtcPort;
use crate::net::senders::SenderCell;
use crate::net::sys::SockAddr;
use crate::net::tls::TlsPort;
use crate::reader::ReaderShared;
use std::collections::HashMap;
use std::sync::Arc;

/// Where receiver reports to a source's track go.
#[derive(Clone, Debug)]
pub enum ReportPath {
    /// By datagram.
    Udp(Arc<Endpoint>, SockAddr),
    /// Worker, connection, interleaved channel.
    Conn(usize, Id, u8),
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) channels: HashMap<Id, Arc<ChannelCell>>,
    /// Source to channel.
    pub(super) sources: HashMap<Id, Id>,
    /// Input to source.
    pub(super) inputs: HashMap<Id, Id>,
    pub(super) endpoints: HashMap<Id, (Arc<Endpoint>, usize)>,
    pub(super) readers: HashMap<Id, Arc<ReaderShared>>,
    /// Connection to worker, and whether it wants frames.
    pub(super) conns: HashMap<Id, (usize, bool)>,
    /// UDP readers' endpoints, to forget their control addresses.
    pub(super) reader_endpoints: HashMap<Id, Arc<Endpoint>>,
    pub(super) senders: HashMap<Id, Arc<SenderCell>>,
    pub(super) paths: HashMap<(Id, u8), ReportPath>,
    pub(super) rtc_ports: HashMap<Id, Arc<RtcPort>>,
    /// WebRTC sessions to their ports.
    pub(super) sessions: HashMap<Id, Id>,
    pub(super) mesh_ports: HashMap<Id, Arc<MeshPort>>,
    pub(super) tls_ports: Vec<Arc<TlsPort>>,
}

impl Tables {
    /// Takes a source out, with its inputs and the ways of reports to it.
    pub(super) fn forget_source(&mut self, source: Id) {
        self.sources.remove(&source);
        self.inputs.retain(|_, of| *of != source);
        self.paths.retain(|(of, _), _| *of != source);
    }
}
