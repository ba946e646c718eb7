//! Captured packets become the access units that the encoder made (`data/payload/make.py`).

use std::fs;
use std::path::PathBuf;

use _plane::codec::{AccessUnit, Assembler, Codec, starts_keyframe};

struct Packet {
    payload: Vec<u8>,
    timestamp: u32,
    marker: bool,
}

struct Expected {
    time: u32,
    key: bool,
    data: Vec<u8>,
}

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/payload");
    fs::read(path.join(name)).unwrap()
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(data[at..at + 4].try_into().unwrap())
}

/// Things behind a 16-bit length.
fn lengthed(name: &str) -> Vec<Vec<u8>> {
    let data = read(name);
    let mut rest = data.as_slice();
    let mut found = Vec::new();
    while let Some((size, tail)) = rest.split_first_chunk::<2>() {
        let (item, tail) = tail.split_at(u16::from_be_bytes(*size).into());
        found.push(item.to_vec());
        rest = tail;
    }
    found
}

/// The fixtures have neither contributing sources, nor extensions, nor padding. Elementary streams carry
/// no time, so some senders gave all pictures the same: pictures are numbered here instead.
fn packets(case: &str) -> Vec<Packet> {
    let video = codec(case).has_keyframes();
    let mut pictures = 0;
    let mut found = Vec::new();
    for rtp in lengthed(&format!("{case}.rtp")) {
        assert_eq!(rtp[0], 0x80);
        let marker = rtp[1] & 0x80 != 0;
        found.push(Packet {
            payload: rtp[12..].to_vec(),
            timestamp: if video {
                pictures * 3000
            } else {
                u32_at(&rtp, 4)
            },
            marker,
        });
        pictures += u32::from(marker);
    }
    found
}

/// Annex B without the zero bytes that may stand before a start code: ffmpeg sends them along.
fn trimmed(codec: Codec, data: &[u8]) -> Vec<u8> {
    if !matches!(codec, Codec::H264 | Codec::H265) {
        return data.to_vec();
    }
    let mut kept = Vec::new();
    for byte in data {
        kept.push(*byte);
        if kept.ends_with(&[0, 0, 1]) {
            kept.truncate(kept.len() - 3);
            while kept.last() == Some(&0) {
                kept.pop();
            }
            kept.extend_from_slice(&[0, 0, 0, 1]);
        }
    }
    while kept.last() == Some(&0) {
        kept.pop();
    }
    kept
}

fn expected(case: &str) -> Vec<Expected> {
    let data = read(&format!("{case}.units"));
    let mut at = 0;
    let mut found = Vec::new();
    while at < data.len() {
        let size = u32_at(&data, at + 5) as usize;
        found.push(Expected {
            time: u32_at(&data, at),
            key: data[at + 4] != 0,
            data: data[at + 9..at + 9 + size].to_vec(),
        });
        at += 9 + size;
    }
    found
}

fn assemble(assembler: &mut Assembler, packets: &[Packet]) -> Vec<AccessUnit> {
    let mut out = Vec::new();
    for p in packets {
        assembler.push(&p.payload, p.timestamp, p.marker, false, &mut out);
    }
    out
}

fn codec(case: &str) -> Codec {
    let name = match case.split('-').next().unwrap() {
        "latm" => "aac-latm",
        name => name,
    };
    Codec::from_name(name, (13, 3, 3))
}

/// All units, byte for byte, in order, with the encoder's keyframes.
fn check(case: &str, sets: Vec<Vec<u8>>) -> (Vec<AccessUnit>, Vec<Expected>) {
    let codec = codec(case);
    let packets = packets(case);
    let mut assembler = Assembler::new(codec, sets);
    let units = assemble(&mut assembler, &packets);
    let mut expected = expected(case);
    if case == "aac-ffmpeg" {
        // ffmpeg collects several units for a packet and forgets the last packet at the end.
        expected.pop();
    }
    assert_eq!(assembler.dropped(), 0);
    for (index, (unit, wanted)) in units.iter().zip(&expected).enumerate() {
        assert!(
            trimmed(codec, &unit.data) == wanted.data,
            "{case}: bytes of unit {index}"
        );
        assert_eq!(unit.key, wanted.key, "{case}: key of unit {index}");
        assert!(!unit.after_loss);
    }
    assert_eq!(units.len(), expected.len(), "{case}");
    if codec.has_keyframes() {
        for unit in &units {
            let starts = packets
                .iter()
                .any(|p| p.timestamp == unit.timestamp && starts_keyframe(&codec, &p.payload));
            assert_eq!(
                starts, unit.key,
                "{case}: starts_keyframe at {}",
                unit.timestamp
            );
        }
    }
    (units, expected)
}

fn check_times(units: &[AccessUnit], expected: &[Expected]) {
    for (unit, wanted) in units.iter().zip(expected) {
        let time = unit.timestamp.wrapping_sub(units[0].timestamp);
        // GStreamer rounds nanoseconds down.
        assert!(time == wanted.time || time + 1 == wanted.time);
    }
}

#[test]
fn h264_of_ffmpeg_and_gstreamer_becomes_annex_b() {
    check("h264-ffmpeg", vec![]);
    check("h264-gstreamer", vec![]);
}

#[test]
fn h264_parameter_sets_from_the_description_precede_each_keyframe() {
    let case = "h264-out-of-band";
    let (units, _) = check(case, lengthed(&format!("{case}.sets")));
    assert!(units.iter().filter(|u| u.key).count() >= 2);
}

#[test]
fn h264_without_parameter_sets_has_no_key_unit() {
    let case = "h264-out-of-band";
    let mut assembler = Assembler::new(Codec::H264, vec![]);
    let units = assemble(&mut assembler, &packets(case));
    assert!(units.iter().all(|u| !u.key));
    assembler.set_parameter_sets(lengthed(&format!("{case}.sets")));
    assert!(assemble(&mut assembler, &packets(case))[0].key);
}

#[test]
fn h264_intra_refresh_can_be_joined_at_its_recovery_points() {
    let (units, _) = check("h264-intra-refresh", vec![]);
    assert!(units.iter().filter(|u| u.key).count() >= 2);
}

#[test]
fn h265_of_ffmpeg_and_gstreamer_becomes_annex_b() {
    check("h265-ffmpeg", vec![]);
    check("h265-gstreamer", vec![]);
}

#[test]
fn vp8_frames_lose_their_descriptor() {
    check("vp8-ffmpeg", vec![]);
    check("vp8-gstreamer", vec![]);
}

#[test]
fn vp9_frames_lose_their_descriptor() {
    check("vp9-ffmpeg", vec![]);
    check("vp9-gstreamer", vec![]);
}

#[test]
fn av1_temporal_units_get_their_size_fields_back() {
    check("av1-ffmpeg", vec![]);
}

#[test]
fn mpeg2_pictures_lose_their_header() {
    check("mpeg2-ffmpeg", vec![]);
    // GStreamer puts two small pictures under one marker, so only the stream is the same.
    let case = "mpeg2-gstreamer";
    let units = assemble(&mut Assembler::new(Codec::Mpeg2, vec![]), &packets(case));
    let stream = |data: Vec<Vec<u8>>| data.concat();
    assert!(
        stream(units.iter().map(|u| u.data.clone()).collect())
            == stream(expected(case).into_iter().map(|u| u.data).collect())
    );
    assert_eq!(units.iter().filter(|u| u.key).count(), 2);
}

#[test]
fn aac_access_units_are_taken_apart_and_timed() {
    for case in [
        "aac-ffmpeg",
        "aac-gstreamer",
        "latm-ffmpeg",
        "latm-gstreamer",
    ] {
        let (units, expected) = check(case, vec![]);
        check_times(&units, &expected);
    }
}

#[test]
fn opus_packets_are_units() {
    check("opus-gstreamer", vec![]);
}

/// Losing any one packet drops exactly the unit it belongs to, and every unit delivered is one the
/// encoder made.
#[test]
fn a_lost_packet_costs_its_own_unit_only() {
    for case in [
        "h264-ffmpeg",
        "h265-gstreamer",
        "vp8-gstreamer",
        "vp9-ffmpeg",
        "av1-ffmpeg",
        "mpeg2-ffmpeg",
        "aac-gstreamer",
        "latm-gstreamer",
    ] {
        let packets = packets(case);
        let all = assemble(&mut Assembler::new(codec(case), vec![]), &packets);
        for lost in 1..packets.len() - 1 {
            let mut assembler = Assembler::new(codec(case), vec![]);
            let mut out = Vec::new();
            for (index, p) in packets.iter().enumerate() {
                if index != lost {
                    let gap = index == lost + 1;
                    assembler.push(&p.payload, p.timestamp, p.marker, gap, &mut out);
                }
            }
            let missing = packets[lost].timestamp;
            let next = packets[lost + 1].timestamp;
            // What was lost with a marker could have been the end of the unit before.
            for unit in &all {
                let got = out.iter().find(|u| u.timestamp == unit.timestamp);
                if unit.timestamp != missing {
                    let got = got.unwrap_or_else(|| panic!("{case}: {lost} cost another unit"));
                    assert!(got.key == unit.key || !got.key);
                    if got.key {
                        assert!(got.data.ends_with(&unit.data), "{case}: {lost}");
                    }
                } else if let Some(got) = got {
                    // Only what stands before the picture (delimiter, SEI, parameter sets) can be
                    // missed without notice.
                    let begun = lost == 0 || packets[lost - 1].timestamp != missing;
                    assert!(begun && next == missing, "{case}: {lost} went unnoticed");
                    assert!(got.after_loss);
                }
            }
            let later = out.iter().any(|u| u.timestamp > missing);
            let told = out.iter().filter(|u| u.after_loss).count();
            assert!(told == 1 || (told == 0 && !later), "{case}: {lost}");
        }
    }
}
