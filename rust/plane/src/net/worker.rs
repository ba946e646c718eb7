//! A thread of the plane: waits for sockets and orders, feeds channels, serves readers.
//!
//! It never takes Python's lock and never waits for anything but its own epoll.

mod channels;
mod connections;
mod datagrams;
mod orders;
mod senders;

pub use orders::Command;
pub use senders::SenderOrder;

use crate::channel::Reject;
use crate::clock;
use crate::event::Id;
use crate::net::endpoint::Endpoint;
use crate::net::fanout::{Conns, Fanout};
use crate::net::mesh::MeshPort;
use crate::net::rtc::RtcPort;
use crate::net::senders::Senders;
use crate::net::sys::{Epoll, Headers, Ready, Receiver};
use crate::plane::Hub;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Least time between two looks at all channels, µs: of a hundred that are due one after the other a
/// millisecond apart, each would have all looked at.
const TICK: u64 = 2_000;
/// Longest sleep, µs, and time between two looks at channels of which nothing is due: rates are told
/// by the second.
const IDLE: u64 = 200_000;

/// Token kinds, in a token's low bits.
const WAKE: u64 = 0;
const MEDIA: u64 = 1;
const CONTROL: u64 = 2;
const STREAM: u64 = 3;

/// The thread's state.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    hub: Arc<Hub>,
    epoll: Epoll,
    conns: Conns,
    endpoints: HashMap<Id, Arc<Endpoint>>,
    rtc_ports: HashMap<Id, Arc<RtcPort>>,
    mesh_ports: HashMap<Id, Arc<MeshPort>>,
    fanouts: HashMap<Id, Fanout>,
    senders: Senders,
    due: BTreeSet<(u64, Id)>,
    receiver: Receiver,
    headers: Headers,
    scratch: Vec<u8>,
    closing: Vec<Id>,
    stopping: bool,
}

impl Worker {
    /// Worker number `index` of the hub.
    pub fn new(index: usize, hub: Arc<Hub>) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(hub.workers[index].wake.fd(), WAKE)?;
        Ok(Self {
            index,
            hub,
            epoll,
            conns: HashMap::new(),
            endpoints: HashMap::new(),
            rtc_ports: HashMap::new(),
            mesh_ports: HashMap::new(),
            fanouts: HashMap::new(),
            senders: Senders::default(),
            due: BTreeSet::new(),
            receiver: Receiver::default(),
            headers: Headers::default(),
            scratch: vec![0; 64 << 10],
            closing: Vec::new(),
            stopping: false,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        let mut next_tick = 0;
        while !self.stopping {
            let now = clock::now();
            let mut wake = now + IDLE;
            if self.index == 0 {
                wake = wake.min(next_tick);
            }
            if let Some((due, _)) = self.due.first() {
                wake = wake.min(*due);
            }
            if let Some(due) = self.senders.due() {
                wake = wake.min(due);
            }
            for due in self.rtc_ports.values().filter_map(|port| port.due()) {
                wake = wake.min(due);
            }
            for due in self.mesh_ports.values().filter_map(|port| port.due()) {
                wake = wake.min(due);
            }
            ready.clear();
            if let Err(error) = self.epoll.wait(wake.saturating_sub(now), &mut ready) {
                // Only a broken epoll can fail here; without it the thread has no work.
                eprintln!("packet plane: worker {} cannot wait: {error}", self.index);
                return;
            }
            self.turn(&ready);
            let now = clock::now();
            if self.index == 0 && now >= next_tick {
                next_tick = self.tick(now).clamp(now + TICK, now + IDLE);
            }
            self.finish_closing(now);
        }
    }

    /// Does what was ordered, what sockets have, and what is due.
    fn turn(&mut self, ready: &[Ready]) {
        // What came after an order was given is to find it obeyed, whichever of both epoll names first.
        self.obey();
        for event in ready {
            self.handle(*event);
        }
        self.obey(); // given meanwhile; the wake that told of it may be cleared
        let now = clock::now();
        self.run_rtc(now); // what publishers sent is news for others
        self.notice_dirty(now);
        self.run_rtc(now);
        self.run_mesh(now);
        while let Some((due, id)) = self.due.first().copied() {
            if due > now {
                break;
            }
            self.due.pop_first();
            self.run_fanout(id, now);
        }
        self.run_senders(now);
    }

    fn handle(&mut self, event: Ready) {
        let id = event.token >> 2;
        match event.token & 3 {
            WAKE => self.hub.workers[self.index].wake.clear(),
            MEDIA => self.receive_media(id),
            CONTROL => self.receive_control(id),
            _ if self.mesh_ports.contains_key(&id) => self.receive_casts(id),
            _ => {
                if event.writable {
                    self.writable(id);
                }
                if event.readable {
                    self.readable(id);
                }
            }
        }
    }
}

/// A packet was refused: counts it where it belongs.
pub fn count(hub: &Hub, result: Result<(), Reject>) {
    match result {
        Ok(()) => {}
        Err(Reject::Malformed) => {
            hub.totals.malformed_packets.fetch_add(1, Ordering::Relaxed);
        }
        Err(Reject::PayloadType | Reject::Unknown) => {
            hub.totals.foreign_packets.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// A worker without a thread, and an endpoint it listens on.
    fn listening() -> (Worker, Arc<Endpoint>, UdpSocket) {
        let hub = Arc::new(Hub::new(1, 100).unwrap());
        let mut worker = Worker::new(0, Arc::clone(&hub)).unwrap();
        let bound = Endpoint::bind(7, "127.0.0.1:0".parse().unwrap(), false, false);
        let endpoint = Arc::new(bound.unwrap());
        hub.order(0, Command::AddEndpoint(Arc::clone(&endpoint)));
        worker.turn(&[]);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = endpoint.ports().unwrap().0;
        sender.connect(("127.0.0.1", port)).unwrap();
        (worker, endpoint, sender)
    }

    #[test]
    fn what_comes_after_a_removal_is_not_taken() {
        let (mut worker, endpoint, sender) = listening();
        let media = Ready {
            token: endpoint.id << 2 | MEDIA,
            readable: true,
            writable: false,
        };
        let foreign = |worker: &Worker| worker.hub.totals.foreign_packets.load(Ordering::Relaxed);
        sender.send(&[0x80; 20]).unwrap();
        worker.turn(&[media]);
        assert_eq!(foreign(&worker), 1, "it listens");
        worker.hub.order(0, Command::RemoveEndpoint(endpoint.id));
        sender.send(&[0x80; 20]).unwrap();
        worker.turn(&[media]);
        assert_eq!(foreign(&worker), 1);
    }
}
