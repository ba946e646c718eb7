//! Sockets: making them for datagrams and connections, what the kernel calls them, multicast.

use super::{SockAddr, check, option};
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Kernel buffers of a media socket: half a second at 64 Mbit/s. The kernel grants what it may.
const MEDIA_BUFFER: libc::c_int = 4 << 20;

/// Connections the kernel finishes before they are accepted; its own limit is lower by default.
const BACKLOG: libc::c_int = 4_096;

/// A socket of an address's family, not bound yet; one of IPv6 is for both families.
fn socket(address: SocketAddr, kind: libc::c_int) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if address.is_ipv6() {
        let zero: libc::c_int = 0;
        option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &zero)?;
    }
    Ok(socket)
}

fn bind(fd: RawFd, address: SocketAddr) -> io::Result<()> {
    let address = SockAddr::new(address, false);
    // SAFETY: the address is readable for the stated length.
    check(unsafe { libc::bind(fd, (&raw const address.storage).cast(), address.length) })?;
    Ok(())
}

/// Makes a UDP socket bound to an address; `shared` lets several listeners of a group coexist.
pub fn udp_socket(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let socket = socket(address, libc::SOCK_DGRAM)?;
    let fd = socket.as_raw_fd();
    let one: libc::c_int = 1;
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
    bind(fd, address)?;
    Ok(socket)
}

/// Listens for TCP connections, as [`udp_socket`] does for datagrams: `::` for both families.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, libc::SOCK_STREAM)?;
    let fd = socket.as_raw_fd();
    let one: libc::c_int = 1;
    option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one)?;
    bind(fd, address)?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, BACKLOG) })?;
    Ok(TcpListener::from(socket))
}

/// Begins a TCP connection; it stands, or failed, when the socket can be written.
pub fn tcp_connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket(address, libc::SOCK_STREAM)?;
    let address = SockAddr::new(address, false);
    // SAFETY: the address is readable for the stated length.
    let begun = check(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address.storage).cast(),
            address.length,
        )
    });
    match begun {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// The port a socket is bound to.
pub fn local_port(fd: RawFd) -> io::Result<u16> {
    let mut address = SockAddr::unset();
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

/// Lets a socket that is bound to any address receive of groups those only that it joined itself,
/// not what other sockets of the machine did.
pub fn joined_groups_only(fd: RawFd) -> io::Result<()> {
    let zero: libc::c_int = 0;
    option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &zero)
}

/// Leaves a group. One that cannot be left is left when the socket is closed.
pub fn leave_group(fd: RawFd, group: Ipv4Addr, interface: Option<Ipv4Addr>) {
    let address = |address: Ipv4Addr| libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    };
    let request = libc::ip_mreq {
        imr_multiaddr: address(group),
        imr_interface: address(interface.unwrap_or(Ipv4Addr::UNSPECIFIED)),
    };
    let _ = option(fd, libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, &request);
}

/// A second descriptor of the same file.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
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
