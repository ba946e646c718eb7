//! Socket addresses as the kernel reads and writes them.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub struct SockAddr {
    pub(super) storage: libc::sockaddr_in6,
    pub(super) length: libc::socklen_t,
}

impl std::fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SockAddr({:?})", self.get())
    }
}

impl SockAddr {
    /// Room for the kernel to write one into.
    pub(super) fn unset() -> Self {
        Self {
            // SAFETY: all-zero bytes are a valid sockaddr_in6.
            storage: unsafe { zeroed() },
            length: 0,
        }
    }

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
