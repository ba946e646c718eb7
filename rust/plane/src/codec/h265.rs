//! H.265, RFC 7798.
//!
//! Without decoding order numbers (`sprop-max-don-diff` 0, section 7.1). PACI packets
//! (section 4.4.4) spoil their access unit: nobody sends them.

use super::assembler::{Emit, Framed, Pending};
use super::bits::Bits;
use super::nal::{Class, Kind, NalUnits, Syntax, aggregated, has_sei};

// NAL unit types, H.265 table 7-1.
const LAST_SLICE: u8 = 31;
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const AUD: u8 = 35;
const PREFIX_SEI: u8 = 39;
// RFC 7798 section 4.4.
const AP: u8 = 48;
const FU: u8 = 49;

/// FU header, section 4.4.3.
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// `payloadType` of the recovery point SEI message, H.265 D.2.8.
const RECOVERY_POINT: usize = 6;

fn kind(first_header_byte: u8) -> u8 {
    (first_header_byte >> 1) & 0x3f
}

fn is_irap(kind: u8) -> bool {
    (FIRST_IRAP..=LAST_IRAP).contains(&kind)
}

/// `first_slice_segment_in_pic_flag` is the first bit after the NAL unit header (H.265
/// section 7.3.6.1).
fn first_slice(after_header: Option<&u8>) -> bool {
    after_header.is_some_and(|byte| byte & 0x80 != 0)
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let starts = |kind: u8, next: Option<&u8>| {
        kind == VPS || kind == SPS || (is_irap(kind) && first_slice(next))
    };
    match payload {
        [header, _, rest @ ..] if kind(*header) == AP => aggregated(rest)
            .flatten()
            .any(|nal| nal.first().is_some_and(|h| starts(kind(*h), nal.get(2)))),
        [header, _, fu, rest @ ..] if kind(*header) == FU => {
            fu & FU_START != 0 && starts(fu & 0x3f, rest.first())
        }
        [header, _, rest @ ..] => starts(kind(*header), rest.first()),
        _ => false,
    }
}

pub(super) struct Hevc;

impl Hevc {
    /// `sps_seq_parameter_set_id`, H.265 section 7.3.2.2.1, behind the profiles and levels of all sub-layers
    /// (section 7.3.3).
    fn sps_id(body: &[u8]) -> Option<u32> {
        let mut bits = Bits::of_nal(body);
        bits.skip(4)?;
        let sub_layers = bits.read(3)?;
        // Nesting flag; general profile (88 bits) and level (8).
        bits.skip(1 + 96)?;
        let mut extra = 0;
        for _ in 0..sub_layers {
            extra += 88 * bits.read(1)? as usize + 8 * bits.read(1)? as usize;
        }
        if sub_layers > 0 {
            // Flags are written for eight sub-layers once there is one.
            bits.skip(2 * (8 - sub_layers as usize) + extra)?;
        }
        bits.ue()
    }
}

impl Syntax for Hevc {
    const NEEDED: u8 = Kind::Vps as u8 | Kind::Sps as u8 | Kind::Pps as u8;

    fn classify(nal: &[u8]) -> Class {
        let [header, _, body @ ..] = nal else {
            return Class::Other;
        };
        let set = |kind, id: Option<u32>| id.map_or(Class::Other, |id| Class::Set(kind, id));
        match kind(*header) {
            VPS => set(Kind::Vps, Bits::of_nal(body).read(4)),
            SPS => set(Kind::Sps, Self::sps_id(body)),
            PPS => set(Kind::Pps, Bits::of_nal(body).ue()),
            AUD => Class::Delimiter,
            PREFIX_SEI if has_sei(body, RECOVERY_POINT) => Class::Recovery,
            kind if kind <= LAST_SLICE => Class::Slice(is_irap(kind)),
            _ => Class::Other,
        }
    }
}

#[derive(Default)]
pub(super) struct H265(NalUnits<Hevc>);

impl H265 {
    pub(super) fn set_parameter_sets(&mut self, nals: &[Vec<u8>]) {
        self.0.set_parameter_sets(nals);
    }
}

impl Framed for H265 {
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        let begins = |kind: u8, next: Option<&u8>| match kind {
            VPS..=AUD | PREFIX_SEI => true,
            kind if kind <= LAST_SLICE => first_slice(next),
            _ => false,
        };
        match payload {
            [header, _, _, _, nal, _, rest @ ..] if kind(*header) == AP => {
                begins(kind(*nal), rest.first())
            }
            [header, _, fu, rest @ ..] if kind(*header) == FU => {
                fu & FU_START != 0 && begins(fu & 0x3f, rest.first())
            }
            [header, _, rest @ ..] => begins(kind(*header), rest.first()),
            _ => false,
        }
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        match payload {
            [header, _, ..] if kind(*header) < AP => self.0.whole(payload, unit),
            [header, _, rest @ ..] if kind(*header) == AP => {
                for nal in aggregated(rest) {
                    match nal {
                        Some(nal) => self.0.whole(nal, unit),
                        None => unit.spoil(),
                    }
                }
            }
            [first, second, fu, rest @ ..] if kind(*first) == FU => {
                if fu & FU_START != 0 {
                    // F and layer from the payload header, type from the FU header.
                    let header = [first & 0x81 | (fu & 0x3f) << 1, *second];
                    self.0.first(&header, rest, unit);
                    // Section 4.4.3 forbids it, but some senders put small NAL units into one FU.
                    if fu & FU_END != 0 {
                        self.0.next(&[], true, unit);
                    }
                } else {
                    self.0.next(rest, fu & FU_END != 0, unit);
                }
            }
            _ => unit.spoil(),
        }
    }

    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        self.0.finish(data, emit)
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
