//! AAC as LATM, RFC 6416 section 6, with the configuration out of band (`cpresent=0`).
//!
//! One program, one layer, no other data: an `audioMuxElement` is a run of `PayloadLengthInfo` and
//! `PayloadMux` (ISO/IEC 14496-3 section 1.7.3), all whole bytes.

use super::assembler::{Emit, Framed, Pending};

/// Samples in an AAC frame, for the second and later frames of a packet.
const FRAME: u32 = 1024;

#[derive(Default)]
pub(super) struct Latm;

/// The next frame and what follows: the length is a run of 255 and a last smaller byte.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let full = data.iter().take_while(|byte| **byte == 255).count();
    let size = full * 255 + usize::from(*data.get(full)?);
    data.get(full + 1..)?.split_at_checked(size)
}

impl Framed for Latm {
    /// Fragments look alike; a wrong beginning shows in the lengths when the marker comes.
    fn may_begin(&self, _payload: &[u8]) -> bool {
        true
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        unit.append(payload);
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        let mut rest = data;
        while !rest.is_empty() {
            match split(rest) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest = data;
        while let Some((frame, after)) = split(rest) {
            emit.unit(frame.to_vec(), true);
            emit.timestamp = emit.timestamp.wrapping_add(FRAME);
            rest = after;
        }
        true
    }

    fn clear(&mut self) {}
}
