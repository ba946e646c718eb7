//! A channel to relay, and packets for it.

use _plane::channel::Config;
use _plane::codec::Codec;
use _plane::media::{Kind, TrackSpec};
use _plane::rtp;

/// Nothing unusual.
pub fn config() -> Config {
    Config {
        depth_us: 3_000_000,
        max_bytes: 16 << 20,
        silence_us: 1_000_000,
        return_us: None,
        coalesce_us: 1_500,
        tcp_interval_us: 0,
        lag_us: 300_000,
    }
}

/// A video track and an audio track.
pub fn tracks() -> Vec<TrackSpec> {
    let track = |id, kind, codec, clock_rate, payload_type| TrackSpec {
        id,
        kind,
        codec,
        clock_rate,
        payload_type,
        parameter_sets: vec![
            vec![0x67, 0x42, 0xc0, 0x1f, 0xda],
            vec![0x68, 0xce, 0x3c, 0x80],
        ],
    };
    vec![
        track(0, Kind::Video, Codec::H264, 90_000, 96),
        track(1, Kind::Audio, Codec::Opus, 48_000, 97),
    ]
}

/// An RTP packet with the marker set.
pub fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x80; 12];
    data[1] = 0x80;
    rtp::rewrite(&mut data, payload_type, sequence, timestamp, 7);
    data.extend_from_slice(payload);
    data
}
