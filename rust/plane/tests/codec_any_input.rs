//! Whatever comes, an assembler neither panics nor keeps more than it may.

use _plane::codec::{Assembler, Codec, MAX_ACCESS_UNIT, starts_keyframe};
use proptest::prelude::*;

const NAMES: [&str; 10] = [
    "h264", "h265", "vp8", "vp9", "av1", "mpeg2", "opus", "aac", "aac-latm", "l16",
];

proptest! {
    #[test]
    fn any_payloads_are_taken(
        name in prop::sample::select(&NAMES[..]),
        aac in (0_u8..40, 0_u8..40, 0_u8..40),
        sets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        packets in prop::collection::vec(
            (
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..60),
                    prop::collection::vec(
                        prop::sample::select(&[0_u8, 1, 2, 3, 0x10, 0x18, 0x62, 0x65, 0x67, 0x7c, 0x80, 0x85, 0xff][..]),
                        0..40,
                    ),
                ],
                0_u32..3, any::<bool>(), prop::bool::weighted(0.2),
            ),
            0..40,
        ),
    ) {
        let codec = Codec::from_name(name, aac);
        let mut assembler = Assembler::new(codec, sets);
        let mut out = Vec::new();
        for (payload, timestamp, marker, gap) in &packets {
            starts_keyframe(&codec, payload);
            assembler.push(payload, *timestamp, *marker, *gap, &mut out);
        }
        prop_assert!(out.iter().all(|unit| !unit.data.is_empty()));
        prop_assert!(assembler.dropped() <= packets.len() as u64 * 2);
    }
}

#[test]
fn a_unit_that_never_ends_is_dropped_and_counted() {
    for (name, first, next) in [
        ("h264", [0x7c, 0x85, 0x80], [0x7c, 0x05, 0]),
        ("h265", [0x62, 1, 0x93], [0x62, 1, 0x13]),
        ("vp8", [0x10, 0, 0], [0, 0, 0]),
        ("vp9", [0x08, 0x82, 0], [0, 0, 0]),
        ("av1", [0x50, 0x30, 0], [0xd0, 0, 0]),
        ("aac-latm", [0xff; 3], [0xff; 3]),
    ] {
        let mut assembler = Assembler::new(Codec::from_name(name, (13, 3, 3)), vec![]);
        let mut out = Vec::new();
        let size = 60_000;
        for index in 0..=MAX_ACCESS_UNIT / size + 1 {
            let mut payload = if index == 0 { first } else { next }.to_vec();
            payload.resize(size + 3, 1);
            assembler.push(&payload, 0, false, false, &mut out);
            assert!(assembler.pending() <= MAX_ACCESS_UNIT);
        }
        assert_eq!(assembler.pending(), 0, "{name}");
        assembler.push(&[0x10, 0, 0, 0, 0], 1, true, false, &mut out);
        assert!(assembler.dropped() >= 1, "{name}");
        assert!(out.iter().all(|unit| unit.timestamp == 1), "{name}");
    }
}
