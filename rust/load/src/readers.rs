//! `rtsp-readers`: many RTSP viewers in one thread.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::args::Args;
use crate::json::Object;
use crate::rtsp::{self, Message, Url};
use crate::stats::Samples;
use crate::sys::{self, Epoll, Receiver};
use crate::tally::{Report, Tally};
use crate::titles::{self, Counts, Titles};
use crate::track::{Seen, Track};
use crate::window::{Step, Window};

mod farewell;

/// Handshakes under way at once: enough to keep a server busy, few enough not to be its load.
const HANDSHAKES: usize = 32;
/// Keepalive period: the usual session time-out is 60 s (RFC 2326 12.37).
const KEEPALIVE_US: u64 = 20_000_000;
/// Socket buffer of a UDP reader: a keyframe of 30 KB several times over, as players ask for.
const UDP_BUFFER: i32 = 512 * 1024;
/// Receive buffer of a slow reader, the kernel's smallest useful one.
const SLOW_BUFFER: i32 = 4096;
/// A slow reader takes this much …
const SLOW_BYTES: usize = 1024;
/// … this often, µs: 10 KB/s.
const SLOW_PERIOD_US: u64 = 100_000;
/// First client port; below the ephemeral range, which starts at 32768.
const FIRST_PORT: u16 = 10_000;
const LAST_PORT: u16 = 32_700;
/// Bytes read from a TCP connection at once.
const READ: usize = 256 * 1024;
/// A frame of interleaved data: `$`, channel, length (RFC 2326 10.12).
const FRAME_HEADER: usize = 4;
/// Kinds of descriptor in a token's lowest bits: 0 the connection, then RTP and RTCP of each track.
const KINDS: u64 = 8;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Options,
    Describe,
    Setup(usize),
    Play,
    Playing,
    Failed,
}

struct Reader {
    connection: OwnedFd,
    state: State,
    cseq: u32,
    session: String,
    controls: Vec<(String, bool)>,
    udp: Vec<(OwnedFd, OwnedFd)>,
    tracks: Vec<Track>,
    counts: Counts,
    carry: Vec<u8>,
    slow: bool,
    reads: u64,
    keepalive_us: u64,
}

struct Load {
    urls: Vec<Url>,
    count: usize,
    titles: Option<Titles>,
    client: Ipv4Addr,
    tcp: bool,
    epoll: Epoll,
    readers: Vec<Reader>,
    port: u16,
    receiver: Receiver,
    buffer: Vec<u8>,
    delay: Samples,
    interval: Samples,
    failures: BTreeMap<String, u64>,
    handshakes: usize,
    playing: usize,
    closed: u64,
    measuring: bool,
}

impl Reader {
    fn request(&mut self, method: &str, target: &str, extra: &str) -> bool {
        self.cseq += 1;
        let mut text = format!(
            "{method} {target} RTSP/1.0\r\nCSeq: {}\r\n{extra}",
            self.cseq
        );
        if !self.session.is_empty() {
            let _ = write!(text, "Session: {}\r\n", self.session);
        }
        text += "\r\n";
        matches!(sys::write(&self.connection, text.as_bytes()), Ok(Some(n)) if n == text.len())
    }
}

impl Load {
    /// What a reader reads: the addresses in turns.
    fn url(&self, index: usize) -> &Url {
        &self.urls[index % self.urls.len()]
    }

    fn fail(&mut self, index: usize, why: &str) {
        let reader = &mut self.readers[index];
        match reader.state {
            State::Failed => return,
            State::Playing => {
                self.playing -= 1;
                self.closed += 1;
            }
            _ => self.handshakes -= 1,
        }
        reader.state = State::Failed;
        self.epoll.remove(&reader.connection);
        reader.udp.clear();
        *self.failures.entry(why.to_owned()).or_default() += 1;
    }

    fn start(&mut self, sources: usize, slow: bool) -> Result<(), String> {
        let index = self.readers.len();
        let buffer = slow.then_some(SLOW_BUFFER);
        let source = rtsp::source_address(index, sources);
        let connection = sys::tcp_connect(self.url(index).address, source, buffer)
            .map_err(|e| format!("{}: {e}", self.url(index).address))?;
        self.epoll
            .add(&connection, index as u64 * KINDS)
            .map_err(|e| e.to_string())?;
        let mut reader = Reader {
            connection,
            state: State::Options,
            cseq: 0,
            session: String::new(),
            controls: Vec::new(),
            udp: Vec::new(),
            tracks: Vec::new(),
            counts: Counts::default(),
            carry: Vec::new(),
            slow,
            reads: 0,
            keepalive_us: 0,
        };
        let sent = reader.request("OPTIONS", &self.url(index).plain, "");
        self.readers.push(reader);
        self.handshakes += 1;
        if !sent {
            self.fail(index, "connection closed");
        }
        Ok(())
    }

    /// Sends the SETUP of a track.
    fn setup(&mut self, index: usize, track: usize) -> Result<bool, String> {
        let transport = if self.tcp {
            let channel = track * 2;
            format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1)
        } else {
            let pair = sys::udp_pair(self.client, self.port..LAST_PORT, UDP_BUFFER);
            let (rtp, rtcp, port) = pair.ok_or("no free pair of UDP ports")?;
            self.port = port + 2;
            let token = index as u64 * KINDS + 1 + track as u64 * 2;
            self.epoll.add(&rtp, token).map_err(|e| e.to_string())?;
            self.epoll
                .add(&rtcp, token + 1)
                .map_err(|e| e.to_string())?;
            self.readers[index].udp.push((rtp, rtcp));
            format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)
        };
        let reader = &mut self.readers[index];
        let control = reader.controls[track].0.clone();
        let more = self.titles.as_ref().map_or(String::new(), Titles::headers);
        let headers = format!("Transport: {transport}\r\n{more}");
        Ok(reader.request("SETUP", &control, &headers))
    }

    /// Takes a response and sends the next request; false when the reader must be given up.
    fn response(&mut self, index: usize, message: &Message<'_>) -> Result<bool, String> {
        let url = self.url(index).plain.clone();
        let reader = &mut self.readers[index];
        if let Some(session) = message.header("Session") {
            session
                .split(';')
                .next()
                .unwrap_or("")
                .clone_into(&mut reader.session);
        }
        let next_track = match reader.state {
            State::Options => {
                reader.state = State::Describe;
                let more = self.titles.as_ref().map_or(String::new(), Titles::headers);
                let headers = format!("Accept: application/sdp\r\n{more}");
                return Ok(reader.request("DESCRIBE", &url, &headers));
            }
            State::Describe => {
                let base = message.header("Content-Base").unwrap_or(&url);
                reader.controls = rtsp::tracks(message.body, base);
                reader.controls.truncate(3); // KINDS has room for three tracks
                reader.tracks = vec![Track::default(); reader.controls.len()];
                reader.counts = Counts::new(message.body);
                0
            }
            State::Setup(track) => {
                reader.counts.set_up(message, track);
                track + 1
            }
            State::Play => {
                reader.state = State::Playing;
                reader
                    .counts
                    .playing(message, &reader.controls, sys::now_us());
                self.handshakes -= 1;
                self.playing += 1;
                reader.keepalive_us = sys::now_us() + KEEPALIVE_US;
                if reader.slow {
                    self.epoll.remove(&reader.connection);
                }
                return Ok(true);
            }
            State::Playing | State::Failed => return Ok(true),
        };
        if next_track < reader.controls.len() {
            reader.state = State::Setup(next_track);
            return self.setup(index, next_track);
        }
        if reader.controls.is_empty() {
            return Ok(false);
        }
        reader.state = State::Play;
        let begin = self.titles.as_ref().map_or(0.0, |titles| {
            titles.begin_s(index, self.count, self.urls.len())
        });
        Ok(reader.request("PLAY", &url, &format!("Range: npt={begin:.3}-\r\n")))
    }

    fn count(&mut self, index: usize, seen: &Seen) {
        if self.measuring && !self.readers[index].slow {
            if let Some(delay) = seen.delay_us {
                self.delay.add(delay);
            }
            if let Some(interval) = seen.interval_us {
                self.interval.add(interval);
            }
        }
    }

    /// Reads a connection: responses and interleaved packets.
    fn read_connection(&mut self, index: usize, limit: usize) -> Result<(), String> {
        let mut data = std::mem::take(&mut self.buffer);
        let kept = {
            let reader = &mut self.readers[index];
            data[..reader.carry.len()].copy_from_slice(&reader.carry);
            reader.carry.len()
        };
        let result = self.read_into(index, limit, &mut data, kept);
        self.buffer = data;
        result
    }

    fn read_into(
        &mut self,
        index: usize,
        limit: usize,
        data: &mut [u8],
        kept: usize,
    ) -> Result<(), String> {
        let end = data.len().min(kept + limit);
        let got = match sys::read(&self.readers[index].connection, &mut data[kept..end]) {
            Ok(None) => return Ok(()),
            Ok(Some(got)) if got > 0 => got,
            _ => {
                self.fail(index, "connection closed");
                return Ok(());
            }
        };
        let now = sys::now_us();
        self.readers[index].reads += 1;
        let data = &data[..kept + got];
        let mut at = 0;
        while data.len() - at >= FRAME_HEADER {
            let rest = &data[at..];
            if rest[0] == b'$' {
                let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                if rest.len() < FRAME_HEADER + length {
                    break;
                }
                let packet = &rest[FRAME_HEADER..FRAME_HEADER + length];
                let track = usize::from(rest[1] / 2);
                if rest[1].is_multiple_of(2) {
                    let reader = &mut self.readers[index];
                    if let Some(counters) = reader.tracks.get_mut(track) {
                        let audio = reader.controls[track].1;
                        let seen = counters.packet(packet, length, audio, now);
                        if let Some(titles) = &mut self.titles {
                            titles.packet(&mut reader.counts, track, packet, now, self.measuring);
                        }
                        self.count(index, &seen);
                    }
                }
                at += FRAME_HEADER + length;
            } else {
                let Some(message) = Message::parse(rest) else {
                    if rest.len() > rtsp::MAX_MESSAGE {
                        self.fail(index, "not RTSP");
                        return Ok(());
                    }
                    break;
                };
                let ok = match message.status() {
                    Some(200) => self.response(index, &message)?,
                    // A server may send requests of its own; they are let pass.
                    None => true,
                    Some(status) => {
                        self.fail(index, &format!("status {status}"));
                        return Ok(());
                    }
                };
                if !ok {
                    self.fail(index, "handshake");
                    return Ok(());
                }
                at += message.length;
            }
        }
        let reader = &mut self.readers[index];
        reader.carry.clear();
        reader.carry.extend_from_slice(&data[at..]);
        Ok(())
    }

    fn read_udp(&mut self, index: usize, kind: u64) {
        let track = (kind as usize - 1) / 2;
        let rtp = kind % 2 == 1;
        loop {
            let Some((first, second)) = self.readers[index].udp.get(track) else {
                return;
            };
            let fd = if rtp { first } else { second }.as_raw_fd();
            let count = self.receiver.receive(fd);
            let now = sys::now_us();
            for i in 0..count * usize::from(rtp) {
                let packet = self.receiver.get(i);
                let at = packet.at_us.unwrap_or(now);
                let reader = &mut self.readers[index];
                if self.titles.is_some() && !reader.counts.knows(track, packet.head) {
                    continue; // of who had the port before
                }
                let audio = reader.controls[track].1;
                let seen = reader.tracks[track].packet(packet.head, packet.length, audio, at);
                if let Some(titles) = &mut self.titles {
                    titles.packet(&mut reader.counts, track, packet.head, at, self.measuring);
                }
                self.count(index, &seen);
            }
            if count < self.receiver.capacity() {
                return;
            }
        }
    }

    fn keep_alive(&mut self, now: u64) {
        for index in 0..self.readers.len() {
            let url = self.url(index).plain.clone();
            let reader = &mut self.readers[index];
            if reader.state == State::Playing && reader.keepalive_us < now && !reader.slow {
                reader.keepalive_us = now + KEEPALIVE_US;
                if !reader.request("OPTIONS", &url, "") {
                    self.fail(index, "keepalive not sent");
                }
            }
        }
    }

    fn restart(&mut self) {
        for reader in &mut self.readers {
            reader.reads = 0;
            for track in &mut reader.tracks {
                track.restart();
            }
        }
        if let Some(titles) = &mut self.titles {
            titles.restart();
        }
        self.delay.clear();
        self.interval.clear();
        self.measuring = true;
    }

    /// What was counted, once.
    fn report(&mut self, seconds: f64, cpu_us: u64) -> Result<Object, String> {
        let mut tally = Tally::default();
        for reader in &self.readers {
            if reader.state == State::Playing {
                tally.add(&reader.tracks, reader.reads, reader.slow);
            }
        }
        let said = Report {
            playing: self.playing,
            closed: self.closed,
            failures: &self.failures,
            seconds,
            cpu_us,
            tally: &tally,
        };
        let [delay, interval] = [&mut self.delay, &mut self.interval]
            .map(|samples| std::mem::replace(samples, Samples::new()));
        let object = said.object(delay, interval);
        let Some(titles) = self.titles.take() else {
            return Ok(object);
        };
        let playing = self
            .readers
            .iter()
            .filter(|one| one.state == State::Playing);
        titles.report(object, playing.map(|one| &one.counts))
    }
}

/// Runs the sub-command.
pub fn run(args: &Args) -> Result<(), String> {
    let urls = titles::urls(args.required("url")?)?;
    let client = args.number("client", Ipv4Addr::LOCALHOST)?;
    let titles = Titles::new(args)?;
    let count: usize = args.number("count", 1)?;
    let ramp: f64 = args.number("ramp", 1000.0)?;
    let slow: usize = args.number("slow", 0)?;
    let sources: usize = args.number("sources", 1)?;
    let tcp = args.text("transport", "udp") == "tcp";
    sys::need_files(count as u64 * if tcp { 1 } else { 7 } + 64)?;
    let mut load = Load {
        urls,
        count,
        client,
        tcp,
        epoll: Epoll::new().map_err(|e| e.to_string())?,
        readers: Vec::with_capacity(count),
        port: args.number("first-port", FIRST_PORT)?,
        receiver: Receiver::new(32, titles::head(titles.as_ref())),
        titles,
        buffer: vec![0; READ + rtsp::MAX_MESSAGE + 65_536 + FRAME_HEADER],
        delay: Samples::new(),
        interval: Samples::new(),
        failures: BTreeMap::new(),
        handshakes: 0,
        playing: 0,
        closed: 0,
        measuring: false,
    };
    let begin = sys::now_us();
    let (mut window, mut tokens) = (Window::new(args, begin)?, Vec::new());
    let (mut slow_due, mut keepalive_due) = (begin, begin);
    loop {
        let now = sys::now_us();
        let due = ((now - begin) as f64 / 1e6 * ramp) as usize + 1;
        let open = |load: &Load| load.readers.len() < count.min(due);
        while load.handshakes < HANDSHAKES && open(&load) {
            let is_slow = load.readers.len() < slow;
            load.start(sources, is_slow)?;
        }
        load.epoll.wait(10, &mut tokens);
        for token in &tokens {
            let (index, kind) = ((token / KINDS) as usize, token % KINDS);
            if kind == 0 {
                load.read_connection(index, READ)?;
            } else {
                load.read_udp(index, kind);
            }
        }
        if now >= slow_due && slow > 0 {
            slow_due = now + SLOW_PERIOD_US;
            for index in 0..slow.min(load.readers.len()) {
                if load.readers[index].state == State::Playing {
                    load.read_connection(index, SLOW_BYTES)?;
                }
            }
        }
        if now >= keepalive_due {
            keepalive_due = now + 1_000_000;
            load.keep_alive(now);
            load.receiver.offset_us = sys::realtime_offset_us();
        }
        if let Some(titles) = &mut load.titles {
            titles.tick(now);
        }
        let started = load.readers.len() == count && load.handshakes == 0;
        match window.step(now, started, load.playing) {
            Step::Nothing => {}
            Step::Begin => load.restart(),
            Step::End(seconds, cpu_us) => {
                load.measuring = false;
                let said = load.report(seconds, cpu_us); // before anything more comes
                load.farewell();
                said?.print();
                return Ok(());
            }
        }
    }
}
