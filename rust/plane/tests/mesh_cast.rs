//! A cast on a simulated network: several receivers, each of which loses what it likes.

mod mesh_support;

use _plane::mesh::cast::{Incoming, Outgoing};
use _plane::mesh::clock::RoundTrip;
use _plane::mesh::link::Refusal;
use _plane::mesh::sender::Budget;
use _plane::mesh::wire::Header;
use _plane::ring::Item;
use mesh_support::{STEP, Way, Weather, key};

const NAME: u32 = 77;
const SILENCE: u64 = 200_000;

fn item(number: u64, size: usize) -> Item {
    Item {
        track: 0,
        flags: 0,
        video: true,
        epoch: 1,
        number,
        time: 0,
        arrival: 0,
        data: vec![number as u8; size].into(),
    }
}

/// One receiver with its ways: by multicast, by its link to it, and back.
struct Receiver {
    incoming: Incoming,
    group: Way,
    link: Way,
    back: Vec<(u64, Vec<(u64, u16)>)>,
    budget: Budget,
    trip: RoundTrip,
    numbers: Vec<u64>,
    news: Vec<bool>,
}

struct Site {
    now: u64,
    cast: Outgoing,
    receivers: Vec<Receiver>,
    next: u64,
}

impl Site {
    fn new(weathers: &[Weather]) -> Self {
        let now = 1_000_000;
        let cast = Outgoing::new(NAME, key(5), 50_000, now);
        let receivers = (1..).zip(weathers).map(|(seed, weather)| {
            let mut trip = RoundTrip::default();
            trip.measured(2 * weather.delay);
            let calm = Weather {
                delay: weather.delay,
                ..Weather::default()
            };
            Receiver {
                incoming: Incoming::new(3, key(5), SILENCE),
                group: Way::new(*weather, seed),
                link: Way::new(calm, seed + 100),
                back: Vec::new(),
                budget: cast.budget(now),
                trip,
                numbers: Vec::new(),
                news: Vec::new(),
            }
        });
        Self {
            now,
            receivers: receivers.collect(),
            cast,
            next: 1,
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        if self.cast.due() <= now {
            self.cast.run(now);
        }
        for data in self.cast.outgoing.drain(..) {
            for receiver in &mut self.receivers {
                receiver.group.put(&data, now);
            }
        }
        for receiver in &mut self.receivers {
            let mut came = Vec::new();
            while let Some(data) = receiver.group.take(now) {
                came.push((data, true));
            }
            while let Some(data) = receiver.link.take(now) {
                came.push((data, false));
            }
            for (data, multicast) in came {
                let header = Header::parse(&data).unwrap();
                assert_eq!(header.link, NAME);
                let _ = receiver
                    .incoming
                    .receive(&header, &data, multicast, &receiver.trip, now);
            }
            for runs in receiver.incoming.run(&receiver.trip, now) {
                let delay = receiver.link.weather.delay;
                receiver.back.push((now + delay, runs));
            }
            // The link is always ahead here.
            receiver.incoming.reached(0, 1, u64::MAX);
            receiver.news.extend(receiver.incoming.news());
            let came = receiver.incoming.delivered();
            receiver.numbers.extend(came.map(|one| one.item.number));
            let due = receiver.back.extract_if(.., |(at, _)| *at <= now);
            for (_, runs) in due.collect::<Vec<_>>() {
                let mut answers = Vec::new();
                self.cast
                    .repair(&mut receiver.budget, &runs, now, &mut answers);
                for data in answers {
                    receiver.link.put(&data, now);
                }
            }
        }
    }

    /// Sends so many packets, 8 Mbit/s of them, and lets everything arrive.
    fn send(&mut self, packets: u64) {
        for _ in 0..packets {
            self.cast.media(&item(self.next, 1_000), self.now);
            self.next += 1;
            self.step();
            self.step();
        }
        self.pass(150_000);
    }

    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }
}

fn weather(loss: f64) -> Weather {
    Weather {
        loss,
        delay: 500,
        ..Weather::default()
    }
}

#[test]
fn each_receiver_gets_everything_whatever_it_loses() {
    let mut site = Site::new(&[weather(0.0), weather(0.05), weather(0.3)]);
    site.send(10_000);
    for receiver in &site.receivers {
        // What was sent before it heard anything is not its own to ask for.
        let first = receiver.numbers[0];
        assert!(first < 30);
        assert_eq!(receiver.numbers, (first..=10_000).collect::<Vec<_>>());
        assert_eq!(receiver.news, [true]);
    }
}

#[test]
fn a_receiver_that_loses_much_costs_the_others_nothing() {
    let mut site = Site::new(&[weather(0.0), weather(0.3)]);
    site.send(5_000);
    let well = &site.receivers[0];
    assert_eq!(well.link.sent.0, 0);
    // Media, and twenty reports a second.
    assert!(well.group.sent.0 < 5_000 + 20 * 6);
    let repairs = site.cast.sent().repaired;
    assert_eq!(site.receivers[1].link.sent.0, repairs);
    assert!((1_400..1_700).contains(&repairs), "{repairs}");
}

#[test]
fn repairs_are_bounded_for_each_receiver_alone() {
    let mut site = Site::new(&[weather(0.01), weather(0.9)]);
    site.send(20_000);
    let bytes = 20_000 * 1_050;
    let much = site.receivers[1].link.sent.1;
    assert!(much < bytes / 3 + (1 << 20) + (64 << 10) * 21, "{much}");
    assert!(site.cast.sent().refused > 0);
    let little = &site.receivers[0];
    assert_eq!(little.numbers.len() as u64, 20_001 - little.numbers[0]);
}

#[test]
fn the_last_packet_of_all_is_repaired_too() {
    let mut site = Site::new(&[weather(0.0)]);
    site.send(5);
    site.receivers[0].group.weather.loss = 1.0;
    site.cast.media(&item(6, 1_000), site.now);
    site.step();
    site.receivers[0].group.weather.loss = 0.0;
    site.pass(100_000);
    assert_eq!(site.receivers[0].numbers, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn silence_and_return_are_told_and_nothing_of_between_is_asked_for() {
    let mut site = Site::new(&[weather(0.0)]);
    site.send(10);
    site.receivers[0].group.cut = true;
    site.send(1_000);
    assert_eq!(site.receivers[0].news, [true, false]);
    let asked = site.cast.sent().repaired;
    assert_eq!(asked, 0);
    site.receivers[0].group.cut = false;
    site.send(10);
    assert_eq!(site.receivers[0].news, [true, false, true]);
    assert_eq!(site.cast.sent().repaired, asked);
    let numbers = &site.receivers[0].numbers;
    assert_eq!(numbers[10..], (1_011..=1_020).collect::<Vec<_>>());
}

#[test]
fn a_channel_that_says_nothing_stays_heard() {
    let mut site = Site::new(&[weather(0.0)]);
    site.send(1);
    site.pass(5_000_000);
    assert_eq!(site.receivers[0].news, [true]);
}

#[test]
fn long_packets_come_whole() {
    let mut site = Site::new(&[weather(0.1)]);
    site.send(20);
    for number in 0..20 {
        site.cast.media(&item(100 + number, 30_000), site.now);
        site.pass(5_000);
    }
    site.pass(300_000);
    let long = site.receivers[0].numbers.iter().filter(|one| **one >= 100);
    assert_eq!(long.count(), 20);
}

#[test]
fn what_others_seal_what_came_before_and_what_nobody_asked_for_is_refused() {
    let now = 1_000_000;
    let mut cast = Outgoing::new(NAME, key(5), 50_000, now);
    let mut forger = Outgoing::new(NAME, key(6), 50_000, now);
    let mut end = Incoming::new(3, key(5), SILENCE);
    let trip = RoundTrip::default();
    for outgoing in [&mut cast, &mut forger] {
        outgoing.media(&item(1, 100), now);
        outgoing.media(&item(2, 100), now);
    }
    let mut take = |data: &[u8], multicast| {
        let header = Header::parse(data).unwrap();
        end.receive(&header, data, multicast, &trip, now)
    };
    // It begins with what comes by multicast: whoever can send to us alone could begin anywhere.
    let own = &cast.outgoing;
    assert_eq!(take(&own[0], false), Err(Refusal::Replayed));
    assert_eq!(take(&forger.outgoing[0], true), Err(Refusal::Forged));
    assert_eq!(take(&own[0], true), Ok(()));
    assert_eq!(take(&own[0], true), Err(Refusal::Replayed));
    assert_eq!(take(&forger.outgoing[1], true), Err(Refusal::Forged));
    assert_eq!(take(&own[1], false), Ok(()));
    end.reached(0, 1, 2);
    assert_eq!(end.delivered().count(), 2);
    let (received, items, _) = end.counters();
    assert_eq!((received.forged, received.replayed, items), (2, 2, 2));
}

#[test]
fn what_comes_waits_until_the_link_has_come_up_to_it() {
    let now = 1_000_000;
    let mut cast = Outgoing::new(NAME, key(5), 50_000, now);
    let mut end = Incoming::new(3, key(5), 2 * SILENCE);
    let trip = RoundTrip::default();
    let mut hear = |end: &mut Incoming, number, now| {
        cast.media(&item(number, 100), now);
        for data in cast.outgoing.drain(..) {
            let header = Header::parse(&data).unwrap();
            end.receive(&header, &data, true, &trip, now).unwrap();
        }
        end.run(&trip, now);
        end.delivered()
            .map(|one| one.item.number)
            .collect::<Vec<_>>()
    };
    assert!(hear(&mut end, 10, now).is_empty());
    end.reached(0, 1, 9);
    end.reached(1, 1, 10);
    assert!(hear(&mut end, 11, now).is_empty());
    assert_eq!(end.news(), None);
    end.reached(0, 1, 10);
    assert_eq!(end.news(), Some(true));
    assert_eq!(hear(&mut end, 12, now), [10, 11, 12]);
    // Where the link brings nothing it goes on alone after a while.
    let mut alone = Incoming::new(3, key(5), 2 * SILENCE);
    for step in 0..4 {
        assert!(hear(&mut alone, 13 + step, now + step * 300_000).is_empty());
    }
    assert_eq!(hear(&mut alone, 17, now + 1_200_000), [13, 14, 15, 16, 17]);
    assert_eq!(alone.news(), Some(true));
}
