//! Many datagrams in one call.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use super::{ADDRESS_LEN, check, realtime_offset_us, set_option};

const CONTROL: usize = 64; // a timestamp or segment size with its header, aligned

/// Receives many datagrams in one call; keeps the first `size` bytes of each.
pub struct Receiver {
    size: usize,
    data: Vec<u8>,
    control: Vec<u64>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Added to the kernel's receive time to make it monotonic, µs.
    pub offset_us: i64,
}

/// One datagram received.
pub struct Datagram<'a> {
    /// Its length on the wire.
    pub length: usize,
    /// Its first bytes.
    pub head: &'a [u8],
    /// When the kernel had it, monotonic µs (only with [`want_timestamps`]).
    pub at_us: Option<u64>,
}

/// Asks the kernel to say when it received each datagram.
pub fn want_timestamps(fd: &impl AsRawFd) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

impl Receiver {
    /// Room for `count` datagrams of which `size` bytes are kept.
    pub fn new(count: usize, size: usize) -> Self {
        let mut receiver = Self {
            size,
            data: vec![0; count * size],
            control: vec![0; count * CONTROL / 8],
            iovecs: Vec::with_capacity(count),
            headers: Vec::with_capacity(count),
            offset_us: realtime_offset_us(),
        };
        for i in 0..count {
            receiver.iovecs.push(libc::iovec {
                iov_base: receiver.data[i * size..].as_mut_ptr().cast(),
                iov_len: size,
            });
        }
        for i in 0..count {
            // SAFETY: an all-zero mmsghdr is a valid empty one.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut receiver.iovecs[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = receiver.control[i * CONTROL / 8..].as_mut_ptr().cast();
            receiver.headers.push(header);
        }
        receiver
    }

    /// Receives what is there without blocking; the count may be 0.
    pub fn receive(&mut self, fd: RawFd) -> usize {
        for header in &mut self.headers {
            header.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: every header points into vectors that are never resized and live as long.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        count.max(0) as usize
    }

    /// Datagrams received in one call at most.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// The datagram at an index below what `receive` returned.
    pub fn get(&self, index: usize) -> Datagram<'_> {
        let header = &self.headers[index];
        let length = header.msg_len as usize;
        let start = index * self.size;
        Datagram {
            length,
            head: &self.data[start..start + length.min(self.size)],
            at_us: self.timestamp(&header.msg_hdr),
        }
    }

    fn timestamp(&self, header: &libc::msghdr) -> Option<u64> {
        // SAFETY: the kernel has filled the control buffer up to msg_controllen; CMSG_FIRSTHDR
        // checks that a header fits and a timestamp's data follows its header.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(header);
            if control.is_null() || (*control).cmsg_type != libc::SCM_TIMESTAMPNS {
                return None;
            }
            let time: libc::timespec =
                std::ptr::read_unaligned(libc::CMSG_DATA(control).cast::<libc::timespec>());
            let us = time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
            Some((us - self.offset_us) as u64)
        }
    }
}

/// A message of a batch: a destination and a run of packets.
#[derive(Clone, Copy)]
pub struct Message {
    /// Where it goes.
    pub to: libc::sockaddr_in,
    /// First buffer in the batch's list.
    pub first: usize,
    /// How many buffers; more than one needs `segment`.
    pub count: usize,
    /// Size of a segment, all but the last are exactly this (0: one datagram).
    pub segment: u16,
}

/// Sends many messages in one call.
pub struct Sender {
    control: Vec<u64>,
    headers: Vec<libc::mmsghdr>,
}

impl Sender {
    /// Room for `count` messages a call.
    pub fn new(count: usize) -> Self {
        // SAFETY: an all-zero mmsghdr is a valid empty one.
        let headers = vec![unsafe { mem::zeroed() }; count];
        Self {
            control: vec![0; count * CONTROL / 8],
            headers,
        }
    }

    /// Messages in one call at most.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Sends at most `capacity` messages whose buffers are in `packets`; returns how many messages went.
    pub fn send(
        &mut self,
        fd: &impl AsRawFd,
        messages: &mut [Message],
        packets: &[libc::iovec],
    ) -> io::Result<usize> {
        let count = messages.len().min(self.headers.len());
        for (i, message) in messages[..count].iter_mut().enumerate() {
            let buffers = &packets[message.first..message.first + message.count];
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = (&raw mut message.to).cast();
            header.msg_namelen = ADDRESS_LEN;
            header.msg_iov = buffers.as_ptr().cast_mut();
            header.msg_iovlen = message.count;
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            if message.segment > 0 && message.count > 1 {
                header.msg_control = self.control[i * CONTROL / 8..].as_mut_ptr().cast();
                // SAFETY: CMSG_SPACE only computes; the buffer is aligned and large enough for
                // one u16.
                unsafe {
                    header.msg_controllen = libc::CMSG_SPACE(2) as usize;
                    let control = libc::CMSG_FIRSTHDR(header);
                    (*control).cmsg_level = libc::SOL_UDP;
                    (*control).cmsg_type = libc::UDP_SEGMENT;
                    (*control).cmsg_len = libc::CMSG_LEN(2) as usize;
                    std::ptr::write_unaligned(
                        libc::CMSG_DATA(control).cast::<u16>(),
                        message.segment,
                    );
                }
            }
        }
        // SAFETY: names, buffers and control data are live until the call returns.
        let sent = check(unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT,
            )
        })?;
        Ok(sent as usize)
    }
}

/// A buffer as the kernel wants it. The caller keeps `data` alive and in place while it is used.
pub fn iovec(data: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    }
}
