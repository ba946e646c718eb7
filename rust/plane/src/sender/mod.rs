//! Paced senders of titles: blocks of ready packets go out when they are due.
//!
//! A [`Sender`] serves one viewer. It holds the blocks that it was fed, by reference, and says which
//! packets go out now and when it wants to be asked again; sockets and clocks are the caller's. Media
//! time, the plane's clock and RTP's timestamps are held together by a [`timeline::Timeline`].

mod ahead;
pub mod batch;
pub mod block;
mod keep;
mod queue;
mod reports;
mod tell;
pub mod timeline;
pub mod track;
mod types;

mod pacer;

pub use batch::Batch;
pub use block::{Block, Bytes, Malformed};
pub use pacer::Sender;
pub use reports::Heard;
pub use track::{Node, TrackSpec};
pub use types::{Counters, Notice, Refused, Start, State};
