//! What publishers announce: tracks and their formats.

use crate::codec::Codec;

/// What a track is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures: lost first by a reader that lags.
    Video,
    /// Sound: lost last.
    Audio,
    /// Anything else; treated as sound.
    Data,
}

/// One elementary stream as its publisher announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSpec {
    /// Index within the channel.
    pub id: u8,
    /// What it is for.
    pub kind: Kind,
    /// The payload format.
    pub codec: Codec,
    /// Timestamp units a second.
    pub clock_rate: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// NAL units sent out of band, without start codes.
    pub parameter_sets: Vec<Vec<u8>>,
}

impl TrackSpec {
    /// Whether a reader of `self` can go on with `other`.
    pub fn same_format(&self, other: &Self) -> bool {
        (self.id, self.kind, &self.codec, self.clock_rate)
            == (other.id, other.kind, &other.codec, other.clock_rate)
    }

    /// Whether readers of this track must begin at a marked packet.
    pub fn has_keyframes(&self) -> bool {
        self.kind == Kind::Video && self.codec.has_keyframes()
    }
}
