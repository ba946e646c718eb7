//! Sending datagrams: runs of packets to many addresses by one call, the kernel cutting them apart.

use super::poll::writable_within;
use super::{SockAddr, check};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;
use std::ptr;

/// Messages one `sendmmsg` takes (the kernel's `UIO_MAXIOV`).
const SEND_BATCH: usize = 1_024;
/// Segments one message may be cut into, and its bytes (the kernel's `UDP_MAX_SEGMENTS`, 64 KiB).
pub const MAX_SEGMENTS: usize = 64;
/// See [`MAX_SEGMENTS`]; headers are counted in.
pub const MAX_GROUP_BYTES: usize = 65_000;
/// How long a full socket buffer is waited for before packets are dropped, ms.
const SEND_PATIENCE: i32 = 5;

#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
    padding: [u8; 6],
}

/// A packet in pieces that lie apart; the kernel joins them.
pub trait Pieces<'a> {
    /// How many there are.
    const COUNT: usize;

    /// One of them.
    fn piece(&self, at: usize) -> &'a [u8];

    /// Bytes of all.
    fn length(&self) -> usize {
        (0..Self::COUNT).map(|at| self.piece(at).len()).sum()
    }
}

impl<'a> Pieces<'a> for &'a [u8] {
    const COUNT: usize = 1;

    fn piece(&self, _: usize) -> &'a [u8] {
        self
    }
}

impl<'a, const N: usize> Pieces<'a> for [&'a [u8]; N] {
    const COUNT: usize = N;

    fn piece(&self, at: usize) -> &'a [u8] {
        self[at]
    }
}

/// A run of packets that goes to one address in one message: all of one size, the last maybe less.
#[derive(Clone, Copy)]
struct Group {
    /// Its place among the sender's vectors.
    first: usize,
    vectors: usize,
    /// Vectors that make a packet.
    pieces: usize,
    segment: Option<Segment>,
}

fn segment(size: usize) -> Segment {
    // SAFETY: computes a length, touches no memory.
    let length = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) };
    Segment {
        header: libc::cmsghdr {
            cmsg_len: length as usize,
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        },
        size: size as u16,
        padding: [0; 6],
    }
}

/// Groups made of packets that are borrowed for `'a`, and messages that send them to many.
pub struct Sender<'a> {
    groups: Vec<Group>,
    /// Where the packets of all groups are; they outlive the sender.
    vectors: Vec<libc::iovec>,
    messages: Vec<(usize, SockAddr)>,
    headers: &'a mut Headers,
    packets: std::marker::PhantomData<&'a [u8]>,
}

/// Reusable room for message headers.
pub struct Headers(Vec<libc::mmsghdr>);

// SAFETY: the pointers inside are written and read within one call of `Sender::send` only.
unsafe impl Send for Headers {}

impl Default for Headers {
    fn default() -> Self {
        Self(Vec::with_capacity(SEND_BATCH))
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Headers")
    }
}

impl<'a> Sender<'a> {
    /// Nothing to send yet.
    pub fn new(headers: &'a mut Headers) -> Self {
        Self {
            groups: Vec::new(),
            vectors: Vec::new(),
            messages: Vec::new(),
            headers,
            packets: std::marker::PhantomData,
        }
    }

    /// Cuts packets, in order, into groups the kernel can segment; the indices of the groups.
    pub fn plan<P: Pieces<'a>>(&mut self, packets: &[P]) -> std::ops::Range<usize> {
        let first = self.groups.len();
        let mut start = 0;
        let mut bytes = 0;
        for (n, data) in packets.iter().enumerate() {
            let run = n - start;
            let fits = run == 0
                || (data.length() <= packets[start].length()
                    && packets[n - 1].length() == packets[start].length()
                    && run < MAX_SEGMENTS
                    && bytes + data.length() <= MAX_GROUP_BYTES);
            if !fits {
                self.group(&packets[start..n]);
                (start, bytes) = (n, 0);
            }
            bytes += data.length();
        }
        if start < packets.len() {
            self.group(&packets[start..]);
        }
        first..self.groups.len()
    }

    /// Of at least one packet.
    fn group<P: Pieces<'a>>(&mut self, packets: &[P]) {
        let first = self.vectors.len();
        let pieces = packets
            .iter()
            .flat_map(|packet| (0..P::COUNT).map(|at| packet.piece(at)));
        self.vectors.extend(pieces.map(|data| libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        }));
        self.groups.push(Group {
            first,
            vectors: packets.len() * P::COUNT,
            pieces: P::COUNT,
            segment: (packets.len() > 1).then(|| segment(packets[0].length())),
        });
    }

    /// Queues a group for an address.
    pub fn push(&mut self, group: usize, to: SockAddr) {
        self.messages.push((group, to));
    }

    /// Sends what is queued. Calls `failed` with the position, in the order of pushing, of every
    /// message the kernel would not take.
    pub fn send(&mut self, fd: RawFd, mut failed: impl FnMut(usize, &io::Error)) {
        let mut done = 0;
        while done < self.messages.len() {
            let batch = &self.messages[done..(done + SEND_BATCH).min(self.messages.len())];
            self.headers.0.clear();
            for (group, address) in batch {
                let group = &self.groups[*group];
                // SAFETY: all-zero bytes are a valid mmsghdr.
                let mut header: libc::mmsghdr = unsafe { zeroed() };
                header.msg_hdr.msg_name = ptr::from_ref(&address.storage).cast_mut().cast();
                header.msg_hdr.msg_namelen = address.length;
                let vectors = &self.vectors[group.first..group.first + group.vectors];
                header.msg_hdr.msg_iov = vectors.as_ptr().cast_mut();
                header.msg_hdr.msg_iovlen = vectors.len();
                if let Some(segment) = &group.segment {
                    header.msg_hdr.msg_control = ptr::from_ref(segment).cast_mut().cast();
                    header.msg_hdr.msg_controllen = size_of::<Segment>();
                }
                self.headers.0.push(header);
            }
            // SAFETY: headers point at groups and addresses that live in self, packets live for
            // 'a; the kernel only reads.
            let count = check(unsafe {
                libc::sendmmsg(
                    fd,
                    self.headers.0.as_mut_ptr(),
                    self.headers.0.len() as u32,
                    libc::MSG_DONTWAIT,
                )
            });
            match count {
                Ok(count) => done += count as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !writable_within(fd, SEND_PATIENCE) {
                        (done..self.messages.len()).for_each(|at| failed(at, &error));
                        break;
                    }
                }
                Err(error) => {
                    // Segments that do not fit the path's MTU are refused whole: one by one, then.
                    let (group, address) = &self.messages[done];
                    if self.groups[*group].segment.is_none()
                        || !self.one_by_one(fd, *group, address)
                    {
                        failed(done, &error);
                    }
                    done += 1;
                }
            }
        }
        self.messages.clear();
    }

    fn one_by_one(&self, fd: RawFd, group: usize, address: &SockAddr) -> bool {
        let group = &self.groups[group];
        let vectors = &self.vectors[group.first..group.first + group.vectors];
        vectors.chunks(group.pieces).all(|packet| {
            // SAFETY: all-zero bytes are a valid msghdr.
            let mut header: libc::msghdr = unsafe { zeroed() };
            header.msg_name = ptr::from_ref(&address.storage).cast_mut().cast();
            header.msg_namelen = address.length;
            header.msg_iov = packet.as_ptr().cast_mut();
            header.msg_iovlen = packet.len();
            // SAFETY: pieces and address are readable for their stated lengths; nothing is written.
            let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT) };
            sent >= 0
        })
    }
}

/// Sends one datagram; `false` when it could not be.
pub fn send_to(fd: RawFd, data: &[u8], to: &SockAddr) -> bool {
    // SAFETY: data and address are readable for their stated lengths.
    let sent = unsafe {
        libc::sendto(
            fd,
            data.as_ptr().cast(),
            data.len(),
            libc::MSG_DONTWAIT,
            ptr::from_ref(&to.storage).cast(),
            to.length,
        )
    };
    sent >= 0
}
