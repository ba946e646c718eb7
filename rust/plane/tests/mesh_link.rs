//! A mesh link over a simulated network: what loss, disorder and silence leave of what was sent.

mod mesh_support;

use _plane::mesh::link::{Event, Refusal};
use _plane::mesh::wire::Header;
use mesh_support::{Network, Weather};

/// Bytes of a packet; with what the link adds a full Ethernet frame's worth.
const SIZE: usize = 1_200;

/// What was measured.
#[derive(Debug)]
struct Figures {
    sent: u64,
    missing: u64,
    /// Bytes both ways beyond those of the datagrams sent first, in percent of these.
    extra: f64,
    /// Of the datagrams that were lost by the network, in percent.
    lost: f64,
}

/// Sends so many packets, one a millisecond, and waits until everything is settled.
fn relay(there: Weather, back: Weather, packets: u64, repaired: bool) -> Figures {
    let mut network = Network::new(there, back, 7);
    network.run(300_000);
    assert!(network.ends.iter().all(_plane::mesh::link::Link::up));
    let counters = |network: &Network| network.ends[0].counters(network.now).sent;
    for number in 0..packets {
        network.send(3, number, SIZE);
        network.step();
        network.step();
        if !repaired {
            // The negative control: what is kept for repair is as good as gone.
            network.ends[0].forget();
        }
    }
    network.run(3_000_000);
    let sent = counters(&network);
    let came = &network.came[1];
    assert!(
        came.windows(2).all(|pair| pair[0].3 < pair[1].3),
        "in the order they were sent, each once"
    );
    let first = sent.bytes - sent.repaired_bytes;
    let extra = sent.repaired_bytes + network.ways[1].sent.1;
    Figures {
        sent: packets,
        missing: packets - came.len() as u64,
        extra: extra as f64 * 100.0 / first as f64,
        lost: network.ways[0].lost as f64 * 100.0 / network.ways[0].sent.0 as f64,
    }
}

/// The share that was lost for good, in percent.
fn residual(figures: &Figures) -> f64 {
    figures.missing as f64 * 100.0 / figures.sent as f64
}

#[test]
fn five_percent_of_loss_either_way_leaves_next_to_nothing_missing() {
    let lossy = |delay| Weather {
        loss: 0.05,
        delay,
        ..Weather::default()
    };
    for delay in [500, 20_000, 75_000] {
        let figures = relay(lossy(delay), lossy(delay), 100_000, true);
        println!(
            "one way {delay} µs: {figures:?}, residual {} %",
            residual(&figures)
        );
        assert!((4.5..5.5).contains(&figures.lost));
        assert!(residual(&figures) <= 0.01, "{figures:?}");
        assert!(figures.extra <= 10.0, "{figures:?}");
    }
}

#[test]
fn without_repair_the_loss_stays() {
    let lossy = Weather {
        loss: 0.05,
        ..Weather::default()
    };
    let figures = relay(lossy, lossy, 20_000, false);
    println!(
        "without repair: {figures:?}, residual {} %",
        residual(&figures)
    );
    assert!(residual(&figures) > 4.0, "{figures:?}");
}

#[test]
fn datagrams_that_overtake_each_other_are_not_taken_for_lost() {
    let weather = Weather {
        jitter: 8_000,
        doubled: 0.01,
        ..Weather::default()
    };
    let figures = relay(weather, weather, 50_000, true);
    println!("overtaking: {figures:?}");
    assert_eq!(figures.missing, 0);
    assert!(figures.extra <= 2.0, "{figures:?}");
}

#[test]
fn loss_with_disorder_and_in_bursts_is_repaired() {
    let weather = Weather {
        loss: 0.02,
        burst: (0.002, 15.0),
        jitter: 5_000,
        ..Weather::default()
    };
    let figures = relay(weather, weather, 100_000, true);
    println!("bursts: {figures:?}, residual {} %", residual(&figures));
    assert!(figures.lost > 4.0);
    assert!(residual(&figures) <= 0.01, "{figures:?}");
    assert!(figures.extra <= 12.0, "{figures:?}");
}

#[test]
fn loss_at_the_end_of_a_burst_is_found_by_the_keepalive() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.send(1, 0, 100);
    network.step();
    network.ways[0].cut = true;
    network.send(1, 1, 100);
    network.step();
    network.ways[0].cut = false;
    network.run(200_000);
    assert_eq!(network.came[1].len(), 2);
}

#[test]
fn silence_and_return_are_told_and_a_goodbye_ends_it() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.ways[0].cut = true;
    network.run(230_000);
    assert_eq!(network.events[1], [Event::Up, Event::Silent]);
    network.ways[0].cut = false;
    network.run(100_000);
    assert_eq!(network.events[1], [Event::Up, Event::Silent, Event::Back]);
    network.ends[0].close();
    network.run(100_000);
    assert_eq!(network.events[1].last(), Some(&Event::Closed("peer")));
    assert_eq!(network.events[0], [Event::Up]);
}

#[test]
fn a_peer_that_never_answers_is_silent() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.ways[1].cut = true;
    network.run(2_100_000);
    assert_eq!(network.events[0], [Event::Silent]);
    network.ways[1].cut = false;
    network.run(200_000);
    assert_eq!(network.events[0], [Event::Silent, Event::Up]);
}

#[test]
fn messages_outlast_a_cut_that_repairs_do_not() {
    let lossy = Weather {
        loss: 0.2,
        ..Weather::default()
    };
    let mut network = Network::new(lossy, lossy, 3);
    let messages: Vec<Vec<u8>> = (0_u8..20)
        .map(|n| vec![n; usize::from(n) * 3_000])
        .collect();
    for (n, message) in messages.iter().enumerate() {
        network.ends[0].send(message).unwrap();
        if n == 10 {
            network.ways[0].cut = true;
            network.run(4_000_000);
            network.ways[0].cut = false;
        }
        network.run(10_000);
    }
    network.run(20_000_000);
    assert_eq!(network.messages(1), messages);
}

#[test]
fn messages_that_are_not_taken_come_later() {
    let mut network = Network::new(Weather::default(), Weather::default(), 3);
    network.ends[1].crowded = true;
    network.ends[0].send(b"first").unwrap();
    network.ends[0].send(b"second").unwrap();
    network.run(2_000_000);
    assert!(network.messages(1).is_empty());
    network.ends[1].crowded = false;
    network.run(3_000_000);
    assert_eq!(network.messages(1), [&b"first"[..], b"second"]);
}

#[test]
fn long_packets_are_cut_and_joined() {
    let lossy = Weather {
        loss: 0.1,
        jitter: 3_000,
        ..Weather::default()
    };
    let mut network = Network::new(lossy, lossy, 5);
    network.run(300_000);
    let sizes = [1_400, 9_000, 20, 65_000, 1_300, 1_301, 1_299, 4_000];
    for (number, size) in (0..).zip(sizes) {
        network.send(1, number, size);
        network.run(2_000);
    }
    network.run(3_000_000);
    let came: Vec<usize> = network.data[1].iter().map(|data| data.len()).collect();
    assert_eq!(came, sizes);
    for (number, data) in (0..).zip(&network.data[1]) {
        assert_eq!(**data, *mesh_support::item(number, data.len()).data);
    }
}

#[test]
fn a_channel_does_not_wait_for_what_another_lost() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.ways[0].cut = true;
    network.send(1, 0, 100);
    network.step();
    network.ways[0].cut = false;
    network.send(1, 1, 100);
    network.send(2, 0, 100);
    network.run(21_000); // one way, and no time for a repair
    let came: Vec<u16> = network.came[1].iter().map(|(wire, ..)| *wire).collect();
    assert_eq!(came, [2]);
    network.run(200_000);
    let came: Vec<(u16, u64)> = network.came[1].iter().map(|one| (one.0, one.3)).collect();
    assert_eq!(came, [(2, 0), (1, 0), (1, 1)]);
}

#[test]
fn what_is_given_up_holds_nothing_up_for_long() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.ways[0].cut = true;
    network.send(1, 0, 100);
    network.step();
    network.ways[0].cut = false;
    network.ends[0].forget();
    network.send(1, 1, 100);
    network.run(1_200_000);
    assert_eq!(network.came[1].len(), 1);
    let received = network.ends[1].counters(network.now).received;
    assert_eq!((received.lost, received.given_up), (1, 1));
}

#[test]
fn replays_and_forgeries_are_refused_and_counted() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.ends[0].media(1, &mesh_support::item(0, 100), network.now);
    let data = network.ends[0].outgoing[0].to_vec();
    network.run(100_000);
    let header = Header::parse(&data).unwrap();
    let now = network.now;
    let end = &mut network.ends[1];
    assert_eq!(end.receive(&header, &data, now), Err(Refusal::Replayed));
    let mut forged = data.clone();
    *forged.last_mut().unwrap() ^= 1;
    forged[13] ^= 0x40; // another counter, which is new
    let header = Header::parse(&forged).unwrap();
    assert_eq!(end.receive(&header, &forged, now), Err(Refusal::Forged));
    let counters = end.counters(now);
    assert_eq!(
        (counters.received.replayed, counters.received.forged),
        (1, 1)
    );
    assert_eq!(network.came[1].len(), 1);
}

#[test]
fn a_wish_for_a_keyframe_reaches_the_sender() {
    let mut network = Network::new(Weather::default(), Weather::default(), 1);
    network.run(300_000);
    network.ends[1].wish(3, 2);
    network.run(30_000);
    assert_eq!(network.ends[0].wishes, [(3, 2)]);
}
