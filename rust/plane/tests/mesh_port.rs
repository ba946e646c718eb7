//! Mesh links on real sockets: channels relayed over one hop and two, moved, replayed, by UDP and TCP.

mod support;

use _plane::channel::SUCCESSION_STEP;
use _plane::event::{Event, Id};
use _plane::mesh::link::Options;
use _plane::mesh::seal::Key;
use _plane::net::mesh::Terms;
use _plane::plane::Plane;
use _plane::ring::{Item, RTCP};
use _plane::rtp;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{config, packet, tracks};

const IDR: &[u8] = &[0x65, 0x88, 0x84];
const DELTA: &[u8] = &[0x41, 0x9a, 0x02];
/// Everything here takes milliseconds; a machine that needs longer than this has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A unit with one channel.
struct Unit {
    plane: Plane,
    port: Id,
    number: u16,
    channel: Id,
    tap: Id,
    events: RefCell<Vec<Event>>,
    items: RefCell<Vec<Arc<Item>>>,
    links: Cell<u32>,
}

/// A link between two units: its ids at either end.
type Ends = (Id, Id);

impl Unit {
    fn new() -> Self {
        let plane = Plane::new(1, 100_000).unwrap();
        let (port, number) = plane
            .mesh_open("127.0.0.1:0".parse().unwrap(), None)
            .unwrap();
        let channel = plane.open_channel(config());
        let tap = plane
            .add_tap(channel, vec![0, 1], false, 1_000_000)
            .unwrap();
        plane.start_reader(tap);
        Self {
            plane,
            port,
            number,
            channel,
            tap,
            events: RefCell::default(),
            items: RefCell::default(),
            links: Cell::new(1),
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new("127.0.0.1".parse().unwrap(), self.number)
    }

    fn publisher(&self) -> Id {
        let source = self.plane.add_source(self.channel, 0, tracks()).unwrap();
        self.plane.add_input(source).unwrap()
    }

    fn mesh_source(&self, priority: i64) -> Id {
        let source = self.plane.add_mesh_source(self.channel, priority, tracks());
        source.unwrap()
    }

    fn mesh_input(&self) -> Id {
        self.plane.add_input(self.mesh_source(0)).unwrap()
    }

    /// Opens a link to another unit and waits until both ends hear each other.
    fn link(&self, other: &Self, tcp: bool) -> Ends {
        let ends = self.begin_link(other, tcp);
        until("the link is up", || {
            self.saw(&Event::MeshUp { link: ends.0 }) && other.saw(&Event::MeshUp { link: ends.1 })
        });
        ends
    }

    fn begin_link(&self, other: &Self, tcp: bool) -> Ends {
        let names = (self.links.get() << 8, other.links.get() << 8 | 1);
        self.links.set(self.links.get() + 1);
        other.links.set(other.links.get() + 1);
        let key = |n: u8| Key::new(&[n; 32]).unwrap();
        let terms = |local, remote, send, receive, peer, connect| Terms {
            options: Options {
                local,
                remote,
                send: key(send),
                receive: key(receive),
                keepalive_us: 50_000,
                silence_us: 200_000,
            },
            peer,
            tcp,
            connect,
        };
        let ours = terms(names.0, names.1, 1, 2, Some(other.address()), true);
        let theirs = terms(names.1, names.0, 2, 1, None, false);
        (
            self.plane.mesh_link(self.port, ours).unwrap(),
            other.plane.mesh_link(other.port, theirs).unwrap(),
        )
    }

    fn serve(&self, link: Id, after: &[(u8, u32, u64)]) {
        self.plane
            .mesh_serve(self.port, link, 5, self.channel, after)
            .unwrap();
    }

    fn take(&self, link: Id, input: Id) {
        self.plane.mesh_take(self.port, link, 5, input).unwrap();
    }

    fn poll(&self) {
        self.events
            .borrow_mut()
            .extend(self.plane.hub().events.drain(10_000).0);
        let (items, lost) = self.plane.read_tap(self.tap, 100_000).unwrap();
        assert_eq!(lost, 0);
        self.items.borrow_mut().extend(items);
    }

    fn saw(&self, event: &Event) -> bool {
        self.poll();
        self.events.borrow().contains(event)
    }

    /// What readers here were given: (track, epoch, number, flags, bytes).
    fn packets(&self) -> Vec<(u8, u32, u64, u8, Vec<u8>)> {
        self.poll();
        let items = self.items.borrow();
        let media = items.iter().filter(|item| item.flags & RTCP == 0);
        media
            .map(|item| {
                (
                    item.track,
                    item.epoch,
                    item.number,
                    item.flags,
                    item.data.to_vec(),
                )
            })
            .collect()
    }

    fn numbers(&self) -> Vec<u64> {
        let packets = self.packets();
        let video = packets.iter().filter(|one| one.0 == 0);
        video.map(|one| one.2).collect()
    }

    fn push(&self, input: Id, range: std::ops::Range<u16>) {
        for n in range {
            let mut picture = if n % 50 == 0 { IDR } else { DELTA }.to_vec();
            picture.resize(1_100, n as u8);
            let picture = packet(96, n, u32::from(n) * 3_600, &picture);
            let sound = packet(97, n, u32::from(n) * 1_920, &[n as u8; 90]);
            assert_eq!(self.plane.push(input, 0, &[&picture]), Ok(1));
            assert_eq!(self.plane.push(input, 1, &[&sound]), Ok(1));
        }
    }

    fn marks(&self) -> Vec<(u8, u32, u64)> {
        self.plane.channel_marks(self.channel).unwrap()
    }
}

fn same(one: &Unit, other: &Unit) {
    until("both have the same", || {
        one.packets().len() == other.packets().len()
    });
    assert_eq!(one.packets(), other.packets());
}

fn consecutive(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[test]
fn a_channel_is_the_same_after_two_hops() {
    for tcp in [false, true] {
        let (first, middle, last) = (Unit::new(), Unit::new(), Unit::new());
        let input = first.publisher();
        for (from, to) in [(&first, &middle), (&middle, &last)] {
            let ends = from.link(to, tcp);
            to.take(ends.1, to.mesh_input());
            from.serve(ends.0, &[]);
        }
        first.push(input, 0..300);
        same(&first, &middle);
        same(&first, &last);
        assert_eq!(last.packets().len(), 600);
        assert_eq!(first.marks(), last.marks());
        // Readers' clocks come along.
        let clock = |unit: &Unit| {
            let looked = unit.plane.with_channel(unit.channel, |channel| {
                let clock = channel.layout[0].clock.unwrap();
                (clock.wall(0), channel.layout[0].ssrc)
            });
            looked.unwrap()
        };
        let ((there, ssrc), (here, same)) = (clock(&first), clock(&last));
        assert!(there.abs_diff(here) < 1_000, "{there} {here}");
        assert_eq!(ssrc, same);
    }
}

#[test]
fn frames_are_made_of_what_came() {
    let (first, last) = (Unit::new(), Unit::new());
    let input = first.publisher();
    let ends = first.link(&last, false);
    let frames = last
        .plane
        .add_tap(last.channel, vec![0], true, 1_000)
        .unwrap();
    last.plane.start_reader(frames);
    last.take(ends.1, last.mesh_input());
    first.serve(ends.0, &[]);
    first.push(input, 0..20);
    let mut found = Vec::new();
    until("frames come", || {
        found.extend(last.plane.read_tap(frames, 100).unwrap().0);
        found.len() == 20
    });
    assert!(last.plane.keyframe(last.channel, 0).unwrap().is_some());
}

#[test]
fn serving_begins_after_what_is_there() {
    let (first, last) = (Unit::new(), Unit::new());
    let input = first.publisher();
    let ends = first.link(&last, false);
    last.take(ends.1, last.mesh_input());
    first.serve(ends.0, &[]);
    first.push(input, 0..70);
    same(&first, &last);
    first.plane.mesh_stop(first.port, ends.0, 5);
    first.push(input, 70..130);
    let marks = last.marks();
    assert_eq!(marks.len(), 2);
    first.serve(ends.0, &marks);
    same(&first, &last);
    let stats = first.plane.mesh_stats(first.port, ends.0).unwrap().0;
    // 260 packets and what timestamps mean, twice, for two tracks.
    assert!((260..=268).contains(&stats.items.0), "{}", stats.items.0);
    // Without marks from the newest keyframe.
    let late = Unit::new();
    let ends = first.link(&late, false);
    late.take(ends.1, late.mesh_input());
    first.serve(ends.0, &[]);
    let expected = first.packets().split_off(200);
    until("the late one is level", || {
        late.packets().len() == expected.len()
    });
    assert_eq!(late.packets(), expected);
}

#[test]
fn a_link_is_moved_without_a_packet_lost_or_doubled() {
    let (first, one, other, last) = (Unit::new(), Unit::new(), Unit::new(), Unit::new());
    let input = first.publisher();
    for upstream in [&one, &other] {
        let ends = first.link(upstream, false);
        upstream.take(ends.1, upstream.mesh_input());
        first.serve(ends.0, &[]);
    }
    let source = last.mesh_source(0);
    let inputs = [(); 2].map(|()| last.plane.add_input(source).unwrap());
    let ends = [one.link(&last, false), other.link(&last, false)];
    last.take(ends[0].1, inputs[0]);
    one.serve(ends[0].0, &[]);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            for n in 0..1_500 {
                let mut picture = if n % 50 == 0 { IDR } else { DELTA }.to_vec();
                picture.resize(1_100, n as u8);
                let picture = packet(96, n, u32::from(n) * 3_600, &picture);
                first.plane.push(input, 0, &[&picture]).unwrap();
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        for round in 0..6 {
            let seen = last.numbers().len();
            until("packets come", || last.numbers().len() > seen + 60);
            // Make before break: what the new one replays overlaps with what the old one brings.
            let (old, new) = (round % 2, 1 - round % 2);
            let upstream = [&one, &other];
            last.take(ends[new].1, inputs[new]);
            let mut marks = last.marks();
            for mark in &mut marks {
                mark.2 -= 5;
            }
            upstream[new].serve(ends[new].0, &marks);
            let before = upstream[new]
                .plane
                .mesh_stats(upstream[new].port, ends[new].0);
            let before = before.unwrap().0.items.0;
            until("the new one is level", || {
                let now = upstream[new]
                    .plane
                    .mesh_stats(upstream[new].port, ends[new].0);
                now.unwrap().0.items.0 > before + 20
            });
            upstream[old]
                .plane
                .mesh_stop(upstream[old].port, ends[old].0, 5);
            last.plane.mesh_release(last.port, ends[old].1, 5);
        }
        pushing.join().unwrap();
    });
    until("everything came", || last.numbers().len() == 1_500);
    assert!(consecutive(&last.numbers()));
    assert_eq!(first.packets(), last.packets());
    let seen = last.plane.with_channel(last.channel, |channel| {
        let seen = channel.source(source).unwrap().tracks[0].seen.as_ref();
        seen.map(|seen| (seen.lost(), seen.duplicates))
    });
    let (lost, duplicates) = seen.unwrap().unwrap();
    assert_eq!(lost, 0);
    assert!(duplicates >= 30, "copies were recognised: {duplicates}");
}

#[test]
fn a_source_of_this_unit_goes_on_where_another_units_ends_and_the_other_way_round() {
    let (first, last) = (Unit::new(), Unit::new());
    let input = first.publisher();
    let ends = first.link(&last, false);
    let source = last.mesh_source(0);
    last.take(ends.1, last.plane.add_input(source).unwrap());
    first.serve(ends.0, &[]);
    first.push(input, 0..100);
    same(&first, &last);
    let before = last.packets();
    let (_, epoch, number, _, data) = before[before.len() - 2].clone();
    last.plane.remove_source(source);
    last.plane.claim_epoch(last.channel, epoch + 3).unwrap();
    let local = last.plane.add_source(last.channel, 0, tracks()).unwrap();
    let local_input = last.plane.add_input(local).unwrap();
    last.push(local_input, 1_000..1_010);
    let after = last.packets().split_off(200);
    assert_eq!(after.len(), 20);
    let (track, next_epoch, next, _, next_data) = after[0].clone();
    assert_eq!((track, next_epoch), (0, epoch + 4));
    assert_eq!(next, number + 1 + SUCCESSION_STEP);
    let header = |data: &[u8]| rtp::parse(data).unwrap();
    assert_eq!(header(&next_data).sequence, next as u16);
    assert_eq!(header(&next_data).ssrc, header(&data).ssrc);
    let step = header(&next_data)
        .timestamp
        .wrapping_sub(header(&data).timestamp);
    assert!((1..900_000).contains(&step), "{step}");
    // The first unit takes the successor's packets now.
    let back = last.link(&first, false);
    let successor = first.mesh_source(-1);
    first.take(back.1, first.plane.add_input(successor).unwrap());
    last.serve(back.0, &first.marks());
    last.push(local_input, 1_010..1_060);
    let sources: Vec<Id> = first
        .plane
        .with_channel(first.channel, |channel| {
            channel.sources.iter().map(|source| source.id).collect()
        })
        .unwrap();
    first.plane.remove_source(sources[0]);
    last.push(local_input, 1_060..1_120);
    until("the newest came", || {
        first.numbers().last() == last.numbers().last()
    });
    // What is left of the epoch before is refused.
    let epochs: Vec<u32> = first.packets().iter().map(|one| one.1).collect();
    assert!(epochs.is_sorted());
    assert_eq!(epochs.last(), Some(&(epoch + 4)));
}

#[test]
fn another_source_takes_over_by_the_rules_of_all_sources() {
    let (first, last) = (Unit::new(), Unit::new());
    let input = first.publisher();
    let ends = first.link(&last, false);
    let source = last.mesh_source(0);
    last.take(ends.1, last.plane.add_input(source).unwrap());
    let backup = last.plane.add_source(last.channel, 1, tracks()).unwrap();
    let backup_input = last.plane.add_input(backup).unwrap();
    first.serve(ends.0, &[]);
    first.push(input, 0..60);
    same(&first, &last);
    last.push(backup_input, 500..560);
    assert_eq!(last.packets().len(), 120, "the backup stands by");
    let active = || {
        let active = last
            .plane
            .with_channel(last.channel, |channel| channel.active());
        active.unwrap()
    };
    assert_eq!(active(), Some(source));
    last.plane.remove_source(source);
    assert_eq!(active(), Some(backup));
    let packets = last.packets();
    assert!(packets.len() > 120);
    assert_eq!(packets[120].1, packets[119].1 + 1, "in the next epoch");
}

#[test]
fn messages_come_in_order_and_a_goodbye_ends_the_link() {
    for tcp in [false, true] {
        let (one, other) = (Unit::new(), Unit::new());
        let ends = one.link(&other, tcp);
        let messages: Vec<Vec<u8>> = (0_u8..20)
            .map(|n| vec![n; 3_000 * usize::from(n)])
            .collect();
        for message in &messages {
            one.plane.mesh_send(one.port, ends.0, message).unwrap();
        }
        let last = Event::MeshMessage {
            link: ends.1,
            data: messages[19].clone(),
        };
        until("the last message came", || other.saw(&last));
        let events = other.events.borrow().clone();
        let came = events.into_iter().filter_map(|event| match event {
            Event::MeshMessage { data, .. } => Some(data),
            _ => None,
        });
        assert_eq!(came.collect::<Vec<_>>(), messages);
        one.plane.mesh_close_link(one.port, ends.0);
        let closed = Event::MeshClosed {
            link: ends.1,
            reason: "peer",
        };
        until("the end is told", || other.saw(&closed));
        until("both forgot it", || {
            [&one, &other]
                .iter()
                .all(|unit| unit.plane.mesh_counters(unit.port).unwrap().links == 0)
        });
    }
}

#[test]
fn a_closed_port_says_goodbye() {
    let (one, other) = (Unit::new(), Unit::new());
    let ends = one.link(&other, false);
    one.plane.mesh_shut(one.port);
    let closed = Event::MeshClosed {
        link: ends.1,
        reason: "peer",
    };
    until("the end is told", || other.saw(&closed));
}

#[test]
fn strangers_are_counted_and_change_nothing() {
    let (one, other) = (Unit::new(), Unit::new());
    let ends = one.link(&other, false);
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut datagram = vec![0_u8; 60];
    (datagram[0], datagram[1], datagram[4]) = (0x10, 1, 1);
    datagram[5] = 1; // the other unit's name for its link
    stranger.send_to(&datagram, other.address()).unwrap();
    stranger.send_to(&[0; 9], other.address()).unwrap();
    until("both are counted", || {
        let counters = other.plane.mesh_counters(other.port).unwrap();
        counters.foreign + counters.forged == 2
    });
    other.plane.mesh_send(other.port, ends.1, b"still").unwrap();
    let still = Event::MeshMessage {
        link: ends.0,
        data: b"still".to_vec(),
    };
    until("the peer is where it was", || one.saw(&still));
}
