//! HTTPS: a thread that ends TLS and splices what is inside to Python's web server.
//!
//! A connection is a [`link::Link`]: on one side the peer's socket, on the other one end of a
//! socket pair, whose other end Python serves like a connection it accepted itself. Once Python
//! hands that end to [`crate::plane::Plane::adopt`], as it does with any upgraded WebSocket, the
//! TLS session itself moves to the worker that serves the reader, and the pair is gone: viewers
//! cost no copy more than the encryption.

pub mod certificate;
pub mod link;
pub mod plain;
pub mod port;
pub mod stream;
mod thread;

pub use port::{Limits, TlsPort};
pub use stream::TlsStream;
