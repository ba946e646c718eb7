//! How a session begins: the offer is judged, cut down to what is taken, and answered.

use super::nominate::Nomination;
use super::stack::Stack;
use super::{
    Incoming, Phase, PublishOptions, PublishedTrack, ServerOptions, Session, Transport, ViewOptions,
};
use crate::media::Kind;
use crate::webrtc::direct::Direct;
use crate::webrtc::formats;
use crate::webrtc::guard::guarded;
use crate::webrtc::offer::{self, Chosen};
use crate::webrtc::path::Path;
use crate::webrtc::{Refused, Timeline, fragment, keys};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::CodecConfig;
use str0m::media::Mid;
use str0m::net::{Protocol, TcpType};
use str0m::{Candidate, Input, Rtc};

/// How often a session that sends its media itself looks where ICE leads.
const LOOK_FOR_WAY: Duration = Duration::from_millis(500);

/// Longer than any session.
const NEVER: Duration = Duration::from_secs(1 << 24);

/// What is known of the path that media take.
#[derive(Clone, Copy, Debug)]
enum Steering {
    /// Nothing is sent.
    None,
    /// What the viewer reports.
    Reports,
    /// The bandwidth, estimated, beginning with so many bits a second.
    Estimate(u64),
}

impl Session {
    /// Takes a publisher's offer; gives the answer too.
    pub fn publish(
        sdp: &str,
        server: &ServerOptions,
        options: &PublishOptions,
        timeline: Timeline,
        now: u64,
    ) -> Result<(Self, String), Refused> {
        let made = guarded(|| Self::published(sdp, server, options, timeline, now));
        made.unwrap_or_else(|| Err(Refused::Fault))
    }

    fn published(
        sdp: &str,
        server: &ServerOptions,
        options: &PublishOptions,
        timeline: Timeline,
        now: u64,
    ) -> Result<(Self, String), Refused> {
        let chosen = offer::publish(sdp, options)?;
        let narrowed = offer::narrowed(sdp, &chosen, "sendonly");
        let (mut session, answer) =
            Self::negotiate(narrowed, server, &chosen, Steering::None, timeline, now)?;
        session.incoming = chosen
            .into_iter()
            .map(|chosen| Incoming {
                mid: Mid::from(chosen.mid.as_str()),
                asked: vec![None; chosen.rids.len().max(1)],
                repeats: chosen.kind == Kind::Video
                    && chosen.offered.nack
                    && chosen.offered.rtx.is_none(),
                track: PublishedTrack {
                    kind: chosen.kind,
                    format: chosen.offered.format,
                    payload_type: chosen.offered.pt,
                    rids: chosen.rids,
                },
            })
            .collect();
        Ok((session, answer))
    }

    /// Takes a viewer's offer; gives the answer too.
    pub fn view(
        sdp: &str,
        server: &ServerOptions,
        options: &ViewOptions,
        timeline: Timeline,
        now: u64,
    ) -> Result<(Self, String), Refused> {
        let made = guarded(|| Self::viewed(sdp, server, options, timeline, now));
        made.unwrap_or_else(|| Err(Refused::Fault))
    }

    fn viewed(
        sdp: &str,
        server: &ServerOptions,
        options: &ViewOptions,
        timeline: Timeline,
        now: u64,
    ) -> Result<(Self, String), Refused> {
        let chosen = offer::view(sdp, options)?;
        let narrowed = offer::narrowed(sdp, &chosen, "recvonly");
        // Without transport-wide feedback there is nothing to estimate from, and a pacer would
        // hold the first guess for ever.
        let acknowledges = narrowed.contains("transport-cc");
        let steering = options
            .initial_estimate
            .filter(|_| acknowledges)
            .map_or(Steering::Reports, Steering::Estimate);
        let (mut session, answer) =
            Self::negotiate(narrowed, server, &chosen, steering, timeline, now)?;
        if let Some((direct, _)) = &mut session.direct {
            direct.acknowledges = acknowledges;
        }
        for chosen in &chosen {
            if !session.send_as(chosen, options) {
                let why = format!("nothing can be sent in section {}", chosen.mid);
                return Err(Refused::Malformed(why));
            }
        }
        session.set_tracks(&options.tracks);
        Ok((session, answer))
    }

    fn negotiate(
        sdp: String,
        server: &ServerOptions,
        chosen: &[Chosen],
        steering: Steering,
        timeline: Timeline,
        now: u64,
    ) -> Result<(Self, String), Refused> {
        let parsed = SdpOffer::from_sdp_string(&sdp)
            .map_err(|error| Refused::Malformed(error.to_string()))?;
        let mut config = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_dtls_cert(DtlsCert::clone(&server.certificate))
            .set_stats_interval(None)
            .clear_codecs();
        let mut codecs = CodecConfig::empty();
        for chosen in chosen {
            formats::configure(&mut codecs, &chosen.offered);
        }
        *config.codec_config() = codecs;
        match steering {
            Steering::None => {}
            // Statistics tell where ICE leads. Its own reports would go nowhere.
            Steering::Reports => {
                config = config
                    .set_stats_interval(Some(LOOK_FOR_WAY))
                    .set_rtcp_report_interval_audio(NEVER)
                    .set_rtcp_report_interval_video(NEVER);
            }
            Steering::Estimate(rate) => config = config.enable_bwe(Some(Bitrate::bps(rate))),
        }
        let start = timeline.instant(now);
        let (mut rtc, direct) = match steering {
            Steering::Reports => {
                let (rtc, slot) =
                    keys::kept(|crypto| config.set_crypto_provider(crypto).build(start));
                (rtc, Some((Direct::new(slot), Path::default())))
            }
            _ => (config.build(start), None),
        };
        for (transport, address) in &server.candidates {
            let candidate = match transport {
                Transport::Udp => Candidate::host(*address, Protocol::Udp),
                Transport::Tcp => Candidate::builder()
                    .tcp()
                    .host(*address)
                    .tcptype(TcpType::Passive)
                    .build(),
            };
            let candidate =
                candidate.map_err(|error| Refused::Malformed(format!("candidate: {error}")))?;
            rtc.add_local_candidate(candidate);
        }
        let malformed = |error: str0m::RtcError| Refused::Malformed(error.to_string());
        let answer = rtc.sdp_api().accept_offer(parsed).map_err(malformed)?;
        rtc.handle_input(Input::Timeout(timeline.instant(now)))
            .map_err(malformed)?;
        let peer = fragment::parse_credentials(&sdp).unwrap_or_default();
        let session = Self {
            ufrag: rtc.direct_api().local_ice_credentials().ufrag,
            rtc,
            timeline,
            offer: sdp,
            peer,
            candidates: server.candidates.clone(),
            phase: Phase::Connecting,
            nomination: Nomination::Awaited(None),
            began: now,
            heard: now,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            streams: HashMap::new(),
            chooser: None,
            direct,
            look_at: now,
            desired: 0,
            queue: VecDeque::new(),
            written: false,
            stack: Stack::Given,
            settling: 0,
            next_due: 0,
            errors: 0,
            #[cfg(test)]
            trap: None,
            refused: 0,
            dropped: 0,
            sent: 0,
        };
        Ok((session, answer.to_sdp_string()))
    }
}
