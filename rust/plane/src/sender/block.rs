//! Blocks of titles, docs/wire/blocks.md: checked once, whole, before anything of them is used.

/// Belongs to a key access unit.
pub const KEY: u8 = 1;
/// First packet of its access unit.
pub const FIRST: u8 = 2;
/// RTP's marker.
pub const MARKER: u8 = 4;
/// Last packet of its access unit.
pub const LAST: u8 = 8;

const MAGIC: &[u8] = b"HGB1";
const VERSION: u8 = 1;
const HEADER: usize = 36;
const RECORD: usize = 12;

/// Media times beyond it, some 36 years, are nonsense; sums of them stay far from 64 bits.
pub const MAX_US: u64 = 1 << 50;
/// Tracks of a title at most.
const MAX_TRACKS: usize = 32;
/// With RTP's header and an extension it still is a datagram.
pub const MAX_PAYLOAD: usize = 65_400;

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its counts and lengths say.
    Truncated,
    /// Not a block, or of another version.
    Version,
    /// Times that run backwards or are beyond any title.
    Times,
    /// Counts that contradict each other, or no packets.
    Counts,
    /// A track, flags or a length that cannot be.
    Record,
    /// Bytes after the last record.
    Trailing,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a block that is truncated",
            Self::Version => "not a block of version 1",
            Self::Times => "times of a block that cannot be",
            Self::Counts => "counts of a block's packets",
            Self::Record => "track, flags or length of a record",
            Self::Trailing => "bytes after a block's last record",
        })
    }
}

/// One packet of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it is due, µs after the block.
    after: u32,
    /// Where its payload stands.
    at: u32,
    /// Units of the track's clock since the title's start.
    pub timestamp: u32,
    length: u16,
    /// Packets of its track before it.
    pub number: u16,
    /// Its track.
    pub track: u8,
    /// [`KEY`], [`FIRST`], [`MARKER`], [`LAST`].
    pub flags: u8,
}

/// Bytes of a block, whoever holds them: a megabyte is not copied.
pub type Bytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// A block that was checked.
pub struct Block {
    /// When its first packet is due, µs of media time.
    pub due_us: u64,
    /// When the packet after its last is due.
    pub end_us: u64,
    /// Packets of all tracks before it.
    pub total: u64,
    records: Vec<Record>,
    data: Bytes,
    size: usize,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (packets, bytes) = (self.records.len(), self.size);
        write!(
            f,
            "Block({packets} packets from {} µs, {bytes} bytes)",
            self.due_us
        )
    }
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from(u16_at(data, at)) << 16 | u32::from(u16_at(data, at + 2))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from(u32_at(data, at)) << 32 | u64::from(u32_at(data, at + 4))
}

impl Block {
    /// Reads a whole block; it keeps the bytes.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let data = (*bytes).as_ref();
        if data.len() < HEADER || u32::try_from(data.len()).is_err() {
            return Err(Malformed::Truncated);
        }
        let tracks = usize::from(data[5]);
        if &data[..4] != MAGIC || data[4] != VERSION || u16_at(data, 6) != 0 {
            return Err(Malformed::Version);
        }
        if tracks == 0 || tracks > MAX_TRACKS {
            return Err(Malformed::Counts);
        }
        let packets = u32_at(data, 8) as usize;
        let (due_us, end_us) = (u64_at(data, 12), u64_at(data, 20));
        let total = u64_at(data, 28);
        if due_us > end_us || end_us > MAX_US {
            return Err(Malformed::Times);
        }
        let mut at = HEADER + 8 * tracks;
        // What is announced is not believed: room is made for no more than the bytes can hold.
        if data.len() < at || (data.len() - at) / (RECORD + 1) < packets {
            return Err(Malformed::Truncated);
        }
        let mut numbers: Vec<u64> = (0..tracks).map(|n| u64_at(data, HEADER + 8 * n)).collect();
        let sum: u128 = numbers.iter().map(|count| u128::from(*count)).sum();
        if packets == 0 || sum != u128::from(total) {
            return Err(Malformed::Counts);
        }
        let mut records = Vec::with_capacity(packets);
        let mut last = 0;
        for _ in 0..packets {
            let Some(head) = data.get(at..at + RECORD) else {
                return Err(Malformed::Truncated);
            };
            at += RECORD;
            let (after, track, flags) = (u32_at(head, 0), head[4], head[5]);
            let length = u16_at(head, 6);
            let Some(number) = numbers.get_mut(usize::from(track)) else {
                return Err(Malformed::Record);
            };
            if flags & !(KEY | FIRST | MARKER | LAST) != 0
                || length == 0
                || usize::from(length) > MAX_PAYLOAD
            {
                return Err(Malformed::Record);
            }
            if after < last
                || (records.is_empty() && after > 0)
                || due_us + u64::from(after) > end_us
            {
                return Err(Malformed::Times);
            }
            if data.len() - at < usize::from(length) {
                return Err(Malformed::Truncated);
            }
            records.push(Record {
                after,
                at: at as u32,
                timestamp: u32_at(head, 8),
                length,
                number: *number as u16,
                track,
                flags,
            });
            *number = number.wrapping_add(1);
            last = after;
            at += usize::from(length);
        }
        if at != data.len() {
            return Err(Malformed::Trailing);
        }
        Ok(Self {
            due_us,
            end_us,
            total,
            records,
            size: data.len(),
            data: bytes,
        })
    }

    /// Its packets.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// When a packet of it is due.
    pub fn due(&self, record: &Record) -> u64 {
        self.due_us + u64::from(record.after)
    }

    /// A packet's RTP payload; nothing where the record is another block's.
    pub fn payload(&self, record: &Record) -> &[u8] {
        let at = record.at as usize;
        (*self.data)
            .as_ref()
            .get(at..at + usize::from(record.length))
            .unwrap_or_default()
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// Blocks for tests.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet to be written: when after the block, track, flags, timestamp, payload.
    pub(crate) type Row = (u32, u8, u8, u32, Vec<u8>);

    /// A block as the importer writes it.
    pub(crate) fn written(due: u64, end: u64, total: u64, first: &[u64], rows: &[Row]) -> Vec<u8> {
        let mut out = b"HGB1\x01".to_vec();
        out.extend_from_slice(&[first.len() as u8, 0, 0]);
        out.extend_from_slice(&(rows.len() as u32).to_be_bytes());
        for field in [due, end, total].iter().chain(first) {
            out.extend_from_slice(&field.to_be_bytes());
        }
        for (after, track, flags, timestamp, payload) in rows {
            out.extend_from_slice(&after.to_be_bytes());
            out.extend_from_slice(&[*track, *flags]);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(&timestamp.to_be_bytes());
            out.extend_from_slice(payload);
        }
        out
    }

    fn small() -> Vec<u8> {
        let rows = [
            (0, 0, KEY | FIRST, 7, vec![1, 2, 3]),
            (0, 0, KEY | MARKER | LAST, 7, vec![4]),
            (500, 1, 15, 9, vec![5, 6]),
        ];
        written(1_000, 2_000, 65_576, &[30, 65_536 + 10], &rows)
    }

    fn refused(data: Vec<u8>) -> Option<Malformed> {
        Block::parse(Box::new(data)).err()
    }

    #[test]
    fn reads_what_was_written() {
        let block = Block::parse(Box::new(small())).unwrap();
        assert_eq!(
            (block.due_us, block.end_us, block.total),
            (1_000, 2_000, 65_576)
        );
        let seen: Vec<_> = block
            .records()
            .iter()
            .map(|one| (block.due(one), one.track, one.number, block.payload(one)))
            .collect();
        assert_eq!(
            seen,
            [
                (1_000, 0, 30, &[1, 2, 3][..]),
                (1_000, 0, 31, &[4][..]),
                (1_500, 1, 10, &[5, 6][..]),
            ]
        );
    }

    #[test]
    fn every_part_of_a_block_is_refused() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(
                Block::parse(Box::new(whole[..length].to_vec())).is_err(),
                "{length}"
            );
        }
        let mut more = whole;
        more.push(0);
        assert_eq!(refused(more), Some(Malformed::Trailing));
    }

    #[test]
    fn lies_are_refused() {
        let changed = |at: usize, value: u8| {
            let mut data = small();
            data[at] = value;
            refused(data)
        };
        assert_eq!(changed(0, b'h'), Some(Malformed::Version));
        assert_eq!(changed(4, 2), Some(Malformed::Version));
        assert_eq!(changed(5, 0), Some(Malformed::Counts));
        assert_eq!(changed(5, 33), Some(Malformed::Counts));
        assert_eq!(changed(11, 0), Some(Malformed::Counts));
        assert_eq!(changed(35, 0), Some(Malformed::Counts));
        assert_eq!(changed(52 + 2, 1), Some(Malformed::Times)); // the first is due later
        assert_eq!(changed(7, 1), Some(Malformed::Version));
        assert_eq!(changed(8, 255), Some(Malformed::Truncated)); // packets
        assert_eq!(changed(12, 1), Some(Malformed::Times)); // beyond its end
        assert_eq!(changed(20, 255), Some(Malformed::Times)); // beyond any title
        assert_eq!(changed(52 + 4, 2), Some(Malformed::Record)); // no such track
        assert_eq!(changed(52 + 5, 16), Some(Malformed::Record)); // no such flag
        assert_eq!(changed(52 + 7, 0), Some(Malformed::Record)); // empty
        assert_eq!(changed(52 + 3, 1), Some(Malformed::Times)); // the next is due before
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_block_or_an_error(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = refused(data);
        }

        #[test]
        fn a_block_with_bytes_changed_stays_inside(
            changes in prop::collection::vec((0..100_usize, any::<u8>()), 1..4)
        ) {
            let mut data = small();
            for (at, value) in changes {
                let at = at % data.len();
                data[at] = value;
            }
            if let Ok(block) = Block::parse(Box::new(data)) {
                for record in block.records() {
                    prop_assert!(!block.payload(record).is_empty());
                    prop_assert!(block.due(record) <= block.end_us);
                }
            }
        }
    }
}
