//! Heliograph's packet plane: moves media packets and decides nothing.
//!
//! Python says what to connect; the plane moves the packets and reports counters and events in
//! batches. A [`channel::Channel`] is one ring of packets, fed by sources, followed by readers that
//! hold a position and no queue. Everything a reader sees is numbered once, where it enters.
//!
//! Layers, inner ones pure (time and bytes come in as arguments):
//!
//! ```text
//! python        the boundary (PyO3)
//! plane         what Python calls; the table of channels, readers, connections
//! net           epoll threads, sockets, batches of system calls
//! mesh          links between reflectors; webrtc: sessions of browsers; sender: titles, paced
//! channel       sources, ring, frames, clocks; numbering; codec; rtp; rtcp; framing
//! ```

#![deny(unsafe_code)]

/// Datagrams are made and freed by the thousand and are larger than what the system's allocator keeps
/// at hand: it would merge and split them, and give memory back that is wanted a moment later.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod channel;
pub mod clock;
pub mod codec;
pub mod event;
pub mod frames;
pub mod framing;
pub mod ids;
pub mod media;
pub mod mesh;
pub mod net;
pub mod numbered;
pub mod numbering;
pub mod plane;
#[cfg(feature = "python")]
mod python;
pub mod reader;
pub mod ring;
pub mod rtcp;
pub mod rtp;
pub mod sender;
pub mod source;
pub mod webrtc;

#[cfg(test)]
extern crate self as _plane;
#[cfg(test)]
#[path = "../tests/webrtc_support/mod.rs"]
mod webrtc_support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a thread that died holding the lock left whole values behind, so its state is used on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
