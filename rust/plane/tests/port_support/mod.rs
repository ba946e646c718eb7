//! A plane with a WebRTC port, and peers that come to it by real sockets.

mod media;

use _plane::channel::Config;
use _plane::codec::Codec;
use _plane::event::Id;
use _plane::framing::{Deframer, frame};
use _plane::media::Kind;
use _plane::net::rtc::PortCounters;
use _plane::plane::Plane;
use _plane::plane::rtc::NotOpened;
use _plane::rtp;
use _plane::webrtc::Refused;
use _plane::webrtc::session::{PublishOptions, ViewOptions, ViewTrack};
use media::{format, h264_payload, spec, video, vp8_payload};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpApi, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// Everything here takes a few seconds at most; a machine that needs longer has stopped.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A plane, a channel, a port.
pub struct Site {
    pub plane: Plane,
    pub channel: Id,
    pub port: Id,
    /// The port's number.
    pub number: u16,
    codec: Codec,
    source: Id,
    input: Id,
    sequence: u16,
    timestamp: u32,
}

impl Site {
    /// Without a source.
    pub fn empty(bind: IpAddr, candidate: IpAddr) -> Self {
        Self::open(bind, candidate, true)
    }

    /// With a source of VP8 that a program pushes.
    pub fn new(bind: IpAddr, candidate: IpAddr) -> Self {
        Self::with(bind, candidate, true)
    }

    pub fn with(bind: IpAddr, candidate: IpAddr, tcp: bool) -> Self {
        let mut site = Self::open(bind, candidate, tcp);
        site.replace_source();
        site.picture(1, 300);
        site
    }

    /// With a source of H.264 whose parameter sets are told aside.
    pub fn h264(bind: IpAddr, candidate: IpAddr) -> Self {
        let mut site = Self::open(bind, candidate, true);
        site.codec = Codec::H264;
        site.replace_source();
        site
    }

    fn open(bind: IpAddr, candidate: IpAddr, tcp: bool) -> Self {
        let plane = Plane::new(1, 10_000).unwrap();
        let channel = plane.open_channel(Config {
            depth_us: 60_000_000,
            max_bytes: 16 << 20,
            silence_us: 1_000_000,
            return_us: None,
            coalesce_us: 1_500,
            tcp_interval_us: 0,
            lag_us: 300_000,
        });
        let candidates = [SocketAddr::new(candidate, 0)];
        let (port, number) = plane
            .rtc_open(SocketAddr::new(bind, 0), &candidates, tcp, 100)
            .unwrap();
        Self {
            plane,
            channel,
            port,
            number,
            codec: Codec::Vp8,
            source: 0,
            input: 0,
            sequence: 0,
            timestamp: 0,
        }
    }

    pub fn counters(&self) -> PortCounters {
        self.plane.rtc_counters(self.port).unwrap()
    }

    /// Takes the source away and adds a new one.
    pub fn replace_source(&mut self) {
        self.plane.remove_source(self.source);
        self.source = self
            .plane
            .add_source(self.channel, 0, video(self.codec))
            .unwrap();
        self.input = self.plane.add_input(self.source).unwrap();
        (self.sequence, self.timestamp) = (0, 0);
    }

    /// Pushes a picture of so many packets; every tenth can be begun with.
    pub fn picture(&mut self, packets: usize, size: usize) {
        self.timestamp += 3_000;
        let key = self.timestamp % 30_000 == 3_000;
        for part in 0..packets {
            self.push(self.timestamp, key && part == 0, part + 1 == packets, size);
        }
    }

    /// Pushes a picture of one packet with this timestamp.
    pub fn picture_at(&mut self, timestamp: u32, key: bool) {
        self.push(timestamp.wrapping_add(900_000), key, true, 300);
    }

    fn push(&mut self, timestamp: u32, key: bool, marker: bool, size: usize) {
        let mut data = vec![0x80; 12];
        data[1] = u8::from(marker) << 7;
        rtp::rewrite(&mut data, 96, self.sequence, timestamp, 7);
        data.extend_from_slice(&match self.codec {
            Codec::H264 => h264_payload(key, size),
            _ => vp8_payload(key, size),
        });
        self.sequence = self.sequence.wrapping_add(1);
        self.plane.push(self.input, 0, &[&data]).unwrap();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream, Deframer),
}

/// A peer and what it has seen.
pub struct Peer {
    /// Its session.
    pub id: Id,
    pub connected: bool,
    /// The server said goodbye.
    pub closed: bool,
    /// Its TCP connection was closed.
    pub hung_up: bool,
    pub answer: String,
    pub codecs: Vec<Codec>,
    /// What it sent, if that is wanted.
    pub record: Option<Vec<Vec<u8>>>,
    packets: Vec<RtpPacket>,
    rtc: Rtc,
    socket: Socket,
    server: SocketAddr,
    local: SocketAddr,
    due: Instant,
    video: Mid,
    numbers: [u64; 3],
    wants_key: [bool; 3],
    rids: Vec<String>,
    begun: Instant,
}

struct Offered {
    rtc: Rtc,
    socket: Socket,
    local: SocketAddr,
    text: String,
    pending: SdpPendingOffer,
    video: Mid,
}

fn offer(site: &Site, ip: IpAddr, way: Way, build: impl FnOnce(&mut SdpApi<'_>) -> Mid) -> Offered {
    let timeout = Some(Duration::from_millis(1));
    let (socket, local, candidate) = match way {
        Way::Udp => {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(timeout).unwrap();
            let local = socket.local_addr().unwrap();
            let candidate = Candidate::host(local, Protocol::Udp).unwrap();
            (Socket::Udp(socket), local, candidate)
        }
        Way::Tcp => {
            let stream = TcpStream::connect((ip, site.number)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(timeout).unwrap();
            let local = stream.local_addr().unwrap();
            let candidate = Candidate::builder()
                .tcp()
                .host(local)
                .tcptype(TcpType::Active)
                .build();
            let socket = Socket::Tcp(stream, Deframer::default());
            (socket, local, candidate.unwrap())
        }
    };
    let mut rtc = Rtc::builder().set_rtp_mode(true).build(Instant::now());
    rtc.add_local_candidate(candidate);
    let mut api = rtc.sdp_api();
    let video = build(&mut api);
    let (text, pending) = api.apply().unwrap();
    Offered {
        rtc,
        socket,
        local,
        text: text.to_sdp_string(),
        pending,
        video,
    }
}

impl Peer {
    fn new(site: &Site, ip: IpAddr, offered: Offered, id: Id, answer: String) -> Self {
        let mut rtc = offered.rtc;
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        rtc.sdp_api()
            .accept_answer(offered.pending, parsed)
            .unwrap();
        Self {
            id,
            connected: false,
            closed: false,
            hung_up: false,
            answer,
            codecs: Vec::new(),
            record: None,
            packets: Vec::new(),
            rtc,
            socket: offered.socket,
            server: SocketAddr::new(ip, site.number),
            local: offered.local,
            due: Instant::now(),
            video: offered.video,
            numbers: [0; 3],
            wants_key: [true; 3],
            rids: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// One that watches the channel.
    pub fn viewer(site: &Site, ip: IpAddr, way: Way) -> Self {
        Self::offer(site, ip, way).unwrap()
    }

    /// One that would watch the channel.
    pub fn offer(site: &Site, ip: IpAddr, way: Way) -> Result<Self, Refused> {
        let offered = offer(site, ip, way, |api| {
            api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None)
        });
        let options = ViewOptions {
            tracks: vec![ViewTrack {
                id: 0,
                kind: Kind::Video,
                format: format(site.codec),
                rate: 0,
            }],
            strict_profiles: true,
            initial_estimate: None,
        };
        let made = site
            .plane
            .rtc_view(site.port, site.channel, &offered.text, &options);
        match made {
            Ok((id, answer)) => Ok(Self::new(site, ip, offered, id, answer)),
            Err(NotOpened::Refused(refused)) => Err(refused),
            Err(NotOpened::Gone(id)) => panic!("{id} is gone"),
        }
    }

    /// One that goes on air with these simulcast layers.
    pub fn publisher(site: &mut Site, ip: IpAddr, rids: &[&str]) -> Self {
        let offered = offer(site, ip, Way::Udp, |api| {
            let simulcast = (!rids.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                for rid in rids {
                    simulcast.add_send_layer(SimulcastLayer::new(rid));
                }
                simulcast
            });
            api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast)
        });
        let options = PublishOptions {
            codecs: vec![Codec::Vp8],
        };
        let (id, answer, tracks) = site
            .plane
            .rtc_publish(site.port, &offered.text, &options)
            .unwrap();
        let specs = (0..)
            .zip(&tracks)
            .map(|(id, track)| spec(id, track.kind, track.format.codec, track.payload_type));
        site.source = site
            .plane
            .add_source(site.channel, 0, specs.collect())
            .unwrap();
        site.input = site.plane.add_input(site.source).unwrap();
        site.plane.rtc_attach(id, site.input, &[(0, 0)]).unwrap();
        let mut peer = Self::new(site, ip, offered, id, answer);
        peer.codecs = tracks.iter().map(|track| track.format.codec).collect();
        peer.rids = rids.iter().map(|&rid| rid.to_owned()).collect();
        peer
    }

    /// Sends a picture of each of these layers: small, medium, large.
    pub fn send_layers(&mut self, layers: &[&str]) {
        let now = Instant::now();
        let pt = self.rtc.media(self.video).unwrap().remote_pts()[0];
        for rid in layers {
            let at = self.rids.iter().position(|known| known == rid).unwrap();
            let key = std::mem::take(&mut self.wants_key[at]);
            self.numbers[at] += 1;
            let passed = self.begun.elapsed().as_millis() as u32 * 90;
            let payload = vp8_payload(key, [200, 500, 900][at]);
            let number = self.numbers[at] + 1_000 * at as u64;
            let timestamp = passed.wrapping_add(at as u32 * 77_777);
            let mut api = self.rtc.direct_api();
            let stream = api
                .stream_tx_by_mid(self.video, Some((*rid).into()))
                .unwrap();
            let write = RtpWrite::new(pt, number.into(), timestamp, now, payload);
            stream.write_rtp(write.marker(true).nackable(true));
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.turn();
    }

    /// Media of packets with so long a payload: their numbers.
    pub fn of_size(&self, size: usize) -> Vec<u64> {
        let packets = self.packets.iter();
        packets
            .filter(|packet| packet.payload.len() == size)
            .map(|packet| *packet.seq_no)
            .collect()
    }

    /// Numbers and first bytes of all packets.
    pub fn all(&self) -> Vec<(u64, u8)> {
        let packets = self.packets.iter();
        packets
            .map(|packet| (*packet.seq_no, packet.payload[0]))
            .collect()
    }

    /// Numbers of all pictures' packets.
    pub fn video(&self) -> Vec<u64> {
        let packets = self.packets.iter();
        packets
            .filter(|packet| packet.payload.len() >= 200)
            .map(|packet| *packet.seq_no)
            .collect()
    }

    pub fn run(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.turn();
        }
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, data: &[u8]) {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let _ = socket.send_to(data, self.server);
            }
            Socket::Tcp(stream, _) => {
                let mut framed = Vec::new();
                assert!(frame(data, &mut framed));
                let _ = stream.write_all(&framed);
            }
        }
    }

    /// Closes its connection.
    pub fn hang_up(&self) {
        if let Socket::Tcp(stream, _) = &self.socket {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Says what is to be said, and hears what came.
    pub fn turn(&mut self) {
        self.speak();
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut buffer = [0; 4_096];
        match &mut self.socket {
            Socket::Udp(socket) => {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    assert_eq!(from.port(), self.server.port());
                    found.push(buffer[..length].to_vec());
                }
            }
            Socket::Tcp(stream, deframer) => match stream.read(&mut buffer) {
                Ok(0) => self.hung_up = true,
                Ok(length) => deframer
                    .push(&buffer[..length], |packet| found.push(packet.to_vec()))
                    .unwrap(),
                Err(error) => {
                    let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                    self.hung_up |= !waits.contains(&error.kind());
                }
            },
        }
        for data in found {
            let protocol = match self.socket {
                Socket::Udp(_) => Protocol::Udp,
                Socket::Tcp(..) => Protocol::Tcp,
            };
            if let Ok(receive) = Receive::new(protocol, self.server, self.local, &data) {
                let _ = self
                    .rtc
                    .handle_input(Input::Receive(Instant::now(), receive));
            }
            self.speak();
        }
    }

    fn speak(&mut self) {
        if Instant::now() >= self.due {
            let _ = self.rtc.handle_input(Input::Timeout(Instant::now()));
        }
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                Output::Timeout(at) => {
                    self.due = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    if let Some(record) = &mut self.record {
                        record.push(transmit.contents.to_vec());
                    }
                    self.send_raw(&transmit.contents);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(Event::KeyframeRequest(request)) => {
                    let rid = request.rid.map(|rid| rid.to_string());
                    let at = self
                        .rids
                        .iter()
                        .position(|known| Some(known) == rid.as_ref());
                    if let Some(at) = at {
                        self.wants_key[at] = true;
                    }
                }
                Output::Event(_) => {}
            }
        }
    }
}
