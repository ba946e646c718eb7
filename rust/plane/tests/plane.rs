//! The plane on real sockets: datagrams, interleaved TCP, WebSocket, readers that lag.

mod support;

use _plane::channel::Config;
use _plane::event::Event;
use _plane::plane::Plane;
use _plane::reader::{AUDIO_ONLY, PLAYING};
use _plane::rtp;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{config, packet, tracks};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const DELTA: &[u8] = &[0x41, 0x9a, 0x02];
/// Everything here takes milliseconds; a machine that needs longer than this has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn picture(n: u16, key_every: u16, size: usize) -> Vec<u8> {
    let mut payload = if n.is_multiple_of(key_every) {
        IDR.to_vec()
    } else {
        DELTA.to_vec()
    };
    payload.resize(size, 0x55);
    packet(96, n, u32::from(n) * 3_600, &payload)
}

fn sound(n: u16) -> Vec<u8> {
    packet(97, n, u32::from(n) * 1_920, &[0xfc; 100])
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

/// Takes interleaved packets apart: (channel, packet).
fn interleaved(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while let [b'$', channel, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if rest.len() < length {
            break;
        }
        packets.push((*channel, &rest[..length]));
        bytes = &rest[length..];
    }
    packets
}

#[test]
fn relays_datagrams_in_order_to_every_reader() {
    let plane = Plane::new(2, 1_000).unwrap();
    let channel = plane.open_channel(config());
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    let (endpoint, rtp_port, rtcp_port) = plane
        .bind_udp(SocketAddr::new(LOCAL, 0), true, None, None, 1)
        .unwrap();
    assert_eq!((rtp_port % 2, rtcp_port), (0, rtp_port + 1));
    let publisher = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = publisher.local_addr().unwrap().port();
    plane
        .attach_udp(input, 0, endpoint, 96, (Some(LOCAL), Some(port), None))
        .unwrap();
    let mut readers = Vec::new();
    let players: Vec<UdpSocket> = (0..20)
        .map(|_| {
            let player = UdpSocket::bind("127.0.0.1:0").unwrap();
            player.set_read_timeout(Some(PATIENCE)).unwrap();
            let port = player.local_addr().unwrap().port();
            let reader = plane
                .add_udp_reader(channel, endpoint, &[(0, LOCAL, port, 0)])
                .unwrap();
            plane.start_reader(reader);
            readers.push(reader);
            player
        })
        .collect();
    until("all readers play", || {
        readers.iter().all(|reader| {
            let reader = plane.reader(*reader).unwrap();
            reader.state.load(Ordering::Relaxed) == PLAYING
        })
    });
    for n in 0..50 {
        publisher
            .send_to(&picture(n, 10, 300), ("127.0.0.1", rtp_port))
            .unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
    for player in &players {
        let mut previous: Option<u16> = None;
        for _ in 0..50 {
            let mut data = [0; 2_000];
            let length = player.recv(&mut data).unwrap();
            let sequence = rtp::parse(&data[..length]).unwrap().sequence;
            assert!(previous.is_none_or(|before| sequence == before.wrapping_add(1)));
            previous = Some(sequence);
        }
    }
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger
        .send_to(&picture(0, 1, 10), ("127.0.0.1", rtp_port))
        .unwrap();
    until("the stranger is counted", || {
        plane.hub().totals.foreign_packets.load(Ordering::Relaxed) == 1
    });
}

/// A packet that comes while the first reader begins is the last for a long time: it must not lie
/// there until the next.
#[test]
fn nothing_is_left_behind_while_the_first_reader_begins() {
    const ROUNDS: u16 = 300;
    let plane = Plane::new(1, 10_000).unwrap();
    let channel = plane.open_channel(config());
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    for n in 0..ROUNDS {
        plane.push(input, 0, &[&picture(2 * n, 2, 700)]).unwrap();
        let (server, mut player) = pair();
        let conn = plane.adopt(server.as_raw_fd(), false, b"", 1_000).unwrap();
        drop(server);
        let reader = plane
            .add_conn_reader(channel, conn, vec![(0, 4, 5)])
            .unwrap();
        plane.start_reader(reader);
        // The moment moves over the time that beginning takes.
        let moment = Instant::now() + Duration::from_micros(u64::from(n % 100));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let last = picture(2 * n + 1, 2, 700);
        plane.push(input, 0, &[&last]).unwrap();
        player.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::new();
        while !got.ends_with(&last[12..]) || interleaved(&got).len() < 2 {
            let mut chunk = [0; 4_096];
            let count = player.read(&mut chunk).expect("the last picture comes");
            assert!(count > 0, "round {n}");
            got.extend_from_slice(&chunk[..count]);
        }
        plane.conn_close(conn);
    }
}

#[test]
fn a_connection_carries_messages_and_media_both_ways_in_order() {
    let plane = Plane::new(1, 1_000).unwrap();
    let channel = plane.open_channel(config());
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    let (server, mut publisher) = pair();
    let upstream = plane
        .adopt(server.as_raw_fd(), false, b"OPTIONS * RT", 1_000)
        .unwrap();
    drop(server);
    plane
        .conn_publish(upstream, input, &[(0, 0, 1), (1, 2, 3)])
        .unwrap();
    let (server, mut player) = pair();
    let conn = plane.adopt(server.as_raw_fd(), false, b"", 1_000).unwrap();
    drop(server);
    let reader = plane
        .add_conn_reader(channel, conn, vec![(0, 4, 5), (1, 6, 7)])
        .unwrap();
    plane.conn_send(conn, b"RTSP/1.0 200 OK\r\n\r\n".to_vec());
    plane.start_reader(reader);
    // Who starts behind the media has the newest picture and what follows.
    let shared = plane.reader(reader).unwrap();
    until("the reader plays", || {
        shared.state.load(Ordering::Relaxed) == PLAYING
    });

    let mut sent = b"SP/1.0\r\n\r\n".to_vec();
    for n in 0..50 {
        for (channel, data) in [(0, picture(n, 10, 700)), (2, sound(n))] {
            sent.extend_from_slice(&[b'$', channel]);
            sent.extend_from_slice(&(data.len() as u16).to_be_bytes());
            sent.extend_from_slice(&data);
        }
    }
    sent.extend_from_slice(b"TEARDOWN * RTSP/1.0\r\n\r\n");
    publisher.write_all(&sent).unwrap();

    player
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut got = Vec::new();
    until("everything has come", || {
        let mut chunk = vec![0; 65_536];
        if let Ok(count) = player.read(&mut chunk) {
            got.extend_from_slice(&chunk[..count]);
        }
        got.len() > 19
            && interleaved(&got[19..])
                .iter()
                .filter(|one| one.0 == 6)
                .count()
                == 50
    });
    assert!(
        got.starts_with(b"RTSP/1.0 200 OK\r\n\r\n$"),
        "the answer precedes the media"
    );
    let pictures = interleaved(&got[19..])
        .iter()
        .filter(|one| one.0 == 4)
        .count();
    assert_eq!(pictures, 50);
    drop(publisher);
    let mut messages = Vec::new();
    until("the publisher's end is known", || {
        messages.extend(plane.hub().events.drain(100).0);
        messages.contains(&Event::ConnClosed {
            conn: upstream,
            reason: "eof",
        })
    });
    let said: Vec<&[u8]> = messages
        .iter()
        .filter_map(|event| match event {
            Event::Control { data, .. } => Some(&data[..]),
            _ => None,
        })
        .collect();
    assert_eq!(
        said,
        [
            &b"OPTIONS * RTSP/1.0\r\n\r\n"[..],
            b"TEARDOWN * RTSP/1.0\r\n\r\n"
        ]
    );
}

/// A reader of both tracks on one connection, which plays; and its end of the connection.
fn interleaved_reader(plane: &Plane, channel: u64) -> (u64, TcpStream) {
    let (server, peer) = pair();
    let conn = plane.adopt(server.as_raw_fd(), false, b"", 1_000).unwrap();
    let reader = plane
        .add_conn_reader(channel, conn, vec![(0, 0, 1), (1, 2, 3)])
        .unwrap();
    plane.start_reader(reader);
    (reader, peer)
}

#[test]
fn a_reader_that_lags_loses_pictures_first_and_gets_them_back_when_level() {
    let plane = Plane::new(1, 1_000).unwrap();
    let channel = plane.open_channel(config());
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    let (reader, mut slow) = interleaved_reader(&plane, channel);
    let shared = plane.reader(reader).unwrap();

    // Pictures far beyond what the sockets hold, while nobody reads.
    let mut n = 0;
    let mut publish = |times: usize| {
        for _ in 0..times {
            for part in 0..4 {
                let sequence = n * 4 + part;
                let mut payload = if n % 5 == 0 {
                    IDR.to_vec()
                } else {
                    DELTA.to_vec()
                };
                payload.resize(12_000, 0x55);
                let data = packet(96, sequence, u32::from(n) * 3_600, &payload);
                plane.push(input, 0, &[&data]).unwrap();
            }
            plane.push(input, 1, &[&sound(n)]).unwrap();
            n += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let deadline = Instant::now() + PATIENCE;
    while shared.state.load(Ordering::Relaxed) != AUDIO_ONLY || !plane_is_dropping(&shared) {
        publish(10);
        // It reads a trickle: enough to be served, too little for pictures.
        let mut trickle = vec![0; 20_000];
        slow.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let _ = slow.read(&mut trickle);
        assert!(Instant::now() < deadline, "never became audio only");
    }
    let lost = shared.dropped_video.load(Ordering::Relaxed);
    assert!(lost > 0);

    // It reads again: level, then the next keyframe, then whole.
    let mut got = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while shared.state.load(Ordering::Relaxed) == AUDIO_ONLY {
        publish(2);
        let mut chunk = vec![0; 1 << 20];
        if let Ok(count) = slow.read(&mut chunk) {
            got.extend_from_slice(&chunk[..count]);
        }
        assert!(Instant::now() < deadline, "never got its pictures back");
    }
    assert_eq!(
        shared.dropped_audio.load(Ordering::Relaxed),
        0,
        "sound is lost last"
    );
}

const PICTURES: u16 = 300;

#[test]
fn sound_overtakes_the_pictures_of_a_reader_that_is_behind() {
    let plane = Plane::new(1, 1_000).unwrap();
    let patient = Config {
        lag_us: 60_000_000,
        depth_us: 60_000_000,
        max_bytes: 64 << 20,
        ..config()
    };
    let channel = plane.open_channel(patient);
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    let (reader, mut slow) = interleaved_reader(&plane, channel);
    slow.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();

    // More than the sockets hold; then it reads.
    let part = |n: u16, part: u16| {
        let mut payload = if n == 0 { IDR.to_vec() } else { DELTA.to_vec() };
        payload.resize(12_000, 0x55);
        packet(96, n * 4 + part, u32::from(n) * 3_600, &payload)
    };
    for n in 0..PICTURES {
        let parts: Vec<Vec<u8>> = (0..4).map(|at| part(n, at)).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        plane.push(input, 0, &parts).unwrap();
        plane.push(input, 1, &[&sound(n)]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut got = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    while let Ok(count) = slow.read(&mut chunk) {
        got.extend_from_slice(&chunk[..count]);
    }
    let numbers = |channel: u8| -> Vec<u16> {
        let of_channel = interleaved(&got).into_iter().filter(|p| p.0 == channel);
        of_channel
            .map(|(_, data)| u16::from_be_bytes([data[2], data[3]]))
            .collect()
    };
    for (channel, count) in [(0, PICTURES * 4), (2, PICTURES)] {
        let numbers = numbers(channel);
        let in_order = |two: &[u16]| two[1] == two[0].wrapping_add(1);
        assert!(numbers.windows(2).all(in_order), "{numbers:?}");
        assert_eq!(numbers.len(), usize::from(count), "everything, once");
    }
    let (mut sounds, mut parts, mut ahead) = (0, 0, 0);
    for (channel, _) in interleaved(&got) {
        sounds += i32::from(channel == 2);
        parts += i32::from(channel == 0);
        ahead = ahead.max(sounds - parts / 4);
    }
    assert!(ahead > 20, "sound waited behind pictures: {ahead}");

    // After a pause it begins at the keyframe again, with the sound it has heard before.
    plane.pause_reader(reader);
    plane.start_reader(reader);
    let mut again = Vec::new();
    while let Ok(count) = slow.read(&mut chunk) {
        again.extend_from_slice(&chunk[..count]);
    }
    for (channel, count) in [(0, PICTURES * 4), (2, PICTURES)] {
        let packets = interleaved(&again).into_iter();
        let of_channel = packets.filter(|packet| packet.0 == channel).count();
        assert_eq!(of_channel, usize::from(count));
    }
}

fn plane_is_dropping(reader: &_plane::reader::ReaderShared) -> bool {
    reader.dropped_video.load(Ordering::Relaxed) > 0
}

#[test]
fn a_websocket_gets_whole_frames_and_a_pong() {
    let plane = Plane::new(1, 1_000).unwrap();
    let channel = plane.open_channel(config());
    let source = plane.add_source(channel, 0, tracks()).unwrap();
    let input = plane.add_input(source).unwrap();
    plane.push(input, 0, &[&picture(0, 10, 400)]).unwrap();
    let (server, mut browser) = pair();
    let conn = plane.adopt(server.as_raw_fd(), true, b"", 1_000).unwrap();
    drop(server);
    let reader = plane
        .add_conn_reader(channel, conn, vec![(0, 0, 0), (1, 0, 0)])
        .unwrap();
    plane.conn_send(conn, b"{}".to_vec());
    plane.start_reader(reader);
    browser.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = [0; 4];
    browser.read_exact(&mut head).unwrap();
    assert_eq!(head, [0x81, 2, b'{', b'}'], "the text comes first");
    let mut frame = [0; 4 + 32];
    browser.read_exact(&mut frame).unwrap();
    assert_eq!(&frame[..2], &[0x82, 126]);
    let length = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
    assert_eq!(&frame[4..8], &[1, 0, 1, 0], "a key access unit of track 0");
    let mut unit = vec![0; length - 32];
    browser.read_exact(&mut unit).unwrap();
    assert!(unit.starts_with(&[0, 0, 0, 1, 0x67]));
    browser.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'?']).unwrap();
    let mut pong = [0; 3];
    browser.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0x8a, 1, b'?']);
    plane.conn_close(conn);
    let mut rest = Vec::new();
    browser.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8], "closed with status 1000");
}

#[test]
fn closing_is_bounded_and_tells_readers() {
    let plane = Plane::new(2, 1_000).unwrap();
    let channel = plane.open_channel(config());
    let (server, _player) = pair();
    let conn = plane.adopt(server.as_raw_fd(), false, b"", 1_000).unwrap();
    let reader = plane
        .add_conn_reader(channel, conn, vec![(0, 0, 1)])
        .unwrap();
    plane.close_channel(channel);
    let mut seen = Vec::new();
    until("the reader is told", || {
        seen.extend(plane.hub().events.drain(10).0);
        seen.contains(&Event::ReaderClosed {
            reader,
            reason: "channel",
        })
    });
    let before = Instant::now();
    plane.close();
    assert!(before.elapsed() < Duration::from_secs(1));
}
