//! VP9, RFC 9628.
//!
//! The frames of all spatial layers of a picture become one superframe (VP9 bitstream
//! specification, annex B), which is what decoders take.

use super::assembler::{Emit, Framed, Pending};

/// A superframe's index has three bits for the number of frames.
const MAX_FRAMES: usize = 8;

/// What the payload descriptor (section 4.2) says, and the payload behind it.
struct Payload<'a> {
    /// P: the layer frame is predicted from earlier pictures.
    predicted: bool,
    /// B: the layer frame begins here.
    begins: bool,
    /// Spatial layer, 0 without layer indices.
    spatial: u8,
    data: &'a [u8],
}

fn take<'a>(data: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = data.split_at_checked(count)?;
    *data = tail;
    Some(head)
}

fn byte(data: &mut &[u8]) -> Option<u8> {
    let (&head, tail) = data.split_first()?;
    *data = tail;
    Some(head)
}

fn parse(payload: &[u8]) -> Option<Payload<'_>> {
    let mut data = payload;
    // I P L F B E V Z
    let flags = byte(&mut data)?;
    let predicted = flags & 0x40 != 0;
    let flexible = flags & 0x10 != 0;
    if flags & 0x80 != 0 && byte(&mut data)? & 0x80 != 0 {
        byte(&mut data)?; // 15-bit picture ID
    }
    let mut spatial = 0;
    if flags & 0x20 != 0 {
        spatial = (byte(&mut data)? >> 1) & 0x07;
        if !flexible {
            byte(&mut data)?; // TL0PICIDX
        }
    }
    if flexible && predicted {
        // Up to three reference differences, N says that another follows.
        let mut count = 1;
        while byte(&mut data)? & 1 != 0 {
            count += 1;
            if count > 3 {
                return None;
            }
        }
    }
    if flags & 0x02 != 0 {
        skip_scalability_structure(&mut data)?;
    }
    Some(Payload {
        predicted,
        begins: flags & 0x08 != 0,
        spatial,
        data,
    })
}

/// Section 4.2.1.
fn skip_scalability_structure(data: &mut &[u8]) -> Option<()> {
    let flags = byte(data)?;
    if flags & 0x10 != 0 {
        take(data, 4 * (usize::from(flags >> 5) + 1))?;
    }
    if flags & 0x08 != 0 {
        for _ in 0..byte(data)? {
            let references = (byte(data)? >> 2) & 0x03;
            take(data, references.into())?;
        }
    }
    Some(())
}

/// `frame_type` of the uncompressed header (VP9 bitstream specification section 6.2).
fn is_key(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| {
        // Marker 10, profile, (a reserved bit in profile 3,) show_existing_frame, frame_type.
        let mask = if byte & 0x30 == 0x30 { 0xc6 } else { 0xcc };
        byte & mask == 0x80
    })
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    parse(payload).is_some_and(|p| p.begins && !p.predicted && p.spatial == 0 && is_key(p.data))
}

#[derive(Default)]
pub(super) struct Vp9 {
    /// Where the layer frames begin in the unit's data.
    begins: [usize; MAX_FRAMES],
    frames: usize,
    key: bool,
}

impl Framed for Vp9 {
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        parse(payload).is_some_and(|p| p.begins && p.spatial == 0)
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        let Some(p) = parse(payload) else {
            return unit.spoil();
        };
        if p.begins {
            let Some(begin) = self.begins.get_mut(self.frames) else {
                return unit.spoil();
            };
            *begin = unit.data.len();
            if self.frames == 0 {
                self.key = !p.predicted && is_key(p.data);
            }
            self.frames += 1;
        } else if self.frames == 0 {
            return unit.spoil();
        }
        unit.append(p.data);
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        let mut joined = data.to_vec();
        if let Some(begins @ [_, _, ..]) = self.begins.get(..self.frames) {
            append_index(&mut joined, begins);
        }
        emit.unit(joined, self.key);
        true
    }

    fn clear(&mut self) {
        self.frames = 0;
        self.key = false;
    }
}

/// Superframe index, annex B.2: a marker, the sizes in little endian, the marker again.
fn append_index(data: &mut Vec<u8>, begins: &[usize]) {
    let end = data.len();
    let sizes = begins
        .iter()
        .zip(begins.iter().skip(1).chain([&end]))
        .map(|(begin, next)| next - begin);
    let largest = sizes.clone().max().unwrap_or(0);
    let width = (1..4).find(|w| largest < 1 << (8 * w)).unwrap_or(4);
    let marker = 0xc0 | ((width - 1) << 3) as u8 | (begins.len() - 1) as u8;
    data.push(marker);
    for size in sizes {
        data.extend(size.to_le_bytes().into_iter().take(width));
    }
    data.push(marker);
}
