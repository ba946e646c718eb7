//! The kernel's calls, the only place with `unsafe`.

mod batch;

pub use batch::{Message, Receiver, Sender, iovec, want_timestamps};

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Bytes of a datagram that are looked at: RTP header, payload headers and stamp.
pub const HEAD: usize = 64;
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

/// Sockets for RTP and RTCP on the first two free ports of a range, and the first of them; RTP's
/// says when each datagram came.
pub fn udp_pair(
    ip: Ipv4Addr,
    ports: Range<u16>,
    receive_buffer: i32,
) -> Option<(OwnedFd, OwnedFd, u16)> {
    ports.step_by(2).find_map(|port| {
        let rtp = udp_bind(SocketAddrV4::new(ip, port), receive_buffer).ok()?;
        let rtcp = udp_bind(SocketAddrV4::new(ip, port + 1), 4096).ok()?;
        want_timestamps(&rtp).ok()?;
        Some((rtp, rtcp, port))
    })
}

/// The address a socket was bound to.
pub fn local_address(fd: &impl AsRawFd) -> io::Result<SocketAddrV4> {
    let mut address = sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut length = ADDRESS_LEN;
    // SAFETY: the kernel writes at most `length` bytes into the structure we own.
    check(unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    })?;
    let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
    Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)))
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
