//! Packets that another unit numbered, in a channel: copies, epochs, standbys, clocks.

mod support;

use _plane::channel::{Channel, Config, SUCCESSION_STEP};
use _plane::event::Event;
use _plane::numbered::Numbered;
use _plane::ring::{KEY, MARKER, RTCP};
use _plane::rtcp;
use support::{config, packet, tracks};

const IDR: &[u8] = &[0x65, 0x88, 0x84];
const DELTA: &[u8] = &[0x41, 0x9a, 0x02];
const MS: u64 = 1_000;
const SOURCE: u64 = 10;
const INPUTS: [u64; 2] = [11, 12];
const OTHER: u64 = 20;

fn picture(epoch: u32, number: u64, key: bool) -> Numbered {
    let payload = if key { IDR } else { DELTA };
    Numbered {
        track: 0,
        flags: MARKER | if key { KEY } else { 0 },
        epoch,
        number,
        data: packet(96, number as u16, number as u32 * 3_600, payload).into(),
    }
}

fn report(epoch: u32, wall_us: u64, timestamp: u32) -> Numbered {
    let data = rtcp::sender_report(7, rtcp::to_ntp(wall_us), timestamp, 0, 0, "there");
    Numbered {
        track: 0,
        flags: RTCP,
        epoch,
        number: 0,
        data: data.into(),
    }
}

fn channel() -> Channel {
    let mut channel = Channel::new(
        1,
        Config {
            silence_us: 200 * MS,
            ..config()
        },
    );
    channel.add_numbered_source(SOURCE, 0, tracks());
    for input in INPUTS {
        channel.add_input(SOURCE, input);
    }
    channel
}

fn take(channel: &mut Channel, item: Numbered, now: u64) {
    channel.numbered(SOURCE, INPUTS[0], item, now).unwrap();
}

/// Epoch and number of what is in the ring.
fn held(channel: &Channel) -> Vec<(u32, u64)> {
    let media = channel.ring.from(0).filter(|item| item.flags & RTCP == 0);
    media.map(|item| (item.epoch, item.number)).collect()
}

fn epochs(channel: &Channel) -> Vec<u32> {
    let told = channel.events.iter().filter_map(|event| match event {
        Event::SourceActive { epoch, .. } => Some(*epoch),
        _ => None,
    });
    told.collect()
}

#[test]
fn packets_stay_as_they_are_and_copies_come_once() {
    let mut channel = channel();
    for number in 500..520 {
        let item = picture(3, number, number == 500);
        for input in INPUTS {
            channel
                .numbered(SOURCE, input, item.clone(), number * MS)
                .unwrap();
        }
        let newest = channel.ring.get(channel.ring.head() - 1).unwrap();
        assert_eq!(newest.data, item.data);
        assert_eq!((newest.flags, newest.arrival), (item.flags, number * MS));
    }
    assert_eq!(held(&channel).len(), 20);
    assert_eq!(channel.epoch, 3);
    assert_eq!(epochs(&channel), [3]);
    assert_eq!(channel.marks(520 * MS), [(0, 3, 519)]);
    let source = channel.source(SOURCE).unwrap();
    let seen = source.tracks[0].seen.as_ref().unwrap();
    assert_eq!((seen.received, seen.duplicates, seen.lost()), (20, 20, 0));
    assert_eq!(source.inputs[1].packets, 20);
}

#[test]
fn the_next_epoch_is_told_and_the_one_before_is_over() {
    let mut channel = channel();
    take(&mut channel, picture(3, 10, true), MS);
    take(&mut channel, picture(4, 300, true), 2 * MS);
    take(&mut channel, picture(3, 11, false), 3 * MS);
    take(&mut channel, picture(4, 301, false), 4 * MS);
    assert_eq!(held(&channel), [(3, 10), (4, 300), (4, 301)]);
    assert_eq!(epochs(&channel), [3, 4]);
    assert_eq!(channel.source(SOURCE).unwrap().rejected, 1);
}

#[test]
fn readers_begin_at_a_keyframe() {
    let mut channel = channel();
    for number in 10..15 {
        take(&mut channel, picture(1, number, false), number * MS);
    }
    assert!(held(&channel).is_empty());
    take(&mut channel, picture(1, 15, true), 15 * MS);
    assert_eq!(held(&channel), [(1, 15)]);
}

#[test]
fn after_silence_the_same_numbers_go_on_without_a_keyframe() {
    let mut channel = channel();
    for number in 0..5 {
        take(&mut channel, picture(1, number, number == 0), number * MS);
    }
    channel.tick(300 * MS);
    assert_eq!(channel.active(), None);
    assert!(
        channel
            .events
            .contains(&Event::ChannelSilent { channel: 1 })
    );
    // Another link replays what was missed, and something more.
    for number in 3..9 {
        take(&mut channel, picture(1, number, false), 400 * MS);
    }
    let numbers: Vec<u64> = held(&channel).iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn another_source_of_the_same_numbers_takes_over_on_the_packet() {
    let mut channel = channel();
    channel.add_numbered_source(OTHER, 1, tracks());
    channel.add_input(OTHER, 21);
    for number in 0..20 {
        let item = picture(1, number, number % 10 == 0);
        if number < 15 {
            take(&mut channel, item.clone(), number * MS);
        }
        channel.numbered(OTHER, 21, item, number * MS).unwrap();
    }
    assert_eq!(channel.active(), Some(SOURCE));
    assert_eq!(held(&channel).len(), 15, "the other stands by");
    channel.remove_source(SOURCE, 20 * MS);
    assert_eq!(channel.active(), Some(OTHER));
    let numbers: Vec<u64> = held(&channel).iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn clocks_are_those_of_the_numbering_unit() {
    let mut channel = channel();
    take(&mut channel, report(1, 5_000_000, 90_000), MS);
    take(&mut channel, picture(1, 50, true), 2 * MS);
    let clock = channel.layout[0].clock.unwrap();
    assert_eq!(clock.wall(180_000), 6_000_000);
    // A copy of the report by another way is none.
    let copies = channel.ring.len();
    take(&mut channel, report(1, 5_000_000, 90_000), 3 * MS);
    assert_eq!(channel.ring.len(), copies);
}

#[test]
fn a_source_of_this_unit_goes_on_in_an_epoch_above_the_claimed() {
    let mut channel = channel();
    for number in 100..110 {
        take(&mut channel, picture(6, number, number == 100), number * MS);
    }
    channel.remove_source(SOURCE, 120 * MS);
    channel.claim_epoch(8);
    channel.claim_epoch(7);
    channel.add_source(OTHER, 0, tracks());
    channel
        .rtp(OTHER, 21, 0, &packet(96, 4, 9, IDR), 130 * MS)
        .unwrap();
    let next = 110 + SUCCESSION_STEP;
    assert_eq!(held(&channel).last(), Some(&(9, next)));
    assert_eq!(channel.marks(130 * MS), [(0, 9, next)]);
    // What another unit still sends of its epoch is over.
    channel.add_numbered_source(SOURCE, -1, tracks());
    take(&mut channel, picture(6, 110, true), 140 * MS);
    assert_eq!(channel.active(), Some(OTHER));
    // A successor elsewhere is relayed when this unit's source ends.
    take(&mut channel, picture(10, 2_000, true), 150 * MS);
    channel.remove_source(OTHER, 160 * MS);
    assert_eq!(channel.active(), Some(SOURCE));
    assert_eq!(held(&channel).last(), Some(&(10, 2_000)));
    assert_eq!(channel.epoch, 10);
    assert!(!channel.numbered_here());
}

#[test]
fn what_others_have_of_a_later_epoch_is_overtaken_without_a_keyframe() {
    let mut entrance = Channel::new(1, config());
    entrance.claim_epoch(5);
    entrance.add_source(OTHER, 0, tracks());
    let send = |entrance: &mut Channel, number: u16, payload: &[u8]| {
        let time = u64::from(number) * MS;
        let data = packet(96, number, u32::from(number) * 3_600, payload);
        entrance.rtp(OTHER, 21, 0, &data, time).unwrap();
    };
    send(&mut entrance, 1, IDR);
    send(&mut entrance, 2, DELTA);
    let reports = entrance.ring.len() - 2;
    let first = held(&entrance)[0].1;
    // Elsewhere somebody numbered for a moment, in an epoch above: nothing from here is news there.
    let mut elsewhere = channel();
    take(&mut elsewhere, picture(9, 4, true), MS);
    take(&mut elsewhere, picture(6, 2, true), 2 * MS);
    assert_eq!(held(&elsewhere), [(9, 4)]);
    entrance.overtake_epoch(9, &[]);
    send(&mut entrance, 4, DELTA);
    send(&mut entrance, 3, DELTA);
    let next = first + 2 + SUCCESSION_STEP;
    assert_eq!(
        held(&entrance),
        [(6, first), (6, first + 1), (10, next + 1), (10, next)],
        "the late packet keeps its place"
    );
    assert_eq!(epochs(&entrance), [6, 10]);
    let reported = entrance.ring.len() - 4;
    assert_eq!(reported, reports + 1, "readers learn its clock");
    take(&mut elsewhere, picture(10, next + 1, false), 3 * MS);
    assert_eq!(held(&elsewhere).last(), Some(&(10, next + 1)));
    // Who is above it goes on as it is, and who relays nothing of its own only claims it.
    entrance.overtake_epoch(9, &[]);
    assert_eq!(entrance.epoch, 10);
    elsewhere.overtake_epoch(30, &[]);
    assert_eq!(elsewhere.epoch, 10);
    // The same epoch is none to go on in either; and numbers that others have are not given again.
    let theirs = next + 70_000;
    entrance.overtake_epoch(10, &[(0, theirs), (9, u64::MAX), (0, theirs - 1)]);
    send(&mut entrance, 5, DELTA);
    let above = theirs + 1 + SUCCESSION_STEP;
    assert_eq!(held(&entrance).last(), Some(&(11, above)));
}

#[test]
fn what_is_not_rtp_is_refused() {
    let mut channel = channel();
    for flags in [0, RTCP] {
        let item = Numbered {
            track: 0,
            flags,
            epoch: 1,
            number: 1,
            data: vec![1, 2, 3].into(),
        };
        assert!(channel.numbered(SOURCE, INPUTS[0], item, MS).is_err());
    }
    let mut item = picture(1, 1, true);
    item.track = 9;
    assert!(channel.numbered(SOURCE, INPUTS[0], item, MS).is_err());
    assert!(
        channel
            .rtp(SOURCE, INPUTS[0], 0, &packet(96, 1, 1, IDR), MS)
            .is_err()
    );
}
