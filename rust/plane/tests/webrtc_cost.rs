//! What a packet costs a viewer, beside the bare cost of encrypting and sending as many bytes with
//! the same cipher and the same system calls, in processor time. Not a test: prints figures, when asked for by
//! `cargo test --release --test webrtc_cost -- --ignored --nocapture --test-threads 1`.

mod webrtc_support;

use _plane::net::sys::{Headers, Sender, SockAddr, udp_socket};
use _plane::webrtc::shard::Batch;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use webrtc_support::{GOOD, MS, SECOND, World, packet, view_options};

const FRAME: u64 = 40 * MS;

/// Processor time of this thread: what others do meanwhile does not count.
fn cpu() -> Duration {
    // SAFETY: all-zero bytes are a valid timespec.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the time is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sends datagrams as they stand, runs to one address together, as a worker would.
fn send(fd: i32, to: SockAddr, headers: &mut Headers, runs: &[Vec<&[u8]>]) {
    let mut sender = Sender::new(headers);
    for run in runs {
        for group in sender.plan(run) {
            sender.push(group, to);
        }
    }
    sender.send(fd, |_, _| {});
}

struct Figures {
    write: Duration,
    poll: Duration,
    send: Duration,
    cipher: Duration,
    bare_send: Duration,
    packets: u64,
    bytes: u64,
}

fn measure(viewers: u64, sizes: &[usize], estimate: Option<u64>, seconds: u64) -> Figures {
    let mut world = World::new(GOOD);
    let ids: Vec<u64> = (0..viewers).collect();
    for id in &ids {
        world.viewer(*id, &view_options(&[0], estimate));
    }
    world.run(2 * SECOND);
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = SockAddr::new(sink.local_addr().unwrap(), false);
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let socket = udp_socket(local, false).unwrap();
    let provider = str0m::crypto::from_feature_flags();
    let mut cipher = provider
        .srtp_provider
        .aead_aes_128_gcm()
        .create_cipher([7; 16], true);
    let mut headers = Headers::default();
    let mut figures = Figures {
        write: Duration::ZERO,
        poll: Duration::ZERO,
        send: Duration::ZERO,
        cipher: Duration::ZERO,
        bare_send: Duration::ZERO,
        packets: 0,
        bytes: 0,
    };
    let mut batch = Batch::default();
    let mut number = 0;
    let mut out = vec![0; 2_000];
    for frame in 0..seconds * SECOND / FRAME {
        let mut items = Vec::new();
        for (part, size) in sizes.iter().enumerate() {
            number += 1;
            let key = frame % 25 == 0 && part == 0;
            let mut item = packet(0, true, key, number, world.now, *size);
            item.marker = part + 1 == sizes.len();
            items.push(item);
        }
        let end = world.now + FRAME;
        let begun = cpu();
        world.shard.deliver(world.now, &ids, items);
        figures.write += cpu().saturating_sub(begun);
        loop {
            batch.clear();
            let begun = cpu();
            let more = world.shard.poll(world.now, &mut batch);
            let due = world.shard.due();
            figures.poll += cpu().saturating_sub(begun);
            let mut runs: Vec<Vec<&[u8]>> = Vec::new();
            let mut last = None;
            for datagram in &batch.datagrams {
                if last != Some(datagram.session) {
                    runs.push(Vec::new());
                    last = Some(datagram.session);
                }
                runs.last_mut().unwrap().push(&datagram.data);
            }
            let begun = cpu();
            send(socket.as_raw_fd(), to, &mut headers, &runs);
            figures.send += cpu().saturating_sub(begun);
            let media = |data: &&[u8]| data.len() > 300;
            figures.packets += runs.iter().flatten().filter(|d| media(d)).count() as u64;
            figures.bytes += runs.iter().flatten().map(|d| d.len() as u64).sum::<u64>();
            let begun = cpu();
            for run in &runs {
                for data in run.iter().filter(|data| media(data)) {
                    let body = data.len() - 28;
                    cipher
                        .encrypt(
                            &[9; 12],
                            &data[..12],
                            &data[12..12 + body],
                            &mut out[..body + 16],
                        )
                        .unwrap();
                    std::hint::black_box(&out);
                }
            }
            figures.cipher += cpu().saturating_sub(begun);
            match due {
                _ if more => {}
                Some(due) if due < end => world.now = due.max(world.now),
                _ => break,
            }
        }
        world.now = end;
        // The same packets again, of one burst a viewer, as a sender without a pacer has them.
        let plain: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; size + 48]).collect();
        let run: Vec<&[u8]> = plain.iter().map(Vec::as_slice).collect();
        let runs: Vec<_> = ids.iter().map(|_| run.clone()).collect();
        let begun = cpu();
        send(socket.as_raw_fd(), to, &mut headers, &runs);
        figures.bare_send += cpu().saturating_sub(begun);
    }
    figures
}

#[test]
#[ignore = "prints figures"]
fn cost_of_a_viewer() {
    let low: &[usize] = &[1_150, 1_150, 700];
    let high: &[usize] = &[1_100; 9];
    for (name, sizes, estimate) in [
        ("600 kbit/s unpaced", low, None),
        ("600 kbit/s paced", low, Some(20_000_000)),
        ("2 Mbit/s unpaced", high, None),
        ("2 Mbit/s paced", high, Some(20_000_000)),
    ] {
        let f = measure(200, sizes, estimate, 5);
        let each = |d: Duration| d.as_nanos() as f64 / f.packets as f64;
        let ours = each(f.write) + each(f.poll) + each(f.send);
        let bare = each(f.cipher) + each(f.bare_send);
        let rate = sizes.len() as f64 * SECOND as f64 / FRAME as f64;
        println!(
            "{name}: {} packets; ns a packet: write {:.0} poll {:.0} send {:.0}, all {ours:.0}; \
             bare cipher {:.0} send {:.0}, all {bare:.0}; ratio {:.2}; {:.0} viewers a core",
            f.packets,
            each(f.write),
            each(f.poll),
            each(f.send),
            each(f.cipher),
            each(f.bare_send),
            bare / ours,
            1e9 / ours / rate,
        );
    }
}

/// With real receivers that acknowledge: what feedback costs on top.
#[test]
#[ignore = "prints figures"]
fn cost_with_feedback() {
    for estimate in [None, Some(20_000_000)] {
        let mut world = World::new(GOOD);
        let ids: Vec<u64> = (0..40).collect();
        for id in &ids {
            world.viewer(*id, &view_options(&[600_000], estimate));
        }
        world.run(3 * SECOND);
        let before = (
            world.spent,
            world.datagrams_to_clients,
            world.shard.counters(),
        );
        let mut number = 0;
        for frame in 0..125 {
            let mut items = Vec::new();
            for (part, size) in [1_150, 1_150, 700].into_iter().enumerate() {
                number += 1;
                let key = frame % 25 == 0 && part == 0;
                items.push(packet(0, true, key, number, world.now, size));
            }
            let begun = Instant::now();
            world.shard.deliver(world.now, &ids, items);
            world.spent += begun.elapsed();
            world.run(FRAME);
        }
        let counters = world.shard.counters();
        let spent = world.spent.saturating_sub(before.0).as_nanos() as f64;
        let sent = (world.datagrams_to_clients - before.1) as f64;
        println!(
            "estimate {estimate:?}: {:.0} ns a media packet for write, poll and receive; \
             {:.2} datagrams sent, {:.2} received, {:.2} polls for each",
            spent / f64::from(number as u32 * 40),
            sent / f64::from(number as u32 * 40),
            (counters.received - before.2.received) as f64 / f64::from(number as u32 * 40),
            (counters.polls - before.2.polls) as f64 / f64::from(number as u32 * 40),
        );
    }
}
