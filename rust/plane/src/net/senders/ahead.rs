//! Packets that go before they are due: those that are due first, of all senders, as far as the
//! network has room.

use super::{BURST, BURST_INTERVAL, Senders, TOGETHER, Way, on_grid, send_together};
use crate::event::Id;
use crate::lock;
use crate::net::budget::Budget;
use crate::net::sys::Headers;
use crate::plane::Hub;
use crate::sender::Batch;
use std::collections::BTreeSet;

/// Whose next packet may go ahead, now or later.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// From when on.
    opens: BTreeSet<(u64, Id)>,
    /// Now: by when it is due.
    ready: BTreeSet<(u64, Id)>,
    /// When the network has room again; `None`: nothing goes ahead.
    room_at: Option<u64>,
}

impl Ahead {
    pub(super) fn remove(&mut self, id: Id, (opens, due): (u64, u64)) {
        self.opens.remove(&(opens, id));
        self.ready.remove(&(due, id));
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<u64> {
        let opens = self.opens.first().map(|(opens, _)| on_grid(*opens));
        let ready = self.room_at.filter(|_| !self.ready.is_empty());
        opens.into_iter().chain(ready).min()
    }
}

impl Senders {
    /// Notes when a sender's next packet is due, and from when on it may go before that.
    pub(super) fn place_ahead(&mut self, id: Id, next: Option<(u64, u64)>) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let next = next.map(|(due, opens)| (opens, due));
        if row.ahead == next {
            return;
        }
        if let Some(before) = std::mem::replace(&mut row.ahead, next) {
            self.ahead.remove(id, before);
        }
        if let Some((opens, _)) = next {
            self.ahead.opens.insert((opens, id));
        }
    }

    /// Sends what may go ahead, as far as there is room.
    pub(super) fn run_ahead(&mut self, headers: &mut Headers, hub: &Hub, now: u64) {
        self.admit(now);
        let mut left = hub.budget.left(now, hub.sent());
        let mut picked: Vec<(Id, Id)> = Vec::new();
        let mut batches: Vec<Batch> = Vec::new();
        while left > 0
            && let Some((_, id)) = self.ahead.ready.first().copied()
        {
            left = left.saturating_sub(self.pick(id, &mut picked, &mut batches, now));
            self.admit(now);
        }
        for same in picked.chunk_by(|one, other| one.0 == other.0) {
            for together in same.chunks(TOGETHER) {
                let rest = batches.split_off(together.len());
                send_together(together, &batches, &self.rows, headers, hub);
                batches = rest;
            }
        }
        let opens = hub.budget.opens(now, hub.sent());
        self.ahead.room_at = opens.map(|opens| on_grid(opens.max(now + 1)));
    }

    /// Lets those in whose time has come.
    fn admit(&mut self, now: u64) {
        while let Some((opens, id)) = self.ahead.opens.first().copied()
            && opens <= now
        {
            self.ahead.opens.pop_first();
            if let Some((_, due)) = self.rows.get(&id).and_then(|row| row.ahead) {
                self.ahead.ready.insert((due, id));
            }
        }
    }

    /// Takes the packets that a sender has next; what they cost.
    fn pick(
        &mut self,
        id: Id,
        picked: &mut Vec<(Id, Id)>,
        batches: &mut Vec<Batch>,
        now: u64,
    ) -> u64 {
        let Some(Way::Udp(endpoint, _)) = self.rows.get(&id).map(|row| &row.way) else {
            self.place_ahead(id, None);
            return 0;
        };
        let endpoint = endpoint.id;
        let at = picked
            .binary_search(&(endpoint, id))
            .unwrap_or_else(|place| {
                picked.insert(place, (endpoint, id));
                batches.insert(place, Batch::default());
                place
            });
        let batch = &mut batches[at];
        let (packets, bytes) = (batch.len(), batch.bytes());
        let mut sender = lock(&self.rows[&id].cell.state);
        sender.take_ahead(now, batch);
        let (mut next, due) = (sender.ahead(), sender.due());
        drop(sender);
        if batch.len() == packets {
            next = next.filter(|(_, opens)| *opens > now); // it is asked again when one is due
        } else if batch.bytes() >= BURST {
            next = next.map(|(due, opens)| (due, opens.max(now + BURST_INTERVAL)));
        }
        self.place_ahead(id, next);
        if let Some(due) = due {
            self.call(id, on_grid(due.max(now + 1)));
        }
        let (packets, bytes) = (batch.len() - packets, batch.bytes() - bytes);
        Budget::cost(packets as u64, bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GRID, SenderCell};
    use super::*;
    use crate::net::endpoint::Endpoint;
    use crate::plane::Plane;
    use crate::sender::{Block, Node, Sender, Start, TrackSpec};
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::Arc;

    const NOW: u64 = 1_000_000_000;
    /// Media time of a block, µs, and bytes of a packet's payload.
    const LENGTH: u64 = 1_000_000;
    const BYTES: usize = 500;
    /// Of a packet on the network: with its number's extension, UDP, IP and Ethernet.
    const COST: u64 = BYTES as u64 + 28 + 46;

    /// Packets `every` so many µs.
    fn block(every: u32) -> Block {
        let count = LENGTH as u32 / every;
        let mut out = b"HGB1\x01\x02\0\0".to_vec();
        out.extend_from_slice(&count.to_be_bytes());
        for field in [0, LENGTH, 0, 0, 0] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        for n in 0..count {
            out.extend_from_slice(&(n * every).to_be_bytes());
            out.extend_from_slice(&[0, 15]);
            out.extend_from_slice(&(BYTES as u16).to_be_bytes());
            out.extend_from_slice(&0u32.to_be_bytes());
            out.extend_from_slice(&[7; BYTES]);
        }
        Block::parse(Box::new(out)).unwrap()
    }

    fn playing(id: Id, every: u32) -> Arc<SenderCell> {
        let track = TrackSpec {
            track: 0,
            ssrc: 7,
            payload_type: 96,
            clock_rate: 90_000,
            sequence: 0,
            timestamp: 0,
        };
        let node = Node {
            number: id as u16,
            extension: 14,
            keep_us: 0,
            ahead_us: 200_000,
        };
        let mut sender = Sender::new(&[track], "", 0, 8 << 20, Some(node)).unwrap();
        sender.reach(&[0]);
        sender.feed(block(every)).unwrap();
        let start = Start {
            from_us: 0,
            at: NOW,
            rate: 1.0,
            scale: 1.0,
            keys_only: false,
            until_us: None,
            tracks: None,
        };
        sender.start(&start, NOW).unwrap();
        Arc::new(SenderCell::new(id, sender))
    }

    /// Does what a worker does, at a time that is made up.
    fn step(senders: &mut Senders, headers: &mut Headers, hub: &Hub, now: u64) {
        let mut due = Vec::new();
        while let Some((at, id)) = senders.due.first().copied()
            && at <= now
        {
            senders.rest(id);
            if let Way::Udp(endpoint, _) = &senders.rows[&id].way {
                due.push((endpoint.id, id));
            }
        }
        due.sort_unstable();
        for same in due.chunk_by(|one, other| one.0 == other.0) {
            senders.run_datagrams(same, headers, hub, now);
        }
        senders.run_ahead(headers, hub, now);
    }

    #[test]
    fn what_is_due_first_goes_first_of_all_senders_and_within_the_budget() {
        let plane = Plane::new(1, 1_000).unwrap();
        let hub = plane.hub();
        let viewer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = viewer.local_addr().unwrap();
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let endpoints = [1, 2].map(|id| Arc::new(Endpoint::bind(id, local, false, false).unwrap()));
        let (mut senders, mut headers) = (Senders::default(), Headers::default());
        // Two of one endpoint and one of the other; 200, 100 and 50 packets a second.
        let everies = [5_000, 10_000, 20_000];
        let cells: Vec<_> = (10..)
            .zip(everies)
            .map(|(id, one)| playing(id, one))
            .collect();
        for (cell, at) in cells.iter().zip([0, 1, 0]) {
            let targets = vec![(0, endpoints[at].address(to), None)];
            senders.add(
                Arc::clone(cell),
                Way::Udp(Arc::clone(&endpoints[at]), targets),
            );
        }
        let sent = || cells.iter().map(|cell| lock(&cell.state).counters.packets);
        let left = || {
            let next = cells.iter().map(|cell| lock(&cell.state).ahead());
            next.collect::<Vec<_>>()
        };
        // A fifth more than what is due: 350 packets a second.
        let rate = 420 * COST;
        hub.budget.limit(8 * rate, NOW, hub.sent());
        let burst = (rate * 5_000 / 1_000_000).max(3_000) / COST + 1;
        for now in (NOW..NOW + 600_000).step_by(GRID as usize) {
            let before: u64 = sent().sum();
            step(&mut senders, &mut headers, hub, now);
            assert!(sent().sum::<u64>() - before <= burst + 3); // what fell due goes in any case
            let most = rate * (now - NOW) / 1_000_000 / COST + burst + 3;
            assert!(sent().sum::<u64>() <= most);
        }
        let now = NOW + 600_000 - GRID;
        let counts: Vec<u64> = sent().collect();
        assert!(
            counts.iter().sum::<u64>() > 420 * 600 / 1_000 - 8,
            "{counts:?}"
        ); // it is used up
        // All are as far ahead as each other, but for one packet each.
        let dues: Vec<u64> = left().iter().map(|next| next.unwrap().0).collect();
        let spread = dues.iter().max().unwrap() - dues.iter().min().unwrap();
        assert!(spread <= 21_000, "{dues:?}");
        assert!(dues.iter().all(|due| due - now > 60_000), "{dues:?}");
        assert!(
            cells
                .iter()
                .all(|cell| lock(&cell.state).counters.late_max_us <= GRID)
        );
    }
}
