//! Rubbish on the port: nothing panics, everything is counted, whoever is connected stays.

mod webrtc_support;

use _plane::framing::{Deframer, MAX_FRAME, frame};
use _plane::webrtc::mux::{ADDRESS_LIFE, ADDRESSES_PER_SESSION, Class, Mux, classify, local_ufrag};
use _plane::webrtc::session::Transport;
use proptest::prelude::*;
use std::net::SocketAddr;
use webrtc_support::{Dice, GOOD, MS, SECOND, World, packet, server, view_options};

fn mutate(data: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let length = data.len() as u64;
        match dice.below(5) {
            0 if length > 0 => {
                let at = dice.below(length) as usize;
                data[at] = dice.roll() as u8;
            }
            1 if length > 0 => {
                let at = dice.below(length.min(24)) as usize;
                data[at] ^= 1 << dice.below(8);
            }
            2 => data.truncate(dice.below(length + 1) as usize),
            3 => data.extend((0..dice.below(40)).map(|_| 0x5a)),
            _ if length > 4 => {
                let at = dice.below(length - 2) as usize;
                data[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            }
            _ => {}
        }
    }
}

#[test]
fn a_hundred_thousand_mutated_datagrams_end_nothing() {
    let mut world = World::new(GOOD);
    world.keep = Some(Vec::new());
    let publisher = world.publisher(1, &[]);
    let viewer = world.viewer(2, &view_options(&[0], Some(4_000_000)));
    world.run(3 * SECOND);
    let video = world.clients[publisher].video;
    for number in 0..100 {
        world.publish(publisher, video, None, number, &[7; 600]);
        let item = packet(0, true, number == 0, number, world.now, 500);
        world.shard.deliver(world.now, &[2], [item]);
        world.run(10 * MS);
    }
    let seeds = world.keep.take().unwrap();
    assert!(seeds.iter().any(|data| classify(data) == Class::Stun));
    assert!(seeds.iter().any(|data| classify(data) == Class::Dtls));
    assert!(seeds.iter().any(|data| classify(data) == Class::Rtcp));
    let mut dice = Dice(42);
    let addresses: Vec<SocketAddr> = vec![
        world.clients[publisher].address,
        world.clients[viewer].address,
        "203.0.113.66:6666".parse().unwrap(),
        "[2001:db8::66]:6666".parse().unwrap(),
    ];
    for round in 0..100_000u64 {
        let mut data = seeds[dice.below(seeds.len() as u64) as usize].clone();
        mutate(&mut data, &mut dice);
        let from = addresses[dice.below(4) as usize];
        let transport = if round % 10 == 0 {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        world
            .shard
            .receive(world.now, transport, from, server(), &data);
        if round % 500 == 0 {
            world.run(10 * MS);
        }
    }
    let counters = world.shard.counters();
    assert!(counters.dropped.unknown_address > 10_000, "{counters:?}");
    assert_eq!(world.shard.len(), 2, "both live: {:?}", world.events.last());
    let came = |world: &World| {
        let media = |e: &&_plane::webrtc::shard::Event| matches!(e, _plane::webrtc::shard::Event::Media(1, m) if m.payload.len() == 600);
        let watched = world.clients[viewer]
            .packets
            .iter()
            .filter(|p| p.payload.len() == 500);
        (world.events.iter().filter(media).count(), watched.count())
    };
    let before = came(&world);
    for number in 100..200 {
        world.publish(publisher, video, None, number, &[7; 600]);
        let item = packet(0, true, false, number, world.now, 500);
        world.shard.deliver(world.now, &[2], [item]);
        world.run(10 * MS);
    }
    world.run(500 * MS);
    let after = came(&world);
    assert!(
        after.0 - before.0 >= 98 && after.1 - before.1 >= 98,
        "{before:?} {after:?}"
    );
}

fn request(name: &str) -> Vec<u8> {
    let mut data = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    data.extend_from_slice(&[9; 12]);
    data.extend_from_slice(&[0, 6]);
    data.extend_from_slice(&(name.len() as u16).to_be_bytes());
    data.extend_from_slice(name.as_bytes());
    while data.len() % 4 != 0 {
        data.push(0);
    }
    let length = (data.len() - 20) as u16;
    data[2..4].copy_from_slice(&length.to_be_bytes());
    data
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], n))
}

#[test]
fn names_go_before_addresses_and_addresses_move() {
    let mut mux = Mux::default();
    mux.add(1, "alpha");
    mux.add(2, "beta");
    let media = [0x80; 40];
    assert_eq!(mux.route(0, address(5), &media), None);
    assert_eq!(mux.route(0, address(5), &request("alpha:peer")), Some(1));
    assert_eq!(
        mux.route(0, address(5), &media),
        None,
        "a request alone teaches nothing"
    );
    mux.learn(0, address(5), 1);
    assert_eq!(mux.route(0, address(5), &media), Some(1));
    assert_eq!(mux.route(0, address(5), &request("beta:peer")), Some(2));
    mux.learn(1, address(5), 2);
    assert_eq!(mux.route(1, address(5), &media), Some(2));
    mux.remove(1);
    assert_eq!(
        mux.route(1, address(5), &media),
        Some(2),
        "it is the other's now"
    );
    assert_eq!(mux.route(1, address(5), &request("alpha:peer")), None);
    assert_eq!(mux.dropped.unknown_name, 1);
    mux.add(2, "beta2");
    assert_eq!(
        mux.route(1, address(6), &request("beta:peer")),
        Some(2),
        "while restarting"
    );
    mux.add(2, "beta3");
    assert_eq!(mux.route(1, address(6), &request("beta:peer")), None);
    mux.remove(2);
    assert_eq!((mux.len(), mux.is_empty()), ((0, 0), true));
}

#[test]
fn addresses_are_forgotten_and_bounded() {
    let mut mux = Mux::default();
    mux.add(1, "alpha");
    for port in 1..=200 {
        mux.learn(u64::from(port), address(port), 1);
    }
    assert_eq!(mux.len().0, ADDRESSES_PER_SESSION);
    assert_eq!(
        mux.route(201, address(200), &[0x80; 40]),
        Some(1),
        "the newest is kept"
    );
    assert_eq!(mux.route(202 + ADDRESS_LIFE, address(1), &[0x80; 40]), None);
    assert_eq!(mux.len().0, 0);
    mux.learn(0, address(1), 77);
    assert_eq!(mux.len().0, 0, "nobody's address is not kept");
}

#[test]
fn tells_protocols_by_the_first_bytes() {
    let with = |first: u8, second: u8| {
        let mut data = [0; 40];
        data[..2].copy_from_slice(&[first, second]);
        classify(&data)
    };
    assert_eq!(with(1, 1), Class::Stun);
    assert_eq!(with(22, 254), Class::Dtls);
    assert_eq!(with(128, 96), Class::Rtp);
    assert_eq!(
        with(144, 224),
        Class::Rtp,
        "payload type 96 with the marker"
    );
    assert_eq!(with(129, 201), Class::Rtcp);
    for first in [4, 19, 64, 79, 127, 192, 255] {
        assert_eq!(with(first, 0), Class::Unknown);
    }
    assert_eq!(classify(&[]), Class::Unknown);
    assert_eq!(classify(&[0x80, 96]), Class::Unknown);
}

#[test]
fn a_length_beyond_the_limit_ends_the_connection() {
    let mut deframer = Deframer::default();
    let long = ((MAX_FRAME + 1) as u16).to_be_bytes();
    assert!(
        deframer
            .push(&[0, 1, 7, long[0]], |data| assert_eq!(data, [7]))
            .is_ok()
    );
    assert!(deframer.push(&[long[1]], |_| unreachable!()).is_err());
    assert!(deframer.push(&[0, 0], |_| unreachable!()).is_err());
    assert_eq!(deframer.pending(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_routed_without_panic(
        data in prop::collection::vec(any::<u8>(), 0..200),
        stun in any::<bool>(),
    ) {
        let mut data = data;
        if stun && data.len() >= 20 {
            let length = (data.len() - 20) as u16;
            data[0] = 0;
            data[2..4].copy_from_slice(&length.to_be_bytes());
            data[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        let _ = local_ufrag(&data);
        let mut mux = Mux::default();
        mux.add(1, "alpha");
        let before = mux.dropped;
        let routed = mux.route(0, address(1), &data);
        prop_assert!(routed.is_some() || mux.dropped != before, "dropped, and counted");
    }

    #[test]
    fn names_of_any_length_are_found(name in "[a-zA-Z0-9+/]{1,256}", peer in "[a-z]{1,40}") {
        let data = request(&format!("{name}:{peer}"));
        prop_assert_eq!(local_ufrag(&data), Some(name.as_str()));
    }

    #[test]
    fn packets_come_out_as_they_went_in_however_they_are_cut(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..20),
        cuts in prop::collection::vec(1usize..700, 1..60),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            prop_assert!(frame(packet, &mut stream));
        }
        let mut deframer = Deframer::default();
        let mut out = Vec::new();
        let mut rest = &stream[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let at = (*cuts.next().unwrap()).min(rest.len());
            deframer.push(&rest[..at], |data| out.push(data.to_vec())).unwrap();
            prop_assert!(deframer.pending() < 2 + MAX_FRAME);
            rest = &rest[at..];
        }
        let sent: Vec<_> = packets.into_iter().filter(|packet| !packet.is_empty()).collect();
        prop_assert_eq!(out, sent);
        prop_assert_eq!(deframer.pending(), 0);
    }

    #[test]
    fn any_stream_of_bytes_is_bounded(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..30)
    ) {
        let mut deframer = Deframer::default();
        for piece in pieces {
            let _ = deframer.push(&piece, |data| assert!(data.len() <= MAX_FRAME));
            prop_assert!(deframer.pending() <= 2 + MAX_FRAME);
        }
    }
}
