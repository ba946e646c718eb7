//! The kernel's calls, the only file with `unsafe`.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Bytes of a datagram that are looked at: RTP header, payload headers and stamp.
pub const HEAD: usize = 64;
const CONTROL: usize = 64; // a timestamp or segment size with its header, aligned
/// Largest datagram that is received whole.
pub const WHOLE: usize = 2048;
/// Packets in one segmented send at most: 64 is the kernel's limit (`UDP_MAX_SEGMENTS`), 50 of
/// 1 200 bytes keep below 65 507 bytes.
pub const MAX_SEGMENTS: usize = 50;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn clock_us(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills the timespec we own.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// `CLOCK_MONOTONIC`, µs.
pub fn now_us() -> u64 {
    clock_us(libc::CLOCK_MONOTONIC)
}

/// What to subtract from the kernel's receive time (`CLOCK_REALTIME`) to get monotonic time, µs.
pub fn realtime_offset_us() -> i64 {
    clock_us(libc::CLOCK_REALTIME) as i64 - now_us() as i64
}

/// Sleeps until a monotonic time.
pub fn sleep_until(at_us: u64) {
    let time = libc::timespec {
        tv_sec: (at_us / 1_000_000) as libc::time_t,
        tv_nsec: (at_us % 1_000_000 * 1000) as libc::c_long,
    };
    // SAFETY: the timespec outlives the call; no remainder is asked for.
    while unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        )
    } == libc::EINTR
    {}
}

/// User and system time of this process, µs.
pub fn cpu_us() -> u64 {
    // SAFETY: rusage is plain data that the kernel fills.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    us(usage.ru_utime) + us(usage.ru_stime)
}

/// Raises the limit of open files; fails with a message that says what to do.
pub fn need_files(count: u64) -> Result<(), String> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls use a structure we own.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        if limit.rlim_cur >= count {
            return Ok(());
        }
        limit.rlim_cur = count;
        limit.rlim_max = limit.rlim_max.max(count);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 {
            return Ok(());
        }
    }
    Err(format!("{count} open files are needed: raise ulimit -n"))
}

/// Sets an integer socket option.
pub fn set_option(fd: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option's value is read from a live integer of the size given.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<i32>() as u32,
        )
    })
    .map(|_| ())
}

/// An address as the kernel wants it.
pub fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

const ADDRESS_LEN: u32 = mem::size_of::<libc::sockaddr_in>() as u32;

/// A TCP connection from a source address; `receive_buffer` is set before connecting, so that
/// the window is never larger. The socket is non-blocking afterwards.
pub fn tcp_connect(
    to: SocketAddrV4,
    from: Option<Ipv4Addr>,
    receive_buffer: Option<i32>,
) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and owned by nobody else; addresses outlive the calls.
    unsafe {
        let fd = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let fd = OwnedFd::from_raw_fd(fd);
        if let Some(bytes) = receive_buffer {
            set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
        }
        if let Some(from) = from {
            set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
            let address = sockaddr(SocketAddrV4::new(from, 0));
            check(libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                ADDRESS_LEN,
            ))?;
        }
        let address = sockaddr(to);
        check(libc::connect(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            ADDRESS_LEN,
        ))?;
        set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK))?;
        Ok(fd)
    }
}

/// A non-blocking UDP socket on an address.
pub fn udp_bind(address: SocketAddrV4, receive_buffer: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and owned by nobody else; the address outlives the call.
    unsafe {
        let fd = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        ))?;
        let fd = OwnedFd::from_raw_fd(fd);
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, receive_buffer)?;
        let address = sockaddr(address);
        check(libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            ADDRESS_LEN,
        ))?;
        Ok(fd)
    }
}

/// Sends one datagram.
pub fn send_to(fd: &impl AsRawFd, data: &[u8], to: &libc::sockaddr_in) -> io::Result<()> {
    // SAFETY: data and address are live for the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            0,
            std::ptr::from_ref(to).cast(),
            ADDRESS_LEN,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Reads from a stream without blocking; `Ok(None)` when there is nothing yet.
pub fn read(fd: &impl AsRawFd, to: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the buffer is live and as long as said.
    let got = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            to.as_mut_ptr().cast(),
            to.len(),
            libc::MSG_DONTWAIT,
        )
    };
    would_block(got)
}

/// Writes to a stream without blocking and without SIGPIPE; `Ok(None)` when it takes nothing.
pub fn write(fd: &impl AsRawFd, data: &[u8]) -> io::Result<Option<usize>> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is live and as long as said.
    let sent = unsafe { libc::send(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), flags) };
    would_block(sent)
}

fn would_block(result: isize) -> io::Result<Option<usize>> {
    if result >= 0 {
        return Ok(Some(result as usize));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

/// An epoll instance with room for its events.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A new instance.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is new and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
        })
    }

    /// Reports `token` while the descriptor is readable.
    pub fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: the event is copied by the kernel during the call.
        check(unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(|_| ())
    }

    /// No longer reports the descriptor.
    pub fn remove(&self, fd: &impl AsRawFd) {
        // SAFETY: removing needs no event; a descriptor that is not there is only an error code.
        unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.as_raw_fd(),
                std::ptr::null_mut(),
            );
        }
    }

    /// Waits and puts the tokens of what is readable into `tokens`.
    pub fn wait(&mut self, timeout_ms: i32, tokens: &mut Vec<u64>) {
        tokens.clear();
        // SAFETY: the kernel writes at most as many events as the vector holds.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as i32,
                timeout_ms,
            )
        };
        // An interrupted wait reports nothing.
        let count = count.max(0) as usize;
        tokens.extend(self.events[..count].iter().map(|event| event.u64));
    }
}

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
