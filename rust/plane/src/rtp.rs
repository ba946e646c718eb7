//! RTP packets as the plane sees them (RFC 3550 §5.1): parsed by looking, rewritten in place.

/// The fixed header's length in bytes.
pub const HEADER: usize = 12;

/// Where a packet's parts lie, and the fields the plane needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit: the end of an access unit for video.
    pub marker: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number as sent.
    pub sequence: u16,
    /// Timestamp in units of the track's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// First byte of the payload.
    pub start: usize,
    /// One past the last byte of the payload, padding taken off.
    pub end: usize,
}

/// Why a datagram is not an RTP packet the plane relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its own header says.
    Truncated,
    /// The version is not 2.
    Version,
    /// The padding count is zero or larger than the payload.
    Padding,
}

/// Looks at one packet. Header extensions and CSRCs are stepped over and kept.
pub fn parse(data: &[u8]) -> Result<Header, Malformed> {
    if data.len() < HEADER {
        return Err(Malformed::Truncated);
    }
    if data[0] >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let mut start = HEADER + 4 * usize::from(data[0] & 0x0f);
    if data[0] & 0x10 != 0 {
        let Some(field) = data.get(start + 2..start + 4) else {
            return Err(Malformed::Truncated);
        };
        start += 4 + 4 * usize::from(u16::from_be_bytes([field[0], field[1]]));
    }
    let mut end = data.len();
    if start > end {
        return Err(Malformed::Truncated);
    }
    if data[0] & 0x20 != 0 {
        let padding = usize::from(data[end - 1]);
        if padding == 0 || start + padding > end {
            return Err(Malformed::Padding);
        }
        end -= padding;
    }
    Ok(Header {
        marker: data[1] & 0x80 != 0,
        payload_type: data[1] & 0x7f,
        sequence: u16::from_be_bytes([data[2], data[3]]),
        timestamp: u32::from_be_bytes([data[4], data[5], data[6], data[7]]),
        ssrc: u32::from_be_bytes([data[8], data[9], data[10], data[11]]),
        start,
        end,
    })
}

/// Gives a packet the numbering every reader of its channel sees.
pub fn rewrite(data: &mut [u8], payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) {
    data[1] = (data[1] & 0x80) | (payload_type & 0x7f);
    data[2..4].copy_from_slice(&sequence.to_be_bytes());
    data[4..8].copy_from_slice(&timestamp.to_be_bytes());
    data[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Whether a datagram that came where RTP and RTCP share a port is RTCP (RFC 5761 §4).
pub fn is_rtcp(data: &[u8]) -> bool {
    data.len() >= 2 && (192..=223).contains(&data[1])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet as a publisher would send it.
    pub(crate) fn packet(
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
        marker: bool,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut data = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        data[1] = u8::from(marker) << 7;
        rewrite(&mut data, payload_type, sequence, timestamp, ssrc);
        data.extend_from_slice(payload);
        data
    }

    #[test]
    fn reads_what_was_written() {
        let data = packet(96, 7, 90_000, 0xfeed, true, b"abc");
        let header = parse(&data).unwrap();
        assert_eq!((header.payload_type, header.sequence), (96, 7));
        assert_eq!((header.timestamp, header.ssrc), (90_000, 0xfeed));
        assert!(header.marker);
        assert_eq!(&data[header.start..header.end], b"abc");
    }

    #[test]
    fn steps_over_csrcs_extension_and_padding() {
        let mut data = packet(96, 7, 1, 2, false, &[]);
        data[0] |= 0x20 | 0x10 | 1;
        data.extend_from_slice(&[9, 9, 9, 9]); // one CSRC
        data.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4]); // one word of extension
        data.extend_from_slice(b"payload");
        data.extend_from_slice(&[0, 0, 3]);
        let header = parse(&data).unwrap();
        assert_eq!(&data[header.start..header.end], b"payload");
    }

    #[test]
    fn refuses_lengths_that_lie() {
        assert_eq!(parse(&[0x80; 11]), Err(Malformed::Truncated));
        assert_eq!(parse(&[0x40; 12]), Err(Malformed::Version));
        assert_eq!(parse(&[0x8f; 12]), Err(Malformed::Truncated));
        let mut padded = packet(96, 1, 1, 1, false, &[200]);
        padded[0] |= 0x20;
        assert_eq!(parse(&padded), Err(Malformed::Padding));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_inside(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = parse(&data) {
                prop_assert!(header.start <= header.end && header.end <= data.len());
            }
        }
    }
}
