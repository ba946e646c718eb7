//! AV1, "RTP Payload Format For AV1", version 1.0 of the Alliance for Open Media.

use super::assembler::{Emit, Framed, MAX_ACCESS_UNIT, Pending};

// Aggregation header, section 4.4.
const Z: u8 = 0x80;
const Y: u8 = 0x40;
const N: u8 = 0x08;

// obu_type, AV1 bitstream specification section 6.2.2.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;

// obu_header, section 5.3.2.
const EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

fn kind(header: u8) -> u8 {
    (header >> 3) & 0x0f
}

/// `leb128()` of section 4.10.5: at most eight bytes, at most 32 bits.
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in data.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, data.get(index + 1..)?));
        }
    }
    None
}

fn append_leb128(unit: &mut Pending, mut value: usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    for byte in &mut bytes {
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    unit.append(bytes.get(..length).unwrap_or_default());
}

/// The next OBU element and what follows it; `left` is the number of elements to come when W
/// gives it.
fn element(data: &[u8], left: Option<u8>) -> Option<(&[u8], &[u8])> {
    if left == Some(1) {
        return Some((data, &[]));
    }
    let (size, rest) = leb128(data)?;
    rest.split_at_checked(size)
}

/// W, the number of OBU elements, None when each has its length.
fn count(aggregation: u8) -> Option<u8> {
    match (aggregation >> 4) & 3 {
        0 => None,
        count => Some(count),
    }
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    payload.len() > 1 && payload.first().is_some_and(|a| a & (Z | N) == N)
}

#[derive(Default)]
pub(super) struct Av1 {
    /// Beginning of an OBU whose rest is in the next packet.
    partial: Vec<u8>,
    fragmented: bool,
    sequence: bool,
    /// Whether the first frame is a key frame, once it came.
    key: Option<bool>,
}

impl Av1 {
    /// Part of an OBU that goes on in the next packet.
    fn keep(&mut self, bytes: &[u8], unit: &mut Pending) {
        if unit.data.len() + self.partial.len() + bytes.len() > MAX_ACCESS_UNIT {
            unit.spoil();
        }
        if unit.broken() {
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// A whole OBU, with or without a size field.
    fn obu(&mut self, obu: &[u8], unit: &mut Pending) -> Option<()> {
        let (&header, mut rest) = obu.split_first()?;
        let mut extension = None;
        if header & EXTENSION != 0 {
            let (byte, tail) = rest.split_first()?;
            extension = Some(*byte);
            rest = tail;
        }
        if header & HAS_SIZE != 0 {
            // Senders should leave it out (section 5), but may not.
            let (size, tail) = leb128(rest)?;
            rest = tail.get(..size)?;
        }
        match kind(header) {
            // Receivers drop both (section 5).
            TEMPORAL_DELIMITER | TILE_LIST => return Some(()),
            SEQUENCE_HEADER => self.sequence = true,
            FRAME | FRAME_HEADER if self.key.is_none() => {
                // show_existing_frame 0, frame_type KEY_FRAME (section 5.9.2).
                self.key = Some(rest.first()? & 0xe0 == 0);
            }
            _ => {}
        }
        unit.append(&[header | HAS_SIZE]);
        if let Some(extension) = extension {
            unit.append(&[extension]);
        }
        append_leb128(unit, rest.len());
        unit.append(rest);
        Some(())
    }

    fn elements(&mut self, payload: &[u8], unit: &mut Pending) -> Option<()> {
        let (&aggregation, mut data) = payload.split_first()?;
        let mut left = count(aggregation);
        let mut continues = aggregation & Z != 0;
        if continues != self.fragmented {
            return None;
        }
        while !data.is_empty() {
            let (bytes, rest) = element(data, left)?;
            data = rest;
            left = left.map(|left| left - 1);
            let unfinished = data.is_empty() && aggregation & Y != 0;
            if continues || unfinished {
                self.keep(bytes, unit);
            }
            if unfinished {
                self.fragmented = true;
                return Some(());
            }
            if continues {
                let mut whole = std::mem::take(&mut self.partial);
                self.fragmented = false;
                self.obu(&whole, unit)?;
                whole.clear();
                self.partial = whole;
                continues = false;
            } else if !bytes.is_empty() {
                self.obu(bytes, unit)?;
            }
        }
        // Fewer elements than W says.
        left.is_none_or(|left| left == 0).then_some(())
    }
}

impl Framed for Av1 {
    /// The start of a temporal unit cannot be told from the start of its second frame: a unit
    /// whose first packets are missing is recognised only within its first frame.
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        let Some((aggregation, data)) = payload.split_first() else {
            return false;
        };
        let first = element(data, count(*aggregation)).and_then(|(obu, _)| obu.first());
        aggregation & Z == 0
            && first.is_some_and(|header| {
                matches!(
                    kind(*header),
                    SEQUENCE_HEADER | TEMPORAL_DELIMITER | FRAME_HEADER | METADATA | FRAME
                )
            })
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        if self.elements(payload, unit).is_none() {
            unit.spoil();
            self.partial = Vec::new();
        }
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        if self.fragmented {
            return false;
        }
        emit.unit(data.to_vec(), self.sequence && self.key == Some(true));
        true
    }

    fn clear(&mut self) {
        self.partial.clear();
        self.partial.shrink_to(64 << 10);
        self.fragmented = false;
        self.sequence = false;
        self.key = None;
    }
}
