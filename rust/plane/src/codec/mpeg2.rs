//! MPEG-1 and MPEG-2 video elementary streams, RFC 2250.

use super::assembler::{Emit, Framed, Pending};

// Start codes of ISO/IEC 13818-2 table 6-1.
const SEQUENCE: [u8; 4] = [0, 0, 1, 0xb3];
const GROUP: [u8; 4] = [0, 0, 1, 0xb8];
const PICTURE: [u8; 4] = [0, 0, 1, 0x00];

struct Payload<'a> {
    /// A sequence header is in this packet, and the picture is intra coded.
    key: bool,
    data: &'a [u8],
}

/// Headers of section 3.4 and, with the T bit, section 3.4.1.
fn parse(payload: &[u8]) -> Option<Payload<'_>> {
    let (header, rest) = payload.split_first_chunk::<4>()?;
    let data = if header[0] & 0x04 != 0 {
        rest.get(4..)?
    } else {
        rest
    };
    let picture_type = header[2] & 0x07;
    let key = match picture_type {
        1 => header[2] & 0x20 != 0 || data.starts_with(&SEQUENCE),
        // Senders that leave the header zero; a sequence header always begins a payload
        // (section 3.1), and an intra picture follows it.
        0 => data.starts_with(&SEQUENCE),
        _ => false,
    };
    Some(Payload { key, data })
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    parse(payload).is_some_and(|p| p.key)
}

#[derive(Default)]
pub(super) struct Mpeg2 {
    key: bool,
}

impl Framed for Mpeg2 {
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        parse(payload).is_some_and(|p| {
            [SEQUENCE, GROUP, PICTURE]
                .iter()
                .any(|code| p.data.starts_with(code))
        })
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        match parse(payload) {
            Some(p) => {
                self.key |= p.key;
                unit.append(p.data);
            }
            None => unit.spoil(),
        }
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        emit.unit(data.to_vec(), self.key);
        true
    }

    fn clear(&mut self) {
        self.key = false;
    }
}
