//! A shard and peers on a simulated network: delay, loss, reordering; time is a number.
#![allow(dead_code, unused_imports)] // each test file uses its part

mod checks;
mod dice;
mod media;

pub use dice::Dice;
pub use media::{opus, packet, track, view_options, vp8};

use _plane::webrtc::Refused;
use _plane::webrtc::session::{PublishOptions, ServerOptions, Session, Transport, ViewOptions};
use _plane::webrtc::shard::{Batch, Event, Shard};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpApi};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Simulcast};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event as RtcEvent, Input, Output, Rtc};

pub const START: u64 = 1_795_000_000_000_000;
pub const MS: u64 = 1_000;
pub const SECOND: u64 = 1_000_000;

pub fn server() -> SocketAddr {
    "192.0.2.1:8189".parse().unwrap()
}

#[derive(Clone, Copy)]
pub struct Link {
    pub delay: u64,
    /// More delay for some packets, so that others overtake them.
    pub jitter: u64,
    pub loss_percent: u64,
    /// Bits a second towards a client; 0 for any.
    pub rate: u64,
}

pub const GOOD: Link = Link {
    delay: 10 * MS,
    jitter: 0,
    loss_percent: 0,
    rate: 0,
};

pub const BAD: Link = Link {
    delay: 20 * MS,
    jitter: 15 * MS,
    loss_percent: 5,
    rate: 0,
};

pub struct Client {
    pub rtc: Rtc,
    pub address: SocketAddr,
    /// What a NAT makes of its address.
    pub seen_as: SocketAddr,
    pub connected: bool,
    pub closed: bool,
    pub packets: Vec<RtpPacket>,
    pub keyframe_requests: usize,
    pub nacks: u64,
    pub video: Mid,
    answer: String,
    due: Instant,
    free_at: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: u64,
    order: u64,
    to: Option<usize>,
    from: usize,
    data: Vec<u8>,
}

pub struct World {
    pub now: u64,
    base: Instant,
    pub shard: Shard,
    pub clients: Vec<Client>,
    pub link: Link,
    /// Clients never say which path they want, as browsers do not at first.
    pub undecided: bool,
    /// By which way clients come.
    pub transport: Transport,
    pub events: Vec<Event>,
    pub datagrams_to_clients: usize,
    /// What receiving and polling cost the shard.
    pub spent: Duration,
    pub keep: Option<Vec<Vec<u8>>>,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    dice: Dice,
    batch: Batch,
}

impl World {
    pub fn new(link: Link) -> Self {
        let options =
            ServerOptions::new(vec![(Transport::Udp, server()), (Transport::Tcp, server())])
                .unwrap();
        let shard = Shard::new(options, 1_000, START);
        Self {
            now: START,
            base: Instant::now(),
            shard,
            clients: Vec::new(),
            link,
            undecided: false,
            transport: Transport::Udp,
            events: Vec::new(),
            datagrams_to_clients: 0,
            spent: Duration::ZERO,
            keep: None,
            flying: BinaryHeap::new(),
            order: 0,
            dice: Dice(0x9e37_79b9_7f4a_7c15),
            batch: Batch::default(),
        }
    }

    pub fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_micros(at - START)
    }

    /// A client that has made an offer; what it wants done with media is up to `build`.
    pub fn client(&mut self, build: impl FnOnce(&mut SdpApi<'_>) -> Mid) -> PendingClient {
        let n = self.clients.len();
        let address: SocketAddr = format!("198.51.100.{}:{}", n % 250 + 1, 40_000 + n)
            .parse()
            .unwrap();
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_reordering_size_video(300)
            .set_stats_interval(Some(Duration::from_secs(1)))
            .build(self.instant(self.now));
        let candidate = match self.transport {
            Transport::Udp => Candidate::host(address, Protocol::Udp),
            Transport::Tcp => Candidate::builder()
                .tcp()
                .host(address)
                .tcptype(TcpType::Active)
                .build(),
        };
        rtc.add_local_candidate(candidate.unwrap());
        let mut api = rtc.sdp_api();
        let video = build(&mut api);
        let (offer, pending) = api.apply().unwrap();
        PendingClient {
            rtc,
            address,
            offer: offer.to_sdp_string(),
            pending,
            video,
        }
    }

    pub fn answer(&mut self, mut client: PendingClient, text: &str) -> usize {
        let answer = SdpAnswer::from_sdp_string(text).unwrap();
        client
            .rtc
            .sdp_api()
            .accept_answer(client.pending, answer)
            .unwrap();
        self.clients.push(Client {
            rtc: client.rtc,
            address: client.address,
            seen_as: client.address,
            connected: false,
            closed: false,
            packets: Vec::new(),
            keyframe_requests: 0,
            nacks: 0,
            video: client.video,
            answer: text.to_owned(),
            due: self.instant(self.now),
            free_at: 0,
        });
        self.clients.len() - 1
    }

    fn offers_to_publish(&mut self, rids: &[&str]) -> PendingClient {
        let simulcast = (!rids.is_empty()).then(|| {
            let mut simulcast = Simulcast::new();
            for rid in rids {
                simulcast.add_send_layer(str0m::media::SimulcastLayer::new(rid));
            }
            simulcast
        });
        self.client(|api| {
            api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
            api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast)
        })
    }

    fn offers_to_view(&mut self) -> PendingClient {
        self.client(|api| {
            api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None)
        })
    }

    /// What a publisher with these layers and a viewer would offer.
    pub fn offers(&mut self, rids: &[&str]) -> [String; 2] {
        let published = self.offers_to_publish(rids).offer;
        [published, self.offers_to_view().offer]
    }

    pub fn publisher(&mut self, id: u64, rids: &[&str]) -> usize {
        let client = self.offers_to_publish(rids);
        let options = PublishOptions::default();
        let answer = self.take_publisher(id, &client.offer, &options).unwrap();
        self.answer(client, &answer)
    }

    /// Has the shard take a publisher's offer; the answer.
    pub fn take_publisher(
        &mut self,
        id: u64,
        offer: &str,
        options: &PublishOptions,
    ) -> Result<String, Refused> {
        let (server, timeline) = self.shard.terms()?;
        let (session, answer) = Session::publish(offer, &server, options, timeline, self.now)?;
        self.shard.admit(self.now, id, session)?;
        Ok(answer)
    }

    /// Has the shard take a viewer's offer; the answer.
    pub fn take_viewer(
        &mut self,
        id: u64,
        offer: &str,
        options: &ViewOptions,
    ) -> Result<String, Refused> {
        let (server, timeline) = self.shard.terms()?;
        let (session, answer) = Session::view(offer, &server, options, timeline, self.now)?;
        self.shard.admit(self.now, id, session)?;
        Ok(answer)
    }

    pub fn viewer(&mut self, id: u64, options: &ViewOptions) -> usize {
        let client = self.offers_to_view();
        let answer = self.take_viewer(id, &client.offer, options).unwrap();
        self.answer(client, &answer)
    }

    fn send(&mut self, from: usize, to: Option<usize>, data: Vec<u8>) {
        if self.dice.below(100) < self.link.loss_percent {
            return;
        }
        let mut at = self.now + self.link.delay;
        if self.link.jitter > 0 && self.dice.below(4) == 0 {
            at += self.dice.below(self.link.jitter);
        }
        if let Some(to) = to {
            self.datagrams_to_clients += 1;
            if let Some(rate) = std::num::NonZeroU64::new(self.link.rate) {
                let client = &mut self.clients[to];
                let takes = data.len() as u64 * 8 * SECOND / rate;
                let begins = client.free_at.max(self.now);
                if begins - self.now > 400 * MS {
                    return; // its queue is full
                }
                client.free_at = begins + takes;
                at += begins + takes - self.now;
            }
        }
        self.order += 1;
        self.flying.push(Reverse(Flying {
            at,
            order: self.order,
            to,
            from,
            data,
        }));
    }

    fn poll_client(&mut self, n: usize) {
        loop {
            let Ok(output) = self.clients[n].rtc.poll_output() else {
                self.clients[n].rtc.disconnect(); // what it did not hear, it cannot answer
                continue;
            };
            match output {
                Output::Timeout(at) => {
                    self.clients[n].due = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.destination, server());
                    let mut data = transmit.contents.to_vec();
                    if self.undecided {
                        data = checks::undecided(data, &self.clients[n].answer);
                    }
                    self.send(n, None, data);
                }
                Output::Event(event) => {
                    let client = &mut self.clients[n];
                    match event {
                        RtcEvent::Connected => client.connected = true,
                        RtcEvent::Closed => client.closed = true,
                        RtcEvent::RtpPacket(packet) => client.packets.push(packet),
                        RtcEvent::KeyframeRequest(_) => client.keyframe_requests += 1,
                        RtcEvent::MediaEgressStats(stats) => client.nacks = stats.nacks,
                        _ => {}
                    }
                }
            }
        }
    }

    fn poll_shard(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let begun = Instant::now();
        while self.shard.poll(self.now, &mut batch) {}
        self.spent += begun.elapsed();
        for datagram in batch.datagrams.drain(..) {
            if datagram.transport != self.transport {
                continue; // answers a request that somebody replayed the other way
            }
            if let Some(kept) = &mut self.keep {
                kept.push(datagram.data.clone());
            }
            let to = self.clients.iter().position(|c| c.seen_as == datagram.to);
            if let Some(to) = to {
                self.send(0, Some(to), datagram.data);
            }
        }
        self.events.append(&mut batch.events);
        self.batch = batch;
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        loop {
            self.poll_shard();
            for n in 0..self.clients.len() {
                if self.clients[n].due <= self.instant(self.now) {
                    let now = self.instant(self.now);
                    self.clients[n]
                        .rtc
                        .handle_input(Input::Timeout(now))
                        .unwrap();
                    self.poll_client(n);
                }
            }
            let mut next = end;
            if let Some(due) = self.shard.due() {
                next = next.min(due);
            }
            for client in &self.clients {
                let us = client.due.saturating_duration_since(self.base).as_micros() as u64;
                next = next.min(START + us + 1);
            }
            if let Some(Reverse(flying)) = self.flying.peek() {
                next = next.min(flying.at);
            }
            self.now = self
                .now
                .max(next)
                .max(self.now + u64::from(next <= self.now));
            while self.flying.peek().is_some_and(|f| f.0.at <= self.now) {
                let Some(Reverse(flying)) = self.flying.pop() else {
                    break;
                };
                self.arrive(&flying);
            }
            if self.now >= end {
                return;
            }
        }
    }

    fn arrive(&mut self, flying: &Flying) {
        match flying.to {
            None => {
                let from = self.clients[flying.from].seen_as;
                if let Some(kept) = &mut self.keep {
                    kept.push(flying.data.clone());
                }
                let begun = Instant::now();
                self.shard
                    .receive(self.now, self.transport, from, server(), &flying.data);
                self.spent += begun.elapsed();
            }
            Some(to) => {
                let now = self.instant(self.now);
                let client = &mut self.clients[to];
                let protocol = match self.transport {
                    Transport::Udp => Protocol::Udp,
                    Transport::Tcp => Protocol::Tcp,
                };
                if let Ok(receive) = Receive::new(protocol, server(), client.address, &flying.data)
                {
                    client
                        .rtc
                        .handle_input(Input::Receive(now, receive))
                        .unwrap();
                }
                self.poll_client(to);
            }
        }
    }

    /// A publisher sends a packet.
    pub fn publish(&mut self, n: usize, mid: Mid, rid: Option<&str>, number: u64, payload: &[u8]) {
        let now = self.instant(self.now);
        let rtc = &mut self.clients[n].rtc;
        let pt = rtc.media(mid).unwrap().remote_pts()[0];
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, rid.map(Into::into)).unwrap();
        stream.write_rtp(
            RtpWrite::new(
                pt,
                number.into(),
                number as u32 * 3_000,
                now,
                payload.to_vec(),
            )
            .marker(true)
            .nackable(true),
        );
        self.clients[n]
            .rtc
            .handle_input(Input::Timeout(now))
            .unwrap();
        self.poll_client(n);
    }

    /// The client restarts ICE; `patch` is the server.
    pub fn restart_ice(&mut self, n: usize, id: u64) -> String {
        let mut api = self.clients[n].rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().unwrap();
        let offer = offer.to_sdp_string();
        let lines = |text: &str, names: &[&str]| {
            let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
            let mut found: Vec<String> = text.lines().filter(wanted).map(str::to_owned).collect();
            found.dedup();
            found
        };
        let fragment = lines(&offer, &["a=ice-ufrag:", "a=ice-pwd:"]).join("\r\n") + "\r\n";
        let answer = self.shard.patch(self.now, id, &fragment).unwrap().unwrap();
        let mut full = String::new();
        for line in self.clients[n].answer.lines() {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            let new = matches!(name, "a=ice-ufrag" | "a=ice-pwd")
                .then(|| lines(&answer, &[name])[0].clone());
            full += &(new.unwrap_or_else(|| line.to_owned()) + "\r\n");
        }
        let parsed = SdpAnswer::from_sdp_string(&full).unwrap();
        self.clients[n]
            .rtc
            .sdp_api()
            .accept_answer(pending, parsed)
            .unwrap();
        self.clients[n].due = self.base;
        answer
    }

    pub fn ask_keyframe(&mut self, n: usize) {
        let ssrc = self.clients[n]
            .packets
            .iter()
            .find(|p| p.payload.len() > 150)
            .map(|p| p.header.ssrc)
            .unwrap();
        let now = self.instant(self.now);
        let rtc = &mut self.clients[n].rtc;
        let mut api = rtc.direct_api();
        api.stream_rx(&ssrc)
            .unwrap()
            .request_keyframe(KeyframeRequestKind::Pli);
        rtc.handle_input(Input::Timeout(now)).unwrap();
        self.poll_client(n);
    }
}

pub struct PendingClient {
    rtc: Rtc,
    address: SocketAddr,
    pub offer: String,
    video: Mid,
    pending: str0m::change::SdpPendingOffer,
}
