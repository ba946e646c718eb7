//! Datagrams of a mesh link (`docs/wire/mesh.md`): the header in clear text, and what is sealed
//! behind it. Numbers are big endian.

/// The version both ends speak.
const VERSION: u8 = 1;

/// Bytes in clear text: version and flags, kind, link, counter.
pub const HEADER: usize = 14;

/// Bytes of the seal at the end.
pub const TAG: usize = 16;

/// Longest datagram, UDP payload: what a path with 1 400 bytes between IPv6 headers takes, so that
/// tunnels need no fragments.
pub const MAX_DATAGRAM: usize = 1_350;

/// Bytes a datagram has room for behind the header and before the seal.
pub const ROOM: usize = MAX_DATAGRAM - HEADER - TAG;

/// Counters of datagrams that are not repaired begin here: reports say all of it anew the next time.
pub const FEEDBACK: u64 = 1 << 63;

/// Bytes before a packet: wire, order, track, flags, epoch, number.
pub const MEDIA: usize = 20;

/// Parts one packet may be cut into: 64 of them hold the longest packet, 64 KB on an RTSP connection.
pub const MAX_PARTS: u8 = 64;

/// Bytes of a packet in one part.
pub const PART: usize = ROOM - MEDIA - 2;

/// Runs of datagrams one report asks for: what the room of a datagram takes.
pub const MAX_RUNS: usize = 100;

/// Flags an item may carry, [`crate::ring`]'s.
const ITEM_FLAGS: u8 = 0x0f;

/// What is behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One packet.
    Media = 1,
    /// A part of one packet.
    Part = 2,
    /// Bytes of the stream of messages.
    Control = 3,
    /// What was sent and received: keepalive, clock, requests for repair, acknowledgement.
    Report = 4,
    /// The sender ends the link.
    Goodbye = 5,
    /// A keyframe is needed of what the receiver sends.
    Wish = 6,
    /// Datagrams of a cast are missing.
    Ask = 7,
}

impl Kind {
    /// Whether what it says is said anew the next time, instead of being repaired.
    pub fn feedback(self) -> bool {
        matches!(self, Self::Report | Self::Goodbye | Self::Wish | Self::Ask)
    }
}

/// Why bytes are not a datagram of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The part of a datagram that anybody can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// The receiver's name for the link.
    pub link: u32,
    /// Counts datagrams; from [`FEEDBACK`] on those that are not repaired.
    pub counter: u64,
}

impl Header {
    /// Looks at a datagram; one without room for the seal is malformed.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        if data.len() < HEADER + TAG || data[0] != VERSION << 4 {
            return Err(Malformed);
        }
        let kind = match data[1] {
            1 => Kind::Media,
            2 => Kind::Part,
            3 => Kind::Control,
            4 => Kind::Report,
            5 => Kind::Goodbye,
            6 => Kind::Wish,
            7 => Kind::Ask,
            _ => return Err(Malformed),
        };
        let mut rest = Reader(&data[2..]);
        let header = Self {
            kind,
            link: rest.u32()?,
            counter: rest.u64()?,
        };
        if kind.feedback() == (header.counter >= FEEDBACK) {
            Ok(header)
        } else {
            Err(Malformed)
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        (bytes[0], bytes[1]) = (VERSION << 4, self.kind as u8);
        bytes[2..6].copy_from_slice(&self.link.to_be_bytes());
        bytes[6..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }
}

/// What a packet is in its channel, and its place among those of the same wire channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// The channel's number on the link.
    pub wire: u16,
    /// Counts what is sent under that number, over the wrap.
    pub order: u32,
    /// Track within the channel.
    pub track: u8,
    /// Flags of [`crate::ring::Item`].
    pub flags: u8,
    /// The source's epoch.
    pub epoch: u32,
    /// Number within the track; 0 for RTCP.
    pub number: u64,
}

/// What a report says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Counter that the next repairable datagram will have: all before were sent.
    pub next: u64,
    /// The oldest counter that can still be repaired.
    pub oldest: u64,
    /// The sender's clock, µs; never 0.
    pub stamp: u32,
    /// The newest stamp that came; 0 for none.
    pub echo: u32,
    /// How long ago that was, µs.
    pub held: u32,
    /// Bytes of messages received without a gap.
    pub received: u64,
    /// Datagrams to be sent again: the first counter, and how many.
    pub runs: Vec<(u64, u16)>,
}

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// One packet.
    Media(Media, &'a [u8]),
    /// A part of one: which, of how many.
    Part(Media, u8, u8, &'a [u8]),
    /// Bytes of messages from an offset on.
    Control(u64, &'a [u8]),
    /// A report.
    Report(Report),
    /// The end.
    Goodbye,
    /// A keyframe of a wire channel's track.
    Wish(u16, u8),
    /// Datagrams of the cast with this name: first counter, how many.
    Ask(u32, Vec<(u64, u16)>),
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    fn media(&mut self) -> Result<Media, Malformed> {
        let media = Media {
            wire: self.u16()?,
            order: self.u32()?,
            track: self.u8()?,
            flags: self.u8()?,
            epoch: self.u32()?,
            number: self.u64()?,
        };
        // A number that is the last there is has no next one.
        if media.flags & !ITEM_FLAGS == 0 && media.number < u64::MAX {
            Ok(media)
        } else {
            Err(Malformed)
        }
    }

    fn runs(mut self) -> Result<Vec<(u64, u16)>, Malformed> {
        let mut runs = Vec::new();
        while !self.0.is_empty() {
            let (first, count) = (self.u64()?, self.u16()?);
            let end = first.checked_add(u64::from(count)).ok_or(Malformed)?;
            if count == 0 || end > FEEDBACK || runs.len() >= MAX_RUNS {
                return Err(Malformed);
            }
            runs.push((first, count));
        }
        Ok(runs)
    }

    fn report(mut self) -> Result<Report, Malformed> {
        let mut report = Report {
            next: self.u64()?,
            oldest: self.u64()?,
            stamp: self.u32()?,
            echo: self.u32()?,
            held: self.u32()?,
            received: self.u64()?,
            runs: Vec::new(),
        };
        report.runs = self.runs()?;
        if report.stamp == 0 || report.oldest > report.next || report.next > FEEDBACK {
            return Err(Malformed);
        }
        Ok(report)
    }
}

impl<'a> Body<'a> {
    /// Reads what was sealed in a datagram of a kind.
    pub fn parse(kind: Kind, data: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(data);
        let body = match kind {
            Kind::Media => Self::Media(rest.media()?, rest.0),
            Kind::Part => {
                let (media, index, count) = (rest.media()?, rest.u8()?, rest.u8()?);
                if !(2..=MAX_PARTS).contains(&count) || index >= count {
                    return Err(Malformed);
                }
                Self::Part(media, index, count, rest.0)
            }
            Kind::Control => Self::Control(rest.u64()?, rest.0),
            Kind::Report => return rest.report().map(Self::Report),
            // What later versions add to these is ignored.
            Kind::Goodbye => return Ok(Self::Goodbye),
            Kind::Wish => return Ok(Self::Wish(rest.u16()?, rest.u8()?)),
            Kind::Ask => {
                let cast = rest.u32()?;
                return rest.runs().map(|runs| Self::Ask(cast, runs));
            }
        };
        match &body {
            Self::Media(_, data) | Self::Part(.., data) | Self::Control(_, data)
                if data.is_empty() =>
            {
                Err(Malformed)
            }
            _ => Ok(body),
        }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Media(..) => Kind::Media,
            Self::Part(..) => Kind::Part,
            Self::Control(..) => Kind::Control,
            Self::Report(_) => Kind::Report,
            Self::Goodbye => Kind::Goodbye,
            Self::Wish(..) => Kind::Wish,
            Self::Ask(..) => Kind::Ask,
        }
    }

    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Media(media, data) => {
                media.write(out);
                out.extend_from_slice(data);
            }
            Self::Part(media, index, count, data) => {
                media.write(out);
                out.extend_from_slice(&[*index, *count]);
                out.extend_from_slice(data);
            }
            Self::Control(offset, data) => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(data);
            }
            Self::Report(report) => report.write(out),
            Self::Goodbye => {}
            Self::Wish(wire, track) => {
                out.extend_from_slice(&wire.to_be_bytes());
                out.push(*track);
            }
            Self::Ask(cast, runs) => {
                out.extend_from_slice(&cast.to_be_bytes());
                write_runs(runs, out);
            }
        }
    }
}

impl Media {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.wire.to_be_bytes());
        out.extend_from_slice(&self.order.to_be_bytes());
        out.extend_from_slice(&[self.track, self.flags]);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
    }
}

impl Report {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&self.oldest.to_be_bytes());
        for word in [self.stamp, self.echo, self.held] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.received.to_be_bytes());
        write_runs(&self.runs, out);
    }
}

fn write_runs(runs: &[(u64, u16)], out: &mut Vec<u8>) {
    for (first, count) in runs {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
    }
}
