//! Senders of nodes that send parts of one title: numbers, clocks, packets sent again.

mod sender_support;

use _plane::rtp;
use _plane::sender::{Batch, Block, Node, Sender, Start, State, TrackSpec};
use sender_support::{END, Packet, block, play, title};

const NOW: u64 = 1_000_000_000;
const KEEP: u64 = 500_000;

fn node(number: u16) -> Sender {
    node_ahead(number, 0)
}

fn node_ahead(number: u16, ahead_us: u64) -> Sender {
    let track = |track, clock_rate| TrackSpec {
        track,
        ssrc: 7 + u32::from(track),
        payload_type: 96 + track,
        clock_rate,
        sequence: 1_000,
        timestamp: 5_000,
    };
    let node = Node {
        number,
        extension: 14,
        keep_us: KEEP,
        ahead_us,
    };
    let tracks = [track(0, 90_000), track(1, 48_000)];
    let mut sender = Sender::new(&tracks, "", 3_000_000, 1 << 20, Some(node)).unwrap();
    sender.reach(&[0, 1]);
    sender
}

fn fed(number: u16, from: u64) -> Sender {
    let mut sender = node(number);
    let block = Block::parse(Box::new(title(from, END))).unwrap();
    sender.feed(block).unwrap();
    sender
}

fn taken(sender: &mut Sender, now: u64) -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    sender.take(now, usize::MAX, &mut batch);
    (0..batch.len())
        .map(|at| batch.packet(at).concat())
        .collect()
}

/// Number of the title, node, number of the node.
fn numbers(packet: &[u8]) -> (u32, u16, u32) {
    assert_eq!(packet[12..17], [0xbe, 0xde, 0, 3, 14 << 4 | 9]);
    assert_eq!(packet[27], 0);
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    (
        word(17),
        u16::from_be_bytes([packet[21], packet[22]]),
        word(23),
    )
}

#[test]
fn the_extension_is_one_that_any_receiver_steps_over() {
    let mut sender = fed(513, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    for (n, packet) in taken(&mut sender, NOW + END).iter().enumerate() {
        let header = rtp::parse(packet).unwrap();
        assert_eq!(header.start, 28);
        assert_eq!(numbers(packet), (n as u32, 513, n as u32));
    }
}

#[test]
fn timestamps_are_the_titles_wherever_it_begins() {
    let mut sender = fed(1, 0);
    let info = sender.start(&play(200_000, NOW), NOW).unwrap();
    assert_eq!(info[0], (0, 1_000, 5_000 + 18_000));
    let first = rtp::parse(&taken(&mut sender, NOW)[0]).unwrap();
    assert_eq!(first.timestamp, 5_000 + 18_000);
    assert_eq!(first.sequence, 1_000 + 10); // five pictures before it
}

#[test]
fn a_late_node_keeps_to_the_clock() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    let packets = taken(&mut sender, NOW + 30_000_000);
    assert!(!packets.is_empty());
    assert_eq!(sender.counters.slipped_us, 0);
    assert!(sender.counters.late_max_us >= 29_000_000);
}

#[test]
fn nodes_that_change_the_rate_at_one_instant_stay_together() {
    let (mut one, mut other) = (fed(1, 0), fed(2, 0));
    for sender in [&mut one, &mut other] {
        sender.start(&play(0, NOW), NOW).unwrap();
    }
    one.set_rate(2.0, NOW + 100_000, None).unwrap();
    taken(&mut other, NOW + 140_000); // the order comes late
    other.set_rate(2.0, NOW + 100_000, None).unwrap();
    for at in [150_000, 250_000, 333_333] {
        taken(&mut one, NOW + at);
        taken(&mut other, NOW + at);
        assert_eq!(one.due(), other.due());
    }
}

#[test]
fn a_packet_is_sent_again_once_as_it_was() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    let packets = taken(&mut sender, NOW + 100_000);
    let next = packets.len() as u32;
    assert_eq!(
        sender.resend(&[4, 2, 4, next, u32::MAX], NOW + 100_000),
        Ok(2)
    );
    assert_eq!(sender.due(), Some(0));
    let again = taken(&mut sender, NOW + 100_000);
    assert_eq!(again, [packets[4].clone(), packets[2].clone()]);
    assert_eq!(sender.resend(&[2], NOW + 100_000), Ok(0));
    assert_eq!(
        (sender.counters.resent, sender.counters.resend_refused),
        (2, 4)
    );
    assert_eq!(sender.counters.packets, u64::from(next));
}

#[test]
fn packets_are_kept_for_a_time_also_when_it_stands() {
    let mut sender = fed(1, 0);
    sender.finish();
    sender.start(&play(0, NOW), NOW).unwrap();
    let early = taken(&mut sender, NOW).len() as u32;
    taken(&mut sender, NOW + END);
    assert_eq!(sender.state(), State::Ended);
    let now = NOW + END + KEEP - 100_000;
    assert_eq!(sender.resend(&[0, early - 1], now), Ok(0)); // sent at the beginning
    assert_eq!(sender.resend(&[early], now), Ok(1));
    assert_eq!(taken(&mut sender, now).len(), 1);
}

#[test]
fn numbers_of_a_node_go_on_over_a_seek() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    let before = taken(&mut sender, NOW + 100_000).len() as u32;
    sender.flush(NOW + 100_000);
    let block = Block::parse(Box::new(title(10 * END, END))).unwrap();
    sender.feed(block).unwrap();
    let start = Start {
        from_us: 10 * END,
        ..play(0, NOW + 100_000)
    };
    sender.start(&start, NOW + 100_000).unwrap();
    let packets = taken(&mut sender, NOW + 100_000);
    assert_eq!(numbers(&packets[0]).2, before);
}

/// RTCP as a player sends it: an empty report, and what it wants again.
fn asked(numbers: &[u32]) -> Vec<u8> {
    let mut sent = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
    sent.extend_from_slice(&[0x80, 204, 0, 2 + numbers.len() as u8, 0, 0, 0, 9]);
    sent.extend_from_slice(b"HBIP");
    sent.extend(numbers.iter().flat_map(|one| one.to_be_bytes()));
    sent
}

#[test]
fn a_player_asks_by_rtcp_and_is_heard() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    let packets = taken(&mut sender, NOW + 100_000);
    let now = NOW + 110_000;
    assert_eq!(sender.hear(&asked(&[3, 3, u32::MAX]), now), Some(1));
    assert_eq!(sender.heard.last, Some(now));
    assert_eq!(taken(&mut sender, NOW + 100_000), [packets[3].clone()]);
    assert_eq!(sender.counters.resend_refused, 2);
    assert_eq!(sender.hear(&asked(&[1; 65]), now), None);
    assert_eq!(sender.hear(&asked(&[]), now), None);
}

/// A block of a title that has as much before it.
fn block_at(from: u64) -> Block {
    let mut data = title(from, END);
    let count = u64::from(u32::from_be_bytes(data[8..12].try_into().unwrap()));
    let before = from / END * count;
    data[28..36].copy_from_slice(&before.to_be_bytes());
    data[36..44].copy_from_slice(&before.to_be_bytes()); // all of one track: only sums matter
    Block::parse(Box::new(data)).unwrap()
}

#[test]
fn a_block_that_comes_late_goes_before_what_waits() {
    let mut sender = node(1);
    let count = block_at(0).records().len();
    sender.feed(block_at(2 * END)).unwrap();
    sender.start(&play(0, NOW), NOW).unwrap();
    let begun = taken(&mut sender, NOW + 2 * END + END / 2).len();
    assert!(begun > 0);
    // Another node died that had these.
    sender.feed(block_at(END)).unwrap();
    sender.feed(block_at(0)).unwrap();
    let mut sent = taken(&mut sender, NOW + 2 * END + END / 2);
    assert_eq!(sent.len(), 2 * count);
    sent.extend(taken(&mut sender, NOW + 3 * END));
    let found: Vec<_> = sent.iter().map(|one| numbers(one)).collect();
    let totals: Vec<_> = found.iter().map(|one| one.0 as usize).collect();
    let left = 2 * count + begun..3 * count;
    assert_eq!(totals, (0..2 * count).chain(left).collect::<Vec<_>>());
    let own: Vec<_> = found.iter().map(|one| one.2).collect();
    assert_eq!(
        own,
        (begun as u32..(begun + found.len()) as u32).collect::<Vec<_>>()
    );
    assert_eq!(sender.counters(NOW + 9 * END).underruns, 0);
}

#[test]
fn what_a_node_stopped_short_of_is_sent_when_it_goes_on() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    let before = taken(&mut sender, NOW + 40_000).len();
    sender.pause(NOW + 40_000);
    // The others stopped behind further key units.
    let at = NOW + 5_000_000;
    sender.start(&play(END - 50_000, at), at).unwrap();
    let after = taken(&mut sender, at + END);
    let all: Vec<u32> = (before as u32..(before + after.len()) as u32).collect();
    assert_eq!(
        after.iter().map(|one| numbers(one).0).collect::<Vec<_>>(),
        all
    );
    let count = u32::from_be_bytes(title(0, END)[8..12].try_into().unwrap());
    assert_eq!(all.last(), Some(&(count - 1)));
}

/// Sends ahead whenever it may, in steps of a millisecond: when each packet went, and when it was due.
fn sent_ahead(sender: &mut Sender, from: u64, until: u64) -> Vec<(u64, u64)> {
    let mut went = Vec::new();
    for now in (from..until).step_by(1_000) {
        let mut batch = Batch::default();
        sender.take(now, usize::MAX, &mut batch);
        went.extend((0..batch.len()).map(|_| (now, now)));
        while let Some((due, opens)) = sender.ahead()
            && opens <= now
        {
            batch.clear();
            sender.take_ahead(now, &mut batch);
            assert!(!batch.is_empty());
            went.extend((0..batch.len()).map(|_| (now, due)));
        }
    }
    went
}

#[test]
fn it_gets_ahead_by_half_and_no_further_than_allowed() {
    let mut sender = node_ahead(1, 100_000);
    for n in 0..10 {
        let block = Block::parse(Box::new(title(n * END, END))).unwrap();
        sender.feed(block).unwrap();
    }
    sender.start(&play(0, NOW), NOW).unwrap();
    let went = sent_ahead(&mut sender, NOW, NOW + 2 * END);
    let lead = |(at, due): &(u64, u64)| due - at;
    for one in &went {
        assert!(lead(one) <= ((one.0 - NOW) / 2).min(100_000));
    }
    let later = went.iter().filter(|one| one.0 > NOW + 300_000);
    assert!(later.clone().count() > 50);
    assert!(later.map(lead).all(|lead| lead > 98_000));
    assert_eq!(sender.counters.late_max_us, 0);
}

#[test]
fn a_dense_stream_gets_ahead_too() {
    let mut sender = node_ahead(1, 100_000);
    for n in 0..4 {
        let packets: Vec<Packet> = (0..END as u32 / 300)
            .map(|n| (n * 300, 0, 15, n * 27, vec![1; 60]))
            .collect();
        let data = block(n * END, (n + 1) * END, &packets);
        sender.feed(Block::parse(Box::new(data)).unwrap()).unwrap();
    }
    sender.start(&play(0, NOW), NOW).unwrap();
    let went = sent_ahead(&mut sender, NOW, NOW + END);
    assert!(went.iter().all(|(at, due)| due - at <= (at - NOW) / 2));
    let later = went.iter().filter(|one| one.0 > NOW + 220_000);
    assert!(later.clone().count() > 1_000);
    assert!(later.clone().all(|(at, due)| due - at > 98_000));
}

#[test]
fn what_nobody_wants_keeps_nothing_behind_it() {
    let mut sender = node_ahead(1, 200_000);
    let picture = |after| (after, 0, 15, 0, vec![1; 60]);
    let pictures = block(0, END, &[picture(0), picture(300_000)]);
    let sounds = block(110_000, END, &[(0, 1, 15, 0, vec![2; 60])]);
    for data in [pictures, sounds] {
        sender.feed(Block::parse(Box::new(data)).unwrap()).unwrap();
    }
    let mut start = play(0, NOW);
    start.tracks = Some(vec![1]);
    sender.start(&start, NOW).unwrap();
    let went = sent_ahead(&mut sender, NOW, NOW + 100_000);
    assert_eq!(went, [(NOW + 74_000, NOW + 110_000)]);
}

#[test]
fn what_waited_until_it_was_due_has_to_get_ahead_anew() {
    let mut sender = node_ahead(1, 200_000);
    for n in 0..10 {
        let block = Block::parse(Box::new(title(n * END, END))).unwrap();
        sender.feed(block).unwrap();
    }
    sender.start(&play(0, NOW), NOW).unwrap();
    sent_ahead(&mut sender, NOW, NOW + END);
    // Nobody had room for it, for longer than it was ahead.
    let dry = NOW + END + 500_000;
    taken(&mut sender, dry);
    let went = sent_ahead(&mut sender, dry + 1_000, dry + 200_000);
    assert!(went.iter().all(|(at, due)| due - at <= (at - dry) / 2));
    assert!(went.iter().any(|(at, due)| due - at > 50_000));
}

#[test]
fn nothing_goes_ahead_unless_it_is_asked_for_and_plays() {
    let mut sender = fed(1, 0);
    sender.start(&play(0, NOW), NOW).unwrap();
    taken(&mut sender, NOW);
    assert_eq!(sender.ahead(), None);
    let mut sender = node_ahead(1, 200_000);
    let block = Block::parse(Box::new(title(0, END))).unwrap();
    sender.feed(block).unwrap();
    assert_eq!(sender.ahead(), None);
    sender.start(&play(0, NOW + 50_000), NOW).unwrap();
    taken(&mut sender, NOW);
    assert_eq!(sender.ahead().map(|(_, opens)| opens), Some(NOW + 50_000)); // not before it begins
    sender.pause(NOW + 60_000);
    assert_eq!(sender.ahead(), None);
}
