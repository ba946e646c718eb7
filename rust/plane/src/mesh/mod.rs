//! Mesh links: many channels between two reflectors, sealed, repaired hop by hop.
//!
//! Pure: datagrams and time come in, datagrams, packets and events come out; keys are given. Each
//! end is a [`link::Link`]. What travels is in `docs/wire/mesh.md`:
//!
//! ```text
//! link      the two halves, reports, silence
//! sender    seals, counts, keeps for repair        receiver  gaps, requests, replays
//! wires     packets whole and in order again       control   messages, acknowledged
//! cast      one channel to several at once
//! seal      AEAD                                   wire      bytes
//! ```

pub mod cast;
pub mod clock;
pub mod control;
pub mod link;
pub mod receiver;
pub mod seal;
pub mod sender;
pub mod wire;
pub mod wires;
