//! Titles made by hand, and a clock that is turned by it.
#![allow(dead_code)] // each suite uses a part

use _plane::rtp;
use _plane::sender::{Batch, Block, Notice, Sender, Start, TrackSpec};

/// Media time of a made title, µs.
pub const END: u64 = 600_000;

/// When after the block, track, flags, timestamp, payload.
pub type Packet = (u32, u8, u8, u32, Vec<u8>);

/// A block as the importer writes it.
pub fn block(due: u64, end: u64, packets: &[Packet]) -> Vec<u8> {
    let mut out = b"HGB1\x01\x02\0\0".to_vec();
    out.extend_from_slice(&(packets.len() as u32).to_be_bytes());
    for field in [due, end, 0, 0, 0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    for (after, track, flags, timestamp, payload) in packets {
        out.extend_from_slice(&after.to_be_bytes());
        out.extend_from_slice(&[*track, *flags]);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.extend_from_slice(&timestamp.to_be_bytes());
        out.extend_from_slice(payload);
    }
    out
}

/// Pictures of two packets each 40 ms, every fifth a key unit; sound each 20 ms.
pub fn title(from: u64, length: u64) -> Vec<u8> {
    let mut packets: Vec<Packet> = Vec::new();
    for n in 0..length / 20_000 {
        let after = (n * 20_000) as u32;
        if n % 2 == 0 {
            let key = u8::from(n % 10 == 0);
            let stamp = ((from + u64::from(after)) * 9 / 100) as u32;
            packets.push((after, 0, key | 2, stamp, vec![1; 700]));
            packets.push((after, 0, key | 4 | 8, stamp, vec![2; 300]));
        }
        let stamp = ((from + u64::from(after)) * 48 / 1_000) as u32;
        packets.push((after, 1, 15, stamp, vec![3; 100]));
    }
    block(from, from + length, &packets)
}

/// When the packets of a track are due.
pub fn packets_of(data: &[u8], track: u8) -> Vec<u64> {
    let block = Block::parse(Box::new(data.to_vec())).unwrap();
    let mine = block.records().iter().filter(|one| one.track == track);
    mine.map(|one| block.due(one)).collect()
}

/// The number of a track's first packet.
pub fn first_sequence(track: u8) -> u16 {
    65_530 + u16::from(track)
}

/// A sender that was fed one block.
pub fn opened(data: &[u8]) -> Sender {
    let track = |track, payload_type, clock_rate| TrackSpec {
        track,
        ssrc: 0x11 + u32::from(track),
        payload_type,
        clock_rate,
        sequence: first_sequence(track),
        timestamp: 0,
    };
    let tracks = [track(0, 96, 90_000), track(1, 97, 48_000)];
    let mut sender = Sender::new(&tracks, "test", 3_000_000, 1 << 20, None).unwrap();
    sender.reach(&[0, 1]);
    sender
        .feed(Block::parse(Box::new(data.to_vec())).unwrap())
        .unwrap();
    sender
}

/// Everything from a media time, which is due at a time.
pub fn play(from_us: u64, at: u64) -> Start {
    Start {
        from_us,
        at,
        rate: 1.0,
        scale: 1.0,
        keys_only: false,
        until_us: None,
        tracks: None,
    }
}

/// A packet that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at: u64,
    pub track: u8,
    pub sequence: u16,
    pub timestamp: u32,
}

/// What goes out at a time, and what is told.
pub fn ask(sender: &mut Sender, now: u64) -> (Vec<Sent>, Vec<Notice>) {
    let mut batch = Batch::default();
    sender.take(now, usize::MAX, &mut batch);
    let sent = (0..batch.len()).map(|at| {
        let packet = batch.packet(at).concat();
        let header = rtp::parse(&packet).unwrap();
        Sent {
            at: now,
            track: batch.track(at),
            sequence: header.sequence,
            timestamp: header.timestamp,
        }
    });
    (sent.collect(), std::mem::take(&mut sender.notices))
}

/// Lets time pass, asking when the sender wants to be asked.
pub fn run_until(sender: &mut Sender, mut now: u64, end: u64, sent: &mut Vec<Sent>) {
    for _ in 0..100_000 {
        sent.extend(ask(sender, now).0);
        match sender.due() {
            Some(due) if due.max(now + 1) <= end => now = due.max(now + 1),
            _ => {
                sent.extend(ask(sender, end).0);
                return;
            }
        }
    }
    panic!("it is asked without end");
}
