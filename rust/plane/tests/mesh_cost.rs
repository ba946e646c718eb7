//! What a packet costs a mesh link at either end, beside the bare cost of its seal. Not a test:
//! prints figures, when asked for by
//! `cargo test --release --test mesh_cost -- --ignored --nocapture --test-threads 1`.

mod mesh_support;

use _plane::mesh::wire::{Body, Header, Media};
use mesh_support::{end, item, key};
use std::time::{Duration, Instant};

const PACKETS: u64 = 400_000;
/// Packets between two looks at the clock, as a worker takes them.
const BATCH: u64 = 64;

#[test]
#[ignore = "prints figures"]
fn a_packet_over_a_link() {
    for size in [200, 1_200] {
        let mut now = mesh_support::START;
        let (mut one, mut other) = (end(1, 2, 10, 20, now), end(2, 1, 20, 10, now));
        let bare = key(10);
        let (mut sending, mut receiving, mut sealing) =
            (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let packet = item(0, size);
        for batch in 0..PACKETS / BATCH {
            now += 640; // 100 000 packets a second
            let begun = Instant::now();
            for _ in 0..BATCH {
                one.media(1, &packet, now);
            }
            one.run(now);
            sending += begun.elapsed();
            let datagrams = std::mem::take(&mut one.outgoing);
            let begun = Instant::now();
            for data in &datagrams {
                let header = Header::parse(data).unwrap();
                other.receive(&header, data, now).unwrap();
            }
            other.run(now);
            receiving += begun.elapsed();
            assert_eq!(other.delivered.len() as u64, BATCH);
            other.delivered.clear();
            for data in other.outgoing.drain(..) {
                let header = Header::parse(&data).unwrap();
                one.receive(&header, &data, now).unwrap();
            }
            let begun = Instant::now();
            for n in 0..BATCH {
                let media = Media {
                    wire: 1,
                    order: 0,
                    track: 0,
                    flags: 0,
                    epoch: 1,
                    number: 0,
                };
                let data = bare.seal(2, batch * BATCH + n, &Body::Media(media, &packet.data));
                std::hint::black_box(data);
            }
            sealing += begun.elapsed();
        }
        let each = |time: Duration| time.as_nanos() / u128::from(PACKETS);
        println!(
            "{size} bytes: sent {} ns, received {} ns, the seal alone {} ns",
            each(sending),
            each(receiving),
            each(sealing)
        );
    }
}
