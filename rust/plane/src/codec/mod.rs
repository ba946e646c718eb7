//! Payload formats as the packet plane needs them: which packet starts a random access point, and
//! how packets become access units again.
//!
//! Everything here is pure: bytes come in, units go out, no clock and no socket. Any input is
//! accepted; what does not make sense spoils its own access unit and nothing else. Memory is bounded
//! by [`MAX_ACCESS_UNIT`] a track.
//!
//! One file for one payload format:
//!
//! | file | format |
//! |---|---|
//! | `h264` | RFC 6184, packetization modes 0 and 1 |
//! | `h265` | RFC 7798, without decoding order numbers |
//! | `vp8` | RFC 7741 |
//! | `vp9` | RFC 9628 |
//! | `av1` | "RTP Payload Format For AV1", Alliance for Open Media, version 1.0 |
//! | `mpeg2` | RFC 2250, video elementary streams |
//! | `aac` | RFC 3640 (AAC-hbr, AAC-lbr) |
//! | `latm` | RFC 6416 section 6, configuration out of band |
//!
//! Opus (RFC 7587) and sampled audio (RFC 3551) need no file: a packet is a unit.

mod aac;
mod assembler;
mod av1;
mod bits;
mod h264;
mod h265;
mod latm;
mod mpeg2;
mod nal;
mod vp8;
mod vp9;

pub use assembler::{AccessUnit, Assembler, MAX_ACCESS_UNIT};

/// A codec together with what its RTP payload format needs to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// "RTP Payload Format For AV1", version 1.0.
    Av1,
    /// RFC 2250, MPEG-1 and MPEG-2 video elementary streams.
    Mpeg2,
    /// RFC 7587.
    Opus,
    /// RFC 3640; widths in bits of the fields of an AU header (section 4.1), 0 when absent.
    Aac {
        /// `sizeLength`.
        size_length: u8,
        /// `indexLength`, of the first AU header of a packet.
        index_length: u8,
        /// `indexDeltaLength`, of the others.
        index_delta_length: u8,
    },
    /// RFC 6416 section 6 with `cpresent=0`.
    AacLatm,
    /// PCMU, PCMA, L16 and L24 of RFC 3551 and RFC 3190: samples as they are.
    Sampled,
    /// Something relayed without being understood.
    Unknown,
}

impl Codec {
    /// The codec with this name; `aac` gives the RFC 3640 section 4.1 lengths (size, index, index
    /// delta). A name that is not known is [`Codec::Unknown`].
    pub fn from_name(name: &str, aac: (u8, u8, u8)) -> Self {
        match name {
            "h264" => Self::H264,
            "h265" => Self::H265,
            "vp8" => Self::Vp8,
            "vp9" => Self::Vp9,
            "av1" => Self::Av1,
            "mpeg2" => Self::Mpeg2,
            "opus" => Self::Opus,
            "aac" => Self::Aac {
                size_length: aac.0,
                index_length: aac.1,
                index_delta_length: aac.2,
            },
            "aac-latm" => Self::AacLatm,
            "pcmu" | "pcma" | "l16" | "l24" => Self::Sampled,
            _ => Self::Unknown,
        }
    }

    /// The name, as [`Codec::from_name`] takes it; samples are not told apart.
    pub fn name(&self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Mpeg2 => "mpeg2",
            Self::Opus => "opus",
            Self::Aac { .. } => "aac",
            Self::AacLatm => "aac-latm",
            Self::Sampled => "pcmu",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the codec has units that cannot be decoded without earlier ones, so that
    /// [`starts_keyframe`] says something about it.
    pub fn has_keyframes(&self) -> bool {
        matches!(
            self,
            Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 | Self::Av1 | Self::Mpeg2
        )
    }
}

/// Whether this RTP payload contains the beginning of a random access point, or the parameter sets
/// that precede one.
///
/// Several payloads of one access unit may say so (H.264: the parameter sets and then the IDR
/// slice): the random access point begins at the first of those with the same RTP timestamp.
/// A few byte look-ups, since it is asked for every video packet. Always false for codecs without
/// keyframes.
///
/// - H.264 (RFC 6184 section 5.2): a sequence parameter set or the first slice of an IDR picture, also
///   in a STAP-A or at the start of an FU-A. Picture parameter sets do not count: encoders also
///   send them between keyframes.
/// - H.265 (RFC 7798 section 4.4): VPS, SPS or the first slice segment of an IRAP picture, likewise.
/// - VP8 (RFC 7741 section 4.2, 4.3): first partition's start, P bit of the frame header clear.
/// - VP9 (RFC 9628 section 4.2): start of the lowest spatial layer's frame, not inter-predicted, and
///   the frame header says key frame (so intra-only frames do not count).
/// - AV1 (payload format section 4.4): the N bit of the aggregation header.
/// - MPEG-2 (RFC 2250 section 3.4): sequence header present, picture type I.
pub fn starts_keyframe(codec: &Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::starts_keyframe(payload),
        Codec::H265 => h265::starts_keyframe(payload),
        Codec::Vp8 => vp8::starts_keyframe(payload),
        Codec::Vp9 => vp9::starts_keyframe(payload),
        Codec::Av1 => av1::starts_keyframe(payload),
        Codec::Mpeg2 => mpeg2::starts_keyframe(payload),
        Codec::Opus | Codec::Aac { .. } | Codec::AacLatm | Codec::Sampled | Codec::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_name_is_known() {
        for name in ["h264", "h265", "vp8", "vp9", "av1", "mpeg2"] {
            assert!(Codec::from_name(name, (0, 0, 0)).has_keyframes(), "{name}");
        }
        for name in ["opus", "aac", "aac-latm", "pcmu", "pcma", "l16", "l24"] {
            let codec = Codec::from_name(name, (13, 3, 3));
            assert!(!codec.has_keyframes(), "{name}");
            assert_ne!(codec, Codec::Unknown, "{name}");
        }
        assert_eq!(Codec::from_name("unknown", (0, 0, 0)), Codec::Unknown);
        assert_eq!(Codec::from_name("H264", (0, 0, 0)), Codec::Unknown);
    }

    #[test]
    fn an_empty_payload_starts_no_keyframe() {
        for name in ["h264", "h265", "vp8", "vp9", "av1", "mpeg2", "opus"] {
            assert!(!starts_keyframe(&Codec::from_name(name, (0, 0, 0)), &[]));
        }
    }
}
