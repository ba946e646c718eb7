//! A track as its viewer sees it: numbering, the header of each packet.

use super::block::{MARKER, Record};
use super::timeline::{Timeline, timestamp_of};

/// RTP's header.
const HEADER: usize = 12;
/// Header and extension of a node's packets.
pub(super) const NODE_HEADER: usize = HEADER + 16;

/// A track as Python describes it.
#[derive(Clone, Copy, Debug)]
pub struct TrackSpec {
    /// Its id in the title.
    pub track: u8,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Units a second.
    pub clock_rate: u32,
    /// Of the first packet.
    pub sequence: u16,
    /// Of the media time of the first start.
    pub timestamp: u32,
}

/// A sender that sends a node's own part of a title only (docs/wire/bipartite.md).
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its number.
    pub number: u16,
    /// Id of the header extension, 1–14.
    pub extension: u8,
    /// How long packets are kept to be sent again, µs.
    pub keep_us: u64,
    /// How far before they are due packets may go, µs.
    pub ahead_us: u64,
}

/// A track and how far it is.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) spec: TrackSpec,
    /// Of the next packet; a node's packets have the title's numbers.
    pub(super) sequence: u16,
    /// Packets fed before this position are left out.
    pub(super) entry: u64,
    /// Whether it has a destination.
    pub(super) reached: bool,
    /// Whether it is asked for.
    pub(super) wanted: bool,
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// When its last sender report went out.
    pub(super) reported: Option<u64>,
}

impl Track {
    pub(super) fn new(spec: TrackSpec) -> Self {
        Self {
            spec,
            sequence: spec.sequence,
            entry: 0,
            reached: false,
            wanted: true,
            packets: 0,
            octets: 0,
            reported: None,
        }
    }

    /// The timestamp of an instant of RTP's time.
    pub(super) fn timestamp_of(&self, line_us: u64) -> u32 {
        timestamp_of(self.spec.timestamp, self.spec.clock_rate, line_us)
    }

    /// Writes the header of the next packet.
    pub(super) fn head(&mut self, record: &Record, due_us: u64, time: &Timeline) -> [u8; HEADER] {
        let spec = &self.spec;
        let marker = u8::from(record.flags & MARKER != 0) << 7;
        let (first, clock) = (spec.timestamp, spec.clock_rate);
        let timestamp = time.timestamp(first, clock, due_us, record.timestamp);
        let mut head = [0; HEADER];
        head[0] = 0x80;
        head[1] = marker | spec.payload_type;
        head[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        head[4..8].copy_from_slice(&timestamp.to_be_bytes());
        head[8..12].copy_from_slice(&spec.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        head
    }

    /// The header of a node's packet: numbered as the title is, and by the extension.
    pub(super) fn node_head(
        &mut self,
        record: &Record,
        due_us: u64,
        time: &Timeline,
        node: &Node,
        numbers: (u32, u32),
    ) -> [u8; NODE_HEADER] {
        self.sequence = self.spec.sequence.wrapping_add(record.number);
        let plain = self.head(record, due_us, time);
        let (total, sequence) = numbers;
        let mut head = [0; NODE_HEADER];
        head[..HEADER].copy_from_slice(&plain);
        head[0] |= 0x10;
        // RFC 8285 §4.2: one element of ten bytes, padded to three words.
        head[12..16].copy_from_slice(&[0xbe, 0xde, 0, 3]);
        head[16] = node.extension << 4 | 9;
        head[17..21].copy_from_slice(&total.to_be_bytes());
        head[21..23].copy_from_slice(&node.number.to_be_bytes());
        head[23..27].copy_from_slice(&sequence.to_be_bytes());
        head
    }
}
