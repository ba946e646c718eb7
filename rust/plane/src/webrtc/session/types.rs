//! What sessions are made with, and what they say.

use crate::codec::Codec;
use crate::media::Kind;
use crate::webrtc::formats::Format;
use std::net::SocketAddr;
use std::sync::Arc;
use str0m::config::DtlsCert;
use str0m::net::Protocol;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection the peer opened, framed by RFC 4571.
    Tcp,
}

impl Transport {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Tcp => Protocol::Tcp,
        }
    }
}

/// What all sessions of a server share.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Addresses peers can reach, best first: interfaces', or public ones before a NAT.
    pub candidates: Vec<(Transport, SocketAddr)>,
    /// The certificate, made once: a key for each session would cost more than its whole handshake.
    pub certificate: Arc<DtlsCert>,
}

impl ServerOptions {
    /// Options with a certificate made now; `None` when the cryptography has no randomness.
    pub fn new(candidates: Vec<(Transport, SocketAddr)>) -> Option<Self> {
        let provider = str0m_crypto();
        Some(Self {
            candidates,
            certificate: Arc::new(provider.dtls_provider.generate_certificate()?),
        })
    }
}

fn str0m_crypto() -> str0m::config::CryptoProvider {
    str0m::crypto::from_feature_flags()
}

/// How a publisher is taken.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// Codecs taken; empty for all we understand.
    pub codecs: Vec<Codec>,
}

/// A track a viewer may be sent.
#[derive(Clone, Debug)]
pub struct ViewTrack {
    /// Its number in the channel.
    pub id: u8,
    /// What it carries. Several video tracks are renditions of one picture, in one codec.
    pub kind: Kind,
    /// Its format.
    pub format: Format,
    /// Its bitrate as measured, bits a second; 0 while unknown.
    pub rate: u64,
}

/// What a viewer is offered.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// The channel's tracks.
    pub tracks: Vec<ViewTrack>,
    /// Refuse H.264 profiles the viewer did not name.
    pub strict_profiles: bool,
    /// First bandwidth estimate, bits a second; generous, so that the pacer does not hold back the
    /// first keyframe. `None` sends unpaced and leaves the choice of layers to others.
    pub initial_estimate: Option<u64>,
}

/// A track of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTrack {
    /// What it carries.
    pub kind: Kind,
    /// Its format.
    pub format: Format,
    /// Its payload type.
    pub payload_type: u8,
    /// Simulcast layers, in the publisher's order; empty without simulcast.
    pub rids: Vec<String>,
}

/// A packet a publisher sent.
#[derive(Debug)]
pub struct MediaIn {
    /// Index into [`Session::tracks`](super::Session::tracks).
    pub track: usize,
    /// Index into the track's layers; 0 without simulcast.
    pub layer: usize,
    /// Extended sequence number.
    pub number: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Its stream.
    pub ssrc: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// NTP time and RTP timestamp of its stream's latest sender report, if one came.
    pub clock: Option<(u64, u32)>,
    /// Payload; empty for padding sent to measure the path, which must still be counted.
    pub payload: Arc<[u8]>,
}

impl MediaIn {
    /// The RTP packet, without extensions, as [`crate::channel::Channel::rtp`] takes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(crate::rtp::HEADER, 0);
        out[0] = 0x80;
        out[1] = u8::from(self.marker) << 7;
        let sequence = self.number as u16;
        crate::rtp::rewrite(out, self.payload_type, sequence, self.timestamp, self.ssrc);
        out.extend_from_slice(&self.payload);
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer said goodbye.
    ByPeer,
    /// We did.
    ByUs,
    /// It never connected.
    NeverConnected,
    /// It fell silent.
    Silent,
    /// The protocol stack could not go on.
    Failed,
}

/// What a session has to say.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit {
        /// By this way.
        transport: Transport,
        /// To this address.
        to: SocketAddr,
        /// These bytes; unframed.
        data: Vec<u8>,
    },
    /// A publisher's packet.
    Media(MediaIn),
    /// A viewer needs a keyframe of this track of the channel.
    KeyframeWanted(u8),
    /// What the way to a viewer can take, bits a second.
    Estimate(u64),
    /// A viewer is sent this video track from now on; `None` for sound only.
    Showing(Option<u8>),
    /// The peer is there (again).
    Connected,
    /// Nothing is heard of the peer; it may come back.
    Disconnected,
    /// It is over; nothing follows.
    Closed(Closed),
    /// Nothing more before this time, unless something is received or written.
    Due(u64),
}
