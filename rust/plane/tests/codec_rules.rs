//! Rules of the payload formats that the captured streams do not show.

use _plane::codec::{AccessUnit, Assembler, Codec, starts_keyframe};

const AAC: Codec = Codec::Aac {
    size_length: 13,
    index_length: 3,
    index_delta_length: 3,
};

/// Push (payload, timestamp, marker, gap).
fn assemble(codec: Codec, packets: &[(&[u8], u32, bool, bool)]) -> (Vec<AccessUnit>, u64) {
    let mut assembler = Assembler::new(codec, vec![]);
    let mut out = Vec::new();
    for (payload, timestamp, marker, gap) in packets {
        assembler.push(payload, *timestamp, *marker, *gap, &mut out);
    }
    (out, assembler.dropped())
}

#[test]
fn a_unit_without_marker_ends_when_the_timestamp_changes() {
    let (units, dropped) = assemble(
        Codec::H264,
        &[
            (&[0x41, 0x9a], 0, false, false),
            (&[0x41, 0x9b], 9, false, false),
        ],
    );
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].data, [0, 0, 0, 1, 0x41, 0x9a]);
    assert_eq!(dropped, 0);
}

#[test]
fn a_unit_whose_end_may_be_missing_is_dropped() {
    let (units, dropped) = assemble(
        Codec::H264,
        &[
            (&[0x41, 0x9a], 0, false, false),
            (&[0x41, 0x9b], 9, true, true),
        ],
    );
    assert_eq!((units.len(), dropped), (1, 1));
    assert!(units[0].after_loss);
    assert_eq!(units[0].timestamp, 9);
}

#[test]
fn an_empty_payload_with_the_marker_ends_the_unit() {
    let (units, _) = assemble(
        Codec::H264,
        &[
            (&[0x41, 0x9a], 0, false, false),
            (&[], 0, true, false),
            (&[], 5, true, false),
        ],
    );
    assert_eq!(units.len(), 1);
}

#[test]
fn h264_parameter_sets_under_their_own_marker_belong_to_the_next_keyframe() {
    let stap = [0x78, 0, 5, 0x67, 66, 0, 30, 0x80, 0, 2, 0x68, 0x80];
    assert!(starts_keyframe(&Codec::H264, &stap));
    let (units, dropped) = assemble(
        Codec::H264,
        &[
            (&stap, 0, true, false),
            (&[9, 0x10], 0, false, false),
            (&[0x65, 0x88], 0, true, false),
        ],
    );
    assert_eq!((units.len(), dropped), (1, 0));
    assert!(units[0].key);
    // Behind the delimiter.
    assert_eq!(
        units[0].data,
        [
            0, 0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x67, 66, 0, 30, 0x80, 0, 0, 0, 1, 0x68, 0x80, 0, 0,
            0, 1, 0x65, 0x88
        ]
    );
}

#[test]
fn h264_truncated_aggregates_and_interleaved_packets_spoil_the_unit() {
    for payload in [
        &[0x78, 0, 9, 0x41][..],
        &[0x79, 0, 0, 0, 1, 0x41],
        &[0x7d, 0x85, 0, 0],
    ] {
        let (units, dropped) = assemble(
            Codec::H264,
            &[(&[0x41, 0x9a], 0, false, false), (payload, 0, true, false)],
        );
        assert_eq!((units.len(), dropped), (0, 1), "{payload:x?}");
    }
}

#[test]
fn h264_keyframes_start_with_the_first_slice_only() {
    assert!(starts_keyframe(&Codec::H264, &[0x65, 0x88]));
    assert!(!starts_keyframe(&Codec::H264, &[0x65, 0x08]));
    assert!(starts_keyframe(&Codec::H264, &[0x7c, 0x85, 0x88]));
    assert!(!starts_keyframe(&Codec::H264, &[0x7c, 0x05, 0x88]));
    assert!(!starts_keyframe(&Codec::H264, &[0x41, 0x9a]));
}

#[test]
fn vp9_spatial_layers_become_one_superframe() {
    // L and B set, not flexible: layer byte and TL0PICIDX.
    let (units, _) = assemble(
        Codec::Vp9,
        &[
            (&[0x2c, 0x00, 0, 0x82, 1, 2], 0, false, false),
            (&[0x6c, 0x03, 0, 0x86, 3], 0, true, false),
        ],
    );
    assert_eq!(units.len(), 1);
    assert!(units[0].key);
    assert_eq!(units[0].data, [0x82, 1, 2, 0x86, 3, 0xc1, 3, 2, 0xc1]);
}

#[test]
fn vp9_intra_only_frames_are_no_keyframes() {
    assert!(starts_keyframe(&Codec::Vp9, &[0x08, 0x82]));
    assert!(!starts_keyframe(&Codec::Vp9, &[0x08, 0x86]));
    assert!(!starts_keyframe(&Codec::Vp9, &[0x48, 0x82]));
}

#[test]
fn av1_delimiters_are_dropped_and_given_sizes_kept() {
    // W=0: a delimiter, and a sequence header that already has its size field.
    let payload = [0x08, 2, 0x12, 0x00, 4, 0x0a, 2, 7, 8, 2, 0x30, 0x10];
    let (units, _) = assemble(Codec::Av1, &[(&payload, 0, true, false)]);
    assert_eq!(units[0].data, [0x0a, 2, 7, 8, 0x32, 1, 0x10]);
    assert!(units[0].key);
}

#[test]
fn av1_fragments_that_do_not_fit_together_spoil_the_unit() {
    let first: (&[u8], u32, bool, bool) = (&[0x50, 0x30, 0x10], 0, false, false);
    let (units, dropped) = assemble(Codec::Av1, &[first, (&[0x10, 0x30, 1], 0, true, false)]);
    assert_eq!((units.len(), dropped), (0, 1));
    let (units, _) = assemble(Codec::Av1, &[first, (&[0x90, 5], 0, true, false)]);
    assert_eq!(units[0].data, [0x32, 2, 0x10, 5]);
}

#[test]
fn mpeg2_extension_header_is_stripped_too() {
    let payload = [0x04, 0, 0x21, 0, 9, 9, 9, 9, 0, 0, 1, 0xb3];
    let (units, _) = assemble(Codec::Mpeg2, &[(&payload, 0, true, false)]);
    assert_eq!(units[0].data, [0, 0, 1, 0xb3]);
    assert!(units[0].key);
}

#[test]
fn aac_units_of_a_packet_follow_each_other_by_a_frame() {
    let packet = [0, 32, 0, 2 << 3, 0, 1 << 3, 7, 8, 9];
    let (units, _) = assemble(
        AAC,
        &[(&packet, 100, true, false), (&packet, 4196, true, false)],
    );
    let got: Vec<_> = units
        .iter()
        .map(|u| (u.timestamp, u.data.as_slice()))
        .collect();
    // Two units took 4096 ticks, so from then on each is known to last 2048.
    assert_eq!(
        got,
        [
            (100, &[7, 8][..]),
            (1124, &[9]),
            (4196, &[7, 8]),
            (6244, &[9])
        ]
    );
}

#[test]
fn aac_fragments_are_joined_and_a_lost_one_drops_the_unit_once() {
    let part: &[u8] = &[0, 16, 0, 3 << 3, 1];
    let (units, dropped) = assemble(
        AAC,
        &[
            (part, 0, false, false),
            (part, 0, false, false),
            (part, 0, true, false),
        ],
    );
    assert_eq!((units.len(), dropped), (1, 0));
    assert_eq!(units[0].data, [1, 1, 1]);
    let (units, dropped) = assemble(AAC, &[(part, 0, false, false), (part, 0, true, true)]);
    assert_eq!((units.len(), dropped), (0, 1));
}

#[test]
fn packets_of_opus_and_unknown_formats_are_units() {
    for codec in [Codec::Opus, Codec::Sampled, Codec::Unknown] {
        let (units, _) = assemble(codec, &[(&[1], 0, false, false), (&[2], 0, false, true)]);
        assert_eq!(units.len(), 2);
        assert!(units.iter().all(|u| u.key));
        assert!(units[1].after_loss);
    }
}

#[test]
fn reset_forgets_the_unfinished_unit() {
    let mut assembler = Assembler::new(Codec::Vp8, vec![]);
    let mut out = Vec::new();
    assembler.push(&[0x10, 0], 0, false, false, &mut out);
    assembler.reset();
    assert_eq!(assembler.pending(), 0);
    assembler.push(&[0x10, 2], 0, true, false, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].data, [2]);
}
