//! The HTTPS port on real sockets: what passes through, what ends, what is handed over.

mod support;
mod tls_support;

use _plane::net::tls::Limits;
use _plane::reader::AUDIO_ONLY;
use rustls::StreamOwned;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{config, packet, tracks};
use tls_support::{Client, PATIENCE, Site, certificate, session, until};

fn ours(plain: &UnixStream) {
    plain.set_nonblocking(false).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.set_write_timeout(Some(PATIENCE)).unwrap();
}

fn noise(length: usize) -> Vec<u8> {
    let mut value = 1_u32;
    let mut next = || {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (value >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Nothing is left of what was open.
fn forgotten(site: &Site) {
    until("every connection is forgotten", || {
        site.port.open.load(Ordering::Relaxed) == 0
            && site.port.shaking.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn what_goes_in_comes_out_both_ways_whatever_its_size() {
    let site = Site::new();
    let (mut client, plain) = site.client();
    ours(&plain);
    let data = noise(3 << 20);
    std::thread::scope(|scope| {
        let mut inner = plain.try_clone().unwrap();
        let (up, down) = (&data, &data);
        scope.spawn(move || {
            let mut got = vec![0; up.len()];
            inner.read_exact(&mut got).unwrap();
            assert!(got == *up, "what the peer sent");
            inner.write_all(down).unwrap();
        });
        client.write_all(&data).unwrap();
        client.flush().unwrap();
        let mut got = vec![0; data.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == data, "what the server sent");
    });
    // Closing says so in the words of TLS: anything less would be an error here.
    drop(plain);
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    drop(client);
    forgotten(&site);
}

#[test]
fn the_end_of_the_peer_reaches_the_server() {
    let site = Site::new();
    let (mut client, mut plain) = site.client();
    ours(&plain);
    client.write_all(b"last words").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut got = Vec::new();
    plain.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    // The answer still goes out after that.
    plain.write_all(b"answer").unwrap();
    drop(plain);
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last wordsanswer");

    let (client, mut plain) = site.client();
    ours(&plain);
    drop(client); // without a word
    assert_eq!(plain.read(&mut [0; 10]).unwrap(), 0);
    drop(plain);
    forgotten(&site);
}

#[test]
fn who_does_not_read_stops_the_other_side() {
    let site = Site::new();
    let (mut client, mut plain) = site.client();
    let chunk = noise(64 << 10);
    let mut taken = 0_usize;
    until("the server's side is full", || match plain.write(&chunk) {
        Ok(count) => {
            taken += count;
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            std::thread::sleep(Duration::from_millis(50));
            plain.write(&chunk).map(|count| taken += count).is_err()
        }
    });
    assert!(
        taken < 16 << 20,
        "{taken} bytes wait for a peer that does not read"
    );
    // Nothing is lost of it.
    let mut got = vec![0; taken];
    client.read_exact(&mut got).unwrap();

    client.sock.set_nonblocking(true).unwrap();
    let mut sent = 0_usize;
    until("the peer's side is full", || {
        let count = client.write(&chunk).unwrap_or(0);
        sent += count;
        if count == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        count == 0 && client.write(&chunk).is_err()
    });
    assert!(
        sent < 16 << 20,
        "{sent} bytes wait for a server that does not read"
    );
}

#[test]
fn a_slow_handshake_ends() {
    let site = Site::with(Limits {
        connections: 10,
        handshake_us: 100_000,
    });
    let silent = site.connect();
    let mut begun = site.connect();
    begun.write_all(&[0x16, 3, 1, 2]).unwrap();
    for mut socket in [silent, begun] {
        assert_eq!(socket.read(&mut [0; 100]).unwrap_or(0), 0);
    }
    assert_eq!(site.port.counters.timeouts.load(Ordering::Relaxed), 2);
    forgotten(&site);
}

#[test]
fn handshakes_of_one_address_and_connections_are_bounded() {
    let site = Site::with(Limits {
        connections: 70,
        handshake_us: 30_000_000,
    });
    let silent: Vec<TcpStream> = (0..64).map(|_| site.connect()).collect();
    until("they are under way", || {
        site.port.shaking.load(Ordering::Relaxed) == 64
    });
    assert_eq!(site.connect().read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(
        site.port
            .counters
            .refused_handshakes
            .load(Ordering::Relaxed),
        1
    );
    drop(silent);
    forgotten(&site);
    let secured: Vec<_> = (0..70).map(|_| site.client()).collect();
    assert_eq!(site.connect().read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(site.port.counters.refused.load(Ordering::Relaxed), 1);
    drop(secured);
    forgotten(&site);
    site.client();
}

#[test]
fn plain_http_is_shown_the_way() {
    let site = Site::new();
    let mut socket = site.connect();
    socket
        .write_all(b"GET /watch/demo HTTP/1.1\r\nHost: there:8443\r\n\r\n")
        .unwrap();
    let mut told = String::new();
    socket.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 307 "), "{told}");
    assert!(told.contains("Location: https://there:8443/watch/demo\r\n"));
    drop(socket);
    until("it is counted", || {
        site.port.counters.plain.load(Ordering::Relaxed) == 1
    });
    forgotten(&site);
}

#[test]
fn a_certificate_is_replaced_while_connections_go_on() {
    let site = Site::new();
    let (mut before, plain) = site.client();
    let other = certificate();
    let port = &site.port;
    let bad = [
        (other.chain.as_bytes(), site.certificate.key.as_bytes()),
        (b"".as_slice(), other.key.as_bytes()),
        (other.chain.as_bytes(), b"".as_slice()),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice(),
            other.key.as_bytes(),
        ),
    ];
    for (chain, key) in bad {
        let refused = port.certify(chain, key).unwrap_err();
        assert!(!refused.0.is_empty());
    }
    site.client(); // the old one stays
    port.certify(other.chain.as_bytes(), other.key.as_bytes())
        .unwrap();
    let mut after = StreamOwned::new(session(&other.der), site.connect());
    after.conn.complete_io(&mut after.sock).unwrap();
    let mut plain = plain;
    plain.write_all(b"still here").unwrap();
    let mut got = [0; 10];
    before.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still here");
}

#[test]
fn a_port_that_is_shut_lets_open_connections_end() {
    let site = Site::new();
    let (mut client, mut plain) = site.client();
    let mut late = site.begin();
    until("it was accepted", || {
        site.port.counters.accepted.load(Ordering::Relaxed) == 2
    });
    site.port.shut();
    // at once: nobody is let in of whom nobody hears any more
    assert!(TcpStream::connect(site.address).is_err());
    late.write_all(b"?").ok();
    assert!(!late.read(&mut [0]).is_ok_and(|count| count > 0));
    assert!(site.port.accept(1).is_empty());
    plain.write_all(b"answer").unwrap();
    drop(plain);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
}

// ---- media

/// A channel with a publisher, and viewers of it.
struct Show {
    site: Site,
    channel: u64,
    input: u64,
    next: u16,
}

impl Show {
    fn new() -> Self {
        let site = Site::new();
        let channel = site.plane.open_channel(config());
        let source = site.plane.add_source(channel, 0, tracks()).unwrap();
        let input = site.plane.add_input(source).unwrap();
        Self {
            site,
            channel,
            input,
            next: 0,
        }
    }

    /// A picture of 12 kB, every fifth a key, and a sound.
    fn publish(&mut self) {
        self.publish_size(12_000);
    }

    fn publish_size(&mut self, size: usize) {
        let n = self.next;
        self.next += 1;
        let mut picture = vec![if n.is_multiple_of(5) { 0x65 } else { 0x41 }, 0x88, 0x84];
        picture.resize(size, 0x55);
        let sound = packet(97, n, u32::from(n) * 1_920, &[0xfc; 100]);
        let picture = packet(96, n, u32::from(n) * 3_600, &picture);
        self.site.plane.push(self.input, 0, &[&picture]).unwrap();
        self.site.plane.push(self.input, 1, &[&sound]).unwrap();
    }

    fn watch(&self, fd: i32, received: &[u8]) -> u64 {
        let plane = &self.site.plane;
        let conn = plane.adopt(fd, true, received, 1_000).unwrap();
        let tracks = vec![(0, 0, 0), (1, 0, 0)];
        let reader = plane.add_conn_reader(self.channel, conn, tracks).unwrap();
        plane.conn_send(conn, b"{}".to_vec());
        plane.start_reader(reader);
        reader
    }
}

/// A masked ping with a payload (RFC 6455 §5.5.2).
fn ping(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x89, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

fn message(client: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            client.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        127 => panic!("no picture is so large"),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    client.read_exact(&mut payload).unwrap();
    (head[0] & 15, payload)
}

#[test]
fn an_upgraded_connection_is_served_by_a_worker_and_nothing_is_lost_on_the_way() {
    let mut show = Show::new();
    let (mut client, mut plain) = show.site.client();
    // Pings at each place where bytes of a peer can be when its connection is handed over.
    client.write_all(&ping(b"one")).unwrap();
    client.flush().unwrap();
    ours(&plain);
    let mut early = [0; 4];
    plain.read_exact(&mut early).unwrap();
    client.write_all(&ping(b"two")).unwrap();
    client.flush().unwrap();
    plain.set_nonblocking(true).unwrap();
    plain.write_all(b"HTTP/1.1 101 \r\n\r\n").unwrap();
    let reader = show.watch(plain.as_raw_fd(), &early);
    drop(plain);
    client.write_all(&ping(b"three")).unwrap();
    client.flush().unwrap();
    let mut answer = [0; 17];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101 \r\n\r\n");
    for _ in 0..20 {
        show.publish();
    }
    let (mut pongs, mut texts, mut frames) = (Vec::new(), 0, 0);
    // A reader begins at the last keyframe there is once the worker starts it.
    while pongs.len() < 3 || frames < 8 {
        match message(&mut client) {
            (1, _) => texts += 1,
            (2, _) => frames += 1,
            (10, payload) => pongs.push(payload),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, 1);
    assert_eq!(pongs, [&b"one"[..], b"two", b"three"]);
    assert_eq!(show.site.port.counters.taken.load(Ordering::Relaxed), 1);
    forgotten(&show.site);
    // The end: a WebSocket's goodbye, then that of TLS.
    show.site.plane.remove_reader(reader);
    show.site.plane.close_channel(show.channel);
    drop(client);
}

#[test]
fn a_closed_websocket_says_goodbye_in_tls() {
    let show = Show::new();
    let (mut client, plain) = show.site.client();
    let conn = show
        .site
        .plane
        .adopt(plain.as_raw_fd(), true, b"", 1_000)
        .unwrap();
    drop(plain);
    show.site.plane.conn_close(conn);
    assert_eq!(message(&mut client).0, 8);
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_websocket_that_ends_is_known() {
    let show = Show::new();
    let (mut client, plain) = show.site.client();
    let reader = show.watch(plain.as_raw_fd(), b"");
    drop(plain);
    message(&mut client);
    drop(client);
    until("its reader is gone", || {
        show.site.plane.reader(reader).is_err()
    });
}

fn plain_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

#[test]
fn the_plane_sees_a_viewer_lag_by_tls_as_by_tcp() {
    let mut show = Show::new();
    let (by_tls, plain) = show.site.client();
    let tls = show.watch(plain.as_raw_fd(), b"");
    drop(plain);
    let (server, by_tcp) = plain_pair();
    let tcp = show.watch(server.as_raw_fd(), b"");
    drop(server);
    // Nobody reads: what is sent all the same is what sockets and the session hold.
    let sent = |show: &Show, id| {
        let reader = show.site.plane.reader(id).unwrap();
        reader.bytes.load(Ordering::Relaxed)
    };
    let mut before = (u64::MAX, u64::MAX);
    until("both are full", || {
        (0..50).for_each(|_| show.publish());
        std::thread::sleep(Duration::from_millis(20));
        let now = (sent(&show, tls), sent(&show, tcp));
        std::mem::replace(&mut before, now) == now && now.0 > 0 && now.1 > 0
    });
    let (held_tls, held_tcp) = before;
    assert!(
        held_tls < held_tcp + (64 << 10),
        "TLS holds {held_tls} bytes back, TCP {held_tcp}"
    );
    drop((by_tls, by_tcp));
}

#[test]
fn a_viewer_by_tls_that_lags_loses_pictures_first_and_gets_them_back() {
    let mut show = Show::new();
    let (client, plain) = show.site.client();
    let reader = show.watch(plain.as_raw_fd(), b"");
    drop(plain);
    let shared = show.site.plane.reader(reader).unwrap();
    let mut client: Client = client;
    let trickle = Duration::from_millis(1);
    client.sock.set_read_timeout(Some(trickle)).unwrap();
    let mut read = |most: usize| {
        let mut buffer = vec![0; most];
        let _ = client.read(&mut buffer); // a record that is not whole yet is no error
    };
    until("it loses pictures", || {
        (0..10).for_each(|_| show.publish());
        read(4_000);
        std::thread::sleep(Duration::from_millis(20));
        shared.state.load(Ordering::Relaxed) == AUDIO_ONLY
            && shared.dropped_video.load(Ordering::Relaxed) > 0
    });
    until("it has them back", || {
        show.publish();
        (0..50).for_each(|_| read(1 << 20));
        shared.state.load(Ordering::Relaxed) != AUDIO_ONLY
    });
    assert_eq!(
        shared.dropped_audio.load(Ordering::Relaxed),
        0,
        "sound is lost last"
    );
}

#[test]
fn a_viewer_whose_last_record_did_not_fit_goes_on_when_it_reads() {
    let mut show = Show::new();
    let (mut client, plain) = show.site.client();
    let reader = show.watch(plain.as_raw_fd(), b"");
    drop(plain);
    let shared = show.site.plane.reader(reader).unwrap();
    let sent = || shared.bytes.load(Ordering::Relaxed);
    // Each write is one record, which the session takes even when the socket does not.
    let (mut before, mut same) = (0, 0);
    until("it is full", || {
        show.publish_size(2_000);
        std::thread::sleep(Duration::from_millis(3));
        let now = sent();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same > 30
    });
    client
        .sock
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let mut buffer = vec![0; 1 << 20];
    until("it goes on", || {
        show.publish_size(2_000);
        let _ = client.read(&mut buffer);
        sent() > before + 20_000
    });
}
