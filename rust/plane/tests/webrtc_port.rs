//! The WebRTC port on real sockets: by UDP and by TCP, over IPv4 and IPv6, with simulcast, and among
//! those who mean it harm.

mod port_support;

use _plane::channel::{Channel, Config};
use _plane::codec::Codec;
use _plane::net::rtc::streams::{MAX_STRANGERS_PER_ADDRESS, STRANGER_LIFE};
use _plane::reader::{AUDIO_ONLY, PLAYING};
use _plane::ring::{Item, KEY, RTCP};
use _plane::webrtc::Refused;
use port_support::{Peer, Site, Way, until};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Continuous numbers, as many as were sent at least.
fn complete(numbers: &[u64], at_least: usize) {
    assert!(numbers.len() >= at_least, "{} packets", numbers.len());
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let span = sorted[sorted.len() - 1] - sorted[0] + 1;
    assert_eq!(span, sorted.len() as u64, "something is missing");
}

#[test]
fn viewers_come_by_udp_and_tcp_over_both_families() {
    for (ip, bind) in [(V4, V4), (V6, V6), (V4, IpAddr::V6(Ipv6Addr::UNSPECIFIED))] {
        for way in [Way::Udp, Way::Tcp] {
            let mut site = Site::new(bind, ip);
            let mut viewer = Peer::viewer(&site, ip, way);
            until("connected", || {
                viewer.turn();
                viewer.connected
            });
            for _ in 0..40 {
                site.picture(2, 900);
                viewer.run(Duration::from_millis(10));
            }
            until("the pictures came", || {
                viewer.turn();
                viewer.of_size(900).len() >= 80
            });
            complete(&viewer.of_size(900), 80);
            let reader = site.plane.reader(viewer.id).unwrap();
            assert_eq!(reader.state.load(Ordering::Relaxed), PLAYING);
            assert!(reader.packets.load(Ordering::Relaxed) >= 80);
            let counters = site.counters();
            assert_eq!(counters.connections, usize::from(way == Way::Tcp));
            // Whose session ends is told, and so is everybody when the port closes.
            let mut other = Peer::viewer(&site, ip, way);
            until("connected", || {
                other.turn();
                other.connected
            });
            site.plane.remove_reader(viewer.id);
            until("the goodbye came", || {
                viewer.turn();
                viewer.closed
            });
            assert!(!other.closed);
            site.plane.rtc_shut(site.port);
            until("the goodbye of the port came", || {
                other.turn();
                other.closed
            });
        }
    }
}

#[test]
fn whoever_comes_first_gets_the_parameter_sets_that_packets_lack() {
    let mut site = Site::h264(V4, V4);
    site.picture(1, 900);
    let mut viewer = Peer::viewer(&site, V4, Way::Udp);
    for _ in 0..3 {
        site.picture(1, 900); // made ready before anybody is connected
    }
    until("it is shown from the keyframe on", || {
        viewer.turn();
        viewer.of_size(900).len() >= 4
    });
    let mut all = viewer.all();
    all.sort_unstable();
    let (numbers, kinds): (Vec<u64>, Vec<u8>) = all.into_iter().unzip();
    complete(&numbers, 5);
    assert_eq!(kinds, [0x78, 0x65, 0x41, 0x41, 0x41]);
}

#[test]
fn a_connection_ends_with_its_session() {
    let site = Site::new(V4, V4);
    let mut viewer = Peer::viewer(&site, V4, Way::Tcp);
    until("connected", || {
        viewer.turn();
        viewer.connected
    });
    site.plane.rtc_close(viewer.id);
    until("the connection is closed", || {
        viewer.turn();
        viewer.hung_up
    });
    until("and forgotten", || {
        viewer.hang_up();
        site.counters().connections == 0
    });
}

#[test]
fn strangers_by_tcp_are_few_and_have_little_time() {
    let site = Site::new(V4, V4);
    let to = SocketAddr::new(V4, site.number);
    let mut strangers: Vec<TcpStream> = (0..MAX_STRANGERS_PER_ADDRESS + 10)
        .map(|_| TcpStream::connect(to).unwrap())
        .collect();
    until("the crowd is refused", || {
        site.counters().streams.refused == 10
    });
    assert_eq!(site.counters().connections, MAX_STRANGERS_PER_ADDRESS);
    // No packet is so long.
    strangers[0].write_all(&[0xff; 64]).unwrap();
    until("nonsense ends a connection", || {
        site.counters().streams.malformed == 1
    });
    // A request for nobody proves nothing.
    let mut request = vec![0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.resize(22, 7);
    strangers[1].write_all(&request).unwrap();
    let begun = Instant::now();
    strangers[1]
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    assert_eq!(strangers[1].read(&mut [0; 100]).unwrap_or(0), 0);
    assert!(begun.elapsed() <= Duration::from_micros(STRANGER_LIFE + 3_000_000));
    until("all of them are gone", || site.counters().connections == 0);
    assert_eq!(
        site.counters().streams.expired as usize,
        MAX_STRANGERS_PER_ADDRESS - 1
    );
    // The door is open again.
    let mut viewer = Peer::viewer(&site, V4, Way::Tcp);
    until("connected", || {
        viewer.turn();
        viewer.connected
    });
}

#[test]
fn without_tcp_nobody_listens() {
    let site = Site::with(V4, V4, false);
    let mut viewer = Peer::viewer(&site, V4, Way::Udp);
    assert!(!viewer.answer.to_ascii_lowercase().contains("tcptype"));
    assert!(TcpStream::connect(SocketAddr::new(V4, site.number)).is_err());
    until("connected", || {
        viewer.turn();
        viewer.connected
    });
}

#[test]
fn reordered_pictures_send_viewers_another_way() {
    let mut site = Site::new(V4, V4);
    let mut early = Peer::viewer(&site, V4, Way::Udp);
    until("connected", || {
        early.turn();
        early.connected
    });
    // As with one B-frame: shown 0 2 1 4 3 …
    for n in 0..12_u32 {
        let shown = if n == 0 { 0 } else { n + 1 - 2 * ((n + 1) % 2) };
        site.picture_at(shown * 3_000, n == 0);
        early.run(Duration::from_millis(10));
    }
    let refused = Peer::offer(&site, V4, Way::Udp).err();
    assert_eq!(refused, Some(Refused::Reordered));
    until("who was there is told", || {
        early.turn();
        early.closed
    });
    // Another source is another matter.
    site.replace_source();
    for _ in 0..5 {
        site.picture(1, 300);
    }
    let mut viewer = Peer::viewer(&site, V4, Way::Udp);
    until("connected", || {
        viewer.turn();
        viewer.connected
    });
}

#[test]
fn simulcast_gives_each_viewer_its_layer_and_others_the_best() {
    let mut site = Site::empty(V4, V4);
    let mut publisher = Peer::publisher(&mut site, V4, &["l", "m", "h"]);
    until("on air", || {
        publisher.turn();
        publisher.connected
    });
    let tap = site
        .plane
        .add_tap(site.channel, vec![], false, 8_192)
        .unwrap();
    site.plane.start_reader(tap);
    let mut viewer = Peer::viewer(&site, V4, Way::Udp);
    let layer = |viewer: &Peer, site: &Site| {
        let reader = site.plane.reader(viewer.id).unwrap();
        let rid = reader.layer.lock().unwrap().clone();
        let state = reader.state.load(Ordering::Relaxed);
        (state != AUDIO_ONLY).then_some(rid)
    };
    let play = |publisher: &mut Peer, viewer: &mut Peer, layers: &[&str]| {
        publisher.send_layers(layers);
        // In turns: a viewer that looks rarely takes its own lateness for a way that fills up.
        for _ in 0..3 {
            publisher.run(Duration::from_micros(500));
            viewer.run(Duration::from_micros(500));
        }
    };
    // A browser begins with the smallest.
    until("the viewer sees it", || {
        play(&mut publisher, &mut viewer, &["l"]);
        layer(&viewer, &site).as_deref() == Some("l")
    });
    until("the best is seen as soon as it comes", || {
        play(&mut publisher, &mut viewer, &["l", "m", "h"]);
        layer(&viewer, &site).as_deref() == Some("h")
    });
    let reader = site.plane.reader(viewer.id).unwrap();
    until("and what the way takes is known", || {
        play(&mut publisher, &mut viewer, &["l", "m", "h"]);
        reader.estimate.load(Ordering::Relaxed) > 0
    });
    until("without it the next", || {
        play(&mut publisher, &mut viewer, &["l", "m"]);
        layer(&viewer, &site).as_deref() == Some("m")
    });
    viewer.run(Duration::from_millis(300));
    complete(&viewer.video(), 100);
    // Who cannot choose got one stream all the time, in the end the best that came.
    let (items, lost) = site.plane.read_tap(tap, 100_000).unwrap();
    assert_eq!(lost, 0);
    let numbers: Vec<u64> = items
        .iter()
        .filter(|item| item.video && item.flags & _plane::ring::RTCP == 0)
        .map(|item| item.number)
        .collect();
    complete(&numbers, 100);
    let sizes: Vec<usize> = items
        .iter()
        .filter(|item| item.video && item.flags & _plane::ring::RTCP == 0)
        .map(|item| item.data.len() - 12)
        .collect();
    for size in [200, 500, 900] {
        assert!(sizes.contains(&size), "never the layer of {size}");
    }
    assert_ne!(sizes.last(), Some(&200));
    assert!(
        items.iter().all(|item| item.track < 2),
        "no layer of its own"
    );
}

#[test]
fn renditions_below_the_best_are_relayed_where_they_are_wanted() {
    let mut site = Site::empty(V4, V4);
    let mut publisher = Peer::publisher(&mut site, V4, &["l", "m", "h"]);
    let plane = &site.plane;
    // A channel of its own for what is below the best.
    let spec = |channel: &mut Channel| channel.sources[0].tracks[0].spec.clone();
    let spec = plane.with_channel(site.channel, spec).unwrap();
    // On a busy machine a layer that takes another's place may be late by more than a second.
    let patient = |channel: &mut Channel| Config {
        silence_us: 10_000_000,
        ..channel.config
    };
    let config = plane.with_channel(site.channel, patient);
    let aside = plane.open_channel(config.unwrap());
    let source = plane.add_source(aside, 0, vec![spec]).unwrap();
    let input = plane.add_input(source).unwrap();
    plane
        .rtc_attach_lower(publisher.id, input, 0, 0, 1)
        .unwrap();
    let [main, below] = [site.channel, aside].map(|channel| {
        let tap = plane.add_tap(channel, vec![], false, 8_192).unwrap();
        plane.start_reader(tap);
        tap
    });
    // Sizes, numbers and keyframes of what came.
    let read = |tap| {
        let (items, lost) = plane.read_tap(tap, 100_000).unwrap();
        assert_eq!(lost, 0);
        let media = items.into_iter().filter(|item| item.flags & RTCP == 0);
        let look = |item: Arc<Item>| (item.data.len() - 12, item.number, item.flags & KEY != 0);
        media.map(look).collect::<Vec<_>>()
    };
    let mut numbers = Vec::new();
    let mut shows = |publisher: &mut Peer, tap, layers: &[&str], size| {
        until("the rendition", || {
            publisher.send_layers(layers);
            publisher.run(Duration::from_millis(10));
            let came = read(tap);
            if tap == below {
                numbers.extend(came.iter().map(|one| one.1));
            }
            came.last().is_some_and(|last| last.0 == size)
        });
    };
    until("on air", || {
        publisher.turn();
        publisher.connected
    });
    let all = ["l", "m", "h"];
    shows(&mut publisher, main, &all, 900);
    shows(&mut publisher, below, &all, 500);
    shows(&mut publisher, below, &["l", "h"], 200);
    shows(&mut publisher, below, &all, 500);
    complete(&numbers, 20);
    let epoch = plane.with_channel(aside, |channel| channel.epoch);
    assert_eq!(epoch.unwrap(), 1, "one stream through all changes");
    read(below);
    plane.want_keyframe(aside, 0);
    until("the keyframe asked for", || {
        publisher.send_layers(&all);
        publisher.run(Duration::from_millis(10));
        read(below).iter().any(|one| one.2)
    });
    // Nobody wants it any more; the channel's picture goes on.
    plane.close_channel(aside);
    assert!(
        plane
            .rtc_attach_lower(publisher.id, input, 0, 0, 1)
            .is_err()
    );
    read(main);
    until("more of it", || {
        publisher.send_layers(&all);
        publisher.run(Duration::from_millis(10));
        !read(main).is_empty()
    });
}

/// STUN, DTLS and SRTP as real peers send them, mutated.
#[test]
fn a_hundred_thousand_hostile_datagrams_disturb_nobody() {
    let mut site = Site::new(V4, V4);
    let mut viewer = Peer::viewer(&site, V4, Way::Udp);
    viewer.record = Some(Vec::new());
    until("connected", || {
        viewer.turn();
        viewer.connected
    });
    for _ in 0..20 {
        site.picture(1, 900);
        viewer.run(Duration::from_millis(10));
    }
    let seeds = viewer.record.take().unwrap();
    assert!(seeds.len() >= 8, "{} packets to begin with", seeds.len());
    let before = viewer.of_size(900).len();
    let stranger = UdpSocket::bind((V4, 0)).unwrap();
    let to = SocketAddr::new(V4, site.number);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below.max(1) as u64) as usize
    };
    let (rounds, each) = (1_000, 100);
    let begun = Instant::now();
    for _ in 0..rounds {
        for _ in 0..each {
            let mut data = seeds[roll(seeds.len())].clone();
            for _ in 0..=roll(6) {
                match roll(4) {
                    0 => data.truncate(roll(data.len() + 1)),
                    1 => data.extend_from_slice(&[roll(256) as u8; 9]),
                    _ if data.is_empty() => {}
                    _ => {
                        let at = roll(data.len());
                        data[at] ^= 1 << roll(8);
                    }
                }
            }
            // From a stranger, and as if from the viewer itself.
            if roll(2) == 0 {
                stranger.send_to(&data, to).unwrap();
            } else {
                viewer.send_raw(&data);
            }
        }
        site.picture(1, 900);
        viewer.run(Duration::from_millis(1));
    }
    println!("{} datagrams in {:?}", rounds * each, begun.elapsed());
    until("the viewer has seen everything", || {
        viewer.turn();
        viewer.of_size(900).len() - before >= rounds * 99 / 100
    });
    assert!(viewer.connected && !viewer.closed);
    let counters = site.counters();
    assert_eq!(counters.sessions, 1);
    let seen = counters.shard.received;
    assert!(seen >= 50_000, "only {seen} were looked at");
    let mut other = Peer::viewer(&site, V4, Way::Udp);
    until("others come as before", || {
        other.turn();
        other.connected
    });
}

#[test]
fn the_codecs_of_a_publisher_are_told() {
    let mut site = Site::empty(V4, V4);
    let publisher = Peer::publisher(&mut site, V4, &[]);
    assert!(publisher.codecs.contains(&Codec::Vp8));
}
