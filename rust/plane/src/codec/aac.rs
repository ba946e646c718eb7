//! AAC, RFC 3640 (modes AAC-hbr and AAC-lbr, section 3.3.5 and 3.3.6).
//!
//! AU headers carry size and index only: no time stamps, no random access flag, no auxiliary data.

use super::assembler::{AccessUnit, Core, Emit};
use super::bits::Bits;

/// Samples a frame of AAC, until the stream shows another of [`DURATIONS`].
const FRAME: u32 = 1024;

/// Clock ticks a frame can have: AAC-LD and AAC of both frame lengths, HE-AAC at its output's rate.
const DURATIONS: [u32; 6] = [480, 512, 960, 1024, 1920, 2048];

pub(super) struct Aac {
    size_length: u8,
    index_length: u8,
    index_delta_length: u8,
    /// Ticks from one AU to the next, for the later ones of a packet.
    duration: u32,
    /// Timestamp and number of AUs of the packet before, when nothing is missing since.
    last: Option<(u32, u32)>,
    /// Timestamp and whole size of the AU in fragments, which is in the core's unit; without sizes the
    /// size is 0 and the marker ends it.
    fragmented: Option<(u32, usize)>,
    /// Timestamp of the fragmented AU that lost a packet: what still comes of it is ignored.
    given_up: Option<u32>,
}

impl Aac {
    pub(super) fn new(size_length: u8, index_length: u8, index_delta_length: u8) -> Self {
        Self {
            size_length,
            index_length,
            index_delta_length,
            duration: FRAME,
            last: None,
            fragmented: None,
            given_up: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.last = None;
        self.fragmented = None;
        self.given_up = None;
    }

    pub(super) fn push(
        &mut self,
        core: &mut Core,
        payload: &[u8],
        timestamp: u32,
        marker: bool,
        gap: bool,
        out: &mut Vec<AccessUnit>,
    ) {
        if gap {
            self.last = None;
            self.give_up(core);
        }
        if payload.is_empty() {
            return;
        }
        if self.fragmented.is_some_and(|(begun, _)| begun != timestamp) {
            self.give_up(core);
        }
        if self.given_up.is_some_and(|begun| begun != timestamp) {
            self.given_up = None;
        }
        if self.packet(core, payload, timestamp, marker, out).is_none() {
            self.fragmented = None;
            core.unit.data.clear();
            core.drop_unit();
        }
    }

    /// The AU in fragments will not be whole.
    fn give_up(&mut self, core: &mut Core) {
        if let Some((timestamp, _)) = self.fragmented.take() {
            self.given_up = Some(timestamp);
            core.unit.data.clear();
            core.drop_unit();
        }
    }

    /// One payload; None if it is malformed.
    fn packet(
        &mut self,
        core: &mut Core,
        payload: &[u8],
        timestamp: u32,
        marker: bool,
        out: &mut Vec<AccessUnit>,
    ) -> Option<()> {
        // Section 3.2.1: without any field the AU header section is not there at all.
        if self.size_length == 0 && self.index_length == 0 && self.index_delta_length == 0 {
            return self.fragment(core, payload, 0, timestamp, marker, out);
        }
        let (length, rest) = payload.split_first_chunk::<2>()?;
        let length = u16::from_be_bytes(*length);
        let (headers, mut data) = rest.split_at_checked(usize::from(length).div_ceil(8))?;
        if self.size_length == 0 {
            return self.fragment(core, data, 0, timestamp, marker, out);
        }
        let mut left = u32::from(length);
        let mut bits = Bits::new(headers);
        let mut offset = 0_u32;
        let mut interleaved = false;
        let mut count = 0;
        loop {
            let first = count == 0;
            let index_length = if first {
                self.index_length
            } else {
                self.index_delta_length
            };
            let width = u32::from(self.size_length) + u32::from(index_length);
            if left < width {
                break;
            }
            left -= width;
            let size = usize::try_from(bits.read(self.size_length)?).ok()?;
            let index = bits.read(index_length)?;
            if !first {
                interleaved |= index != 0;
                offset = offset.wrapping_add(index).wrapping_add(1);
            }
            count += 1;
            let Some((unit, after)) = data.split_at_checked(size) else {
                // Only the single AU of a packet may be a fragment (section 3.2.3).
                return if first && left == 0 {
                    self.fragment(core, data, size, timestamp, marker, out)
                } else {
                    None
                };
            };
            if first && self.fragmented.is_some() {
                // A last fragment is always smaller than its AU, so this one is another.
                return None;
            }
            data = after;
            Emit {
                timestamp: timestamp.wrapping_add(offset.wrapping_mul(self.duration)),
                lost: &mut core.lost,
                out,
            }
            .unit(unit.to_vec(), true);
            if first {
                self.learn_duration(timestamp);
            }
        }
        self.last = (!interleaved && count > 0).then_some((timestamp, count));
        (count > 0).then_some(())
    }

    /// What lies between two packets tells how long the AUs of the first were.
    fn learn_duration(&mut self, timestamp: u32) {
        if let Some((before, count)) = self.last.take() {
            let passed = timestamp.wrapping_sub(before);
            let duration = passed / count;
            if passed == duration * count && DURATIONS.contains(&duration) {
                self.duration = duration;
            }
        }
    }

    /// Part of an AU of `size` bytes (0: not known), or a whole one of unknown size.
    fn fragment(
        &mut self,
        core: &mut Core,
        data: &[u8],
        size: usize,
        timestamp: u32,
        marker: bool,
        out: &mut Vec<AccessUnit>,
    ) -> Option<()> {
        if self.given_up == Some(timestamp) {
            return Some(());
        }
        if self.fragmented.is_none() {
            self.fragmented = Some((timestamp, size));
            core.unit.restart();
        }
        self.last = None;
        core.unit.append(data);
        if core.unit.broken() || self.fragmented != Some((timestamp, size)) {
            self.given_up = Some(timestamp);
            return None;
        }
        let reached = core.unit.data.len();
        if !marker && (size == 0 || reached < size) {
            return Some(());
        }
        self.fragmented = None;
        if size != 0 && reached != size {
            return None;
        }
        Emit {
            timestamp,
            lost: &mut core.lost,
            out,
        }
        .unit(core.unit.data.clone(), true);
        core.unit.data.clear();
        Some(())
    }
}
