//! What viewers report about what they were sent: losses to be repaired, keyframes wanted, when
//! packets arrived. Reads compounds of RTCP; whatever else is in them is stepped over.

use crate::rtcp::{self, Block, Report};

/// RTP feedback and payload feedback (RFC 4585 section 6.1).
const TRANSPORT: u8 = 205;
const PAYLOAD: u8 = 206;
/// Their kinds: generic negative acknowledgement, transport-wide feedback
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01); picture loss, full intra request
/// (RFC 5104 section 4.3.1), application layer (REMB, draft-alvestrand-rmcat-remb-03).
const NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA: u8 = 4;
const APPLICATION: u8 = 15;

/// Packets that one message may tell of: a second of 40 Mbit/s. More is not read.
const MAX_TOLD: usize = 4_096;

/// Unit of the times of arrival, µs, and of the time they count from.
const TICK: i64 = 250;
const REFERENCE: i64 = 64_000;

/// What a viewer tells of packets by their transport-wide numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The first one's number.
    pub first: u16,
    /// When each of them arrived by the viewer's clock, µs; `None` where it did not.
    pub at: Vec<Option<i64>>,
}

/// One thing a viewer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Packets are missing: a stream, and numbers.
    Missing(u32, Vec<u16>),
    /// The picture of a stream cannot be shown without a keyframe.
    Keyframe(u32),
    /// Which packets arrived.
    Arrivals(Arrivals),
    /// The viewer believes that the way takes so many bits a second.
    Estimate(u64),
    /// How a stream is received.
    Received(Block),
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Reads a compound; what is behind a part whose length lies is not read.
pub fn read(data: &[u8], mut say: impl FnMut(Feedback)) {
    for report in rtcp::parse(data).into_iter().flatten() {
        if let Report::Block(block) = report {
            say(Feedback::Received(block));
        }
    }
    let mut rest = data;
    while let [flags, kind, high, low, ..] = *rest {
        let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some((body, behind)) = rest.split_at_checked(length) else {
            return;
        };
        rest = behind;
        let padding = if flags & 0x20 != 0 {
            body[length - 1]
        } else {
            0
        };
        let end = length.checked_sub(usize::from(padding));
        let Some(body) = end.and_then(|end| body.get(..end)) else {
            return;
        };
        match (kind, flags & 0x1f) {
            (TRANSPORT, NACK) => missing(body).into_iter().for_each(&mut say),
            (TRANSPORT, TRANSPORT_WIDE) => arrivals(body).into_iter().for_each(&mut say),
            (PAYLOAD, PICTURE_LOSS) => {
                word(body, 8)
                    .map(Feedback::Keyframe)
                    .into_iter()
                    .for_each(&mut say);
            }
            (PAYLOAD, FULL_INTRA) => {
                let asked = (12..body.len()).step_by(8).filter_map(|at| word(body, at));
                asked.map(Feedback::Keyframe).for_each(&mut say);
            }
            (PAYLOAD, APPLICATION) => estimate(body).into_iter().for_each(&mut say),
            _ => {}
        }
    }
}

fn missing(body: &[u8]) -> Option<Feedback> {
    let ssrc = word(body, 8)?;
    let mut numbers = Vec::new();
    for entry in body.get(12..)?.chunks_exact(4) {
        let first = u16::from_be_bytes([entry[0], entry[1]]);
        let more = u16::from_be_bytes([entry[2], entry[3]]);
        numbers.push(first);
        let set = (0..16).filter(|bit| more >> bit & 1 == 1);
        numbers.extend(set.map(|bit| first.wrapping_add(bit + 1)));
    }
    Some(Feedback::Missing(ssrc, numbers))
}

fn estimate(body: &[u8]) -> Option<Feedback> {
    if body.get(12..16)? != b"REMB" {
        return None;
    }
    let value = word(body, 16)?;
    let (exponent, mantissa) = (value >> 18 & 0x3f, u64::from(value & 0x3_ffff));
    let bits = mantissa
        .checked_shl(exponent)
        .filter(|bits| bits >> exponent == mantissa);
    Some(Feedback::Estimate(bits.unwrap_or(u64::MAX)))
}

/// How a packet is told of (section 3.1.1 of the draft).
#[derive(Clone, Copy)]
enum Status {
    Missing,
    Soon,
    Far,
}

impl Status {
    fn of(symbol: u16) -> Option<Self> {
        match symbol {
            0 => Some(Self::Missing),
            1 => Some(Self::Soon),
            2 => Some(Self::Far),
            _ => None,
        }
    }
}

fn arrivals(body: &[u8]) -> Option<Feedback> {
    let first = u16::from_be_bytes(body.get(12..14)?.try_into().ok()?);
    let count = usize::from(u16::from_be_bytes(body.get(14..16)?.try_into().ok()?));
    if count > MAX_TOLD {
        return None;
    }
    let reference = word(body, 16)? >> 8;
    // 24 bits with a sign.
    let mut clock = i64::from((reference << 8).cast_signed() >> 8) * REFERENCE;
    let mut rest = body.get(20..)?;
    let mut told: Vec<Status> = Vec::with_capacity(count);
    while told.len() < count {
        let chunk = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        rest = &rest[2..];
        let left = count - told.len();
        if chunk >> 15 == 0 {
            let run = usize::from(chunk & 0x1fff).min(left);
            if run == 0 {
                return None;
            }
            told.resize(told.len() + run, Status::of(chunk >> 13)?);
        } else if chunk >> 14 & 1 == 0 {
            let bits = (0..14).rev().map(|bit| chunk >> bit & 1);
            for symbol in bits.take(left) {
                told.push(Status::of(symbol)?);
            }
        } else {
            let pairs = (0..7).rev().map(|pair| chunk >> (2 * pair) & 3);
            for symbol in pairs.take(left) {
                told.push(Status::of(symbol)?);
            }
        }
    }
    let mut at = Vec::with_capacity(count);
    for status in told {
        let ticks = match status {
            Status::Missing => {
                at.push(None);
                continue;
            }
            Status::Soon => {
                let (delta, behind) = rest.split_first()?;
                rest = behind;
                i64::from(*delta)
            }
            Status::Far => {
                let (delta, behind) = rest.split_first_chunk()?;
                rest = behind;
                i64::from(i16::from_be_bytes(*delta))
            }
        };
        clock += ticks * TICK;
        at.push(Some(clock));
    }
    Some(Feedback::Arrivals(Arrivals { first, at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(data: &[u8]) -> Vec<Feedback> {
        let mut said = Vec::new();
        read(data, |one| said.push(one));
        said
    }

    fn part(kind: u8, format: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | format, kind, 0, (2 + body.len() / 4) as u8];
        out.extend([0, 0, 0, 1, 0, 0, 0, 9]);
        out.extend(body);
        out
    }

    #[test]
    fn reads_each_part_of_a_compound() {
        let block = Block {
            ssrc: 9,
            fraction_lost: 12,
            ..Block::default()
        };
        let mut compound = rtcp::receiver_report(1, &block, "viewer");
        compound.extend(part(TRANSPORT, NACK, &[0xff, 0xff, 0x80, 1]));
        compound.extend(part(PAYLOAD, PICTURE_LOSS, &[]));
        compound.extend(part(PAYLOAD, FULL_INTRA, &[0, 0, 0, 5, 1, 0, 0, 0]));
        compound.extend(part(
            PAYLOAD,
            APPLICATION,
            b"REMB\x01\x04\x00\x03\0\0\0\x09",
        ));
        let expected = [
            Feedback::Received(block),
            Feedback::Missing(9, vec![0xffff, 0, 15]),
            Feedback::Keyframe(9),
            Feedback::Keyframe(5),
            Feedback::Estimate(6),
        ];
        assert_eq!(all(&compound), expected);
    }

    #[test]
    fn reads_when_packets_arrived() {
        // From number 7: a run of 2 that came soon; 14 bits, of which the first came; pairs: far, not
        // come, soon.
        let mut body = vec![0, 7, 0, 19, 0xff, 0xff, 0xff, 0];
        body.extend([0x20, 2, 0xa0, 0, 0xe1, 0]);
        body.extend([4, 4, 8, 0xff, 0xfc, 1]);
        body.resize(body.len().next_multiple_of(4), 0);
        let said = all(&part(TRANSPORT, TRANSPORT_WIDE, &body));
        let [Feedback::Arrivals(told)] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!((told.first, told.at.len()), (7, 19));
        let start = -64_000;
        assert_eq!(
            told.at[..3],
            [
                Some(start + 1_000),
                Some(start + 2_000),
                Some(start + 4_000)
            ]
        );
        assert_eq!(told.at[3..16], [None; 13]);
        let rest = [Some(start + 3_000), None, Some(start + 3_250)];
        assert_eq!(told.at[16..], rest, "one overtook another");
    }

    #[test]
    fn refuses_what_lies() {
        assert_eq!(
            all(&part(
                TRANSPORT,
                TRANSPORT_WIDE,
                &[0, 0, 0xff, 0xff, 0, 0, 0, 0]
            )),
            []
        );
        assert_eq!(
            all(&part(
                TRANSPORT,
                TRANSPORT_WIDE,
                &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]
            )),
            []
        );
        let mut padded = part(PAYLOAD, PICTURE_LOSS, &[]);
        padded[0] |= 0x20;
        padded[11] = 200;
        assert_eq!(all(&padded), []);
        let huge = part(PAYLOAD, APPLICATION, b"REMB\x01\xff\xff\xff\0\0\0\x09");
        assert_eq!(all(&huge), [Feedback::Estimate(u64::MAX)]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_bounded_values(
            mut data in proptest::collection::vec(any::<u8>(), 8..200),
            kind in 205u8..=206,
            format in prop::sample::select(vec![1u8, 4, 15]),
        ) {
            data.truncate(data.len() / 4 * 4);
            (data[0], data[1]) = (0x80 | format, kind);
            data[3] = (data.len() / 4 - 1) as u8;
            data[2] = 0;
            for said in all(&data) {
                if let Feedback::Arrivals(told) = said {
                    prop_assert!(told.at.len() <= MAX_TOLD);
                }
            }
        }
    }
}
