//! The shell around the channels: sockets, threads, system calls.

pub mod budget;
pub mod conn;
pub mod endpoint;
pub mod fanout;
pub mod fanout_tcp;
pub mod fanout_udp;
pub mod framed;
pub mod mesh;
pub mod roster;
pub mod rtc;
pub mod senders;
pub mod sys;
pub mod tls;
pub mod websocket;
pub mod worker;
