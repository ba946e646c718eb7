//! Formats, tracks and payloads of the channel that is watched.

use _plane::codec::Codec;
use _plane::media::{Kind, TrackSpec};
use _plane::webrtc::formats::Format;

pub fn format(codec: Codec) -> Format {
    let sound = codec == Codec::Opus;
    Format {
        codec,
        clock_rate: if sound { 48_000 } else { 90_000 },
        channels: if sound { 2 } else { 0 },
        fmtp: String::new(),
    }
}

pub fn spec(id: u8, kind: Kind, codec: Codec, payload_type: u8) -> TrackSpec {
    TrackSpec {
        id,
        kind,
        codec,
        clock_rate: format(codec).clock_rate,
        payload_type,
        parameter_sets: vec![],
    }
}

/// Parameter sets, told aside of the packets.
const SETS: [&[u8]; 2] = [&[0x67, 0x42, 0, 0x1f, 0xe9], &[0x68, 0xce, 0x38, 0x80]];

pub fn video(codec: Codec) -> Vec<TrackSpec> {
    let aside = codec == Codec::H264;
    let sets = SETS.iter().filter(|_| aside).map(|set| set.to_vec());
    vec![TrackSpec {
        parameter_sets: sets.collect(),
        ..spec(0, Kind::Video, codec, 96)
    }]
}

/// RFC 7741 section 4.2 and 4.3: the begin of a partition; the last bit of its first byte is 0 in a
/// keyframe.
pub fn vp8_payload(key: bool, size: usize) -> Vec<u8> {
    let mut payload = vec![0x55; size];
    (payload[0], payload[1]) = (0x10, u8::from(!key));
    payload
}

/// The first slice of a picture (ITU-T H.264 section 7.3.3: `first_mb_in_slice` 0 is a bit 1).
pub fn h264_payload(key: bool, size: usize) -> Vec<u8> {
    let mut payload = vec![0x88; size];
    payload[0] = if key { 0x65 } else { 0x41 };
    payload
}
