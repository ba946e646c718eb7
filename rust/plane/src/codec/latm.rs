//! AAC as LATM, RFC 6416 section 6, with the configuration out of band (`cpresent=0`).
//!
//! One program, one layer, no other data: an `audioMuxElement` is a run of `PayloadLengthInfo` and
//! `PayloadMux` (ISO/IEC 14496-3 section 1.7.3), all whole bytes.

use super::assembler::{Emit, Framed, Pending};

/// Samples in an AAC frame, for the second and later frames of a packet.
const FRAME: u32 = 1024;

#[derive(Default)]
pub(super) struct Latm {
    /// Frames in the unit before; 0 before the first.
    frames: usize,
    /// The unit's first packet may be missing.
    doubtful: bool,
}

/// The next frame and what follows: the length is a run of 255 and a last smaller byte.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let full = data.iter().take_while(|byte| **byte == 255).count();
    let size = full * 255 + usize::from(*data.get(full)?);
    data.get(full + 1..)?.split_at_checked(size)
}

impl Framed for Latm {
    /// Fragments look alike; a wrong beginning shows in the lengths when the unit ends, most surely
    /// when as many frames as in the unit before are asked for.
    fn may_begin(&mut self, _payload: &[u8]) -> bool {
        self.doubtful = true;
        true
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        unit.append(payload);
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        let mut rest = data;
        let mut frames = 0;
        while !rest.is_empty() {
            match split(rest) {
                Some((_, after)) => {
                    frames += 1;
                    rest = after;
                }
                None => return false,
            }
        }
        if self.doubtful && frames != self.frames.max(1) {
            return false;
        }
        self.frames = frames;
        rest = data;
        while let Some((frame, after)) = split(rest) {
            emit.unit(frame.to_vec(), true);
            emit.timestamp = emit.timestamp.wrapping_add(FRAME);
            rest = after;
        }
        true
    }

    fn clear(&mut self) {
        self.doubtful = false;
    }
}
