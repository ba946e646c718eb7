//! Formats, tracks and packets of the channel that is watched.

use super::START;
use _plane::codec::Codec;
use _plane::media::Kind;
use _plane::webrtc::formats::Format;
use _plane::webrtc::session::{ViewOptions, ViewTrack};
use _plane::webrtc::view::Packet;
use std::sync::Arc;

pub fn vp8() -> Format {
    Format {
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
    }
}

pub fn opus() -> Format {
    Format {
        codec: Codec::Opus,
        clock_rate: 48_000,
        channels: 2,
        fmtp: String::new(),
    }
}

pub fn track(id: u8, kind: Kind, format: Format, rate: u64) -> ViewTrack {
    ViewTrack {
        id,
        kind,
        format,
        rate,
    }
}

pub fn view_options(rates: &[u64], estimate: Option<u64>) -> ViewOptions {
    let mut tracks = vec![track(9, Kind::Audio, opus(), 40_000)];
    for (id, rate) in rates.iter().enumerate() {
        tracks.push(track(id as u8, Kind::Video, vp8(), *rate));
    }
    ViewOptions {
        tracks,
        strict_profiles: true,
        initial_estimate: estimate,
    }
}

pub fn packet(track: u8, video: bool, key: bool, number: u64, now: u64, bytes: usize) -> Packet {
    let rate = if video { 90 } else { 48 };
    let mut payload = vec![0x10; bytes];
    let tail = bytes.min(8);
    payload[bytes - tail..].copy_from_slice(&number.to_be_bytes()[8 - tail..]);
    payload[1] = track;
    Packet {
        track,
        key,
        marker: true,
        video,
        number,
        timestamp: ((now - START) / 1_000 * rate) as u32,
        wall: now,
        payload: Arc::from(payload),
    }
}
