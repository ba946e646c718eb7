//! What the port's worker does: takes what came, gives packets to inputs, sends what is due.

use super::MeshPort;
use super::peer::{Peer, Place};
use super::state::{News, State};
use crate::event::Id;
use crate::lock;
use crate::net::sys::{self, Headers, Receiver, Sender, SockAddr};
use crate::plane::{ChannelCell, Hub};
use crate::webrtc::keyframes::MIN_SPACING;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// Batches taken from the socket before others have their turn.
const RECEIVE_ROUNDS: usize = 16;

impl MeshPort {
    /// Takes what waits at the socket.
    pub fn receive(&self, hub: &Hub, receiver: &mut Receiver, now: u64) {
        self.receive_at(self.fd(), Place::Udp, hub, receiver, now);
    }

    /// Takes what came by multicast.
    pub fn receive_casts(&self, hub: &Hub, receiver: &mut Receiver, now: u64) {
        if let Some(fd) = self.casts_fd {
            self.receive_at(fd, |_| Place::Group, hub, receiver, now);
        }
    }

    fn receive_at(
        &self,
        fd: RawFd,
        place: impl Fn(SocketAddr) -> Place,
        hub: &Hub,
        receiver: &mut Receiver,
        now: u64,
    ) {
        let mut news = News::new(hub);
        let mut state = lock(&self.state);
        for _ in 0..RECEIVE_ROUNDS {
            let count = receiver.receive(fd).unwrap_or(0);
            for n in 0..count {
                if let (Some(from), data) = receiver.datagram(n) {
                    state.take(data, place(from), &mut news, now);
                }
            }
            if count < sys::RECEIVE_BATCH {
                break;
            }
        }
        state.tell(&mut news, hub, now);
        drop(state);
        news.pass_on(hub, Some(self.worker), now);
    }

    /// Takes what waits at connections.
    pub fn receive_streams(&self, hub: &Hub, now: u64) {
        let mut news = News::new(hub);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut came = std::mem::take(&mut state.streams.came);
        state.streams.receive(now, &mut came);
        for (token, data) in came.drain(..) {
            state.take(&data, Place::Tcp(token), &mut news, now);
        }
        state.streams.came = came;
        state.notice_streams(now);
        state.tell(&mut news, hub, now);
        drop(guard);
        news.pass_on(hub, Some(self.worker), now);
    }

    /// New packets are in a channel's ring.
    pub fn dirty(&self, cell: &ChannelCell, now: u64) {
        let mut state = lock(&self.state);
        for peer in state.peers.values_mut() {
            peer.dirty(cell.id, now);
        }
        state.casts.dirty(cell.id, now);
    }

    /// A keyframe of a channel's track is needed: the peers that feed the channel are asked; `true` if
    /// there are any, and none was asked just before.
    pub fn wish(&self, channel: Id, track: u8, now: u64) -> bool {
        let mut state = lock(&self.state);
        let State { peers, asked, .. } = &mut *state;
        asked.retain(|_, when| now.saturating_sub(*when) < MIN_SPACING);
        if asked.contains_key(&(channel, track)) {
            return false;
        }
        let mut any = false;
        for peer in peers.values_mut() {
            any |= peer.wish(channel, track);
        }
        if any {
            asked.insert((channel, track), now);
        }
        any
    }

    /// When [`MeshPort::run`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let state = lock(&self.state);
        let peers = state.peers.values().filter_map(Peer::due).min();
        [peers, state.streams.due(), state.casts.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: serves channels, lets links speak, hears what they say.
    pub fn run(&self, hub: &Hub, headers: &mut Headers, now: u64) {
        let mut news = News::new(hub);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.streams.expire(now);
        for (id, peer) in &mut state.peers {
            peer.connect(*id, &mut state.streams, now);
            peer.run(&state.streams, now);
            if peer.has_news() {
                news.links.push(*id);
            }
        }
        state.tell(&mut news, hub, now);
        state.casts.run(headers, now);
        self.flush(state, hub, headers);
        state.bury();
        drop(guard);
        // What was told here is news to this very thread, which has looked already.
        news.pass_on(hub, None, now);
    }

    /// Says goodbye to everybody: the port is about to close.
    pub fn farewell(&self, hub: &Hub, headers: &mut Headers) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for peer in state.peers.values_mut() {
            peer.link.close();
        }
        self.flush(state, hub, headers);
        state.bury();
        state.casts.end_all();
    }

    fn flush(&self, state: &mut State, hub: &Hub, headers: &mut Headers) {
        let State { peers, streams, .. } = state;
        let dual = self.local.is_ipv6();
        let mut sender = Sender::new(headers);
        let mut failed: Vec<Id> = Vec::new();
        let mut owners = Vec::new();
        for (id, peer) in peers.iter() {
            let datagrams = peer.link.outgoing.iter().map(|data| data.as_slice());
            match peer.place {
                Some(Place::Udp(to)) => {
                    let packets: Vec<&[u8]> = datagrams.collect();
                    let to = SockAddr::new(to, dual);
                    for group in sender.plan(&packets) {
                        sender.push(group, to);
                        owners.push(*id);
                    }
                }
                Some(Place::Tcp(token)) => {
                    for data in datagrams {
                        streams.send(token, data);
                    }
                }
                Some(Place::Group) | None => {} // where the peer is will be known when it speaks
            }
        }
        sender.send(self.fd(), |at, _| {
            hub.totals.send_errors.fetch_add(1, Ordering::Relaxed);
            failed.extend(owners.get(at));
        });
        streams.flush();
        for id in failed {
            if let Some(peer) = peers.get_mut(&id) {
                peer.counters.send_errors += 1;
            }
        }
        for peer in peers.values_mut() {
            peer.link.outgoing.clear();
        }
    }
}
