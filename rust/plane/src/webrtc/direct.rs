//! The media half of a viewer's session for whom no bandwidth is estimated: packets are sealed as
//! they come and go out at once, losses are repaired, reports sent and read. `str0m` does ICE and
//! DTLS for it and never sees a packet of media: its way from a packet to a datagram, which is made
//! for all that WebRTC can be, costs more than sealing and sending together.
//!
//! Pure: time is an argument, µs.

use super::feedback::{self, Feedback};
use super::keys::Slot;
use super::repairs::{Kept, Repairs};
use super::sent::{Sent, Trend};
use super::session::{Output, Transport};
use super::srtp::{MAX_TAG, Srtp};
use super::view::Packet;
use crate::lock;
use crate::rtcp;
use crate::rtp::HEADER;
use std::net::SocketAddr;

/// How often a stream's clock is told, µs: players keep sound and picture together by it.
const REPORT_EVERY: u64 = 1_000_000;

/// Header extensions of one stream: numbers in its headers, where they were agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extensions {
    /// Which section of the description it belongs to (RFC 9143).
    pub mid: Option<u8>,
    /// Transport-wide numbers.
    pub transport: Option<u8>,
    /// When the packet was sent.
    pub sent: Option<u8>,
}

/// Repairs of one stream (RFC 4588).
#[derive(Debug)]
struct Repair {
    ssrc: u32,
    payload_type: u8,
    number: u64,
    /// Whether the viewer knows whose they are.
    bound: bool,
    cache: Repairs,
}

/// What a stream is made with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Section of the description.
    pub mid: String,
    /// Its identifier.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// Identifier and payload type of its repairs.
    pub repair: Option<(u32, u8)>,
    /// Units of its timestamps a second.
    pub clock_rate: u32,
    /// Whether what is lost of it tells how the path is.
    pub video: bool,
    /// Its header extensions.
    pub extensions: Extensions,
}

#[derive(Debug)]
struct Stream {
    terms: Terms,
    repair: Option<Repair>,
    /// Whether the viewer has told of it, and so knows which section it belongs to.
    bound: bool,
    packets: u32,
    octets: u32,
    /// A timestamp and its instant, Unix µs.
    clock: Option<(u32, u64)>,
    /// What part was lost, and the round trip, µs, by the viewer's latest report.
    received: Option<(f32, Option<u64>)>,
}

/// See the module.
#[derive(Debug)]
pub struct Direct {
    slot: Slot,
    srtp: Option<Srtp>,
    /// Where media go: where ICE has led.
    pub way: Option<(Transport, SocketAddr)>,
    streams: Vec<Stream>,
    sent: Sent,
    /// Whether the viewer acknowledges packets one by one.
    pub acknowledges: bool,
    /// What receivers know all streams of one sender by.
    pub cname: String,
    report_at: Option<u64>,
}

/// What a viewer wants, or tells, that others see to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wish {
    /// A keyframe of the stream at this place.
    Keyframe(usize),
    /// No more than so many bits a second.
    Estimate(u64),
    /// How packets come.
    Trend(Trend),
}

impl Direct {
    /// A session whose keys will be in the slot.
    pub fn new(slot: Slot) -> Self {
        Self {
            slot,
            srtp: None,
            way: None,
            streams: Vec::new(),
            sent: Sent::default(),
            acknowledges: false,
            cname: String::new(),
            report_at: None,
        }
    }

    /// A further stream, at the next place.
    pub fn add(&mut self, terms: Terms) {
        let repair = terms.repair.map(|(ssrc, payload_type)| Repair {
            ssrc,
            payload_type,
            number: 1,
            bound: false,
            cache: Repairs::default(),
        });
        self.streams.push(Stream {
            terms,
            repair,
            bound: false,
            packets: 0,
            octets: 0,
            clock: None,
            received: None,
        });
    }

    /// Takes the keys, once they are there.
    fn ready(&mut self) -> bool {
        if self.srtp.is_none()
            && let Some(keys) = lock(&self.slot).take()
        {
            self.srtp = Srtp::new(&keys);
        }
        self.srtp.is_some() && self.way.is_some()
    }

    fn output(&self, data: Vec<u8>) -> Option<Output> {
        let (transport, to) = self.way?;
        Some(Output::Transmit {
            transport,
            to,
            data,
        })
    }

    /// Sends a packet of the stream at a place, under this timestamp and number, which is used once.
    pub fn send(
        &mut self,
        now: u64,
        at: usize,
        number: u64,
        timestamp: u32,
        packet: &Packet,
    ) -> Option<Output> {
        if !self.ready() {
            return None;
        }
        let stream = self.streams.get_mut(at)?;
        if stream.clock.replace((timestamp, packet.wall)).is_none() {
            self.report_at = Some(now); // the sooner the viewer knows its clock, the better
        }
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(packet.payload.len() as u32);
        let fields = Fields {
            ssrc: stream.terms.ssrc,
            payload_type: stream.terms.payload_type,
            number,
            timestamp,
            marker: packet.marker,
            bound: stream.bound,
        };
        if let Some(repair) = &mut stream.repair {
            let (marker, payload) = (packet.marker, &packet.payload);
            repair.cache.keep(now, number, timestamp, marker, payload);
        }
        self.seal(now, at, fields, None, &packet.payload)
    }

    fn seal(
        &mut self,
        now: u64,
        at: usize,
        fields: Fields,
        original: Option<u16>,
        payload: &[u8],
    ) -> Option<Output> {
        let terms = &self.streams.get(at)?.terms;
        let room = HEADER + MAX_EXTENSIONS + 2 + payload.len() + MAX_TAG;
        let mut data = Vec::with_capacity(room);
        let transport = terms.extensions.transport.map(|_| self.sent.next(now));
        fields.write(terms, now, transport, &mut data);
        let head = data.len();
        data.extend(original.into_iter().flat_map(u16::to_be_bytes));
        data.extend_from_slice(payload);
        let srtp = self.srtp.as_mut()?;
        if !srtp.seal(fields.ssrc, fields.number, head, &mut data) {
            return None;
        }
        self.output(data)
    }

    fn repair(&mut self, now: u64, at: usize, kept: &Kept) -> Option<Output> {
        let repair = self.streams.get_mut(at)?.repair.as_mut()?;
        repair.number += 1;
        let fields = Fields {
            ssrc: repair.ssrc,
            payload_type: repair.payload_type,
            number: repair.number,
            timestamp: kept.timestamp,
            marker: kept.marker,
            bound: repair.bound,
        };
        let original = Some(kept.number as u16);
        self.seal(now, at, fields, original, &kept.payload)
    }

    /// Forgets what was sent of the stream at a place.
    pub fn forget(&mut self, at: usize) {
        let stream = self.streams.get_mut(at);
        if let Some(repair) = stream.and_then(|stream| stream.repair.as_mut()) {
            repair.cache.forget();
        }
    }

    /// Takes what came as control; `None` when it is not the viewer's, else what there is to send
    /// and what the viewer wants.
    pub fn receive(&mut self, now: u64, data: &[u8]) -> Option<(Vec<Output>, Vec<Wish>)> {
        if !self.ready() {
            return None;
        }
        let compound = self.srtp.as_mut()?.open_control(data)?;
        let (mut outputs, mut wishes) = (Vec::new(), Vec::new());
        feedback::read(&compound, |said| match said {
            Feedback::Missing(ssrc, numbers) => {
                let Some(at) = self.place(ssrc) else {
                    return;
                };
                for number in numbers {
                    let repair = self.streams[at].repair.as_mut();
                    if let Some(kept) = repair.and_then(|repair| repair.cache.ask(number)) {
                        outputs.extend(self.repair(now, at, &kept));
                    }
                }
            }
            Feedback::Keyframe(ssrc) => wishes.extend(self.place(ssrc).map(Wish::Keyframe)),
            Feedback::Arrivals(arrivals) => {
                wishes.extend(self.sent.tell(now, &arrivals).map(Wish::Trend));
            }
            Feedback::Estimate(bits) => wishes.push(Wish::Estimate(bits)),
            Feedback::Received(block) => self.received(now, &block),
        });
        Some((outputs, wishes))
    }

    fn place(&self, ssrc: u32) -> Option<usize> {
        self.streams
            .iter()
            .position(|stream| stream.terms.ssrc == ssrc)
    }

    fn received(&mut self, now: u64, block: &rtcp::Block) {
        for stream in &mut self.streams {
            if stream.terms.ssrc == block.ssrc {
                stream.bound = true;
                let loss = f32::from(block.fraction_lost) / 256.0;
                stream.received = Some((loss, round_trip(now, block)));
            }
            if let Some(repair) = &mut stream.repair {
                repair.bound |= repair.ssrc == block.ssrc;
            }
        }
    }

    /// What part the viewer lost in the last second, and the round trip, µs: packet by packet where
    /// it acknowledges them, else by its latest report on the picture, which is less exact.
    pub fn look(&mut self, now: u64) -> Option<(f32, Option<u64>)> {
        if self.acknowledges {
            return Some((self.sent.loss(now)?, self.sent.round_trip()));
        }
        let video = |stream: &&mut Stream| stream.terms.video;
        self.streams.iter_mut().find(video)?.received
    }

    /// Reports that are due.
    pub fn poll(&mut self, now: u64) -> Option<Output> {
        if self.report_at.is_none_or(|at| at > now) || !self.ready() {
            return None;
        }
        self.report_at = Some(now + REPORT_EVERY);
        let mut compound = Vec::new();
        for stream in &self.streams {
            let Some((timestamp, wall)) = stream.clock else {
                continue;
            };
            let passed = now.cast_signed().wrapping_sub(wall.cast_signed());
            let units = i128::from(passed) * i128::from(stream.terms.clock_rate) / 1_000_000;
            compound.extend(rtcp::sender_report(
                stream.terms.ssrc,
                rtcp::to_ntp(now),
                timestamp.wrapping_add(units as u32),
                stream.packets,
                stream.octets,
                &self.cname,
            ));
        }
        let sealed = self.srtp.as_mut()?.seal_control(&compound)?;
        self.output(sealed)
    }

    /// When [`Direct::poll`] has something to send.
    pub fn due(&self) -> Option<u64> {
        self.report_at
    }

    /// The last thing to be sent: a goodbye of all streams that have begun.
    pub fn goodbye(&mut self) -> Option<Output> {
        if !self.ready() {
            return None;
        }
        self.report_at = None;
        let begun = |stream: &&Stream| stream.clock.is_some();
        let mut leaving = self.streams.iter().filter(begun).peekable();
        let mut compound = rtcp::nothing_received(leaving.peek()?.terms.ssrc, &self.cname);
        for stream in leaving {
            rtcp::goodbye(&mut compound, stream.terms.ssrc);
        }
        let sealed = self.srtp.as_mut()?.seal_control(&compound)?;
        self.output(sealed)
    }
}

/// Since the report that a block answers was sent (RFC 3550 section 6.4.1), µs.
fn round_trip(now: u64, block: &rtcp::Block) -> Option<u64> {
    if block.last_report == 0 {
        return None;
    }
    let middle = (rtcp::to_ntp(now) >> 16) as u32;
    let since = middle
        .wrapping_sub(block.last_report)
        .wrapping_sub(block.delay);
    // Clocks that run apart would make it negative.
    (since < 1 << 31).then(|| (u64::from(since) * 1_000_000) >> 16)
}

/// Bytes that header extensions take at most: three of the long form, one of 16 bytes.
const MAX_EXTENSIONS: usize = 4 + (2 + 16) + (2 + 2) + (2 + 3) + 3;

/// Numbers above this need the long form of extensions (RFC 8285 section 4.2).
const MAX_SHORT: u8 = 14;

#[derive(Clone, Copy)]
struct Fields {
    ssrc: u32,
    payload_type: u8,
    number: u64,
    timestamp: u32,
    marker: bool,
    bound: bool,
}

impl Fields {
    fn write(self, terms: &Terms, now: u64, transport: Option<u16>, out: &mut Vec<u8>) {
        out.resize(HEADER, 0);
        out[0] = 0x80;
        out[1] = u8::from(self.marker) << 7;
        let number = self.number as u16;
        crate::rtp::rewrite(out, self.payload_type, number, self.timestamp, self.ssrc);
        let ids = &terms.extensions;
        let mid = ids.mid.filter(|_| !self.bound);
        let sent = ids.sent.map(|id| (id, since_1900(now)));
        let transport = ids.transport.zip(transport);
        let used = [mid, ids.sent, ids.transport];
        if mid.is_none() && sent.is_none() && transport.is_none() {
            return;
        }
        out[0] |= 0x10;
        let long = used.into_iter().flatten().any(|id| id > MAX_SHORT);
        let profile: u16 = if long { 0x1000 } else { 0xbede };
        out.extend_from_slice(&profile.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        let start = out.len();
        let mut element = |id: u8, value: &[u8]| {
            if long {
                out.extend_from_slice(&[id, value.len() as u8]);
            } else {
                out.push(id << 4 | (value.len() as u8 - 1));
            }
            out.extend_from_slice(value);
        };
        if let Some((id, number)) = transport {
            element(id, &number.to_be_bytes());
        }
        if let Some((id, time)) = sent {
            element(id, &time.to_be_bytes()[1..]);
        }
        if let Some(id) = mid {
            element(id, terms.mid.as_bytes());
        }
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        let words = ((out.len() - start) / 4) as u16;
        out[start - 2..start].copy_from_slice(&words.to_be_bytes());
    }
}

/// Seconds with 18 bits behind the point, in 24 bits.
fn since_1900(now: u64) -> u32 {
    (rtcp::to_ntp(now) >> 14) as u32 & 0xff_ffff
}
