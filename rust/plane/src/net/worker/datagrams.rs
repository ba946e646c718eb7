//! Datagrams that came: media of sources, reports of sources and readers, WebRTC.

use super::Worker;
use crate::event::Id;
use crate::net::endpoint::Control;
use crate::net::sys::RECEIVE_BATCH;
use crate::plane::ChannelCell;
use crate::{clock, rtp};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Batches taken from one UDP socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;

impl Worker {
    pub(super) fn receive_media(&mut self, id: Id) {
        if let Some(port) = self.rtc_ports.get(&id) {
            port.receive(&mut self.receiver, clock::now());
            return;
        }
        if let Some(port) = self.mesh_ports.get(&id) {
            port.receive(&self.hub, &mut self.receiver, clock::now());
            return;
        }
        let Some(endpoint) = self.endpoints.get(&id).cloned() else {
            return;
        };
        let mut touched: Vec<Arc<ChannelCell>> = Vec::new();
        for _ in 0..RECEIVE_ROUNDS {
            let count = self.receiver.receive(endpoint.rtp_fd()).unwrap_or(0);
            let now = clock::now();
            for n in 0..count {
                let (from, data) = self.receiver.datagram(n);
                let Some(from) = from else { continue };
                let payload_type = data.get(1).map_or(0, |byte| byte & 0x7f);
                let Some(route) = endpoint.route(from, payload_type, now) else {
                    self.hub
                        .totals
                        .foreign_packets
                        .fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                if rtp::is_rtcp(data) {
                    self.hub.source_report(&route, data, now);
                } else {
                    self.hub.media(&route, data, now);
                }
                if !touched.iter().any(|cell| cell.id == route.cell.id) {
                    touched.push(Arc::clone(&route.cell));
                }
            }
            if count == 0 || count < RECEIVE_BATCH {
                break;
            }
        }
        for cell in touched {
            self.hub.notify(&cell, Some(self.index));
        }
    }

    /// What came to a port by multicast.
    pub(super) fn receive_casts(&mut self, id: Id) {
        if let Some(port) = self.mesh_ports.get(&id) {
            port.receive_casts(&self.hub, &mut self.receiver, clock::now());
        }
    }

    pub(super) fn receive_control(&mut self, id: Id) {
        if let Some(port) = self.rtc_ports.get(&id) {
            port.receive_streams(clock::now());
            return;
        }
        if let Some(port) = self.mesh_ports.get(&id) {
            port.receive_streams(&self.hub, clock::now());
            return;
        }
        let Some(endpoint) = self.endpoints.get(&id).cloned() else {
            return;
        };
        let Some(fd) = endpoint.rtcp_fd() else { return };
        let count = self.receiver.receive(fd).unwrap_or(0);
        let now = clock::now();
        for n in 0..count {
            let (from, data) = self.receiver.datagram(n);
            match from.and_then(|from| endpoint.control(from)) {
                Some(Control::Source(route)) => self.hub.source_report(&route, data, now),
                Some(Control::Reader(reader)) => self.hub.reader_report(&reader, data, now),
                Some(Control::Viewer(sender)) => self.hub.viewer_report(&sender, data, now),
                None => {
                    self.hub
                        .totals
                        .foreign_packets
                        .fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
