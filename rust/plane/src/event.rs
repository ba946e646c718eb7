//! What the plane tells Python, and the bounded queue it waits in.

use crate::net::sys::EventFd;
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Identifies a channel, source, input, endpoint, connection or reader; never reused.
pub type Id = u64;

/// One thing that happened. Meanings stand in the boundary's specification, `_plane.pyi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A source is relayed from now on.
    SourceActive {
        /// Its channel.
        channel: Id,
        /// The source.
        source: Id,
        /// The epoch its packets carry.
        epoch: u32,
        /// Whether readers must learn a new format.
        layout_changed: bool,
    },
    /// Nothing came from a source for the channel's silence time.
    SourceSilent {
        /// Its channel.
        channel: Id,
        /// The source.
        source: Id,
    },
    /// No source of the channel delivers.
    ChannelSilent {
        /// The channel.
        channel: Id,
    },
    /// A whole RTSP or WebSocket text message.
    Control {
        /// The connection it came on.
        conn: Id,
        /// The message.
        data: Vec<u8>,
    },
    /// A connection ended.
    ConnClosed {
        /// Which.
        conn: Id,
        /// Why, in one word.
        reason: &'static str,
    },
    /// A reader ended without being told to.
    ReaderClosed {
        /// Which.
        reader: Id,
        /// Why, in one word.
        reason: &'static str,
    },
    /// A WebRTC peer is there, or nothing is heard of it for a while.
    RtcState {
        /// Its session.
        session: Id,
        /// `connected` or `disconnected`.
        state: &'static str,
    },
    /// A WebRTC session ended.
    RtcClosed {
        /// Which.
        session: Id,
        /// Why, in a few words.
        reason: &'static str,
    },
    /// Both ends of a mesh link hear each other.
    MeshUp {
        /// Which.
        link: Id,
    },
    /// A message came on a mesh link.
    MeshMessage {
        /// Which.
        link: Id,
        /// The message.
        data: Vec<u8>,
    },
    /// Nothing is heard of a mesh link's peer.
    MeshSilent {
        /// Which.
        link: Id,
    },
    /// The peer is heard again.
    MeshBack {
        /// Which.
        link: Id,
    },
    /// A cast of a mesh link's peer is heard by multicast, or is not any more.
    MeshCast {
        /// Which link.
        link: Id,
        /// The cast's name.
        cast: u32,
        /// Whether it is heard.
        heard: bool,
    },
    /// A mesh link is over.
    MeshClosed {
        /// Which.
        link: Id,
        /// Why, in one word.
        reason: &'static str,
    },
    /// A paced sender wants to be fed.
    SenderLow {
        /// Which.
        sender: Id,
        /// Media time that waits in it, µs.
        queued_us: u64,
    },
    /// A paced sender has sent everything.
    SenderEnded {
        /// Which.
        sender: Id,
    },
    /// A paced sender went with its connection.
    SenderClosed {
        /// Which.
        sender: Id,
        /// Why, in one word.
        reason: &'static str,
    },
    /// A tap that was empty holds something.
    TapReady {
        /// Which.
        reader: Id,
    },
}

/// Bytes of mesh messages that may wait for Python: four times what one link may have queued.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The queue between the plane's threads and Python.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<VecDeque<Event>>,
    capacity: usize,
    /// Of mesh messages that wait.
    message_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// All events ever lost.
    pub lost: AtomicU64,
    signal: EventFd,
}

impl Events {
    /// A queue of at most `capacity` events.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(VecDeque::new()),
            capacity,
            message_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            signal: EventFd::new()?,
        })
    }

    /// The descriptor that becomes readable when events wait.
    pub fn fd(&self) -> i32 {
        self.signal.fd()
    }

    /// Adds an event; when the queue is full it is dropped and counted.
    pub fn push(&self, event: Event) {
        let mut queue = crate::lock(&self.queue);
        if queue.len() >= self.capacity {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.is_empty();
        if let Event::MeshMessage { data, .. } = &event {
            self.message_bytes.fetch_add(data.len(), Ordering::Relaxed);
        }
        queue.push_back(event);
        drop(queue);
        if first {
            self.signal.raise();
        }
    }

    /// Whether mesh messages have to wait at their senders: what was taken must not be lost.
    pub fn crowded(&self) -> bool {
        self.message_bytes.load(Ordering::Relaxed) >= MAX_MESSAGE_BYTES
            || crate::lock(&self.queue).len() * 2 >= self.capacity
    }

    /// Takes up to `limit` events, and how many were lost since the last call.
    pub fn drain(&self, limit: usize) -> (Vec<Event>, u64) {
        let mut queue = crate::lock(&self.queue);
        self.signal.clear();
        let count = limit.min(queue.len());
        let events: Vec<Event> = queue.drain(..count).collect();
        for event in &events {
            if let Event::MeshMessage { data, .. } = event {
                self.message_bytes.fetch_sub(data.len(), Ordering::Relaxed);
            }
        }
        if !queue.is_empty() {
            self.signal.raise();
        }
        (events, self.dropped.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let events = Events::new(2).unwrap();
        for channel in 0..5 {
            events.push(Event::ChannelSilent { channel });
        }
        let (taken, lost) = events.drain(10);
        assert_eq!((taken.len(), lost), (2, 3));
        assert_eq!(events.drain(10), (Vec::new(), 0));
    }

    #[test]
    fn messages_wait_at_their_senders_when_many_wait_here() {
        let events = Events::new(1_000).unwrap();
        let message = || Event::MeshMessage {
            link: 1,
            data: vec![0; 1 << 16],
        };
        for _ in 0..MAX_MESSAGE_BYTES >> 16 {
            assert!(!events.crowded());
            events.push(message());
        }
        assert!(events.crowded());
        events.drain(1);
        assert!(!events.crowded());
        for channel in 0..500 {
            events.push(Event::ChannelSilent { channel });
        }
        assert!(events.crowded());
    }
}
