//! What a port knows of its links, and what becomes of the datagrams that come to it.

use super::casts::Casts;
use super::peer::{Peer, Place};
use super::streams::{self, Streams};
use crate::event::{Event, Id};
use crate::lock;
use crate::mesh::link::{Event as LinkEvent, Refusal};
use crate::mesh::wire::Header;
use crate::net::worker::count;
use crate::plane::{ChannelCell, Hub};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a port counts, over all its links.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortCounters {
    /// Links now.
    pub links: usize,
    /// TCP connections now.
    pub connections: usize,
    /// Casts that are sent, and received, now.
    pub casts: (usize, usize),
    /// Datagrams that links took.
    pub taken: u64,
    /// Datagrams that are none of a link, or name none of this port.
    pub foreign: u64,
    /// Datagrams refused because their seal is wrong.
    pub forged: u64,
    /// Datagrams refused because they came before.
    pub replayed: u64,
    /// Packets under numbers that feed no input.
    pub unwanted: u64,
    /// Of connections.
    pub streams: streams::Counters,
}

/// What a port knows: its links, and the casts that it sends and receives.
#[derive(Debug)]
pub struct State {
    /// Its ends of links, and what they carry.
    pub peers: HashMap<Id, Peer>,
    /// Which link is meant by a name in a datagram.
    pub names: HashMap<u32, Id>,
    /// Of which link's peer the casts are that are received, by name.
    pub cast_names: HashMap<u32, Id>,
    /// Those that are sent, and the groups.
    pub casts: Casts,
    /// When a keyframe was asked for last: of which channel's track.
    pub asked: HashMap<(Id, u8), u64>,
    /// Connections of links that go by TCP.
    pub streams: Streams,
    /// Of datagrams that no link counts.
    pub counters: PortCounters,
}

/// What a round of receiving brought.
#[derive(Debug, Default)]
pub struct News {
    /// Links that something came for.
    pub links: Vec<Id>,
    touched: Vec<Arc<ChannelCell>>,
    /// Keyframes that peers need of channels' tracks.
    wishes: Vec<(Id, u8)>,
    /// Python is behind with events.
    crowded: bool,
}

impl News {
    /// Nothing yet.
    pub fn new(hub: &Hub) -> Self {
        Self {
            crowded: hub.events.crowded(),
            ..Self::default()
        }
    }

    /// Tells others. The port is not locked meanwhile: who is asked for keyframes asks ports.
    pub fn pass_on(&self, hub: &Hub, from: Option<usize>, now: u64) {
        for cell in &self.touched {
            hub.notify(cell, from);
        }
        for (channel, track) in &self.wishes {
            hub.want_keyframe(*channel, *track, now);
        }
    }
}

impl State {
    /// Without links.
    pub fn new(casts: Casts, streams: Streams) -> Self {
        Self {
            peers: HashMap::new(),
            names: HashMap::new(),
            cast_names: HashMap::new(),
            casts,
            asked: HashMap::new(),
            streams,
            counters: PortCounters::default(),
        }
    }

    /// Takes a datagram and notes which link it was for.
    pub fn take(&mut self, data: &[u8], from: Place, news: &mut News, now: u64) {
        let header = Header::parse(data).ok();
        let multicast = from == Place::Group;
        let known = header.and_then(|header| {
            let link = self.names.get(&header.link).filter(|_| !multicast);
            let id = link.or_else(|| self.cast_names.get(&header.link))?;
            Some((header, *id, self.peers.get_mut(id)?))
        });
        let Some((header, id, peer)) = known else {
            self.counters.foreign += 1;
            return;
        };
        peer.link.crowded = news.crowded;
        let taken = match peer.casts.get_mut(&header.link) {
            Some(cast) => {
                let trip = peer.link.round_trip();
                let incoming = &mut cast.incoming;
                let taken = incoming.receive(&header, data, multicast, trip, now);
                taken.map(|()| false) // where the peer is its link tells
            }
            None => peer.link.receive(&header, data, now),
        };
        match taken {
            Ok(newest) => {
                self.counters.taken += 1;
                if newest {
                    let before = peer.follow(from, now);
                    self.streams.own(from, before, id);
                }
                if news.links.last() != Some(&id) {
                    news.links.push(id);
                }
            }
            Err(Refusal::Replayed) => self.counters.replayed += 1,
            Err(Refusal::Forged) => self.counters.forged += 1,
        }
    }

    /// Gives packets to inputs, and events to Python.
    pub fn tell(&mut self, news: &mut News, hub: &Hub, now: u64) {
        news.links.sort_unstable();
        news.links.dedup();
        for id in &news.links {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            for delivered in peer.take_delivered() {
                let Some(route) = peer.takes.get(&delivered.wire) else {
                    self.counters.unwanted += 1;
                    continue;
                };
                let bytes = delivered.item.data.len() as u64;
                hub.totals.packets_in.fetch_add(1, Ordering::Relaxed);
                hub.totals.bytes_in.fetch_add(bytes, Ordering::Relaxed);
                let mut channel = lock(&route.cell.state);
                let result = channel.numbered(route.source, route.input, delivered.item, now);
                hub.pass_on(&mut channel);
                drop(channel);
                count(hub, result);
                if !news.touched.iter().any(|cell| cell.id == route.cell.id) {
                    news.touched.push(Arc::clone(&route.cell));
                }
            }
            self.casts.repair(*id, peer, now);
            peer.listen(now);
            news.wishes.extend(peer.wishes());
            let link = *id;
            for (cast, heard) in peer.cast_news() {
                hub.events.push(Event::MeshCast { link, cast, heard });
            }
            for event in std::mem::take(&mut peer.link.events) {
                hub.events.push(match event {
                    LinkEvent::Up => Event::MeshUp { link },
                    LinkEvent::Message(data) => Event::MeshMessage { link, data },
                    LinkEvent::Silent => Event::MeshSilent { link },
                    LinkEvent::Back => Event::MeshBack { link },
                    LinkEvent::Closed(reason) => Event::MeshClosed { link, reason },
                });
            }
        }
    }

    /// Connections ended, or have room again.
    pub fn notice_streams(&mut self, now: u64) {
        for (id, token) in std::mem::take(&mut self.streams.ended) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.disconnected(token, now);
            }
        }
        for id in std::mem::take(&mut self.streams.drained) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.woken(now);
            }
        }
    }

    /// Forgets links that are over and whose last words are said.
    pub fn bury(&mut self) {
        let over = self.peers.extract_if(|_, peer| {
            peer.link.closed() && peer.link.outgoing.is_empty() && peer.link.events.is_empty()
        });
        for (id, mut peer) in over {
            self.names.remove(&peer.link.local);
            peer.stop_all();
            self.casts.forget(id);
            for (name, cast) in peer.casts.drain() {
                self.cast_names.remove(&name);
                self.casts.part(cast.group);
            }
            if let Some(Place::Tcp(token)) = peer.place {
                self.streams.close(token);
            }
        }
    }
}
