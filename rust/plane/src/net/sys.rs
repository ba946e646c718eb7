//! The system calls std has no words for. All of the crate's `unsafe` is in this file.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A counter other threads raise to wake a sleeper.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A lowered one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is ours alone once returned.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Wakes the sleeper. Raising twice is once.
    pub fn raise(&self) {
        let one = 1_u64;
        // SAFETY: eight readable bytes. A full counter means it is raised already.
        unsafe { libc::write(self.fd(), ptr::from_ref(&one).cast(), 8) };
    }

    /// Lowers it.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight writable bytes.
        unsafe { libc::read(self.fd(), ptr::from_mut(&mut count).cast(), 8) };
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token it was registered with.
    pub token: u64,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

/// An epoll instance, level-triggered.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    buffer: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just made, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            buffer: vec![libc::epoll_event { events: 0, u64: 0 }; 512],
        })
    }

    /// Its descriptor, which another one may watch.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        // SAFETY: the event outlives the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Watches a descriptor for reading.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, libc::EPOLLIN)
    }

    /// Watches for writing too, or no longer.
    pub fn modify(&self, fd: RawFd, token: u64, writable: bool) -> io::Result<()> {
        self.watch(fd, token, true, writable)
    }

    /// Watches a known descriptor for either, both or, but for its end and errors, nothing.
    pub fn watch(&self, fd: RawFd, token: u64, readable: bool, writable: bool) -> io::Result<()> {
        let read = if readable { libc::EPOLLIN } else { 0 };
        let write = if writable { libc::EPOLLOUT } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, fd, token, read | write)
    }

    /// Stops watching.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Waits up to `timeout_us` and appends what is ready.
    pub fn wait(&mut self, timeout_us: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = libc::timespec {
            tv_sec: (timeout_us / 1_000_000) as libc::time_t,
            tv_nsec: (timeout_us % 1_000_000 * 1_000) as libc::c_long,
        };
        // SAFETY: the buffer has the stated room; the time-out outlives the call; no signal mask.
        let count = check(unsafe {
            libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                self.buffer.as_mut_ptr(),
                self.buffer.len() as i32,
                &raw const timeout,
                ptr::null(),
            )
        });
        let count = match count {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.extend(self.buffer[..count].iter().map(|event| {
            let flags = event.events as i32;
            let ended = libc::EPOLLERR | libc::EPOLLHUP;
            Ready {
                token: event.u64,
                readable: flags & (libc::EPOLLIN | ended) != 0,
                writable: flags & libc::EPOLLOUT != 0,
            }
        }));
        Ok(())
    }
}

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub struct SockAddr {
    storage: libc::sockaddr_in6,
    length: libc::socklen_t,
}

impl std::fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SockAddr({:?})", self.get())
    }
}

impl SockAddr {
    /// For a socket of one family; IPv4 is mapped for a socket that speaks both.
    pub fn new(address: SocketAddr, dual: bool) -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_in6.
        let mut storage: libc::sockaddr_in6 = unsafe { zeroed() };
        let address = match address {
            SocketAddr::V4(v4) if dual => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            other => other,
        };
        let length = match address {
            SocketAddr::V6(v6) => {
                storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                storage.sin6_port = v6.port().to_be();
                storage.sin6_addr.s6_addr = v6.ip().octets();
                storage.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
            SocketAddr::V4(v4) => {
                // SAFETY: all-zero bytes are a valid sockaddr_in.
                let mut plain: libc::sockaddr_in = unsafe { zeroed() };
                plain.sin_family = libc::AF_INET as libc::sa_family_t;
                plain.sin_port = v4.port().to_be();
                plain.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                // SAFETY: sockaddr_in is smaller than sockaddr_in6 and both are plain bytes.
                unsafe { ptr::write((&raw mut storage).cast(), plain) };
                size_of::<libc::sockaddr_in>()
            }
        };
        Self {
            storage,
            length: length as libc::socklen_t,
        }
    }

    /// Back to an address; mapped IPv4 comes out as IPv4. `None` for another family.
    pub fn get(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.sin6_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the bytes are a sockaddr_in.
                let plain: libc::sockaddr_in =
                    unsafe { ptr::read((&raw const self.storage).cast()) };
                let ip = Ipv4Addr::from(plain.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(
                    ip,
                    u16::from_be(plain.sin_port),
                )))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(self.storage.sin6_addr.s6_addr);
                let port = u16::from_be(self.storage.sin6_port);
                Some(match ip.to_ipv4_mapped() {
                    Some(v4) => SocketAddr::new(IpAddr::V4(v4), port),
                    None => {
                        SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.storage.sin6_scope_id))
                    }
                })
            }
            _ => None,
        }
    }
}

/// Kernel buffers of a media socket: half a second at 64 Mbit/s. The kernel grants what it may.
const MEDIA_BUFFER: libc::c_int = 4 << 20;

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

/// Makes a UDP socket bound to an address; `shared` lets several listeners of a group coexist.
pub fn udp_socket(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let one: libc::c_int = 1;
    let zero: libc::c_int = 0;
    if address.is_ipv6() {
        option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &zero)?;
    }
    if shared {
        option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one)?;
    }
    for (plain, force) in [
        (libc::SO_RCVBUF, libc::SO_RCVBUFFORCE),
        (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE),
    ] {
        if option(fd, libc::SOL_SOCKET, force, &MEDIA_BUFFER).is_err() {
            option(fd, libc::SOL_SOCKET, plain, &MEDIA_BUFFER)?;
        }
    }
    let address = SockAddr::new(address, false);
    // SAFETY: the address is readable for the stated length.
    check(unsafe { libc::bind(fd, (&raw const address.storage).cast(), address.length) })?;
    Ok(socket)
}

/// Connections the kernel finishes before they are accepted; its own limit is lower by default.
const BACKLOG: libc::c_int = 4_096;

/// Listens for TCP connections, as [`udp_socket`] does for datagrams: `::` for both families.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let one: libc::c_int = 1;
    let zero: libc::c_int = 0;
    if address.is_ipv6() {
        option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &zero)?;
    }
    option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one)?;
    let address = SockAddr::new(address, false);
    // SAFETY: the address is readable for the stated length.
    check(unsafe { libc::bind(fd, (&raw const address.storage).cast(), address.length) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, BACKLOG) })?;
    Ok(TcpListener::from(socket))
}

/// The port a socket is bound to.
pub fn local_port(fd: RawFd) -> io::Result<u16> {
    // SAFETY: all-zero bytes are a valid sockaddr_in6.
    let mut address = SockAddr {
        storage: unsafe { zeroed() },
        length: 0,
    };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: room for the stated length.
    check(unsafe { libc::getsockname(fd, (&raw mut address.storage).cast(), &raw mut length) })?;
    address.length = length;
    Ok(address.get().map_or(0, |address| address.port()))
}

/// Joins a multicast group and sets how far what is sent may go.
pub fn multicast(
    fd: RawFd,
    group: Option<IpAddr>,
    interface: Option<Ipv4Addr>,
    ttl: u8,
) -> io::Result<()> {
    let ttl = libc::c_int::from(ttl);
    let _ = option(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &ttl);
    let _ = option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, &ttl);
    let any = libc::in_addr {
        s_addr: u32::from_ne_bytes(interface.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()),
    };
    if interface.is_some() {
        option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &any)?;
    }
    match group {
        Some(IpAddr::V4(group)) => {
            let request = libc::ip_mreq {
                imr_multiaddr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(group.octets()),
                },
                imr_interface: any,
            };
            option(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)
        }
        Some(IpAddr::V6(group)) => {
            let request = libc::ipv6_mreq {
                ipv6mr_multiaddr: libc::in6_addr {
                    s6_addr: group.octets(),
                },
                ipv6mr_interface: 0,
            };
            option(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)
        }
        None => Ok(()),
    }
}

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
        // SAFETY: all-zero bytes are a valid sockaddr_in6.
        let address = SockAddr {
            storage: unsafe { zeroed() },
            length: 0,
        };
        Self {
            buffers: vec![0; RECEIVE_BATCH * DATAGRAM],
            addresses: vec![address; RECEIVE_BATCH],
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

/// A run of packets that goes to one address in one message: all of one size, the last maybe less.
pub struct Group {
    vectors: Vec<libc::iovec>,
    segment: Option<Segment>,
    bytes: usize,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Group({} packets, {} bytes)",
            self.vectors.len(),
            self.bytes
        )
    }
}

impl Group {
    /// Of at least one packet. The packets must outlive the group; [`Sender`] upholds it.
    fn new(packets: &[&[u8]]) -> Self {
        let vectors: Vec<_> = packets
            .iter()
            .map(|data| libc::iovec {
                iov_base: data.as_ptr().cast_mut().cast(),
                iov_len: data.len(),
            })
            .collect();
        let segment = (packets.len() > 1).then(|| {
            // SAFETY: computes a length, touches no memory.
            let length = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) };
            Segment {
                header: libc::cmsghdr {
                    cmsg_len: length as usize,
                    cmsg_level: libc::SOL_UDP,
                    cmsg_type: libc::UDP_SEGMENT,
                },
                size: packets[0].len() as u16,
                padding: [0; 6],
            }
        });
        Self {
            vectors,
            segment,
            bytes: packets.iter().map(|data| data.len()).sum(),
        }
    }

    /// Packets in it.
    pub fn packets(&self) -> usize {
        self.vectors.len()
    }

    /// Bytes in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Groups made of packets that are borrowed for `'a`, and messages that send them to many.
pub struct Sender<'a> {
    groups: Vec<Group>,
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
            messages: Vec::new(),
            headers,
            packets: std::marker::PhantomData,
        }
    }

    /// Cuts packets, in order, into groups the kernel can segment; the indices of the groups.
    pub fn plan(&mut self, packets: &[&'a [u8]]) -> std::ops::Range<usize> {
        let first = self.groups.len();
        let mut start = 0;
        let mut bytes = 0;
        for (n, data) in packets.iter().enumerate() {
            let run = n - start;
            let fits = run == 0
                || (data.len() <= packets[start].len()
                    && packets[n - 1].len() == packets[start].len()
                    && run < MAX_SEGMENTS
                    && bytes + data.len() <= MAX_GROUP_BYTES);
            if !fits {
                self.groups.push(Group::new(&packets[start..n]));
                (start, bytes) = (n, 0);
            }
            bytes += data.len();
        }
        if start < packets.len() {
            self.groups.push(Group::new(&packets[start..]));
        }
        first..self.groups.len()
    }

    /// A group by its index.
    pub fn group(&self, index: usize) -> &Group {
        &self.groups[index]
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
                header.msg_hdr.msg_iov = group.vectors.as_ptr().cast_mut();
                header.msg_hdr.msg_iovlen = group.vectors.len();
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
        self.groups[group].vectors.iter().all(|packet| {
            // SAFETY: packet and address are readable for their stated lengths.
            let sent = unsafe {
                libc::sendto(
                    fd,
                    packet.iov_base,
                    packet.iov_len,
                    libc::MSG_DONTWAIT,
                    ptr::from_ref(&address.storage).cast(),
                    address.length,
                )
            };
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

fn writable_within(fd: RawFd, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one pollfd that outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) > 0 }
}

/// Unsent bytes a viewer's socket may hold: a second at 1 Mbit/s. More would be delay the plane
/// cannot take back when the viewer falls behind.
const STREAM_BUFFER: libc::c_int = 128 << 10;

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

/// A second descriptor of the same file.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Sends at once, and holds little of what is not sent yet.
pub fn fit_for_media(fd: RawFd) -> io::Result<()> {
    let one: libc::c_int = 1;
    let _ = option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &one); // not TCP in some tests
    send_buffer(fd, STREAM_BUFFER)
}

/// Bounds what may wait in a socket's sending half, in bytes; the kernel doubles it for itself.
pub fn send_buffer(fd: RawFd, bytes: libc::c_int) -> io::Result<()> {
    option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes)
}

/// A number the kernel gives to each socket, whichever descriptor names it; never used again.
pub fn cookie(fd: RawFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: eight writable bytes, as stated.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    })?;
    Ok(cookie)
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

/// Ends the sending side of a connection.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}
