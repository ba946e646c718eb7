//! Packets of titles: how late each comes against its time stamp, and whether it is the right one.
//!
//! A packet is due when its track's clock says so. Where that clock stands is told by the earliest
//! packet there was: nothing comes before it is due, so all lateness is above that of the best. Several
//! nodes may send before it is due; they tell the clock.

use std::fmt::Write as _;
use std::fs;

use crate::media::RTP_HEADER;

/// Packets of a stream that wait for the answer which says where its numbers begin.
const MAX_PENDING: usize = 4096;

/// Payloads of a title by track and number, as digests.
#[derive(Default, Clone, PartialEq, Debug)]
pub struct Digests(pub Vec<Vec<u64>>);

impl Digests {
    /// Reads what [`Digests::write`] wrote: a line for each packet, its track and digest.
    pub fn read(path: &str) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let mut found = Self::default();
        for line in text.lines() {
            let parsed = line.split_once(' ').and_then(|(track, digest)| {
                Some((
                    track.parse::<usize>().ok()?,
                    u64::from_str_radix(digest, 16).ok()?,
                ))
            });
            let (track, digest) = parsed
                .filter(|(track, _)| *track < 3)
                .ok_or_else(|| format!("{path}: no digest: {line:?}"))?;
            found.track(track).push(digest);
        }
        Ok(found)
    }

    /// Writes them.
    pub fn write(&self, path: &str) -> Result<(), String> {
        let mut text = String::new();
        for (track, digests) in self.0.iter().enumerate() {
            for digest in digests {
                let _ = writeln!(text, "{track} {digest:016x}");
            }
        }
        fs::write(path, text).map_err(|e| format!("{path}: {e}"))
    }

    fn track(&mut self, track: usize) -> &mut Vec<u64> {
        if self.0.len() <= track {
            self.0.resize(track + 1, Vec::new());
        }
        &mut self.0[track]
    }
}

/// One track of one stream.
#[derive(Default, Clone)]
pub struct Due {
    clock: u32,
    stamp: Option<i64>,
    base_us: i64,
    /// What packets carry, where the server told (RFC 3550 5.1).
    pub ssrc: Option<u32>,
    /// A stamp and when it is due, µs, where the server told.
    told: Option<(u32, u64)>,
    begin: Option<i64>,
    newest: i64,
    pending: Vec<(u16, u64)>,
    /// Digests by number; 0 where nothing came.
    pub seen: Vec<u64>,
}

impl Due {
    /// A track whose stamps count so many a second.
    pub fn new(clock: u32) -> Self {
        Self {
            clock: clock.max(1),
            ..Self::default()
        }
    }

    /// How late a packet is, µs: against the clock that was told, else the earliest there was.
    pub fn late_us(&mut self, head: &[u8], at_us: u64) -> Option<u64> {
        let stamp = u32::from_be_bytes(head.get(4..8)?.try_into().ok()?);
        if let Some((first, due_us)) = self.told {
            // What leads up to the start is due with it.
            let after = i64::from(stamp.wrapping_sub(first).cast_signed()).max(0);
            let due_us = due_us + after as u64 * 1_000_000 / u64::from(self.clock);
            return Some(at_us.saturating_sub(due_us));
        }
        let stamp = match self.stamp {
            None => i64::from(stamp),
            // Signed distance: stamps go round, and pictures may go back a little.
            Some(last) => last + i64::from(stamp.wrapping_sub(last as u32).cast_signed()),
        };
        let first = self.stamp.is_none();
        self.stamp = Some(stamp);
        let played = stamp * 1_000_000 / i64::from(self.clock);
        let offset = at_us as i64 - played;
        if first || offset < self.base_us {
            self.base_us = offset;
        }
        Some((offset - self.base_us) as u64)
    }

    /// Notes what a packet holds.
    pub fn note(&mut self, packet: &[u8]) {
        let Some(payload) = payload(packet) else {
            return;
        };
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let digest = digest(payload);
        if self.begin.is_some() {
            self.place(sequence, digest);
        } else if self.pending.len() < MAX_PENDING {
            self.pending.push((sequence, digest));
        }
    }

    /// The answer to PLAY said which number its first packet has.
    pub fn begin(&mut self, sequence: u16) {
        self.begin = Some(i64::from(sequence));
        self.newest = i64::from(sequence);
        for (sequence, digest) in std::mem::take(&mut self.pending) {
            self.place(sequence, digest);
        }
    }

    /// The answer said when a stamp is due.
    pub fn due(&mut self, stamp: u32, due_us: u64) {
        self.told = Some((stamp, due_us));
    }

    fn place(&mut self, sequence: u16, digest: u64) {
        let Some(begin) = self.begin else { return };
        let number =
            self.newest + i64::from(sequence.wrapping_sub(self.newest as u16).cast_signed());
        self.newest = self.newest.max(number);
        let Ok(index) = usize::try_from(number - begin) else {
            return;
        };
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        self.seen[index] = digest;
    }

    /// Packets that are not what they should be, and that never came, of a whole title.
    pub fn judge(&self, wanted: &[u64]) -> (u64, u64) {
        let (mut wrong, mut missing) = (0, 0);
        for (index, want) in wanted.iter().enumerate() {
            match self.seen.get(index) {
                None | Some(0) => missing += 1,
                Some(found) => wrong += u64::from(found != want),
            }
        }
        let more = self.seen.len().saturating_sub(wanted.len());
        (wrong + more as u64, missing)
    }
}

/// What follows a packet's header, contributing sources and extension (RFC 3550 5.1, 5.3.1).
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let mut at = RTP_HEADER + usize::from(first & 0x0F) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(at + 2..at + 4)?;
        at += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    packet.get(at..)
}

/// FNV-1a, never 0.
fn digest(data: &[u8]) -> u64 {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, stamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend(stamp.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn lateness_is_above_the_earliest() {
        let mut due = Due::new(90_000);
        assert_eq!(due.late_us(&packet(0, u32::MAX - 899, b""), 5000), Some(0));
        assert_eq!(due.late_us(&packet(1, 0, b""), 15_000), Some(0)); // 10 ms later, the stamp wrapped
        assert_eq!(due.late_us(&packet(2, 900, b""), 49_000), Some(24_000));
        assert_eq!(due.late_us(&packet(3, 1800, b""), 34_900), Some(0)); // earlier than the first was
        assert_eq!(due.late_us(&packet(4, 2700, b""), 45_000), Some(100));
    }

    #[test]
    fn what_came_is_compared_by_number_over_the_wrap() {
        let payloads: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        let mut whole = Due::new(1);
        whole.begin(65_534);
        for (index, payload) in payloads.iter().enumerate() {
            whole.note(&packet(65_534u16.wrapping_add(index as u16), 0, payload));
        }
        let wanted = whole.seen.clone();
        assert_eq!(whole.judge(&wanted), (0, 0));
        let mut other = Due::new(1);
        other.note(&packet(10, 0, b"a")); // before the answer
        other.begin(10);
        other.note(&packet(13, 0, b"d"));
        other.note(&packet(11, 0, b"B"));
        assert_eq!(other.judge(&wanted), (1, 1));
        other.note(&packet(14, 0, b"e"));
        assert_eq!(other.judge(&wanted), (2, 1));
    }

    #[test]
    fn an_extension_is_no_payload() {
        let mut extended = packet(1, 0, &[0xBE, 0xDE, 0, 1, 9, 9, 9, 9]);
        extended[0] |= 0x10;
        extended.extend(b"x");
        assert_eq!(payload(&extended), Some(&b"x"[..]));
        extended.truncate(14);
        assert_eq!(payload(&extended), None);
    }
}
