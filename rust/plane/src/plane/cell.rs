//! A channel and what the threads share about it: its lock, its counters, who wants its news.

use super::Hub;
use crate::channel::{Channel, Config};
use crate::event::Id;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A channel, its lock, and which threads want to know of news.
#[derive(Debug)]
pub struct ChannelCell {
    /// Its id.
    pub id: Id,
    /// Its state.
    pub state: Mutex<Channel>,
    /// Packets and frames sent to readers, those who left included.
    pub packets_out: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
    /// Readers now.
    pub readers: AtomicUsize,
    pub(super) interested: Box<[AtomicBool]>,
    pub(super) watched: Box<[AtomicBool]>,
    pub(super) dirty: Box<[AtomicBool]>,
    /// Mesh links that carry the channel on, by worker.
    pub(super) carried: Box<[AtomicUsize]>,
}

/// What was sent in one go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets and frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl ChannelCell {
    pub(super) fn new(id: Id, config: Config, workers: usize) -> Self {
        let flags = || (0..workers).map(|_| AtomicBool::new(false)).collect();
        let state = Mutex::new(Channel::new(id, config));
        Self {
            id,
            state,
            packets_out: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
            interested: flags(),
            watched: flags(),
            dirty: flags(),
            carried: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Counts what readers were sent.
    pub fn sent(&self, hub: &Hub, tally: &Tally) {
        if tally.packets == 0 && tally.bytes == 0 {
            return;
        }
        for (counter, count) in [
            (&self.packets_out, tally.packets),
            (&hub.totals.packets_out, tally.packets),
            (&self.bytes_out, tally.bytes),
            (&hub.totals.bytes_out, tally.bytes),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A worker has readers of the channel, or has none any more.
    pub fn interest(&self, worker: usize, wanted: bool) {
        self.interested[worker].store(wanted, Ordering::SeqCst);
    }

    /// As [`ChannelCell::interest`], for viewers by WebRTC.
    pub fn interest_rtc(&self, worker: usize, wanted: bool) {
        self.watched[worker].store(wanted, Ordering::SeqCst);
    }

    /// One more link of a worker carries the channel on.
    pub fn carry(&self, worker: usize) {
        self.carried[worker].fetch_add(1, Ordering::SeqCst);
    }

    /// One less.
    pub fn drop_carrier(&self, worker: usize) {
        self.carried[worker].fetch_sub(1, Ordering::SeqCst);
    }

    /// A worker has taken notice.
    pub fn clean(&self, worker: usize) {
        self.dirty[worker].store(false, Ordering::SeqCst);
    }
}
