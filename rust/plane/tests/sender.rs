//! Paced senders on a simulated clock.

mod sender_support;

use _plane::sender::timeline::FASTEST;
use _plane::sender::{Batch, Block, Notice, Refused, Start, State};
use proptest::prelude::*;
use sender_support::{
    END, Packet, Sent, ask, block, first_sequence, opened, packets_of, play, run_until, title,
};

const NOW: u64 = 1_000_000_000;

fn dues(sent: &[Sent], track: u8) -> Vec<u64> {
    let mine = sent.iter().filter(|one| one.track == track);
    mine.map(|one| one.at - NOW).collect()
}

#[test]
fn packets_go_out_when_they_are_due_and_not_before() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + END, &mut sent);
    let expected: Vec<u64> = packets_of(&title(0, END), 0);
    assert_eq!(dues(&sent, 0), expected);
    assert_eq!(dues(&sent, 1), packets_of(&title(0, END), 1));
    assert_eq!(sender.counters.late_max_us, 0);
}

#[test]
fn a_rate_that_changes_moves_what_comes_after() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + 100_000, &mut sent);
    sender.set_rate(2.0, NOW + 100_000, None).unwrap();
    run_until(&mut sender, NOW + 100_000, NOW + 200_000, &mut sent);
    sender.set_rate(0.5, NOW + 200_000, None).unwrap();
    run_until(&mut sender, NOW + 200_000, NOW + END * 3, &mut sent);
    let expected: Vec<u64> = packets_of(&title(0, END), 0)
        .into_iter()
        .map(|due| match due {
            0..=100_000 => due,
            100_001..=300_000 => 100_000 + (due - 100_000) / 2,
            _ => 200_000 + (due - 300_000) * 2,
        })
        .collect();
    assert_eq!(dues(&sent, 0), expected);
    let stamps: Vec<u32> = sent
        .iter()
        .filter(|one| one.track == 0)
        .map(|one| one.timestamp)
        .collect();
    assert!(
        stamps
            .windows(2)
            .all(|two| matches!(two[1] - two[0], 0 | 3_600))
    );
}

#[test]
fn after_a_pause_the_next_packet_comes_and_time_has_passed_for_rtp() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + 110_000, &mut sent);
    let position = sender.pause(NOW + 110_000);
    assert_eq!((position, sender.state()), (110_000, State::Paused));
    assert!(ask(&mut sender, NOW + 500_000).0.is_empty());
    let later = NOW + 5_110_000;
    sender.start(&play(position, later), later).unwrap();
    let before = sent.len();
    run_until(&mut sender, later, later + END, &mut sent);
    let (old, new) = sent.split_at(before);
    let (last, next) = (
        old.iter().rfind(|one| one.track == 0).unwrap(),
        new.iter().find(|one| one.track == 0).unwrap(),
    );
    assert_eq!(next.sequence, last.sequence.wrapping_add(1));
    // 40 ms from picture to picture, and the 5 s of the pause.
    assert_eq!(
        next.timestamp.wrapping_sub(last.timestamp),
        (5_040_000 * 9) / 100
    );
    assert_eq!(next.at - last.at, 5_040_000);
}

#[test]
fn a_seek_goes_on_with_numbers_and_with_the_clock() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + 110_000, &mut sent);
    sender.flush(NOW + 110_000);
    assert_eq!(sender.queued(NOW + 110_000), (0, 0));
    let far = 3_600_000_000;
    sender
        .feed(Block::parse(Box::new(title(far, END))).unwrap())
        .unwrap();
    let info = sender
        .start(&play(far, NOW + 120_000), NOW + 120_000)
        .unwrap();
    let before = sent.len();
    run_until(&mut sender, NOW + 120_000, NOW + END, &mut sent);
    let (old, new) = sent.split_at(before);
    for track in [0, 1] {
        let last = old.iter().rfind(|one| one.track == track).unwrap();
        let next = new.iter().find(|one| one.track == track).unwrap();
        assert_eq!(next.sequence, last.sequence.wrapping_add(1));
        assert!(info.contains(&(track, next.sequence, next.timestamp)));
        let clock = if track == 0 { 90_000 } else { 48_000 };
        let step = u64::from(next.timestamp.wrapping_sub(last.timestamp)) * 1_000_000 / clock;
        assert!(step.abs_diff(next.at - last.at) <= 21, "{step}"); // of a tick
    }
}

#[test]
fn a_scale_divides_timestamps_and_keeps_key_units() {
    let mut sender = opened(&title(0, END));
    let fast = Start {
        scale: 5.0,
        keys_only: true,
        tracks: Some(vec![0]),
        ..play(0, NOW)
    };
    sender.start(&fast, NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + END, &mut sent);
    assert_eq!(dues(&sent, 0), [0, 0, 40_000, 40_000, 80_000, 80_000]);
    assert_eq!(
        sent.iter().map(|one| one.timestamp).collect::<Vec<_>>(),
        [0, 0, 3_600, 3_600, 7_200, 7_200]
    );
    let numbers: Vec<u16> = sent.iter().map(|one| one.sequence).collect();
    let first = first_sequence(0);
    assert_eq!(
        numbers,
        (0..6).map(|n| first.wrapping_add(n)).collect::<Vec<_>>()
    );
}

#[test]
fn without_room_it_waits_and_says_how_long() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut batch = Batch::default();
    sender.take(NOW, 0, &mut batch);
    assert!(batch.is_empty());
    sender.take(NOW + 250_000, 1 << 20, &mut batch);
    assert_eq!(sender.counters.stalled_us, 250_000);
    assert_eq!(sender.counters.late_max_us, 250_000);
    assert!(sender.counters.late_100ms > 0);
    assert_eq!(sender.counters.slipped_us, 0);
}

#[test]
fn what_is_far_behind_puts_its_clock_back() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(
        &mut sender,
        NOW + 60_000_000,
        NOW + 60_000_000 + END,
        &mut sent,
    );
    assert_eq!(sender.counters.slipped_us, 59_000_000);
    assert_eq!(dues(&sent, 0)[0], 60_000_000);
    let last = *dues(&sent, 0).last().unwrap();
    assert_eq!(last, 60_000_000); // a second of media is less than it may be behind
}

#[test]
fn it_asks_for_more_and_tells_the_end() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let (_, notices) = ask(&mut sender, NOW);
    assert_eq!(notices, [Notice::Low(END)]);
    assert!(ask(&mut sender, NOW + 1_000).1.is_empty()); // once
    sender.finish();
    assert!(
        sender
            .feed(Block::parse(Box::new(title(END, END))).unwrap())
            .is_err()
    );
    let mut sent = Vec::new();
    run_until(&mut sender, NOW + 1_000, NOW + END - 1, &mut sent);
    assert_eq!(sender.state(), State::Playing);
    let (_, notices) = ask(&mut sender, NOW + END);
    assert_eq!(notices, [Notice::Ended]);
    assert_eq!(sender.due(), None);
    assert_eq!(sender.goodbye(NOW + END).len(), 2);
    assert!(sender.goodbye(NOW + END).is_empty());
}

#[test]
fn what_is_not_fed_is_an_underrun_once() {
    let mut sender = opened(&title(0, END));
    sender.start(&play(0, NOW), NOW).unwrap();
    let mut sent = Vec::new();
    run_until(&mut sender, NOW, NOW + 2 * END, &mut sent);
    assert_eq!(sender.counters.underruns, 1);
    assert_eq!(sender.due(), None); // nothing to do until it is fed
    sender
        .feed(Block::parse(Box::new(title(END, END))).unwrap())
        .unwrap();
    let before = sent.len();
    run_until(&mut sender, NOW + 2 * END, NOW + 3 * END, &mut sent);
    assert_eq!(sent.len(), 2 * before);
    assert_eq!(sender.counters.underruns, 2);
}

#[test]
fn orders_that_cannot_be_are_refused() {
    let mut sender = opened(&title(END, END));
    let block = || Block::parse(Box::new(title(0, END))).unwrap();
    assert_eq!(sender.feed(block()), Err(Refused::Order));
    for (rate, scale) in [
        (0.0, 1.0),
        (FASTEST * 1.01, 1.0),
        (1.0, f64::NAN),
        (1.0, -1.0),
    ] {
        let start = Start {
            rate,
            scale,
            ..play(0, NOW)
        };
        assert!(matches!(sender.start(&start, NOW), Err(Refused::Value(_))));
    }
    assert!(matches!(
        sender.set_rate(f64::INFINITY, NOW, None),
        Err(Refused::Value(_))
    ));
    sender.reach(&[]);
    assert_eq!(sender.start(&play(0, NOW), NOW), Err(Refused::Nowhere));
}

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rate(f64),
    Pause(u64),
}

fn order() -> impl Strategy<Value = (u64, Order)> {
    let rate = (0.25..4.0_f64).prop_map(Order::Rate);
    let pause = (0..3_000_000_u64).prop_map(Order::Pause);
    (1..400_000_u64, prop_oneof![rate, pause])
}

/// Packets of a title with any distances.
fn any_title() -> impl Strategy<Value = Vec<Packet>> {
    prop::collection::vec((0..90_000_u32, 0..2_u8, 0..16_u8), 1..60).prop_map(|rows| {
        let mut due = 0;
        rows.into_iter()
            .enumerate()
            .map(|(n, (after, track, flags))| {
                due += if n == 0 { 0 } else { after };
                (due, track, flags, due * 9 / 100, vec![7; 20])
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A second, naive implementation: media time is added up stretch by stretch, and a packet goes
    /// out in the stretch in which its due time is reached.
    #[test]
    fn every_packet_goes_out_once_when_a_naive_clock_says(
        rows in any_title(),
        orders in prop::collection::vec(order(), 0..6),
    ) {
        let end = u64::from(rows.last().unwrap().0) + 1;
        let mut sender = opened(&block(0, end, &rows));
        sender.finish();
        sender.start(&play(0, NOW), NOW).unwrap();
        // The stretches: from when, media time then, how fast.
        let (mut now, mut media, mut rate) = (NOW, 0.0_f64, 1.0_f64);
        let mut stretches = Vec::new();
        let mut sent = Vec::new();
        for (passed, order) in orders {
            stretches.push((now, media, rate));
            run_until(&mut sender, now, now + passed, &mut sent);
            now += passed;
            media += passed as f64 * rate;
            if sender.state() != State::Playing {
                break;
            }
            match order {
                Order::Rate(next) => {
                    sender.set_rate(next, now, None).unwrap();
                    rate = next;
                }
                Order::Pause(length) => {
                    let position = sender.pause(now);
                    prop_assert!((position as f64 - media).abs() < 20.0);
                    stretches.push((now, media, 0.0));
                    now += length;
                    let start = Start { rate, ..play(position, now) };
                    sender.start(&start, now).unwrap();
                }
            }
        }
        stretches.push((now, media, rate));
        run_until(&mut sender, now, now + 100_000_000, &mut sent);
        prop_assert_eq!(sender.state(), State::Ended);
        prop_assert_eq!(sent.len(), rows.len());
        for (one, row) in sent.iter().zip(&rows) {
            let due = f64::from(row.0);
            // On the edge of two stretches either is right, to a rounding.
            let ends = stretches.iter().skip(1).map(|next| next.1).chain([f64::MAX]);
            let naive: Vec<f64> = stretches
                .iter()
                .zip(ends)
                .filter(|((_, media, rate), end)| {
                    *rate > 0.0 && *media <= due + 10.0 && due <= end + 10.0
                })
                .map(|((from, media, rate), _)| *from as f64 + (due - media).max(0.0) / rate)
                .collect();
            let near = |naive: &f64| (one.at as f64 - naive).abs() < 80.0;
            prop_assert!(naive.iter().any(near), "{} for {naive:?}", one.at);
        }
        for track in [0, 1] {
            let mine: Vec<_> = sent.iter().filter(|one| one.track == track).collect();
            for (n, one) in mine.iter().enumerate() {
                prop_assert_eq!(one.sequence, first_sequence(track).wrapping_add(n as u16));
            }
        }
    }

    /// Whatever is ordered, it neither panics nor is asked without end.
    #[test]
    fn any_orders_end(
        rows in any_title(),
        orders in prop::collection::vec((0..8_u8, 0..2_000_000_u64, 0.02..70.0_f64), 0..20),
    ) {
        let end = u64::from(rows.last().unwrap().0) + 1;
        let mut sender = opened(&block(0, end, &rows));
        let mut now = NOW;
        let mut sent = Vec::new();
        for (what, time, factor) in orders {
            match what {
                0 => drop(sender.start(&play(time, now), now)),
                1 => drop(sender.start(&Start { scale: factor, until_us: Some(time), ..play(0, now) }, now)),
                2 => drop(sender.pause(now)),
                3 => drop(sender.set_rate(factor, now, None)),
                4 => sender.flush(now),
                5 => drop(sender.feed(Block::parse(Box::new(block(time, time + end, &rows))).unwrap())),
                6 => sender.finish(),
                _ => {}
            }
            run_until(&mut sender, now, now + time, &mut sent);
            now += time;
        }
    }
}
