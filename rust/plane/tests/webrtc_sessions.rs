//! Publishers and viewers against our sessions over a simulated network.

mod webrtc_support;

use _plane::codec::Codec;
use _plane::media::Kind;
use _plane::webrtc::Refused;
use _plane::webrtc::formats::Format;
use _plane::webrtc::session::{Closed, PublishOptions, Transport};
use _plane::webrtc::shard::Event;
use std::collections::BTreeSet;
use str0m::media::{Direction, MediaKind};
use webrtc_support::{BAD, GOOD, Link, MS, SECOND, World, opus, packet, track, view_options};

fn connected(world: &World, id: u64) -> bool {
    world
        .events
        .iter()
        .any(|event| matches!(event, Event::Connected(who) if *who == id))
}

#[test]
fn a_publishers_packets_arrive_complete_over_a_bad_network() {
    let mut world = World::new(BAD);
    let n = world.publisher(1, &[]);
    world.run(5 * SECOND);
    assert!(world.clients[n].connected && connected(&world, 1));
    let mid = world.shard.session(1).unwrap().tracks();
    assert_eq!(mid.len(), 2);
    let video = world.clients[n].video;
    for number in 0..1_500u64 {
        world.publish(n, video, None, 1_000 + number, &[7; 600]);
        world.run(4 * MS);
    }
    world.run(2 * SECOND);
    let came: BTreeSet<u64> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Media(1, media) if media.payload.len() == 600 => Some(media.number),
            _ => None,
        })
        .collect();
    let missing = (1_000..2_500)
        .filter(|number| !came.contains(number))
        .count();
    assert!(missing <= 2, "{missing} of 1500 were not repaired");
}

#[test]
fn simulcast_layers_are_told_apart() {
    let mut world = World::new(GOOD);
    let n = world.publisher(1, &["h", "m", "l"]);
    world.run(3 * SECOND);
    let tracks = world.shard.session(1).unwrap().tracks();
    let video = tracks.iter().position(|t| t.kind == Kind::Video).unwrap();
    assert_eq!(tracks[video].rids, ["h", "m", "l"]);
    let mid = world.clients[n].video;
    for number in 0..50u64 {
        for (rid, size) in [("h", 900), ("m", 500), ("l", 200)] {
            world.publish(n, mid, Some(rid), number, &vec![7; size]);
        }
        world.run(20 * MS);
    }
    for (layer, size) in [900, 500, 200].into_iter().enumerate() {
        let count = world
            .events
            .iter()
            .filter(|event| {
                matches!(event, Event::Media(1, media) if media.track == video
                    && media.layer == layer && media.payload.len() == size)
            })
            .count();
        assert!(count >= 48, "layer {layer}: {count}");
    }
    assert!(world.shard.request_keyframe(world.now, 1, video, 2));
    assert!(
        !world.shard.request_keyframe(world.now, 1, video, 2),
        "too soon"
    );
    assert!(
        world.shard.request_keyframe(world.now, 1, video, 0),
        "another layer"
    );
    world.run(300 * MS);
    assert_eq!(world.clients[n].keyframe_requests, 2);
    assert!(world.shard.request_keyframe(world.now, 1, video, 2));
}

#[test]
fn a_viewer_gets_everything_over_a_bad_network() {
    let mut world = World::new(BAD);
    let n = world.viewer(5, &view_options(&[0], None));
    world.run(5 * SECOND);
    assert!(connected(&world, 5));
    let first = 70_000;
    for number in 0..2_000u64 {
        let key = number % 500 == 0;
        let video = packet(0, true, key, first + number, world.now, 900);
        let audio = packet(9, false, false, 30 + number, world.now, 100);
        world.shard.deliver(world.now, &[5], [video, audio]);
        world.run(5 * MS);
    }
    world.run(2 * SECOND);
    let numbers = received(&world, n, 900);
    let missing = (numbers[0]..=numbers[numbers.len() - 1])
        .filter(|number| numbers.binary_search(number).is_err())
        .count();
    assert!(numbers.len() >= 1_990, "{} of 2000", numbers.len());
    assert!(missing <= 3, "{missing} were not repaired");
    assert!(
        received(&world, n, 100).len() >= 1_850,
        "sound is not repaired, only lost"
    );
    assert!(
        world.clients[n]
            .packets
            .iter()
            .all(|p| p.payload.len() != 900 || *p.seq_no < 1 << 16),
        "a fresh receiver assumes that nothing has wrapped"
    );
}

fn received(world: &World, n: usize, size: usize) -> Vec<u64> {
    let packets = world.clients[n].packets.iter();
    let of_size = packets.filter(|packet| packet.payload.len() == size);
    let numbers: BTreeSet<u64> = of_size.map(|packet| *packet.seq_no).collect();
    numbers.into_iter().collect()
}

#[test]
fn keyframe_requests_pass_and_a_change_of_layer_goes_unnoticed() {
    let mut world = World::new(GOOD);
    let n = world.viewer(5, &view_options(&[100_000, 1_000_000], None));
    world.run(3 * SECOND);
    let wanted = |world: &World, track: u8| {
        let asks = |event: &&Event| matches!(event, Event::KeyframeWanted(5, t) if *t == track);
        world.events.iter().filter(asks).count()
    };
    assert!(
        wanted(&world, 1) >= 1,
        "the best layer is asked for its first keyframe"
    );
    let mut number = [5u64, 90_000];
    let mut send = |world: &mut World, count: usize, key: Option<u8>| {
        for i in 0..count {
            for layer in 0..2u8 {
                let slot = &mut number[usize::from(layer)];
                *slot += 1;
                let key = i == 0 && key == Some(layer);
                let item = packet(layer, true, key, *slot, world.now, 500);
                world.shard.deliver(world.now, &[5], [item]);
            }
            world.run(10 * MS);
        }
    };
    send(&mut world, 5, None);
    assert!(
        received(&world, n, 500).is_empty(),
        "nothing before a keyframe"
    );
    send(&mut world, 100, Some(1));
    assert_eq!(world.shard.session(5).unwrap().showing(), Some(1));
    let before = wanted(&world, 1);
    world.ask_keyframe(n);
    world.run(100 * MS);
    assert_eq!(wanted(&world, 1), before + 1);

    world.shard.limit(world.now, 5, Some(0));
    send(&mut world, 20, None);
    assert!(
        wanted(&world, 0) >= 1,
        "the lower layer is asked for a keyframe"
    );
    assert_eq!(
        world.shard.session(5).unwrap().showing(),
        Some(1),
        "until it comes"
    );
    send(&mut world, 100, Some(0));
    world.run(200 * MS);
    assert_eq!(world.shard.session(5).unwrap().showing(), Some(0));
    let numbers = received(&world, n, 500);
    let span = numbers.last().unwrap() - numbers.first().unwrap() + 1;
    assert_eq!((numbers.len(), span), (220, 220), "continuous");
    let mut sorted: Vec<_> = world.clients[n].packets.iter().collect();
    sorted.sort_by_key(|packet| packet.seq_no);
    for two in sorted.windows(2) {
        let step = two[1]
            .header
            .timestamp
            .wrapping_sub(two[0].header.timestamp);
        assert!(
            (step + 20) % 900 <= 40 && step < 40_000,
            "whole tens of milliseconds at 90 kHz, not {step}"
        );
    }
}

#[test]
fn a_narrow_way_costs_the_picture_and_gives_it_back() {
    let mut world = World::new(GOOD);
    let n = world.viewer(5, &view_options(&[400_000, 1_500_000], Some(4_000_000)));
    world.run(2 * SECOND);
    let mut number = 0;
    let mut send = |world: &mut World, seconds: u64| {
        for _ in 0..seconds * 50 {
            number += 1;
            let key = number % 50 == 1;
            for (layer, packets) in [(0u8, 1u64), (1, 4)] {
                for part in 0..packets {
                    let at = number * packets + part;
                    let key = key && part == 0;
                    let item = packet(layer, true, key, at, world.now, 930);
                    world.shard.deliver(world.now, &[5], [item]);
                }
            }
            let audio = packet(9, false, false, number, world.now, 100);
            world.shard.deliver(world.now, &[5], [audio]);
            world.run(20 * MS);
        }
    };
    send(&mut world, 10);
    assert_eq!(world.shard.session(5).unwrap().showing(), Some(1));
    world.link.rate = 2_000_000;
    send(&mut world, 5);
    let before = received(&world, n, 100).len();
    world.link.rate = 400_000;
    send(&mut world, 12);
    assert_eq!(
        world.shard.session(5).unwrap().showing(),
        None,
        "sound only"
    );
    let sound = received(&world, n, 100).len() - before;
    let arrivals: Vec<_> = world.clients[n]
        .packets
        .iter()
        .filter(|packet| packet.payload.len() == 100)
        .map(|packet| packet.timestamp)
        .collect();
    let gap = arrivals
        .windows(2)
        .map(|two| two[1] - two[0])
        .max()
        .unwrap();
    assert!(
        gap.as_millis() <= 200,
        "no gap in the sound, but one of {gap:?}"
    );
    assert!(sound >= 500, "sound goes on: {sound} of 600");
    world.link.rate = 0;
    let since = world.now;
    while world.shard.session(5).unwrap().showing().is_none() {
        assert!(
            world.now - since < 20 * SECOND,
            "the picture does not come back"
        );
        send(&mut world, 1);
    }
}

/// Longest time between two packets of the sound that arrived from then on.
fn longest_silence(world: &World, n: usize, since: std::time::Instant) -> std::time::Duration {
    let packets = world.clients[n].packets.iter();
    let sound = packets.filter(|packet| packet.payload.len() == 100);
    let arrivals: Vec<_> = sound.map(|packet| packet.timestamp).collect();
    let late = arrivals.windows(2).filter(|two| two[1] >= since);
    late.map(|two| two[1] - two[0]).max().unwrap()
}

#[test]
fn without_an_estimate_a_narrow_path_costs_the_picture_and_gives_it_back() {
    let mut world = World::new(GOOD);
    let n = world.viewer(5, &view_options(&[1_500_000], None));
    world.run(2 * SECOND);
    let mut number = 0;
    let mut send = |world: &mut World, count: u64| {
        for _ in 0..count {
            number += 1;
            for part in 0..4 {
                let key = number % 50 == 1 && part == 0;
                let item = packet(0, true, key, number * 4 + part, world.now, 930);
                world.shard.deliver(world.now, &[5], [item]);
            }
            let audio = packet(9, false, false, number, world.now, 100);
            world.shard.deliver(world.now, &[5], [audio]);
            world.run(20 * MS);
        }
    };
    let shown = |world: &World| world.shard.session(5).unwrap().showing().is_some();
    send(&mut world, 500);
    assert!(shown(&world));
    assert_eq!(
        received(&world, n, 930).len(),
        4 * 500,
        "nothing is lost on a wide path"
    );

    world.link.rate = 300_000; // a fifth
    let (cut, before) = (world.now, received(&world, n, 100).len());
    while shown(&world) {
        assert!(world.now - cut < SECOND / 2, "the picture drowns the sound");
        send(&mut world, 1);
    }
    let dropped = world.now;
    let mut away = 0;
    for _ in 0..750 {
        away += u64::from(!shown(&world));
        send(&mut world, 1);
    }
    let sound = received(&world, n, 100).len() - before;
    assert!(away > 400, "sound only, most of the time: {away} of 750");
    assert!(sound >= 740, "the sound goes on: {sound} of 750");
    let gap = longest_silence(&world, n, world.instant(cut));
    // The queue of 400 ms fills before anybody can know, and a few sounds find no room in it.
    assert!(
        gap.as_millis() <= 400,
        "more than the queue that was full at first: {gap:?}"
    );
    let gap = longest_silence(&world, n, world.instant(dropped + SECOND));
    assert!(gap.as_millis() <= 150, "attempts are not heard: {gap:?}");

    world.link.rate = 0;
    let (since, seen) = (world.now, world.clients[n].packets.len());
    let pictures = |world: &World| {
        let packets = world.clients[n].packets[seen..].iter();
        packets.filter(|packet| packet.payload.len() == 930).count()
    };
    while pictures(&world) < 4 * 25 {
        assert!(
            world.now - since < 5 * SECOND,
            "the picture does not come back"
        );
        send(&mut world, 1);
    }
    send(&mut world, 100);
    let late = pictures(&world);
    send(&mut world, 50);
    assert_eq!(pictures(&world) - late, 4 * 50, "and it keeps up");
}

#[test]
fn no_common_codec_is_told_with_both_sides() {
    let mut world = World::new(GOOD);
    let h265 = Format {
        codec: Codec::H265,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
    };
    let mut options = view_options(&[], None);
    options.tracks.push(track(0, Kind::Video, h265, 0));
    let client =
        world.client(|api| api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None));
    let refused = world.take_viewer(1, &client.offer, &options);
    let Err(Refused::NoCommonCodec { offered, has }) = refused else {
        panic!("{refused:?}");
    };
    assert!(offered.iter().any(|format| format.starts_with("Vp8/90000")));
    assert_eq!(has, ["H265/90000"]);
    assert_eq!(
        world.take_publisher(1, &client.offer, &PublishOptions::default()),
        Err(Refused::NothingOffered)
    );
    assert!(world.shard.is_empty());
    for text in [
        "",
        "v=0\r\n",
        "nonsense",
        &client.offer[..300],
        &"m=".repeat(40_000),
    ] {
        assert!(world.take_viewer(1, text, &options).is_err());
    }
}

#[test]
fn a_viewer_of_a_channel_without_sound_is_answered() {
    let mut world = World::new(GOOD);
    let mut options = view_options(&[0], None);
    options.tracks.retain(|track| track.kind == Kind::Video);
    world.viewer(5, &options);
    world.run(3 * SECOND);
    assert!(connected(&world, 5));
    let mut options = view_options(&[], None);
    options.tracks = vec![track(0, Kind::Audio, opus(), 0)];
    world.viewer(6, &options);
    world.run(3 * SECOND);
    assert!(connected(&world, 6));
}

#[test]
fn a_viewer_comes_by_tcp() {
    let mut world = World::new(GOOD);
    world.transport = Transport::Tcp;
    let n = world.viewer(5, &view_options(&[0], None));
    world.run(5 * SECOND);
    assert!(connected(&world, 5));
    for number in 0..50 {
        let item = packet(0, true, number == 0, number, world.now, 500);
        world.shard.deliver(world.now, &[5], [item]);
        world.run(20 * MS);
    }
    assert_eq!(received(&world, n, 500).len(), 50);
}

#[test]
fn who_never_comes_and_who_goes_is_noticed() {
    let mut world = World::new(GOOD);
    let silent = Link {
        loss_percent: 100,
        ..GOOD
    };
    world.viewer(5, &view_options(&[0], None));
    world.run(2 * SECOND);
    world.link = silent;
    world.viewer(6, &view_options(&[0], None));
    world.run(9 * SECOND);
    let seen = |world: &World, f: fn(&Event) -> bool| world.events.iter().any(f);
    assert!(seen(&world, |e| matches!(e, Event::Disconnected(5))));
    world.run(35 * SECOND);
    assert!(seen(&world, |e| matches!(
        e,
        Event::Closed(5, Closed::Silent)
    )));
    assert!(seen(&world, |e| matches!(
        e,
        Event::Closed(6, Closed::NeverConnected)
    )));
    assert!(world.shard.is_empty());
    assert_eq!(world.shard.due(), None);

    world.link = GOOD;
    let n = world.viewer(7, &view_options(&[0], None));
    world.run(2 * SECOND);
    world.shard.close(world.now, 7);
    world.run(SECOND);
    assert!(world.clients[n].closed, "the goodbye was heard");
    assert!(seen(&world, |e| matches!(
        e,
        Event::Closed(7, Closed::ByUs)
    )));
}

#[test]
fn ice_restarts_by_a_fragment() {
    let mut world = World::new(GOOD);
    let n = world.viewer(5, &view_options(&[0], None));
    world.run(2 * SECOND);
    let old = world.shard.session(5).unwrap().ufrag().to_owned();
    let same = world.shard.patch(
        world.now,
        5,
        "a=candidate:1 1 udp 1 203.0.113.9 9 typ host\r\n",
    );
    assert_eq!(same, Ok(None));
    assert!(world.shard.patch(world.now, 5, "no fragment").is_err());
    let answer = world.restart_ice(n, 5);
    let new = world.shard.session(5).unwrap().ufrag().to_owned();
    assert_ne!(old, new);
    assert!(
        answer.contains(&format!("a=ice-ufrag:{new}\r\n")),
        "{answer}"
    );
    assert!(answer.contains("a=candidate:"), "{answer}");
    world.run(2 * SECOND);
    for number in 0..50 {
        let item = packet(0, true, number == 0, number, world.now, 500);
        world.shard.deliver(world.now, &[5], [item]);
        world.run(20 * MS);
    }
    assert!(received(&world, n, 500).len() >= 48);
}

/// Sends a viewer a packet each 20 ms for so many of them; those that came.
fn send(world: &mut World, n: usize, from: u64, count: u64) -> usize {
    let before = received(world, n, 500).len();
    for number in from..from + count {
        let item = packet(0, true, number == 0, number, world.now, 500);
        world.shard.deliver(world.now, &[5], [item]);
        world.run(20 * MS);
    }
    received(world, n, 500).len() - before
}

#[test]
fn media_follow_a_viewer_to_another_address() {
    let mut world = World::new(GOOD);
    let n = world.viewer(5, &view_options(&[0], None));
    world.run(2 * SECOND);
    assert_eq!(send(&mut world, n, 0, 500), 500);
    world.clients[n].seen_as = "203.0.113.77:1234".parse().unwrap();
    // ICE believes in the old address until there was no check from it for 15 s.
    send(&mut world, n, 500, 1_000);
    assert_eq!(send(&mut world, n, 1_500, 50), 50);
}
