//! A channel on a simulated clock: numbering, epochs, standby sources, readers' beginnings.

use _plane::channel::{Channel, Config, Reject};
use _plane::codec::Codec;
use _plane::event::Event;
use _plane::media::{Kind, TrackSpec};
use _plane::ring::{Item, KEY, RTCP};
use _plane::rtp;
use std::sync::Arc;

const MS: u64 = 1_000;
const START: u64 = 1_795_000_000_000_000;
const FRAME: u64 = 40 * MS;
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const DELTA: &[u8] = &[0x41, 0x9a, 0x02];

fn config() -> Config {
    Config {
        depth_us: 60_000 * MS,
        max_bytes: 1 << 20,
        silence_us: 500 * MS,
        return_us: None,
        coalesce_us: 1_500,
        tcp_interval_us: 0,
        lag_us: 1_000 * MS,
    }
}

fn video() -> TrackSpec {
    TrackSpec {
        id: 0,
        kind: Kind::Video,
        codec: Codec::H264,
        clock_rate: 90_000,
        payload_type: 96,
        parameter_sets: vec![
            vec![0x67, 0x42, 0xc0, 0x1f, 0xda],
            vec![0x68, 0xce, 0x3c, 0x80],
        ],
    }
}

fn audio() -> TrackSpec {
    TrackSpec {
        id: 1,
        kind: Kind::Audio,
        codec: Codec::Opus,
        clock_rate: 48_000,
        payload_type: 97,
        parameter_sets: vec![],
    }
}

fn packet(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x80; 12];
    data[1] = 0x80;
    rtp::rewrite(&mut data, payload_type, sequence, timestamp, ssrc);
    data.extend_from_slice(payload);
    data
}

/// A publisher of 25 pictures a second, one packet each.
struct Publisher {
    source: u64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Publisher {
    fn join(channel: &mut Channel, source: u64, priority: i64, ssrc: u32) -> Self {
        channel.add_source(source, priority, vec![video()]);
        channel.add_input(source, source + 100);
        Self {
            source,
            ssrc,
            sequence: 65_530,
            timestamp: ssrc.wrapping_mul(7_919),
        }
    }

    fn send(&mut self, channel: &mut Channel, payload: &[u8], now: u64) {
        let data = packet(96, self.sequence, self.timestamp, self.ssrc, payload);
        channel
            .rtp(self.source, self.source + 100, 0, &data, now)
            .unwrap();
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(3_600);
    }
}

fn media(channel: &Channel) -> Vec<Arc<Item>> {
    channel
        .ring
        .from(0)
        .filter(|item| item.flags & RTCP == 0)
        .cloned()
        .collect()
}

fn active(channel: &mut Channel) -> Vec<(u64, u32)> {
    channel
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::SourceActive { source, epoch, .. } => Some((source, epoch)),
            _ => None,
        })
        .collect()
}

#[test]
fn begins_on_a_keyframe_and_numbers_without_gaps_over_the_wrap() {
    let mut channel = Channel::new(1, config());
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    publisher.send(&mut channel, DELTA, START);
    assert!(
        media(&channel).is_empty(),
        "a picture nobody could show is not relayed"
    );
    publisher.send(&mut channel, IDR, START + FRAME);
    for n in 2..30 {
        publisher.send(&mut channel, DELTA, START + n * FRAME);
    }
    let items = media(&channel);
    assert_eq!(items.len(), 29);
    assert!(items[0].flags & KEY != 0);
    for pair in items.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1);
        let (one, two) = (
            rtp::parse(&pair[0].data).unwrap(),
            rtp::parse(&pair[1].data).unwrap(),
        );
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        assert_eq!(two.timestamp, one.timestamp.wrapping_add(3_600));
        assert_eq!(two.ssrc, one.ssrc);
    }
}

#[test]
fn a_publisher_that_returns_continues_the_numbering_in_the_next_epoch() {
    let mut channel = Channel::new(1, config());
    let mut first = Publisher::join(&mut channel, 1, 0, 5);
    first.send(&mut channel, IDR, START);
    first.send(&mut channel, DELTA, START + FRAME);
    channel.remove_source(1, START + 2 * FRAME);
    let later = START + 10_000 * MS;
    let mut second = Publisher::join(&mut channel, 2, 0, 99);
    second.send(&mut channel, DELTA, later);
    second.send(&mut channel, IDR, later + FRAME);
    let items = media(&channel);
    assert_eq!(active(&mut channel), [(1, 1), (2, 2)]);
    let last = items.last().unwrap();
    let before = &items[items.len() - 2];
    assert_eq!((last.epoch, last.number), (2, before.number + 1));
    let (one, two) = (
        rtp::parse(&before.data).unwrap(),
        rtp::parse(&last.data).unwrap(),
    );
    assert_eq!(one.ssrc, two.ssrc);
    let seconds = f64::from(two.timestamp.wrapping_sub(one.timestamp)) / 90_000.0;
    assert!(
        (seconds - 10.0).abs() < 0.01,
        "the timestamps tell the time that passed: {seconds}"
    );
}

#[test]
fn a_standby_takes_over_from_its_last_keyframe_when_the_first_falls_silent() {
    let mut channel = Channel::new(1, config());
    let mut first = Publisher::join(&mut channel, 1, 0, 5);
    let mut second = Publisher::join(&mut channel, 2, 1, 6);
    let mut now = START;
    for n in 0..50 {
        now = START + n * FRAME;
        let payload = if n % 25 == 0 { IDR } else { DELTA };
        first.send(&mut channel, payload, now);
        second.send(&mut channel, payload, now + 1);
    }
    assert_eq!(active(&mut channel), [(1, 1)]);
    let before = media(&channel).len();
    for n in 0..14 {
        second.send(&mut channel, DELTA, now + n * FRAME);
        channel.tick(now + n * FRAME);
    }
    assert_eq!(active(&mut channel), [(2, 2)]);
    let items = media(&channel);
    let successor = &items[before];
    assert_eq!(successor.epoch, 2);
    assert!(
        successor.flags & KEY != 0,
        "the successor begins on a keyframe"
    );
    assert!(items.len() > before + 25, "with everything it had since");
}

#[test]
fn the_better_source_comes_back_on_its_keyframe_when_policy_says_so() {
    let mut channel = Channel::new(
        1,
        Config {
            return_us: Some(1_000 * MS),
            ..config()
        },
    );
    let mut second = Publisher::join(&mut channel, 2, 1, 6);
    second.send(&mut channel, IDR, START);
    let mut first = Publisher::join(&mut channel, 1, 0, 5);
    for n in 1..60 {
        second.send(&mut channel, DELTA, START + n * FRAME);
        first.send(
            &mut channel,
            if n % 20 == 0 { IDR } else { DELTA },
            START + n * FRAME,
        );
    }
    // Well since 1 × 40 ms; the first keyframe after a second of that is number 40.
    assert_eq!(active(&mut channel), [(2, 1), (1, 2)]);
    let items = media(&channel);
    let change = items.iter().find(|item| item.epoch == 2).unwrap();
    assert_eq!(change.arrival, START + 40 * FRAME);
}

#[test]
fn copies_of_one_stream_are_merged_and_each_fills_the_others_gaps() {
    let mut channel = Channel::new(1, config());
    channel.add_source(1, 0, vec![video()]);
    channel.add_input(1, 10);
    channel.add_input(1, 11);
    for n in 0..20_u16 {
        let data = packet(
            96,
            n,
            u32::from(n) * 3_600,
            5,
            if n == 0 { IDR } else { DELTA },
        );
        let now = START + u64::from(n) * FRAME;
        if n % 3 != 1 {
            channel.rtp(1, 10, 0, &data, now).unwrap();
        }
        if n % 3 != 2 {
            channel.rtp(1, 11, 0, &data, now + 1).unwrap();
        }
    }
    let numbers: Vec<u64> = media(&channel).iter().map(|item| item.number).collect();
    assert_eq!(numbers.len(), 20);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(channel.sources[0].tracks[0].numbering.duplicates > 0);
}

#[test]
fn silence_is_reported_once_and_ends_with_the_next_keyframe() {
    let mut channel = Channel::new(1, config());
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    publisher.send(&mut channel, IDR, START);
    channel.events.clear();
    for n in 0..40 {
        channel.tick(START + n * 25 * MS);
    }
    assert_eq!(
        channel.events,
        [
            Event::SourceSilent {
                channel: 1,
                source: 1
            },
            Event::ChannelSilent { channel: 1 }
        ]
    );
    channel.events.clear();
    publisher.send(&mut channel, IDR, START + 2_000 * MS);
    assert_eq!(active(&mut channel), [(1, 2)]);
}

#[test]
fn a_source_that_only_paused_goes_on_where_it_ended() {
    let mut channel = Channel::new(
        1,
        Config {
            silence_us: 40 * MS,
            ..config()
        },
    );
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    publisher.send(&mut channel, IDR, START);
    channel.tick(START + 10 * MS);
    assert_eq!(channel.due(START + 10 * MS), START + 40 * MS);
    channel.tick(START + 40 * MS);
    assert!(channel.active().is_none());
    publisher.send(&mut channel, DELTA, START + 60 * MS);
    assert_eq!(active(&mut channel), [(1, 1), (1, 1)]);
    let numbers: Vec<u64> = media(&channel).iter().map(|item| item.number).collect();
    assert_eq!(numbers.len(), 2, "no keyframe is waited for");
    assert_eq!(numbers[1], numbers[0] + 1);
    // After longer, something may have been lost that nobody would notice.
    channel.tick(START + 100 * MS);
    publisher.send(&mut channel, DELTA, START + 700 * MS);
    assert!(channel.active().is_none());
    publisher.send(&mut channel, IDR, START + 740 * MS);
    assert_eq!(active(&mut channel), [(1, 2)]);
}

#[test]
fn a_source_that_paused_begins_anew_after_another() {
    let mut channel = Channel::new(
        1,
        Config {
            silence_us: 40 * MS,
            ..config()
        },
    );
    let mut first = Publisher::join(&mut channel, 1, 0, 5);
    first.send(&mut channel, IDR, START);
    channel.tick(START + 40 * MS);
    let mut second = Publisher::join(&mut channel, 2, 1, 6);
    second.send(&mut channel, IDR, START + 50 * MS);
    first.send(&mut channel, DELTA, START + 60 * MS);
    channel.tick(START + 90 * MS); // the second is silent, and of the first no keyframe came
    assert_eq!(active(&mut channel), [(1, 1), (2, 2)]);
    assert!(channel.active().is_none());
    first.send(&mut channel, DELTA, START + 95 * MS);
    assert!(channel.active().is_none());
    second.send(&mut channel, DELTA, START + 100 * MS);
    assert_eq!(active(&mut channel), [(2, 2)]);
}

#[test]
fn a_standby_that_paused_still_takes_over_from_its_keyframe() {
    let mut channel = Channel::new(
        1,
        Config {
            silence_us: 40 * MS,
            ..config()
        },
    );
    let mut first = Publisher::join(&mut channel, 1, 0, 5);
    let mut second = Publisher::join(&mut channel, 2, 1, 6);
    first.send(&mut channel, IDR, START);
    second.send(&mut channel, IDR, START);
    first.send(&mut channel, DELTA, START + 30 * MS);
    channel.tick(START + 40 * MS);
    second.send(&mut channel, DELTA, START + 60 * MS);
    channel.tick(START + 70 * MS);
    assert_eq!(active(&mut channel), [(1, 1), (2, 2)]);
    let of_second: Vec<_> = media(&channel)
        .into_iter()
        .filter(|item| item.epoch == 2)
        .collect();
    assert_eq!(of_second.len(), 2);
    assert!(of_second[0].flags & KEY != 0);
}

#[test]
fn sender_reports_keep_sound_and_picture_on_one_clock() {
    let mut channel = Channel::new(1, config());
    channel.add_source(1, 0, vec![video(), audio()]);
    channel.add_input(1, 10);
    // The source's wall clock is a day behind ours; sound was sampled 100 ms after the picture.
    let theirs = START - 86_400_000 * MS;
    let picture = _plane::rtcp::sender_report(5, _plane::rtcp::to_ntp(theirs), 1_000, 0, 0, "x");
    let sound = _plane::rtcp::sender_report(
        6,
        _plane::rtcp::to_ntp(theirs + 100 * MS),
        77_000,
        0,
        0,
        "x",
    );
    channel.rtcp(1, 0, &picture, START).unwrap();
    channel.rtcp(1, 1, &sound, START + 30 * MS).unwrap();
    channel
        .rtp(1, 10, 0, &packet(96, 1, 1_000, 5, IDR), START + 40 * MS)
        .unwrap();
    channel
        .rtp(
            1,
            10,
            1,
            &packet(97, 1, 77_000, 6, b"opus"),
            START + 41 * MS,
        )
        .unwrap();
    let walls: Vec<u64> = channel
        .layout
        .iter()
        .map(|out| {
            let first = media(&channel)
                .into_iter()
                .find(|item| item.track == out.spec.id);
            out.clock.unwrap().wall(first.unwrap().time as u32)
        })
        .collect();
    assert_eq!(walls[1] - walls[0], 100 * MS);
    let reports = channel
        .ring
        .from(0)
        .filter(|item| item.flags & RTCP != 0)
        .count();
    assert_eq!(
        reports, 2,
        "readers are told of both clocks before the first packets"
    );
}

/// What the readers of each track take a timestamp of its publisher for, before and after the
/// publisher's reports: pictures relayed `late` after their instant, sound at its instant.
fn walls_around_first_reports(late: u64, picture_first: bool) -> [[u64; 2]; 2] {
    let mut channel = Channel::new(1, config());
    channel.add_source(1, 0, vec![video(), audio()]);
    channel.add_input(1, 10);
    let picture = packet(96, 1, 1_000, 5, IDR);
    let sound = packet(97, 1, 77_000, 6, b"opus");
    channel.rtp(1, 10, 0, &picture, START + late).unwrap();
    channel.rtp(1, 10, 1, &sound, START).unwrap();
    let told = |channel: &Channel| {
        let wall = |track: usize, rtp| channel.layout[track].clock.unwrap().wall(rtp);
        [wall(0, 1_000), wall(1, 77_000)]
    };
    let before = told(&channel);
    let report = |ssrc, rtp| {
        let theirs = START - 86_400_000 * MS;
        _plane::rtcp::sender_report(ssrc, _plane::rtcp::to_ntp(theirs), rtp, 0, 0, "x")
    };
    let (picture, sound) = (report(5, 1_000), report(6, 77_000));
    if picture_first {
        channel.rtcp(1, 0, &picture, START).unwrap();
        channel.rtcp(1, 1, &sound, START).unwrap();
    } else {
        channel.rtcp(1, 1, &sound, START).unwrap();
        channel.rtcp(1, 0, &picture, START).unwrap();
    }
    [before, told(&channel)]
}

#[test]
fn a_picture_keeps_its_instant_when_the_publishers_clock_becomes_known() {
    for picture_first in [true, false] {
        let [before, after] = walls_around_first_reports(50 * MS, picture_first);
        assert_eq!(before, [START + 50 * MS, START]);
        // Sound and picture belong together, as the reports say; it is the sound that moves.
        assert_eq!(after, [START + 50 * MS; 2]);
    }
}

/// What readers take the first picture and sound of a second source for, which by its reports
/// came `early` before the last picture of the first; and for what they take that picture.
fn walls_at_a_take_over(early: u64) -> ([u64; 2], u64) {
    let mut channel = Channel::new(1, config());
    for (source, input) in [(1, 10), (2, 20)] {
        channel.add_source(source, source as i64, vec![video(), audio()]);
        channel.add_input(source, input);
    }
    let told = |channel: &Channel, track: u8| {
        let packets = media(channel);
        let last = packets.iter().rfind(|item| item.track == track).unwrap();
        let clock = channel.layout[usize::from(track)].clock.unwrap();
        clock.wall(last.time as u32)
    };
    let mut last = 0;
    for (source, ssrc, instant) in [(1, 5, START), (2, 7, START - early)] {
        let ntp = _plane::rtcp::to_ntp(instant);
        let report = |ssrc, rtp| _plane::rtcp::sender_report(ssrc, ntp, rtp, 0, 0, "x");
        channel
            .rtcp(source, 0, &report(ssrc, 1_000), instant)
            .unwrap();
        channel
            .rtcp(source, 1, &report(ssrc + 1, 77_000), instant)
            .unwrap();
        let picture = packet(96, 1, 1_000, ssrc, IDR);
        let sound = packet(97, 1, 77_000, ssrc + 1, b"opus");
        channel
            .rtp(source, source * 10, 0, &picture, START)
            .unwrap();
        channel.rtp(source, source * 10, 1, &sound, START).unwrap();
        if source == 1 {
            last = told(&channel, 0);
        }
    }
    channel.remove_source(1, START + MS);
    let begun = [told(&channel, 0), told(&channel, 1)];
    // The next reports change nothing.
    let ntp = _plane::rtcp::to_ntp(START - early);
    let report = _plane::rtcp::sender_report(7, ntp, 1_000, 0, 0, "x");
    channel.rtcp(2, 0, &report, START + 2 * MS).unwrap();
    assert_eq!(told(&channel, 0), begun[0]);
    (begun, last)
}

#[test]
fn a_little_difference_between_two_sources_clocks_does_not_turn_time_back() {
    let (begun, last) = walls_at_a_take_over(46 * MS);
    assert_eq!(begun, [last + MS; 2]);
    // What a standby kept for long is older than what was seen last, and said to be.
    let (begun, last) = walls_at_a_take_over(900 * MS);
    assert_eq!(begun, [last - 900 * MS; 2]);
}

#[test]
fn instants_from_within_a_burst_give_way_to_the_publishers_clock() {
    for picture_first in [true, false] {
        let [before, after] = walls_around_first_reports(900 * MS, picture_first);
        assert_eq!(before, [START + 900 * MS, START]);
        assert_eq!(after, [START; 2]);
    }
}

#[test]
fn a_reader_is_told_the_numbers_its_first_packets_will_have() {
    let mut channel = Channel::new(1, config());
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    for n in 0..30 {
        publisher.send(
            &mut channel,
            if n % 10 == 0 { IDR } else { DELTA },
            START + n * FRAME,
        );
    }
    let (position, next) = channel.entry(START + 30 * FRAME);
    let first = channel.ring.get(position).unwrap();
    assert!(first.flags & KEY != 0);
    assert_eq!(next, [(0, first.number as u16, first.time as u32)]);
    assert_eq!(channel.ring.from(position).count(), 10);
}

#[test]
fn frames_are_made_from_the_last_keyframe_on_and_carry_the_parameter_sets() {
    let mut channel = Channel::new(1, config());
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    for n in 0..5 {
        publisher.send(
            &mut channel,
            if n == 2 { IDR } else { DELTA },
            START + n * FRAME,
        );
    }
    channel.use_frames();
    let log = &channel.frames.as_ref().unwrap().ring;
    let frames: Vec<_> = log.from(0).collect();
    assert_eq!(frames.len(), 3);
    let header = &frames[0].data[..32];
    assert_eq!(&header[..4], &[1, 0, 1, 0], "media, track 0, keyframe");
    let body = &frames[0].data[32..];
    assert!(
        body.starts_with(&[0, 0, 0, 1, 0x67]),
        "parameter sets come first: {body:?}"
    );
    let at = |frame: &Item| i64::from_be_bytes(frame.data[16..24].try_into().unwrap());
    assert_eq!(at(frames[1]) - at(frames[0]), 40_000);
    assert_eq!(channel.keyframe(0).unwrap(), body);
    channel.release_frames();
    assert!(channel.frames.is_none());
}

#[test]
fn what_is_not_the_sources_is_refused_and_counted() {
    let mut channel = Channel::new(1, config());
    channel.add_source(1, 0, vec![video()]);
    channel.add_input(1, 10);
    let good = packet(96, 1, 1, 5, IDR);
    assert_eq!(
        channel.rtp(1, 10, 0, &good[..11], START),
        Err(Reject::Malformed)
    );
    let other = packet(97, 1, 1, 5, IDR);
    assert_eq!(
        channel.rtp(1, 10, 0, &other, START),
        Err(Reject::PayloadType)
    );
    assert_eq!(channel.rtp(1, 10, 9, &good, START), Err(Reject::Unknown));
    assert_eq!(channel.rtp(7, 10, 0, &good, START), Err(Reject::Unknown));
    assert_eq!(
        channel.rtcp(1, 0, &[0x80, 200, 0, 99], START),
        Err(Reject::Malformed)
    );
    assert_eq!(channel.rejected, 5);
    assert!(channel.ring.is_empty());
}

#[test]
fn a_changed_format_is_announced_and_begins_anew() {
    let mut channel = Channel::new(1, config());
    let mut publisher = Publisher::join(&mut channel, 1, 0, 5);
    publisher.send(&mut channel, IDR, START);
    channel.remove_source(1, START + FRAME);
    channel.events.clear();
    let opus = TrackSpec { id: 0, ..audio() };
    channel.add_source(2, 0, vec![opus]);
    channel.add_input(2, 102);
    channel
        .rtp(2, 102, 0, &packet(97, 1, 1, 9, b"opus"), START + 2 * FRAME)
        .unwrap();
    assert!(matches!(
        channel.events[..],
        [Event::SourceActive {
            layout_changed: true,
            source: 2,
            ..
        }]
    ));
    assert_eq!(
        channel.entry(START).0,
        channel.ring.head(),
        "nobody begins at the old keyframe"
    );
}

/// Sends packets with these pairs of sequence number and time shown, in pictures.
fn shown(channel: &mut Channel, source: u64, order: &[(u16, u32)]) {
    for (n, (sequence, picture)) in (0_u64..).zip(order) {
        let payload = if n == 0 { IDR } else { DELTA };
        let data = packet(
            96,
            *sequence,
            5_000_000 + picture * 3_600,
            source as u32,
            payload,
        );
        let now = START + source * 1_000 * MS + n * FRAME;
        channel.rtp(source, source + 100, 0, &data, now).unwrap();
    }
}

#[test]
fn b_frames_are_known_by_timestamps_that_step_back() {
    let mut channel = Channel::new(1, config());
    Publisher::join(&mut channel, 10, 0, 77);
    assert!(!channel.reorders());
    // I P B P B, as they are decoded.
    shown(&mut channel, 10, &[(1, 0), (2, 2), (3, 1), (4, 4), (5, 3)]);
    assert!(channel.reorders());
    channel.remove_source(10, START + 10_500 * MS);
    Publisher::join(&mut channel, 11, 0, 78);
    shown(&mut channel, 11, &[(1, 0), (2, 1), (3, 2), (4, 3)]);
    assert!(!channel.reorders(), "another source has none");
}

#[test]
fn what_the_network_put_out_of_order_is_no_b_frame() {
    let mut channel = Channel::new(1, config());
    Publisher::join(&mut channel, 10, 0, 77);
    let pairs = (0..30_u16).flat_map(|n| [2 * n + 2, 2 * n + 1]);
    let swapped: Vec<(u16, u32)> = std::iter::once(0)
        .chain(pairs)
        .map(|n| (n, u32::from(n)))
        .collect();
    shown(&mut channel, 10, &swapped);
    assert!(!channel.reorders());
}

#[test]
fn a_clock_that_is_set_back_now_and_then_is_no_b_frame() {
    let mut channel = Channel::new(1, config());
    Publisher::join(&mut channel, 10, 0, 77);
    // Three pictures back every four seconds.
    let order: Vec<(u16, u32)> = (0..600_u16)
        .map(|n| (n, u32::from(n) - u32::from(n / 100) * 3))
        .collect();
    shown(&mut channel, 10, &order);
    assert!(!channel.reorders());
}
