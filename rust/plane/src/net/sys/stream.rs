//! Connected stream sockets: taking them over, reading, writing, ending.

use super::socket::duplicate;
use super::{check, option};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Bytes a viewer's socket may hold, on their way or not: 5 Mbit/s over 200 ms.
const STREAM_BUFFER: libc::c_int = 128 << 10;

/// Of these, bytes not sent yet: a quarter of a second at 1 Mbit/s. More would be delay that the
/// plane cannot take back when the viewer falls behind.
const UNSENT: libc::c_int = 32 << 10;

/// Duplicates a connected stream socket and makes it fit for media.
pub fn adopt_stream(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = duplicate(fd)?;
    // SAFETY: no pointers.
    let flags = check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    fit_for_media(socket.as_raw_fd())?;
    Ok(socket)
}

/// Sends at once, and holds little of what is not sent yet.
pub fn fit_for_media(fd: RawFd) -> io::Result<()> {
    let one: libc::c_int = 1;
    // Not TCP in some tests.
    let _ = option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &one);
    let _ = option(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &UNSENT);
    send_buffer(fd, STREAM_BUFFER)
}

/// Bounds what may wait in a socket's sending half, in bytes; the kernel doubles it for itself.
pub fn send_buffer(fd: RawFd, bytes: libc::c_int) -> io::Result<()> {
    option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes)
}

/// Reads into a buffer's free room.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is writable for its length.
    let count = unsafe {
        libc::recv(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

/// Acknowledges what was received at once instead of waiting for something to send with it.
pub fn acknowledge(fd: RawFd) {
    let one: libc::c_int = 1;
    let _ = option(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &one); // not TCP in some tests
}

/// Writes what the socket takes.
pub fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the data is readable for its length.
    let count = unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

/// Ends both sides of a connection; of a listening socket: the kernel refuses all who come.
pub fn shutdown(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends the sending side of a connection.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}
