//! VP8, RFC 7741.

use super::assembler::{Emit, Framed, Pending};

/// What the payload descriptor (section 4.2) says, and the payload behind it.
struct Payload<'a> {
    /// S bit and partition index 0: the frame begins here.
    first: bool,
    data: &'a [u8],
}

fn parse(payload: &[u8]) -> Option<Payload<'_>> {
    let (&flags, mut data) = payload.split_first()?;
    if flags & 0x80 != 0 {
        // X: extension flags I L T K.
        let (&extension, rest) = data.split_first()?;
        data = rest;
        let mut length = 0;
        if extension & 0x80 != 0 {
            // PictureID of 7 or, M bit set, 15 bits.
            length += if data.first()? & 0x80 != 0 { 2 } else { 1 };
        }
        if extension & 0x40 != 0 {
            length += 1; // TL0PICIDX
        }
        if extension & 0x30 != 0 {
            length += 1; // TID, Y, KEYIDX share a byte
        }
        data = data.get(length..)?;
    }
    Some(Payload {
        first: flags & 0x17 == 0x10,
        data,
    })
}

/// P bit of the payload header (section 4.3): clear in key frames.
fn is_key(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte & 1 == 0)
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    parse(payload).is_some_and(|p| p.first && is_key(p.data))
}

#[derive(Default)]
pub(super) struct Vp8 {
    begun: bool,
}

impl Framed for Vp8 {
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        parse(payload).is_some_and(|p| p.first)
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        match parse(payload) {
            Some(p) if p.first != self.begun => {
                self.begun = true;
                unit.append(p.data);
            }
            // Malformed, begun in the middle, or a second frame without a marker between.
            _ => unit.spoil(),
        }
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        emit.unit(data.to_vec(), is_key(data));
        true
    }

    fn clear(&mut self) {
        self.begun = false;
    }
}
