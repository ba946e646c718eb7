//! What Python calls: the tables of channels, sources, inputs, connections and readers, and the
//! threads behind them.

mod cell;
mod channels;
mod connections;
mod endpoints;
mod hub;
pub mod mesh;
mod readers;
pub mod rtc;
mod senders;
mod sources;
mod tables;
pub mod tls;

pub use cell::{ChannelCell, Tally};
pub use hub::{Hub, Totals, WorkerHandle};
pub use readers::UdpTarget;
pub use senders::{NotDone, SenderNumbers};
pub use tables::ReportPath;

use crate::event::Id;
use crate::lock;
use crate::net::worker::{Command, Worker};
use crate::source::State;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// No such channel, source, input, endpoint, connection or reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone(pub Id);

/// The plane.
#[derive(Debug)]
pub struct Plane {
    hub: Arc<Hub>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Plane {
    /// Starts `workers` threads.
    pub fn new(workers: usize, events: usize) -> io::Result<Self> {
        let hub = Arc::new(Hub::new(workers, events)?);
        let mut threads = Vec::new();
        for index in 0..hub.workers.len() {
            let worker = Worker::new(index, Arc::clone(&hub))?;
            let name = format!("helio-plane-{index}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || worker.run())?,
            );
        }
        Ok(Self {
            hub,
            threads: Mutex::new(threads),
        })
    }

    /// The hub, for counters and events.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stops the threads and waits for them.
    pub fn close(&self) {
        self.close_tls();
        for index in 0..self.hub.workers.len() {
            self.hub.order(index, Command::Stop);
        }
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }

    /// Readers, paced senders and connections now.
    pub fn population(&self) -> (usize, usize, usize) {
        let tables = lock(&self.hub.tables);
        (
            tables.readers.len(),
            tables.senders.len(),
            tables.conns.len(),
        )
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.close();
    }
}

/// A source's state in a word.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Silent => "silent",
        State::Standby => "standby",
        State::Active => "active",
    }
}
