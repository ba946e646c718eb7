//! `whep-viewers`: many WebRTC viewers in one thread. They count what comes without decrypting it
//! and send the feedback that browsers send, so that the server has all of its work and they have
//! little. With `--plain` they only count, for what sends to them unasked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use str0m::media::Direction;

use crate::args::Args;
use crate::http::{Http, HttpUrl};
use crate::peer::{Keys, Kit, Peer, Purpose};
use crate::rtsp;
use crate::sentlog::{self, NUMBERS, SentLog, Times};
use crate::srtp::{self, Sealer, Use};
use crate::stats::Samples;
use crate::sys::{self, Epoll, Receiver};
use crate::tally::{Report, Tally};
use crate::track::Track;
use crate::twcc::Arrivals;
use crate::window::{Step, Window};

/// Handshakes under way at once: enough to keep a server busy, few enough that none runs out of time.
const HANDSHAKES: usize = 32;
/// Time between two messages of feedback: Chromium's at moderate rates, µs.
const FEEDBACK_US: u64 = 100_000;
/// Time between two looks at all viewers' timers, µs.
const SWEEP_US: u64 = 10_000;
/// Bytes of a datagram kept once a viewer is connected: headers, and all of an ICE message.
const HEAD: usize = 256;
/// Datagrams taken in one call.
const BATCH: usize = 32;
/// Socket buffer of a viewer that only counts.
const BUFFER: i32 = 512 * 1024;
/// First port of viewers that only count; below the ephemeral range.
const FIRST_PORT: u16 = 20_000;

/// What the header of a packet says (RFC 3550 5.1, RFC 8285 4.2).
#[derive(Debug, PartialEq)]
pub struct Head {
    ssrc: u32,
    payload_type: u8,
    last: bool,
    /// Bytes behind header and extensions, the seal included.
    body: usize,
    transport_number: Option<u16>,
}

impl Head {
    /// Reads a packet's beginning; `None` for anything but RTP.
    pub fn read(data: &[u8], length: usize, extension: Option<u8>) -> Option<Self> {
        if data.len() < 12 || data[0] >> 6 != 2 || (192..=223).contains(&data[1]) {
            return None;
        }
        let mut at = 12 + 4 * usize::from(data[0] & 15);
        let mut transport_number = None;
        if data[0] & 0x10 != 0 {
            let words = u16::from_be_bytes([*data.get(at + 2)?, *data.get(at + 3)?]);
            let elements = data.get(at + 4..at + 4 + 4 * usize::from(words))?;
            if data[at..at + 2] == [0xBE, 0xDE] {
                transport_number = extension.and_then(|id| element(elements, id));
            }
            at += 4 + elements.len();
        }
        Some(Self {
            ssrc: u32::from_be_bytes([data[8], data[9], data[10], data[11]]),
            payload_type: data[1] & 0x7F,
            last: data[1] & 0x80 != 0,
            body: length.checked_sub(at)?,
            transport_number,
        })
    }
}

fn element(mut elements: &[u8], wanted: u8) -> Option<u16> {
    while let [head, rest @ ..] = elements {
        let length = usize::from(head & 15) + 1;
        match head >> 4 {
            0 => elements = rest,
            15 => return None,
            id if id == wanted && length == 2 => {
                return Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
            }
            _ => elements = rest.get(length..)?,
        }
    }
    None
}

enum Ending {
    Peer(Box<Peer>),
    Plain(OwnedFd),
}

struct Viewer {
    ending: Ending,
    playing: bool,
    failed: bool,
    track: Track,
    reads: u64,
    ssrc: u32,
    sealer: Option<Sealer>,
    arrivals: Arrivals,
    feedback_us: u64,
}

struct Load {
    viewers: Vec<Viewer>,
    epoll: Epoll,
    whole: Receiver,
    heads: Receiver,
    log: Option<SentLog>,
    times: Times,
    delay: Samples,
    interval: Samples,
    failures: BTreeMap<String, u64>,
    handshakes: usize,
    playing: usize,
    feedback: u64,
    profile: String,
    measuring: bool,
}

impl Load {
    fn add(&mut self, ending: Ending) -> Result<(), String> {
        let plain = matches!(ending, Ending::Plain(_));
        let token = self.viewers.len() as u64;
        let added = match &ending {
            Ending::Peer(peer) => self.epoll.add(&peer.socket, token),
            Ending::Plain(socket) => self.epoll.add(socket, token),
        };
        added.map_err(|e| e.to_string())?;
        self.handshakes += usize::from(!plain);
        self.playing += usize::from(plain);
        self.viewers.push(Viewer {
            ending,
            playing: plain,
            failed: false,
            track: Track::default(),
            reads: 0,
            ssrc: 0,
            sealer: None,
            arrivals: Arrivals::default(),
            // Spread over the period, as those of people are.
            feedback_us: sys::now_us() + token * 7_919 % FEEDBACK_US,
        });
        Ok(())
    }

    fn fail(&mut self, index: usize, why: &str) {
        let viewer = &mut self.viewers[index];
        if !std::mem::replace(&mut viewer.failed, true) {
            if std::mem::take(&mut viewer.playing) {
                self.playing -= 1;
            } else {
                self.handshakes -= 1;
            }
            *self.failures.entry(why.to_owned()).or_default() += 1;
        }
    }

    /// A session is through its handshake.
    fn connected(&mut self, index: usize, kit: &Kit, keys: Option<Keys>) {
        let sealer = keys.and_then(|(profile, material)| {
            self.profile = profile.to_string();
            let length = srtp::key_length(profile)?;
            Some(Sealer::of_client(&kit.crypto, &material, length, Use::Rtcp))
        });
        if sealer.is_none() {
            self.fail(index, "no AES-GCM agreed on");
            return;
        }
        let viewer = &mut self.viewers[index];
        viewer.sealer = sealer;
        viewer.playing = true;
        self.handshakes -= 1;
        self.playing += 1;
    }

    /// Looks whether something became of a peer.
    fn judge(&mut self, index: usize, kit: &Kit) {
        let viewer = &self.viewers[index];
        let Ending::Peer(peer) = &viewer.ending else {
            return;
        };
        if peer.closed {
            self.fail(index, "closed");
        } else if peer.connected && !viewer.playing && !viewer.failed {
            let keys = peer.keys();
            self.connected(index, kit, keys);
        }
    }

    fn read(&mut self, index: usize, kit: &Kit) {
        loop {
            let viewer = &mut self.viewers[index];
            let receiver = if viewer.playing {
                &mut self.heads
            } else {
                &mut self.whole
            };
            let (fd, extension, video) = match &viewer.ending {
                Ending::Peer(peer) => (
                    peer.socket.as_raw_fd(),
                    peer.terms.transport_cc,
                    Some(peer.terms.video),
                ),
                Ending::Plain(socket) => (socket.as_raw_fd(), None, None),
            };
            let count = receiver.receive(fd);
            viewer.reads += u64::from(count > 0);
            let mut control = false;
            for i in 0..count {
                let datagram = receiver.get(i);
                let (data, length) = (datagram.head, datagram.length);
                let at = datagram.at_us.unwrap_or_else(sys::now_us);
                let Some(head) = Head::read(data, length, extension) else {
                    // Reports cannot be read here; all else is for ICE and DTLS.
                    if let Ending::Peer(peer) = &mut viewer.ending
                        && data.first().is_some_and(|first| *first < 64)
                    {
                        peer.receive(Instant::now(), data);
                        control = true;
                    }
                    continue;
                };
                if let Some(number) = head.transport_number {
                    viewer.arrivals.add(number, at);
                }
                if video.is_some_and(|video| video != head.payload_type) {
                    continue; // repairs and padding
                }
                viewer.ssrc = head.ssrc;
                let payload = head.body.saturating_sub(srtp::TAG);
                let sent = self.times[sentlog::told(payload)];
                let sent = (head.last && sent > 0).then_some(sent);
                let seen = viewer.track.sealed(data, length, sent, at);
                if self.measuring {
                    if let Some(delay) = seen.delay_us {
                        self.delay.add(delay);
                    }
                    if let Some(interval) = seen.interval_us {
                        self.interval.add(interval);
                    }
                }
            }
            if control {
                self.judge(index, kit);
            }
            if count < BATCH {
                return;
            }
        }
    }

    /// Timers of the peers, and feedback.
    fn sweep(&mut self, now_us: u64, kit: &Kit) {
        let now = Instant::now();
        for index in 0..self.viewers.len() {
            let viewer = &mut self.viewers[index];
            let Ending::Peer(peer) = &mut viewer.ending else {
                continue;
            };
            if viewer.failed {
                continue;
            }
            if viewer.playing && viewer.feedback_us <= now_us {
                viewer.feedback_us = now_us + FEEDBACK_US;
                if let Some(message) = viewer.arrivals.message(viewer.ssrc)
                    && let Some(sealer) = &mut viewer.sealer
                {
                    peer.send(&sealer.rtcp(&message));
                    self.feedback += 1;
                }
            }
            if peer.due <= now {
                peer.tick(now);
                self.judge(index, kit);
            }
        }
    }

    fn restart(&mut self) {
        for viewer in &mut self.viewers {
            viewer.reads = 0;
            viewer.track.restart();
        }
        self.delay.clear();
        self.interval.clear();
        self.feedback = 0;
        self.measuring = true;
    }

    fn report(self, seconds: f64, cpu_us: u64) {
        let mut tally = Tally::default();
        for viewer in self.viewers.iter().filter(|viewer| viewer.playing) {
            tally.add(std::slice::from_ref(&viewer.track), viewer.reads, false);
        }
        let said = Report {
            playing: self.playing,
            closed: *self.failures.get("closed").unwrap_or(&0),
            failures: &self.failures,
            seconds,
            cpu_us,
            tally: &tally,
        };
        said.object(self.delay, self.interval)
            .int("feedback", self.feedback)
            .text("profile", &self.profile)
            .print();
    }
}

/// Runs the sub-command.
pub fn run(args: &Args) -> Result<(), String> {
    let count: usize = args.number("count", 1)?;
    let ramp: f64 = args.number("ramp", 200.0)?;
    let sources: usize = args.number("sources", 1)?;
    let feedback = args.text("feedback", "transport") != "none";
    let plain = args.text("plain", "false") == "true";
    let first_port: u16 = args.number("first-port", FIRST_PORT)?;
    let log = match args.text("log", "") {
        "" => None,
        path => Some(SentLog::open(path)?),
    };
    sys::need_files(count as u64 + 320)?;
    let kit = Kit::new()?;
    let mut load = Load {
        viewers: Vec::with_capacity(count),
        epoll: Epoll::new().map_err(|e| e.to_string())?,
        whole: Receiver::new(BATCH, sys::WHOLE),
        heads: Receiver::new(BATCH, HEAD),
        log,
        times: [0; NUMBERS],
        delay: Samples::new(),
        interval: Samples::new(),
        failures: BTreeMap::new(),
        handshakes: 0,
        playing: 0,
        feedback: 0,
        profile: String::new(),
        measuring: false,
    };
    let mut connections: BTreeMap<usize, Http> = BTreeMap::new();
    if plain {
        for i in 0..count {
            let port = first_port + i as u16;
            let socket = sys::udp_bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), BUFFER)
                .map_err(|e| format!("port {port}: {e}"))?;
            sys::want_timestamps(&socket).map_err(|e| e.to_string())?;
            load.add(Ending::Plain(socket))?;
        }
    }
    let url = if plain {
        None
    } else {
        Some(HttpUrl::parse(args.required("url")?)?)
    };
    let begin = sys::now_us();
    let mut window = Window::new(args, begin)?;
    let (mut sweep_us, mut tokens) = (begin, Vec::new());
    loop {
        let now = sys::now_us();
        let due = ((now - begin) as f64 / 1e6 * ramp) as usize + 1;
        // One at a time: the others' handshakes go on in between.
        if let Some(url) = &url
            && load.viewers.len() < count.min(due)
            && load.handshakes < HANDSHAKES
        {
            let source = load.viewers.len() % sources.max(1);
            let from = rtsp::source_address(source, sources);
            let http = match connections.entry(source) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(Http::connect(url.address, from)?)
                }
            };
            let local = SocketAddrV4::new(from.unwrap_or(Ipv4Addr::LOCALHOST), 0);
            let purpose = Purpose {
                path: &url.path,
                key: args.text("key", ""),
                direction: Direction::RecvOnly,
                feedback,
            };
            let peer = Peer::new(&kit, http, local, &purpose)?;
            load.add(Ending::Peer(Box::new(peer)))?;
        }
        let starting = load.viewers.len() < count;
        load.epoll.wait(if starting { 1 } else { 10 }, &mut tokens);
        if let Some(log) = &load.log
            && !tokens.is_empty()
        {
            log.read(&mut load.times);
        }
        for token in &tokens {
            load.read(*token as usize, &kit);
        }
        let now = sys::now_us();
        if now >= sweep_us {
            sweep_us = now + SWEEP_US;
            load.sweep(now, &kit);
            load.heads.offset_us = sys::realtime_offset_us();
            load.whole.offset_us = load.heads.offset_us;
        }
        let started = load.viewers.len() == count && load.handshakes == 0;
        match window.step(now, started, load.playing) {
            Step::Nothing => {}
            Step::Begin => load.restart(),
            Step::End(seconds, cpu_us) => {
                load.report(seconds, cpu_us);
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_without_a_key() {
        let mut packet = vec![0x90, 0xE0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        packet.extend([0xBE, 0xDE, 0, 2, 0x10, 0x41, 0x32, 1, 2, 3, 0, 0]);
        packet.extend([7; 30]);
        let head = Head::read(&packet[..30], packet.len(), Some(3)).unwrap();
        assert_eq!(
            head.transport_number, None,
            "an element longer than it should be"
        );
        packet[18] = 0x31;
        let head = Head::read(&packet[..30], packet.len(), Some(3)).unwrap();
        assert_eq!(head.transport_number, Some(0x0102));
        assert_eq!(
            (head.ssrc, head.payload_type, head.last, head.body),
            (9, 96, true, 30)
        );
        let report = [0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Head::read(&report, 28, None), None);
    }
}
