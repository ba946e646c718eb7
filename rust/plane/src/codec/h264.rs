//! H.264, RFC 6184, packetization modes 0 and 1 (section 6.2, 6.3).
//!
//! STAP-B, MTAP and FU-B belong to the interleaved mode, which real-time senders do not use; they spoil
//! their access unit.

use super::assembler::{Emit, Framed, Pending};
use super::bits::Bits;
use super::nal::{Class, Kind, NalUnits, Syntax, aggregated, has_sei};

// NAL unit types, H.264 table 7-1.
const SLICE: u8 = 1;
const PARTITION_A: u8 = 2;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const AUD: u8 = 9;
const SPS_EXTENSION: u8 = 13;
const PREFIX: u8 = 14;
const SUBSET_SPS: u8 = 15;
// RFC 6184 section 5.2, table 1.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// FU header, section 5.8.
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// `payloadType` of the recovery point SEI message, H.264 D.1.8.
const RECOVERY_POINT: usize = 6;

fn kind(header: u8) -> u8 {
    header & 0x1f
}

/// The first slice of a picture begins with macroblock 0, which is written as a single one bit
/// (`first_mb_in_slice`, H.264 section 7.3.3).
fn first_slice(after_header: Option<&u8>) -> bool {
    after_header.is_some_and(|byte| byte & 0x80 != 0)
}

pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let starts = |kind: u8, next: Option<&u8>| kind == SPS || (kind == IDR && first_slice(next));
    match payload {
        [header, rest @ ..] if kind(*header) == STAP_A => aggregated(rest)
            .flatten()
            .any(|nal| nal.first().is_some_and(|h| starts(kind(*h), nal.get(1)))),
        [header, fu, rest @ ..] if kind(*header) == FU_A => {
            fu & FU_START != 0 && starts(kind(*fu), rest.first())
        }
        [header, rest @ ..] => starts(kind(*header), rest.first()),
        [] => false,
    }
}

pub(super) struct Avc;

impl Syntax for Avc {
    const NEEDED: u8 = Kind::Sps as u8 | Kind::Pps as u8;

    fn classify(nal: &[u8]) -> Class {
        let Some((header, body)) = nal.split_first() else {
            return Class::Other;
        };
        match kind(*header) {
            // H.264 section 7.3.2.1.1: three bytes of profile and level, then the identifier.
            SPS => body
                .get(3..)
                .and_then(|rest| Bits::of_nal(rest).ue())
                .map_or(Class::Other, |id| Class::Set(Kind::Sps, id)),
            PPS => Bits::of_nal(body)
                .ue()
                .map_or(Class::Other, |id| Class::Set(Kind::Pps, id)),
            AUD => Class::Delimiter,
            SLICE | PARTITION_A => Class::Slice(false),
            IDR => Class::Slice(true),
            SEI if has_sei(body, RECOVERY_POINT) => Class::Recovery,
            _ => Class::Other,
        }
    }
}

#[derive(Default)]
pub(super) struct H264(NalUnits<Avc>);

impl H264 {
    pub(super) fn set_parameter_sets(&mut self, nals: &[Vec<u8>]) {
        self.0.set_parameter_sets(nals);
    }
}

impl Framed for H264 {
    fn may_begin(&mut self, payload: &[u8]) -> bool {
        let begins = |kind: u8, next: Option<&u8>| match kind {
            SLICE | PARTITION_A | IDR => first_slice(next),
            SEI | SPS | PPS | AUD | SPS_EXTENSION | PREFIX | SUBSET_SPS => true,
            _ => false,
        };
        match payload {
            [header, _, _, nal, rest @ ..] if kind(*header) == STAP_A => {
                begins(kind(*nal), rest.first())
            }
            [header, fu, rest @ ..] if kind(*header) == FU_A => {
                fu & FU_START != 0 && begins(kind(*fu), rest.first())
            }
            [header, rest @ ..] => begins(kind(*header), rest.first()),
            [] => false,
        }
    }

    fn push(&mut self, payload: &[u8], unit: &mut Pending) {
        match payload {
            [header, ..] if (1..STAP_A).contains(&kind(*header)) => self.0.whole(payload, unit),
            [header, rest @ ..] if kind(*header) == STAP_A => {
                for nal in aggregated(rest) {
                    match nal {
                        Some(nal) => self.0.whole(nal, unit),
                        None => unit.spoil(),
                    }
                }
            }
            [indicator, fu, rest @ ..] if kind(*indicator) == FU_A => {
                if fu & FU_START != 0 {
                    // F and NRI from the indicator, type from the FU header.
                    self.0.first(&[indicator & 0xe0 | kind(*fu)], rest, unit);
                    // Section 5.8 forbids it, but some senders put small NAL units into one FU.
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
