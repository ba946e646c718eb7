//! Which session a datagram belongs to, when all sessions share one UDP port.
//!
//! A STUN request names the session by the local part of its USERNAME (RFC 8445 §7.2.2). Everything
//! else is known by the address it comes from, which is learnt from requests whose integrity the
//! session has checked: a forged request can therefore not turn somebody else's media away.
//!
//! Pure: time is an argument, µs.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Names a session within its shard; never reused.
pub type SessionId = u64;

/// An address that said nothing for so long is forgotten, µs. Consent checks come every 5 s
/// (RFC 7675 §5.1), so a living peer is never near it.
pub const ADDRESS_LIFE: u64 = 60_000_000;

/// Most addresses remembered for one session: the pairs of a few interfaces, both families, both
/// transports. Beyond it the one silent for longest goes.
pub const ADDRESSES_PER_SESSION: usize = 16;

/// A refused datagram is counted, and sweeping the table costs a walk; it is done this often, µs.
const SWEEP_INTERVAL: u64 = 5_000_000;

/// USERNAME attributes longer than this are not looked at (RFC 8489 §14.3).
const MAX_USERNAME: usize = 513;

/// The protocols that share the port, told apart by the first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 0–3: connectivity checks.
    Stun,
    /// 20–63: key exchange.
    Dtls,
    /// 128–191 with a payload type that is none of RTCP's (RFC 5761 §4).
    Rtp,
    /// 128–191, packet types 192–223.
    Rtcp,
    /// Anything else, or nothing at all.
    Unknown,
}

/// Tells a datagram's protocol by its first bytes.
pub fn classify(data: &[u8]) -> Class {
    match data {
        [0..=3, ..] if data.len() >= 20 => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] if data.len() >= 8 => Class::Rtcp,
        [128..=191, _, ..] if data.len() >= 12 => Class::Rtp,
        _ => Class::Unknown,
    }
}

/// The receiver's half of a STUN message's USERNAME, if it has one (RFC 8489 §5, §14).
pub fn local_ufrag(data: &[u8]) -> Option<&str> {
    const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    const USERNAME: u16 = 0x0006;
    if data.len() < 20 || data[0] > 3 || data[4..8] != MAGIC {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([data[2], data[3]]));
    let mut rest = data.get(20..20 + length)?;
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let size = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + size)?;
        if kind == USERNAME {
            if size > MAX_USERNAME {
                return None;
            }
            return std::str::from_utf8(value).ok()?.split(':').next();
        }
        rest = rest.get(4 + size.next_multiple_of(4)..)?;
    }
    None
}

/// What was dropped, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// First byte of no protocol we speak.
    pub unknown_protocol: u64,
    /// A STUN request for nobody here.
    pub unknown_name: u64,
    /// Something else from an address nobody is known by.
    pub unknown_address: u64,
}

#[derive(Debug)]
struct Learnt {
    session: SessionId,
    heard: u64,
}

#[derive(Debug)]
struct Member {
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
}

/// The table. Bounded by its sessions, and [`ADDRESSES_PER_SESSION`] for each of them.
#[derive(Debug, Default)]
pub struct Mux {
    names: HashMap<String, SessionId>,
    addresses: HashMap<SocketAddr, Learnt>,
    members: HashMap<SessionId, Member>,
    swept: u64,
    /// What was dropped.
    pub dropped: Dropped,
}

impl Mux {
    /// Has requests for this name go to the session. A session has two names while ICE restarts.
    pub fn add(&mut self, session: SessionId, ufrag: &str) {
        let member = self.members.entry(session).or_insert_with(|| Member {
            names: Vec::new(),
            addresses: Vec::new(),
        });
        member.names.push(ufrag.to_owned());
        // Two restarts in a row: nobody needs the name before the last one any more.
        if member.names.len() > 2 {
            let oldest = member.names.remove(0);
            self.names.remove(&oldest);
        }
        self.names.insert(ufrag.to_owned(), session);
    }

    /// Forgets a session.
    pub fn remove(&mut self, session: SessionId) {
        let Some(member) = self.members.remove(&session) else {
            return;
        };
        for name in member.names {
            self.names.remove(&name);
        }
        for address in member.addresses {
            // It may have moved on to another session since.
            if self
                .addresses
                .get(&address)
                .is_some_and(|learnt| learnt.session == session)
            {
                self.addresses.remove(&address);
            }
        }
    }

    /// Whose datagram this is; `None` was counted.
    pub fn route(&mut self, now: u64, from: SocketAddr, data: &[u8]) -> Option<SessionId> {
        if now.saturating_sub(self.swept) >= SWEEP_INTERVAL {
            self.sweep(now);
        }
        let class = classify(data);
        if class == Class::Unknown {
            self.dropped.unknown_protocol += 1;
            return None;
        }
        if class == Class::Stun
            && let Some(name) = local_ufrag(data)
        {
            let found = self.names.get(name).copied();
            if found.is_none() {
                self.dropped.unknown_name += 1;
            }
            return found;
        }
        let Some(learnt) = self.addresses.get_mut(&from) else {
            self.dropped.unknown_address += 1;
            return None;
        };
        learnt.heard = now;
        Some(learnt.session)
    }

    /// The session that has proved to be at this address.
    pub fn owner(&self, address: SocketAddr) -> Option<SessionId> {
        self.addresses.get(&address).map(|learnt| learnt.session)
    }

    /// The session has checked a request from this address: what comes from there is for it now.
    pub fn learn(&mut self, now: u64, from: SocketAddr, session: SessionId) {
        if !self.members.contains_key(&session) {
            return;
        }
        let learnt = Learnt {
            session,
            heard: now,
        };
        let before = self.addresses.insert(from, learnt);
        match before {
            Some(before) if before.session == session => return,
            Some(before) => {
                // The address moved: another session at the same peer.
                if let Some(other) = self.members.get_mut(&before.session) {
                    other.addresses.retain(|address| *address != from);
                }
            }
            None => {}
        }
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        member.addresses.push(from);
        if member.addresses.len() > ADDRESSES_PER_SESSION {
            let addresses = &self.addresses;
            let quiet = (0..member.addresses.len() - 1)
                .min_by_key(|at| addresses.get(&member.addresses[*at]).map(|l| l.heard));
            if let Some(at) = quiet {
                let gone = member.addresses.swap_remove(at);
                self.addresses.remove(&gone);
            }
        }
    }

    /// Addresses and names held.
    pub fn len(&self) -> (usize, usize) {
        (self.addresses.len(), self.names.len())
    }

    /// Whether no session is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn sweep(&mut self, now: u64) {
        self.swept = now;
        let members = &mut self.members;
        self.addresses.retain(|address, learnt| {
            let keep = now.saturating_sub(learnt.heard) < ADDRESS_LIFE;
            if !keep && let Some(member) = members.get_mut(&learnt.session) {
                member.addresses.retain(|known| known != address);
            }
            keep
        });
    }
}
