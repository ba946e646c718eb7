//! The part of RTCP the plane speaks itself (RFC 3550 §6): sender reports that carry a track's
//! clock, receiver reports in both directions, and what a player asks a node for again
//! (docs/wire/bipartite.md). Everything else is stepped over.

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const APPLICATION: u8 = 204;

/// Name of the packet by which a player asks for a node's packets again, of subtype 0.
const AGAIN: &[u8; 4] = b"HBIP";
/// Numbers in one of those: what is lost at a time in one burst of 48 KB is less.
const MAX_AGAIN: usize = 64;

/// Seconds from the NTP era's start (1900) to the Unix epoch.
const NTP_UNIX: u64 = 2_208_988_800;

/// Unix microseconds to a 64-bit NTP time.
pub fn to_ntp(unix_us: u64) -> u64 {
    let seconds = unix_us / 1_000_000 + NTP_UNIX;
    let fraction = ((unix_us % 1_000_000) << 32).div_ceil(1_000_000); // comes back exactly
    (seconds << 32) | fraction
}

/// A 64-bit NTP time to Unix microseconds; senders without a wall clock count from anywhere, so
/// times before 1970 come out negative.
pub fn from_ntp(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64 - NTP_UNIX as i64;
    let micros = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
    seconds * 1_000_000 + micros as i64
}

/// What one RTCP packet of a compound says, as far as the plane cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A sender's clock: `ntp` and `rtp` name the same instant.
    Sender {
        /// Whose clock.
        ssrc: u32,
        /// 64-bit NTP time.
        ntp: u64,
        /// RTP timestamp.
        rtp: u32,
    },
    /// What a receiver got of one source.
    Block(Block),
    /// The source leaves.
    Goodbye {
        /// Who.
        ssrc: u32,
    },
    /// A node's packet is wanted again.
    Missed {
        /// Its number of the node.
        number: u32,
    },
}

/// A report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The source reported on.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits.
    pub lost: u32,
    /// Highest sequence number received, extended to 32 bits.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time.
    pub last_report: u32,
    /// Delay since that report, in 1/65 536 s.
    pub delay: u32,
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// Reads a compound packet; `None` when a length or the version lies, however much was sound.
pub fn parse(data: &[u8]) -> Option<Vec<Report>> {
    let mut reports = Vec::new();
    let mut rest = data;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if rest.len() < 4 || rest[0] >> 6 != 2 {
            return None;
        }
        let length = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let body = rest.get(..length)?;
        let count = usize::from(rest[0] & 0x1f);
        let mut blocks_at = None;
        match rest[1] {
            SENDER_REPORT => {
                if length < 28 {
                    return None;
                }
                reports.push(Report::Sender {
                    ssrc: word(body, 4),
                    ntp: u64::from(word(body, 8)) << 32 | u64::from(word(body, 12)),
                    rtp: word(body, 16),
                });
                blocks_at = Some(28);
            }
            RECEIVER_REPORT => blocks_at = Some(8),
            GOODBYE if count > 0 => {
                if length < 8 {
                    return None;
                }
                reports.push(Report::Goodbye {
                    ssrc: word(body, 4),
                });
            }
            APPLICATION if count == 0 && body.get(8..12) == Some(AGAIN) => {
                let numbers = body[12..].chunks_exact(4);
                if !(1..=MAX_AGAIN).contains(&numbers.len()) {
                    return None;
                }
                reports.extend(numbers.map(|at| Report::Missed {
                    number: word(at, 0),
                }));
            }
            _ => {}
        }
        if let Some(at) = blocks_at {
            if at + 24 * count > length {
                return None;
            }
            for block in body[at..at + 24 * count].chunks_exact(24) {
                reports.push(Report::Block(Block {
                    ssrc: word(block, 0),
                    fraction_lost: block[4],
                    lost: word(block, 4) & 0x00ff_ffff,
                    highest: word(block, 8),
                    jitter: word(block, 12),
                    last_report: word(block, 16),
                    delay: word(block, 20),
                }));
            }
        }
        rest = &rest[length..];
    }
    Some(reports)
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend_from_slice(&[0x80 | count, kind]);
    out.extend_from_slice(&words.to_be_bytes());
}

/// A source description with one CNAME, as every compound must carry (RFC 3550 §6.1).
fn description(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let item = 2 + cname.len();
    let padded = (item + 4) & !3; // at least one zero byte ends the list
    header(out, 1, DESCRIPTION, 1 + (padded / 4) as u16);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname);
    out.resize(out.len() + padded - item, 0);
}

/// A compound sender report with its description.
pub fn sender_report(
    ssrc: u32,
    ntp: u64,
    rtp: u32,
    packets: u32,
    octets: u32,
    cname: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    header(&mut out, 0, SENDER_REPORT, 6);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&ntp.to_be_bytes());
    for field in [rtp, packets, octets] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    description(&mut out, ssrc, cname);
    out
}

/// Adds a goodbye to a compound (RFC 3550 §6.6).
pub fn goodbye(out: &mut Vec<u8>, ssrc: u32) {
    header(out, 1, GOODBYE, 1);
    out.extend_from_slice(&ssrc.to_be_bytes());
}

/// A compound receiver report with its description.
pub fn receiver_report(ssrc: u32, block: &Block, cname: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    header(&mut out, 1, RECEIVER_REPORT, 7);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&block.ssrc.to_be_bytes());
    let lost = u32::from(block.fraction_lost) << 24 | block.lost.min(0x007f_ffff);
    for field in [
        lost,
        block.highest,
        block.jitter,
        block.last_report,
        block.delay,
    ] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    description(&mut out, ssrc, cname);
    out
}

/// A compound receiver report without blocks: what a compound begins with that reports nothing.
pub fn nothing_received(ssrc: u32, cname: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    header(&mut out, 0, RECEIVER_REPORT, 1);
    out.extend_from_slice(&ssrc.to_be_bytes());
    description(&mut out, ssrc, cname);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ntp_and_unix_time_agree_to_the_microsecond() {
        let now = 1_795_000_000_123_456;
        assert_eq!(from_ntp(to_ntp(now)), now as i64);
        assert!(from_ntp(0) < 0);
    }

    #[test]
    fn reads_its_own_reports() {
        let sent = sender_report(5, to_ntp(1_000_000), 77, 3, 300, "a");
        assert_eq!(
            parse(&sent).unwrap(),
            [Report::Sender {
                ssrc: 5,
                ntp: to_ntp(1_000_000),
                rtp: 77
            }]
        );
        let block = Block {
            ssrc: 5,
            fraction_lost: 12,
            lost: 9,
            highest: 70_000,
            jitter: 4,
            last_report: 1,
            delay: 2,
        };
        let received = receiver_report(6, &block, "abcd");
        assert_eq!(received.len() % 4, 0);
        assert_eq!(parse(&received).unwrap(), [Report::Block(block)]);
    }

    #[test]
    fn refuses_lengths_that_lie() {
        let mut report = sender_report(5, 0, 0, 0, 0, "x");
        report[0] |= 3; // three blocks that are not there
        assert_eq!(parse(&report), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x80, 200, 0, 9]), None);
    }

    fn again(numbers: &[u32]) -> Vec<u8> {
        let mut out = receiver_report(6, &Block::default(), "a");
        header(&mut out, 0, APPLICATION, 2 + numbers.len() as u16);
        out.extend_from_slice(&6_u32.to_be_bytes());
        out.extend_from_slice(b"HBIP");
        out.extend(numbers.iter().flat_map(|one| one.to_be_bytes()));
        out
    }

    #[test]
    fn reads_what_is_wanted_again() {
        let missed = |number| Report::Missed { number };
        let found = parse(&again(&[7, u32::MAX])).unwrap();
        assert_eq!(found[1..], [missed(7), missed(u32::MAX)]);
        assert_eq!(parse(&again(&[1; 64])).unwrap().len(), 65);
        assert_eq!(parse(&again(&[1; 65])), None);
        assert_eq!(parse(&again(&[])), None);
        let mut other = again(&[7]);
        let at = other.len() - 8;
        other[at] = b'X'; // of another name, it is stepped over
        assert_eq!(parse(&other).unwrap().len(), 1);
    }

    proptest! {
        /// Whatever is asked for comes out, and a packet that was cut is nothing.
        #[test]
        fn wanted_numbers_come_back(numbers in proptest::collection::vec(any::<u32>(), 1..=64), cut in 1..8_usize) {
            let sent = again(&numbers);
            let found = parse(&sent).unwrap();
            prop_assert_eq!(found.len(), 1 + numbers.len());
            for (one, number) in found[1..].iter().zip(numbers) {
                prop_assert_eq!(*one, Report::Missed { number });
            }
            prop_assert_eq!(parse(&sent[..sent.len() - cut]), None);
        }

        #[test]
        fn application_packets_never_panic(head in 0..32_u8, data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sent = vec![0x80 | head, APPLICATION, 0, (data.len() / 4) as u8];
            sent.extend_from_slice(&data);
            let _ = parse(&sent);
        }

        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&data);
        }
    }
}
