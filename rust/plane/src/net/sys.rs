//! The system calls std has no words for. All of the crate's `unsafe` is in here and in the parts.
#![allow(unsafe_code)]

mod address;
mod poll;
mod receive;
mod send;
mod socket;
mod stream;

pub use address::SockAddr;
pub use poll::{Epoll, EventFd, Ready};
pub use receive::{RECEIVE_BATCH, Receiver};
pub use send::{Headers, MAX_GROUP_BYTES, MAX_SEGMENTS, Sender, send_to};
pub use socket::{
    cookie, duplicate, joined_groups_only, leave_group, local_port, multicast, tcp_connect,
    tcp_listener, udp_socket,
};
pub use stream::{
    acknowledge, adopt_stream, fit_for_media, read, send_buffer, shutdown, shutdown_write, write,
};

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The machine's monotonic clock, µs: what Python's `time.monotonic` reads.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is writable; this clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

fn option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is readable for its own size.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}
