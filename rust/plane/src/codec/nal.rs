//! What H.264 and H.265 share: NAL units into Annex B, parameter sets remembered.

use std::marker::PhantomData;

use super::assembler::{Emit, Pending};

/// Four-byte start code, Annex B of both standards.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Largest parameter set remembered. With scaling lists and full VUI they stay below 2 kB.
const MAX_PARAMETER_SET: usize = 4096;

/// Parameter sets remembered for a track. Streams use a few; encoders that count identifiers up with each
/// keyframe make the oldest ones obsolete long before this.
const MAX_PARAMETER_SETS: usize = 32;

/// Order in which decoders need parameter sets; also the bit in [`NalUnits::kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vps = 1,
    Sps = 2,
    Pps = 4,
}

/// What a NAL unit is to the assembler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A parameter set with its identifier.
    Set(Kind, u32),
    /// Access unit delimiter.
    Delimiter,
    /// Part of a coded picture; true if of one that needs no other.
    Slice(bool),
    /// An SEI message says that decoding can start here (intra refresh, open GOP).
    Recovery,
    Other,
}

/// What differs between H.264 and H.265.
pub(super) trait Syntax {
    /// Kinds of parameter sets without which nothing can be decoded, as bits.
    const NEEDED: u8;
    /// Class of a whole NAL unit.
    fn classify(nal: &[u8]) -> Class;
}

struct Set {
    kind: Kind,
    id: u32,
    nal: Vec<u8>,
}

/// NAL units of one access unit, and the parameter sets of the track.
pub(super) struct NalUnits<S> {
    /// In order of arrival.
    sets: Vec<Set>,
    /// Where in the unit's data the unfinished fragmented NAL unit begins.
    fragment: Option<usize>,
    /// Length of the access unit delimiter the unit begins with.
    delimiter: usize,
    /// Kinds of parameter sets in the unit.
    kinds: u8,
    /// The unit has a coded picture.
    slices: bool,
    /// It needs no other picture.
    intra: bool,
    /// A recovery point begins here.
    recovery: bool,
    syntax: PhantomData<S>,
}

impl<S> Default for NalUnits<S> {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            fragment: None,
            delimiter: 0,
            kinds: 0,
            slices: false,
            intra: false,
            recovery: false,
            syntax: PhantomData,
        }
    }
}

impl<S: Syntax> NalUnits<S> {
    /// Forget all parameter sets and take these; what is no parameter set is ignored.
    pub(super) fn set_parameter_sets(&mut self, nals: &[Vec<u8>]) {
        self.sets.clear();
        for nal in nals {
            if let Class::Set(kind, id) = S::classify(nal) {
                self.remember(kind, id, nal);
            }
        }
    }

    fn remember(&mut self, kind: Kind, id: u32, nal: &[u8]) {
        if nal.len() > MAX_PARAMETER_SET {
            return;
        }
        if let Some(set) = self.sets.iter_mut().find(|s| s.kind == kind && s.id == id) {
            if set.nal != nal {
                set.nal.clear();
                set.nal.extend_from_slice(nal);
            }
            return;
        }
        if self.sets.len() >= MAX_PARAMETER_SETS {
            self.sets.remove(0);
        }
        self.sets.push(Set {
            kind,
            id,
            nal: nal.to_vec(),
        });
    }

    /// A whole NAL unit.
    pub(super) fn whole(&mut self, nal: &[u8], unit: &mut Pending) {
        if nal.is_empty() {
            return;
        }
        if self.fragment.take().is_some() {
            unit.spoil();
        }
        let at = unit.data.len();
        unit.append(&START_CODE);
        unit.append(nal);
        self.note(nal, at);
    }

    /// The first fragment of a NAL unit with this header.
    pub(super) fn first(&mut self, header: &[u8], fragment: &[u8], unit: &mut Pending) {
        if self.fragment.is_some() {
            unit.spoil();
        }
        self.fragment = Some(unit.data.len());
        unit.append(&START_CODE);
        unit.append(header);
        unit.append(fragment);
    }

    /// A later fragment.
    pub(super) fn next(&mut self, fragment: &[u8], end: bool, unit: &mut Pending) {
        let Some(at) = self.fragment else {
            return unit.spoil();
        };
        unit.append(fragment);
        if end {
            self.fragment = None;
            if let Some(nal) = unit.data.get(at + START_CODE.len()..) {
                self.note(nal, at);
            }
        }
    }

    /// Learn what a NAL unit at `at` of the unit's data says.
    fn note(&mut self, nal: &[u8], at: usize) {
        match S::classify(nal) {
            Class::Set(kind, id) => {
                self.remember(kind, id, nal);
                self.kinds |= kind as u8;
            }
            Class::Delimiter if at == 0 => self.delimiter = START_CODE.len() + nal.len(),
            Class::Slice(intra) => {
                self.slices = true;
                self.intra |= intra;
            }
            Class::Recovery => self.recovery = true,
            Class::Delimiter | Class::Other => {}
        }
    }

    /// See [`super::assembler::Framed::finish`]. A unit without a picture is nothing: senders that put the marker on
    /// parameter sets of their own mean the next unit.
    pub(super) fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool {
        if self.fragment.is_some() {
            return false;
        }
        if !self.slices {
            return true;
        }
        let has_sps = self.kinds & Kind::Sps as u8 != 0;
        let start = self.intra || (has_sps && self.recovery);
        if !start || self.kinds & S::NEEDED == S::NEEDED {
            emit.unit(data.to_vec(), start);
            return true;
        }
        // All of them, also those the unit has: a PPS must not come before its SPS.
        let (delimiter, rest) = data.split_at_checked(self.delimiter).unwrap_or((&[], data));
        let inserted: usize = self
            .sets
            .iter()
            .map(|set| START_CODE.len() + set.nal.len())
            .sum();
        let mut joined = Vec::with_capacity(data.len() + inserted);
        joined.extend_from_slice(delimiter);
        let mut known = 0;
        for kind in [Kind::Vps, Kind::Sps, Kind::Pps] {
            for set in self.sets.iter().filter(|set| set.kind == kind) {
                joined.extend_from_slice(&START_CODE);
                joined.extend_from_slice(&set.nal);
                known |= kind as u8;
            }
        }
        joined.extend_from_slice(rest);
        // Without its parameter sets nobody can start here.
        emit.unit(joined, known & S::NEEDED == S::NEEDED);
        true
    }

    /// Forget what belongs to one unit.
    pub(super) fn clear(&mut self) {
        self.fragment = None;
        self.delimiter = 0;
        self.kinds = 0;
        self.slices = false;
        self.intra = false;
        self.recovery = false;
    }
}

/// Whether an SEI message of the given type is in this SEI payload (H.264 and H.265 section 7.3.2.3:
/// type and size as runs of 255 and a last byte). Emulation prevention bytes may hide messages
/// after the first, never invent one at the front.
pub(super) fn has_sei(mut rbsp: &[u8], wanted: usize) -> bool {
    // The last byte is the trailing bits.
    while rbsp.len() > 1 {
        let Some((kind, after_kind)) = run(rbsp) else {
            return false;
        };
        let Some((size, body)) = run(after_kind) else {
            return false;
        };
        if kind == wanted {
            return true;
        }
        let Some(rest) = body.get(size..) else {
            return false;
        };
        rbsp = rest;
    }
    false
}

/// A number written as bytes of 255 and a last smaller one.
fn run(data: &[u8]) -> Option<(usize, &[u8])> {
    let full = data.iter().take_while(|byte| **byte == 255).count();
    let last = data.get(full)?;
    Some((full * 255 + usize::from(*last), data.get(full + 1..)?))
}

/// Split the NAL units of a STAP-A (RFC 6184 section 5.7.1) or of an AP (RFC 7798 section 4.4.2) after its
/// header; ends with None at a truncated one.
pub(super) fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let nal = rest
            .split_first_chunk::<2>()
            .and_then(|(size, tail)| tail.split_at_checked(u16::from_be_bytes(*size).into()));
        if let Some((nal, tail)) = nal {
            rest = tail;
            Some(Some(nal))
        } else {
            rest = &[];
            Some(None)
        }
    })
}
