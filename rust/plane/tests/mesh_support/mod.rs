//! A simulated network with two ends of a link in it.
#![allow(dead_code)] // each test uses a part

use _plane::mesh::link::{Event, Link, Options};
use _plane::mesh::seal::Key;
use _plane::mesh::wire::Header;
use _plane::ring::Item;
use std::collections::BTreeMap;

/// Simulated time begins here, µs.
pub const START: u64 = 1_000_000_000;
/// A step of simulated time, µs.
pub const STEP: u64 = 500;

/// Random numbers that are the same every time (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn chance(&mut self, of: f64) -> bool {
        ((self.next() >> 11) as f64 / (1_u64 << 53) as f64) < of
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }
}

/// What a way does to datagrams.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Share lost, each for itself.
    pub loss: f64,
    /// Share of datagrams at which a burst of loss begins, and its mean length.
    pub burst: (f64, f64),
    /// One way, µs.
    pub delay: u64,
    /// More than that by up to so much, so that datagrams overtake each other, µs.
    pub jitter: u64,
    /// Share that comes twice.
    pub doubled: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: (0.0, 1.0),
            delay: 20_000,
            jitter: 0,
            doubled: 0.0,
        }
    }
}

/// One direction.
pub struct Way {
    pub weather: Weather,
    pub cut: bool,
    /// Datagrams and bytes that were put in, and datagrams that were lost.
    pub sent: (u64, u64),
    pub lost: u64,
    random: Random,
    bursting: bool,
    flying: BTreeMap<(u64, u64), Vec<u8>>,
    count: u64,
}

impl Way {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            cut: false,
            sent: (0, 0),
            lost: 0,
            random: Random::new(seed),
            bursting: false,
            flying: BTreeMap::new(),
            count: 0,
        }
    }

    pub fn put(&mut self, data: &[u8], now: u64) {
        self.sent.0 += 1;
        self.sent.1 += data.len() as u64;
        let (begins, mean) = self.weather.burst;
        self.bursting = if self.bursting {
            !self.random.chance(1.0 / mean)
        } else {
            self.random.chance(begins)
        };
        if self.cut || self.bursting || self.random.chance(self.weather.loss) {
            self.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.weather.doubled));
        for _ in 0..copies {
            let late = self.random.below(self.weather.jitter + 1);
            self.count += 1;
            let at = now + self.weather.delay + late;
            self.flying.insert((at, self.count), data.to_vec());
        }
    }

    pub fn take(&mut self, now: u64) -> Option<Vec<u8>> {
        let first = self.flying.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Two ends and the ways between them.
pub struct Network {
    pub now: u64,
    pub ends: [Link; 2],
    /// From the first to the second, and back.
    pub ways: [Way; 2],
    pub events: [Vec<Event>; 2],
    /// (wire, track, epoch, number) that came, by end.
    pub came: [Vec<(u16, u8, u32, u64)>; 2],
    pub data: [Vec<Box<[u8]>>; 2],
}

pub fn key(n: u8) -> Key {
    Key::new(&[n; 16]).unwrap()
}

pub fn end(local: u32, remote: u32, send: u8, receive: u8, now: u64) -> Link {
    let options = Options {
        local,
        remote,
        send: key(send),
        receive: key(receive),
        keepalive_us: 50_000,
        silence_us: 200_000,
    };
    Link::new(options, now)
}

impl Network {
    pub fn new(there: Weather, back: Weather, seed: u64) -> Self {
        Self {
            now: START,
            ends: [end(1, 2, 10, 20, START), end(2, 1, 20, 10, START)],
            ways: [Way::new(there, seed), Way::new(back, seed + 1)],
            events: [Vec::new(), Vec::new()],
            came: [Vec::new(), Vec::new()],
            data: [Vec::new(), Vec::new()],
        }
    }

    /// Lets a step of time pass.
    pub fn step(&mut self) {
        self.now += STEP;
        for side in 0..2 {
            let (end, way) = (&mut self.ends[side], &mut self.ways[1 - side]);
            while let Some(data) = way.take(self.now) {
                let header = Header::parse(&data).unwrap();
                assert_eq!(header.link, end.local);
                let _ = end.receive(&header, &data, self.now);
            }
            if end.due().is_some_and(|due| due <= self.now) {
                end.run(self.now);
            }
            for data in end.outgoing.drain(..) {
                self.ways[side].put(&data, self.now);
            }
            self.events[side].append(&mut end.events);
            for one in end.delivered.drain(..) {
                let item = one.item;
                self.came[side].push((one.wire, item.track, item.epoch, item.number));
                self.data[side].push(item.data);
            }
        }
    }

    pub fn run(&mut self, us: u64) {
        let end = self.now + us;
        while self.now < end {
            self.step();
        }
    }

    /// The first end sends a packet.
    pub fn send(&mut self, wire: u16, number: u64, size: usize) {
        let item = item(number, size);
        self.ends[0].media(wire, &item, self.now);
    }

    pub fn messages(&self, side: usize) -> Vec<&[u8]> {
        let events = self.events[side].iter();
        events
            .filter_map(|event| match event {
                Event::Message(data) => Some(data.as_slice()),
                _ => None,
            })
            .collect()
    }
}

/// A packet of a ring.
pub fn item(number: u64, size: usize) -> Item {
    Item {
        track: 0,
        flags: 0,
        video: true,
        epoch: 1,
        number,
        time: 0,
        arrival: 0,
        data: (0..size).map(|at| (at as u64 + number) as u8).collect(),
    }
}
