//! The stamp inside each media packet: when it was sent and its number.
//!
//! It must survive a server that takes the stream apart and packs it again, so its bytes never
//! look like an H.264 start code: every digit carries six bits and has bit 6 set.

/// Bytes a stamp takes.
pub const LEN: usize = 14;
/// Where the stamp starts in a video RTP payload: behind the FU indicator and FU header, or
/// behind the NAL header and one byte.
pub const VIDEO_OFFSET: usize = 2;
/// Where the stamp starts in an Opus RTP payload: behind the TOC byte.
pub const AUDIO_OFFSET: usize = 1;

const MAGIC: [u8; 2] = [0xA7, 0xB5];
const TIME_DIGITS: usize = 7; // 42 bits of µs: 50 days of uptime
const NUMBER_DIGITS: usize = 4; // 24 bits

/// Numbers are counted modulo this.
pub const NUMBER_MASK: u32 = (1 << (6 * NUMBER_DIGITS)) - 1;

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Send time, `CLOCK_MONOTONIC`, µs.
    pub sent_us: u64,
    /// Number of the packet among the stamped ones, modulo 2^24.
    pub number: u32,
}

/// Writes a stamp. The first byte starts a slice header: `first_mb_in_slice` 0 and slice type I
/// or P, so that a server finds the access unit's start (H.264 7.3.3).
pub fn write(to: &mut [u8], stamp: Stamp, intra: bool) {
    to[0] = if intra { 0x88 } else { 0x9A };
    to[1..3].copy_from_slice(&MAGIC);
    for (i, byte) in to[3..3 + TIME_DIGITS].iter_mut().enumerate() {
        *byte = 0x40 | ((stamp.sent_us >> (6 * i)) & 0x3F) as u8;
    }
    let number = &mut to[3 + TIME_DIGITS..LEN];
    for (i, byte) in number.iter_mut().enumerate() {
        *byte = 0x40 | ((stamp.number >> (6 * i)) & 0x3F) as u8;
    }
}

/// Reads a stamp, if there is one.
pub fn read(from: &[u8]) -> Option<Stamp> {
    if from.len() < LEN || from[1..3] != MAGIC {
        return None;
    }
    let digits = |range: &[u8]| {
        range
            .iter()
            .rev()
            .fold(0u64, |sum, &byte| sum << 6 | u64::from(byte & 0x3F))
    };
    Some(Stamp {
        sent_us: digits(&from[3..3 + TIME_DIGITS]),
        number: digits(&from[3 + TIME_DIGITS..LEN]) as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let stamp = Stamp {
            sent_us: 0x1_2345_6789,
            number: 0x00AB_CDEF,
        };
        let mut bytes = [0u8; LEN];
        write(&mut bytes, stamp, false);
        assert_eq!(read(&bytes), Some(stamp));
        assert!(bytes.iter().all(|&b| b >= 0x40));
        assert_eq!(read(&[0x55; LEN]), None);
        assert_eq!(read(&bytes[..LEN - 1]), None);
    }
}
