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
        if batch.bytes() >= BURST {
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
