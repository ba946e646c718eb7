//! A WebRTC peer on a socket of its own: str0m does ICE and DTLS; the keys are kept besides, for
//! what the load seals itself.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use str0m::change::SdpAnswer;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::http::Http;
use crate::sys;

/// Socket buffer of a peer: a keyframe of 30 KB several times over.
const BUFFER: i32 = 512 * 1024;
/// The extension that numbers packets of a whole transport.
pub const TRANSPORT_CC: &str = "draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Keying material of a handshake and what it is for.
pub type Keys = (SrtpProfile, Vec<u8>);
type Slot = Arc<Mutex<Option<Keys>>>;

thread_local! {
    /// Where the newest handshake's keys will be.
    static NEWEST: RefCell<Slot> = RefCell::default();
}

/// DTLS of the usual kind that also remembers the keys.
#[derive(Debug)]
struct Remembering;

#[derive(Debug)]
struct Handshake {
    inner: Box<dyn DtlsInstance>,
    slot: Slot,
}

impl DtlsProvider for Remembering {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags()
            .dtls_provider
            .generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let usual = str0m::crypto::from_feature_flags().dtls_provider;
        let inner = usual.new_dtls(cert, now, version, mtu)?;
        let slot = Slot::default();
        NEWEST.with_borrow_mut(|newest| *newest = Arc::clone(&slot));
        Ok(Box::new(Handshake { inner, slot }))
    }
}

impl DtlsInstance for Handshake {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some((*profile, material.to_vec()));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

/// What all peers share: making a certificate costs as much as a handshake.
pub struct Kit {
    /// Ciphers of the kind str0m uses.
    pub crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl Kit {
    /// Makes the certificate.
    pub fn new() -> Result<Self, String> {
        let mut crypto = str0m::crypto::from_feature_flags();
        crypto.dtls_provider = &Remembering;
        let made = crypto.dtls_provider.generate_certificate();
        Ok(Self {
            certificate: made.ok_or("no certificate can be made")?,
            crypto: Arc::new(crypto),
        })
    }
}

/// What an answer says.
pub struct Terms {
    /// Payload type of the video.
    pub video: u8,
    /// Number of the header extension for transport-wide feedback, if it was agreed on.
    pub transport_cc: Option<u8>,
    server: SocketAddr,
}

impl Terms {
    /// Reads an answer; `prefer` is the address to choose among candidates.
    fn parse(answer: &str, prefer: Ipv4Addr) -> Result<Self, String> {
        let mut servers = answer.lines().filter_map(|line| {
            let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
            let udp = words.get(2)?.eq_ignore_ascii_case("udp");
            let address =
                SocketAddrV4::new(words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?);
            udp.then_some(address)
        });
        let preferred = servers.clone().find(|address| *address.ip() == prefer);
        let server = preferred
            .or_else(|| servers.next())
            .ok_or("the answer has no UDP address")?;
        let video = answer
            .lines()
            .find_map(|line| {
                line.strip_prefix("m=video ")?
                    .split(' ')
                    .nth(2)?
                    .parse()
                    .ok()
            })
            .ok_or("the answer has no video")?;
        let transport_cc = answer
            .lines()
            .filter(|line| line.ends_with(TRANSPORT_CC))
            .find_map(|line| {
                line.strip_prefix("a=extmap:")?
                    .split([' ', '/'])
                    .next()?
                    .parse()
                    .ok()
            });
        Ok(Self {
            video,
            transport_cc,
            server: server.into(),
        })
    }
}

/// Leaves out what makes the other end expect transport-wide feedback.
fn without_feedback(offer: &str) -> String {
    offer
        .split_inclusive('\n')
        .filter(|line| !line.contains("transport-cc") && !line.contains(TRANSPORT_CC))
        .collect()
}

/// Leaves one address of the server in its answer: the one the socket talks to.
fn with_server(answer: &str, server: SocketAddr) -> String {
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    answer
        .split_inclusive('\n')
        .filter(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            !line.starts_with("a=candidate:")
                || (words
                    .get(2)
                    .is_some_and(|word| word.eq_ignore_ascii_case("udp"))
                    && words.get(4) == Some(&ip.as_str())
                    && words.get(5) == Some(&port.as_str()))
        })
        .collect()
}

/// What a peer is for.
pub struct Purpose<'a> {
    /// Path of the offer.
    pub path: &'a str,
    /// Key shown with it; empty for none.
    pub key: &'a str,
    /// Whether it sends or receives.
    pub direction: Direction,
    /// Whether transport-wide feedback is offered.
    pub feedback: bool,
}

/// One end of a session.
pub struct Peer {
    /// Its socket.
    pub socket: OwnedFd,
    /// What was agreed on.
    pub terms: Terms,
    /// The video's place in the session.
    pub mid: Mid,
    /// When it wants to be told the time.
    pub due: Instant,
    /// Whether ICE and DTLS are through.
    pub connected: bool,
    /// Whether the session has ended.
    pub closed: bool,
    rtc: Rtc,
    local: SocketAddr,
    server: libc::sockaddr_in,
    slot: Slot,
}

impl Peer {
    /// Makes an offer and takes the answer.
    pub fn new(
        kit: &Kit,
        http: &mut Http,
        local: SocketAddrV4,
        purpose: &Purpose<'_>,
    ) -> Result<Self, String> {
        let said = |e: &dyn std::fmt::Display| format!("peer: {e}");
        let socket = sys::udp_bind(local, BUFFER).map_err(|e| said(&e))?;
        sys::want_timestamps(&socket).map_err(|e| said(&e))?;
        let local = SocketAddr::V4(sys::local_address(&socket).map_err(|e| said(&e))?);
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_h264(true)
            .set_crypto_provider(Arc::clone(&kit.crypto))
            .set_dtls_cert(DtlsCert::clone(&kit.certificate))
            .set_stats_interval(None)
            .build(Instant::now());
        let candidate = Candidate::host(local, Protocol::Udp).map_err(|e| said(&e))?;
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, purpose.direction, None, None, None);
        let (offer, pending) = api.apply().ok_or("peer: nothing to offer")?;
        let mut text = offer.to_sdp_string();
        if !purpose.feedback {
            text = without_feedback(&text);
        }
        let answer = http.offer(purpose.path, purpose.key, &text)?;
        let SocketAddr::V4(v4) = local else {
            return Err("peer: IPv4 only".to_owned());
        };
        let terms = Terms::parse(&answer, *v4.ip())?;
        let parsed = SdpAnswer::from_sdp_string(&with_server(&answer, terms.server));
        rtc.sdp_api()
            .accept_answer(pending, parsed.map_err(|e| said(&e))?)
            .map_err(|e| said(&e))?;
        let SocketAddr::V4(server) = terms.server else {
            return Err("peer: IPv4 only".to_owned());
        };
        let mut peer = Self {
            socket,
            terms,
            mid,
            due: Instant::now(),
            connected: false,
            closed: false,
            rtc,
            local,
            server: sys::sockaddr(server),
            slot: NEWEST.with_borrow(Arc::clone),
        };
        peer.tick(Instant::now());
        Ok(peer)
    }

    /// The keys, once the handshake is through.
    pub fn keys(&self) -> Option<Keys> {
        self.slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The protocol stack, to send by; [`Peer::tick`] afterwards.
    pub fn rtc(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    /// Sends a datagram as it is.
    pub fn send(&self, data: &[u8]) {
        // What the kernel does not take is lost, as on any network.
        let _ = sys::send_to(&self.socket, data, &self.server);
    }

    /// Takes a datagram of ICE or DTLS, or whatever is to be decrypted.
    pub fn receive(&mut self, now: Instant, data: &[u8]) {
        let receive = Receive::new(Protocol::Udp, self.terms.server, self.local, data);
        let taken = receive.is_ok_and(|receive| {
            let input = Input::Receive(now, receive);
            self.rtc.handle_input(input).is_ok()
        });
        if taken {
            self.poll();
        }
    }

    /// Tells the time.
    pub fn tick(&mut self, now: Instant) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.closed = true;
        }
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.due = at;
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.send(&transmit.contents),
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::Closed)) => self.closed = true,
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 108 109\r\n\
        a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=candidate:1 1 UDP 2130706431 10.0.0.1 8189 typ host\r\n\
        a=candidate:2 1 tcp 2130706431 127.0.0.1 8189 typ host tcptype passive\r\n\
        a=candidate:3 1 udp 2130706431 127.0.0.1 8189 typ host\r\n";

    #[test]
    fn the_answer_says_where_and_what() {
        let terms = Terms::parse(ANSWER, Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!((terms.video, terms.transport_cc), (108, Some(4)));
        assert_eq!(terms.server, "127.0.0.1:8189".parse().unwrap());
        let kept = with_server(ANSWER, terms.server);
        assert_eq!(kept.matches("a=candidate").count(), 1);
        assert!(kept.contains("a=candidate:3"));
        let other = Terms::parse(ANSWER, Ipv4Addr::new(10, 9, 9, 9)).unwrap();
        assert_eq!(other.server, "10.0.0.1:8189".parse().unwrap());
    }

    #[test]
    fn feedback_can_be_left_out_of_an_offer() {
        let offer = "v=0\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\n\
            a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
        assert_eq!(without_feedback(offer), "v=0\r\na=rtcp-fb:96 nack\r\n");
    }
}
