//! Taking datagrams, a batch by one call.

use super::{SockAddr, check};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr;

/// Datagrams taken by one call.
pub const RECEIVE_BATCH: usize = 64;
/// Longest datagram taken whole: above any path's MTU short of jumbo frames.
const DATAGRAM: usize = 9_216;

/// Room for one batch of datagrams.
pub struct Receiver {
    buffers: Vec<u8>,
    addresses: Vec<SockAddr>,
    lengths: Vec<usize>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            buffers: vec![0; RECEIVE_BATCH * DATAGRAM],
            addresses: vec![SockAddr::unset(); RECEIVE_BATCH],
            lengths: Vec::with_capacity(RECEIVE_BATCH),
        }
    }
}

impl Receiver {
    /// Takes what waits on a socket; the number of datagrams, 0 when none.
    pub fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        // SAFETY: all-zero bytes are valid for these plain structures.
        let mut vectors: [libc::iovec; RECEIVE_BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { zeroed() };
        for (n, buffer) in self.buffers.chunks_exact_mut(DATAGRAM).enumerate() {
            vectors[n] = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: DATAGRAM,
            };
            let header = &mut headers[n].msg_hdr;
            header.msg_iov = &raw mut vectors[n];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.addresses[n].storage).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        }
        // SAFETY: every header points at room that outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                RECEIVE_BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.lengths.clear();
        let count = match check(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        for (n, header) in headers[..count].iter().enumerate() {
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            self.lengths
                .push(if cut { 0 } else { header.msg_len as usize });
            self.addresses[n].length = header.msg_hdr.msg_namelen;
        }
        Ok(count)
    }

    /// Datagram `n` of the batch and where it came from; one that was cut is empty.
    pub fn datagram(&self, n: usize) -> (Option<SocketAddr>, &[u8]) {
        let start = n * DATAGRAM;
        (
            self.addresses[n].get(),
            &self.buffers[start..start + self.lengths[n]],
        )
    }
}
