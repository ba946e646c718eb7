//! Access units from payloads: what is common to all formats.

use super::Codec;
use super::aac::Aac;
use super::av1::Av1;
use super::h264::H264;
use super::h265::H265;
use super::latm::Latm;
use super::mpeg2::Mpeg2;
use super::vp8::Vp8;
use super::vp9::Vp9;

/// Largest access unit put together, in bytes. An intra picture of 8K video at the highest bitrates
/// levels allow stays below it; a sender that never ends its unit is stopped here.
pub const MAX_ACCESS_UNIT: usize = 8 << 20;

/// Capacity kept between units. Larger than most keyframes, small enough to keep for every track.
const KEPT_CAPACITY: usize = 256 << 10;

/// What a decoder takes at once: a coded picture, or one audio frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// H.264 and H.265 as Annex B with four-byte start codes, AV1 as OBUs with size fields, others as
    /// the payload format gives them. Never empty.
    pub data: Vec<u8>,
    /// RTP timestamp (RFC 3550 section 5.1) in units of the track's clock rate.
    pub timestamp: u32,
    /// Decodable without earlier units. Always true for audio and unknown formats.
    pub key: bool,
    /// Something before this unit is missing.
    pub after_loss: bool,
}

/// Puts the payloads of one track together.
///
/// Sequence order, duplicates and loss detection are the caller's: see [`Assembler::push`].
pub struct Assembler {
    core: Core,
    format: Format,
}

enum Format {
    H264(H264),
    H265(H265),
    Vp8(Vp8),
    Vp9(Vp9),
    Av1(Av1),
    Mpeg2(Mpeg2),
    Latm(Latm),
    Aac(Aac),
    /// A packet is a unit.
    Whole,
}

/// State that every format has.
#[derive(Default)]
pub(super) struct Core {
    pub(super) unit: Pending,
    /// The next unit delivered has something missing before it.
    pub(super) lost: bool,
    /// It is not known whether the next payload is the first of its unit.
    unsure: bool,
    pub(super) dropped: u64,
}

/// The unit being put together.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) data: Vec<u8>,
    timestamp: u32,
    open: bool,
    broken: bool,
}

/// A format whose units end at the marker bit or when the timestamp changes.
pub(super) trait Framed {
    /// Whether a unit can begin with this payload; asked only when packets before it are missing.
    fn may_begin(&mut self, payload: &[u8]) -> bool;
    /// Add a payload, never empty, to the unit. Called for spoiled units too: parameter sets in them
    /// are still worth remembering.
    fn push(&mut self, payload: &[u8], unit: &mut Pending);
    /// The unit, not spoiled, is complete: emit what it holds. False if it turns out not to be
    /// whole.
    fn finish(&mut self, data: &[u8], emit: &mut Emit<'_>) -> bool;
    /// Forget what belongs to one unit only.
    fn clear(&mut self);
}

/// Where finished units go.
pub(super) struct Emit<'a> {
    pub(super) timestamp: u32,
    pub(super) lost: &'a mut bool,
    pub(super) out: &'a mut Vec<AccessUnit>,
}

impl Emit<'_> {
    /// Deliver a unit; an empty one is nothing.
    pub(super) fn unit(&mut self, data: Vec<u8>, key: bool) {
        if data.is_empty() {
            return;
        }
        self.out.push(AccessUnit {
            data,
            timestamp: self.timestamp,
            key,
            after_loss: std::mem::take(self.lost),
        });
    }
}

impl Pending {
    /// Add bytes; does nothing to a spoiled unit, and spoils one that would become too large.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.data.len() + bytes.len() > MAX_ACCESS_UNIT {
            self.spoil();
        } else {
            self.data.extend_from_slice(bytes);
        }
    }

    /// The unit cannot be whole any more.
    pub(super) fn spoil(&mut self) {
        self.broken = true;
        self.data.clear();
    }

    /// Whether the unit was spoiled.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// Make room for a new unit.
    pub(super) fn restart(&mut self) {
        self.data.clear();
        self.data.shrink_to(KEPT_CAPACITY);
        self.broken = false;
    }

    fn begin(&mut self, timestamp: u32) {
        self.restart();
        self.timestamp = timestamp;
        self.open = true;
    }
}

impl Core {
    /// A unit, or part of one, is given up.
    pub(super) fn drop_unit(&mut self) {
        self.dropped += 1;
        self.lost = true;
    }

    fn push<F: Framed>(
        &mut self,
        format: &mut F,
        payload: &[u8],
        timestamp: u32,
        marker: bool,
        gap: bool,
        out: &mut Vec<AccessUnit>,
    ) {
        if gap {
            self.lost = true;
            self.unsure = true;
            // Either a packet from its middle is missing, or maybe its last.
            if self.unit.open {
                self.unit.spoil();
            }
        }
        if payload.is_empty() {
            // Padding to probe for bandwidth (RFC 3550 section 5.1): carries nothing, but may end.
            if marker && self.unit.open && self.unit.timestamp == timestamp {
                self.finish(format, out);
            }
            return;
        }
        if self.unit.open && self.unit.timestamp != timestamp {
            self.finish(format, out);
        }
        if !self.unit.open {
            self.unit.begin(timestamp);
            if self.unsure && !format.may_begin(payload) {
                self.unit.spoil();
            }
        }
        self.unsure = false;
        format.push(payload, &mut self.unit);
        if marker {
            self.finish(format, out);
        }
    }

    fn finish<F: Framed>(&mut self, format: &mut F, out: &mut Vec<AccessUnit>) {
        let whole = !self.unit.broken && {
            let mut emit = Emit {
                timestamp: self.unit.timestamp,
                lost: &mut self.lost,
                out,
            };
            format.finish(&self.unit.data, &mut emit)
        };
        if !whole {
            self.drop_unit();
        }
        format.clear();
        self.unit.open = false;
        self.unit.data.clear();
    }
}

impl Assembler {
    /// An assembler for one track. `parameter_sets`: NAL units without start codes that came out of
    /// band (RFC 6184 section 8.2.2 `sprop-parameter-sets`, RFC 7798 section 7.1 `sprop-vps` and
    /// others); ignored by other codecs.
    pub fn new(codec: Codec, parameter_sets: Vec<Vec<u8>>) -> Self {
        let format = match codec {
            Codec::H264 => Format::H264(H264::default()),
            Codec::H265 => Format::H265(H265::default()),
            Codec::Vp8 => Format::Vp8(Vp8::default()),
            Codec::Vp9 => Format::Vp9(Vp9::default()),
            Codec::Av1 => Format::Av1(Av1::default()),
            Codec::Mpeg2 => Format::Mpeg2(Mpeg2::default()),
            Codec::AacLatm => Format::Latm(Latm::default()),
            Codec::Aac {
                size_length,
                index_length,
                index_delta_length,
            } => Format::Aac(Aac::new(size_length, index_length, index_delta_length)),
            Codec::Opus | Codec::Sampled | Codec::Unknown => Format::Whole,
        };
        let mut assembler = Self {
            core: Core {
                unsure: true,
                ..Core::default()
            },
            format,
        };
        assembler.set_parameter_sets(parameter_sets);
        assembler
    }

    /// Forget all parameter sets, also those seen in band, and take these.
    // By value: the caller hands over what a new description brought, and is done with it.
    #[allow(clippy::needless_pass_by_value)]
    pub fn set_parameter_sets(&mut self, parameter_sets: Vec<Vec<u8>>) {
        match &mut self.format {
            Format::H264(format) => format.set_parameter_sets(&parameter_sets),
            Format::H265(format) => format.set_parameter_sets(&parameter_sets),
            _ => {}
        }
    }

    /// Take the next payload in sequence order, without RTP padding and header extension.
    ///
    /// `marker` and `timestamp` are those of the RTP header (RFC 3550 section 5.1). `gap`: packets are
    /// missing just before this one. Completed units are appended to `out`: at the marker bit,
    /// or when the timestamp changes. A unit that misses a packet is dropped.
    pub fn push(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        marker: bool,
        gap: bool,
        out: &mut Vec<AccessUnit>,
    ) {
        let core = &mut self.core;
        match &mut self.format {
            Format::H264(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::H265(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Vp8(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Vp9(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Av1(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Mpeg2(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Latm(format) => core.push(format, payload, timestamp, marker, gap, out),
            Format::Aac(format) => {
                core.lost |= gap;
                format.push(core, payload, timestamp, marker, gap, out);
            }
            Format::Whole => {
                core.lost |= gap;
                Emit {
                    timestamp,
                    lost: &mut core.lost,
                    out,
                }
                .unit(payload.to_vec(), true);
            }
        }
    }

    /// Forget the unfinished unit, as when the source starts again. Parameter sets are kept.
    pub fn reset(&mut self) {
        match &mut self.format {
            Format::H264(format) => format.clear(),
            Format::H265(format) => format.clear(),
            Format::Vp8(format) => format.clear(),
            Format::Vp9(format) => format.clear(),
            Format::Av1(format) => format.clear(),
            Format::Mpeg2(format) => format.clear(),
            Format::Latm(format) => format.clear(),
            Format::Aac(format) => format.clear(),
            Format::Whole => {}
        }
        self.core = Core {
            unsure: true,
            dropped: self.core.dropped,
            ..Core::default()
        };
    }

    /// Units given up since the assembler was made: a packet missing, malformed, or too large.
    pub fn dropped(&self) -> u64 {
        self.core.dropped
    }

    /// Bytes of the unfinished unit.
    pub fn pending(&self) -> usize {
        self.core.unit.data.len()
    }
}
