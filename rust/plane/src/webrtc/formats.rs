//! Payload formats as offers name them, and which of them fits what a channel carries.
//!
//! Only what choosing needs is read here (RFC 8866 §5.14, §6.6, §6.15); the whole description is
//! `str0m`'s to judge.

use crate::codec::Codec;
use crate::media::Kind;
use std::cmp::Ordering;
use std::fmt;
use str0m::format::{Codec as RtcCodec, CodecConfig, FormatParams};
use str0m::media::{Frequency, Pt};

/// Offers longer than this are refused. Chromium's with everything in it has 8 KB.
pub const MAX_OFFER: usize = 64 << 10;

/// Media sections looked at; a browser offers two, a conference tool a dozen.
pub const MAX_SECTIONS: usize = 32;

/// A payload format: of a channel's track, or offered by a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// Units of the timestamp a second.
    pub clock_rate: u32,
    /// Audio channels; 0 for video.
    pub channels: u8,
    /// Format parameters as in `a=fmtp`, without the payload type.
    pub fmtp: String,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.codec, self.clock_rate)?;
        if self.channels > 0 {
            write!(f, "/{}", self.channels)?;
        }
        if !self.fmtp.is_empty() {
            write!(f, " {}", self.fmtp)?;
        }
        Ok(())
    }
}

impl Format {
    /// The value of a format parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn number(&self, name: &str, radix: u32) -> Option<u32> {
        u32::from_str_radix(self.parameter(name)?, radix).ok()
    }
}

/// One payload type of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its number.
    pub pt: u8,
    /// The payload type retransmissions of it use (RFC 4588).
    pub rtx: Option<u8>,
    /// Whether it takes requests for what was lost (`a=rtcp-fb`, RFC 4585 §4.2).
    pub nack: bool,
    /// Its format.
    pub format: Format,
}

/// One media section of an offer.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it carries.
    pub kind: Kind,
    /// Identifies it (`a=mid`).
    pub mid: String,
    /// Whether the peer would send.
    pub sends: bool,
    /// Whether the peer would receive.
    pub receives: bool,
    /// The formats we know, in the peer's order of preference.
    pub formats: Vec<Offered>,
    /// Simulcast layers the peer would send, in its order (RFC 8853).
    pub rids: Vec<String>,
}

/// Reads an offer's audio and video sections.
pub fn sections(sdp: &str) -> Vec<Section> {
    let mut found = Vec::new();
    let mut direction = (true, true);
    for (at, part) in sdp.split("\nm=").enumerate() {
        if at == 0 {
            direction = directions(part).unwrap_or(direction);
        } else if found.len() < MAX_SECTIONS
            && let Some(section) = section(part, direction)
        {
            found.push(section);
        }
    }
    found
}

fn directions(part: &str) -> Option<(bool, bool)> {
    lines(part).find_map(|line| match line {
        "a=sendrecv" => Some((true, true)),
        "a=sendonly" => Some((true, false)),
        "a=recvonly" => Some((false, true)),
        "a=inactive" => Some((false, false)),
        _ => None,
    })
}

fn lines(part: &str) -> impl Iterator<Item = &str> {
    part.split('\n').map(|line| line.trim_end_matches('\r'))
}

fn section(part: &str, session: (bool, bool)) -> Option<Section> {
    let head = lines(part).next()?;
    let mut words = head.split(' ');
    let kind = match words.next()? {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        _ => return None,
    };
    let order: Vec<u8> = words.skip(2).filter_map(|pt| pt.parse().ok()).collect();
    let (sends, receives) = directions(part).unwrap_or(session);
    let attribute = |name: &str, pt: u8| {
        lines(part).find_map(|line| {
            let value = line.strip_prefix("a=")?.strip_prefix(name)?;
            let (number, rest) = value.split_once(' ')?;
            (number.parse() == Ok(pt)).then_some(rest)
        })
    };
    let map = |pt: u8| attribute("rtpmap:", pt);
    let fmtp = |pt: u8| attribute("fmtp:", pt).unwrap_or_default();
    let nack = |pt: u8| {
        lines(part).any(|line| {
            let value = line.strip_prefix("a=rtcp-fb:");
            let value = value.and_then(|value| value.trim_end().strip_suffix(" nack"));
            value.is_some_and(|which| which == "*" || which.parse() == Ok(pt))
        })
    };
    let repair = |pt: u8| {
        order.iter().copied().find(|candidate| {
            map(*candidate).is_some_and(|map| map.to_ascii_lowercase().starts_with("rtx/"))
                && fmtp(*candidate)
                    .split(';')
                    .any(|pair| pair.trim().strip_prefix("apt=") == Some(pt.to_string().as_str()))
        })
    };
    let formats = order
        .iter()
        .filter_map(|pt| {
            let mut parts = map(*pt)?.split('/');
            let codec = match parts.next()?.to_ascii_lowercase().as_str() {
                "h264" => Codec::H264,
                "vp8" => Codec::Vp8,
                "vp9" => Codec::Vp9,
                "av1" => Codec::Av1,
                "opus" => Codec::Opus,
                _ => return None,
            };
            let format = Format {
                codec,
                clock_rate: parts.next()?.parse().ok()?,
                channels: match kind {
                    Kind::Audio => parts.next().map_or(1, |n| n.parse().unwrap_or(1)),
                    _ => 0,
                },
                fmtp: fmtp(*pt).to_owned(),
            };
            Some(Offered {
                pt: *pt,
                rtx: repair(*pt),
                nack: nack(*pt),
                format,
            })
        })
        .collect();
    let rids = lines(part)
        .find_map(|line| line.strip_prefix("a=simulcast:"))
        .map(send_rids)
        .unwrap_or_default();
    let mid = lines(part)
        .find_map(|line| line.strip_prefix("a=mid:"))
        .unwrap_or_default();
    Some(Section {
        kind,
        mid: mid.to_owned(),
        sends,
        receives,
        formats,
        rids,
    })
}

/// `send h;m;l recv …`; `~` marks a layer that begins paused, commas alternatives (RFC 8853 §5.1).
fn send_rids(value: &str) -> Vec<String> {
    let mut words = value.split(' ');
    while let Some(word) = words.next() {
        if word == "send" {
            return words
                .next()
                .unwrap_or_default()
                .split(';')
                .filter_map(|layer| layer.split(',').next())
                .map(|rid| rid.trim_start_matches('~').to_owned())
                .filter(|rid| !rid.is_empty())
                .collect();
        }
    }
    Vec::new()
}

/// The format a publisher will send: the first it prefers that the plane understands.
pub fn choose_published<'a>(section: &'a Section, allowed: &[Codec]) -> Option<&'a Offered> {
    section.formats.iter().find(|offered| {
        (allowed.is_empty() || allowed.contains(&offered.format.codec))
            && (offered.format.codec != Codec::H264 || packetization_mode(&offered.format) == 1)
    })
}

/// The offered format a track can be sent as: the closest, `None` when nothing fits.
///
/// With `strict`, H.264 of a profile that was not offered is refused; without, it is sent under the
/// closest that was, because browsers decode profiles they do not name.
pub fn choose_viewed<'a>(
    section: &'a Section,
    track: &Format,
    strict: bool,
) -> Option<&'a Offered> {
    section
        .formats
        .iter()
        .filter_map(|offered| Some((rank(&offered.format, track, strict)?, offered)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, offered)| offered)
}

/// How far an offered format is from a track's, 0 for the same; `None` when it cannot carry it.
fn rank(offered: &Format, track: &Format, strict: bool) -> Option<u8> {
    if offered.codec != track.codec || offered.clock_rate != track.clock_rate {
        return None;
    }
    match track.codec {
        Codec::H264 => {
            if packetization_mode(offered) < packetization_mode(track) {
                return None;
            }
            let (has, can) = (Profile::of(track), Profile::of(offered));
            match has.cmp(&can) {
                Ordering::Equal => Some(0),
                Ordering::Less => Some(1),
                Ordering::Greater => (!strict).then_some(2),
            }
        }
        Codec::Vp9 => {
            let profile = |format: &Format| format.number("profile-id", 10).unwrap_or(0);
            (profile(offered) == profile(track)).then_some(0)
        }
        Codec::Av1 => {
            let profile = |format: &Format| format.number("profile", 10).unwrap_or(0);
            (profile(offered) >= profile(track))
                .then(|| u8::from(profile(offered) != profile(track)))
        }
        Codec::Vp8 | Codec::Opus => Some(0),
        _ => None,
    }
}

/// RFC 6184 §8.1: absent means single NAL units only. A track without parameters is fragmented.
fn packetization_mode(format: &Format) -> u32 {
    let absent = u32::from(format.fmtp.is_empty());
    format.number("packetization-mode", 10).unwrap_or(absent)
}

/// H.264 profiles by what a decoder must know, each including the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    High,
    Other,
}

impl Profile {
    /// RFC 6184 §8.1, table 5; absent means baseline.
    fn of(format: &Format) -> Self {
        let id = format.number("profile-level-id", 16).unwrap_or(0x42_00_0a);
        let constraints = (id >> 8) as u8;
        match (id >> 16) as u8 {
            0x42 if constraints & 0x40 != 0 => Self::ConstrainedBaseline,
            0x42 => Self::Baseline,
            0x4d if constraints & 0x80 != 0 => Self::ConstrainedBaseline,
            0x4d => Self::Main,
            0x64 => Self::High,
            _ => Self::Other,
        }
    }
}

/// Has `str0m` negotiate exactly this format, under the numbers the peer gave it.
pub fn configure(config: &mut CodecConfig, offered: &Offered) {
    let format = &offered.format;
    let codec = match format.codec {
        Codec::H264 => RtcCodec::H264,
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::Av1 => RtcCodec::Av1,
        _ => RtcCodec::Opus,
    };
    let pt = Pt::from(offered.pt);
    if config.params().iter().any(|known| known.pt() == pt) {
        return;
    }
    let mut parameters = FormatParams::default();
    match codec {
        RtcCodec::H264 => {
            parameters.level_asymmetry_allowed = Some(true);
            parameters.packetization_mode = Some(packetization_mode(format) as u8);
            parameters.profile_level_id =
                Some(format.number("profile-level-id", 16).unwrap_or(0x42_00_0a));
        }
        RtcCodec::Vp9 => parameters.profile_id = Some(format.number("profile-id", 10).unwrap_or(0)),
        RtcCodec::Av1 => {
            parameters.profile = format.number("profile", 10).map(|n| n as u8);
            parameters.level_idx = format.number("level-idx", 10).map(|n| n as u8);
            parameters.tier = format.number("tier", 10).map(|n| n as u8);
        }
        RtcCodec::Opus => {
            parameters.min_p_time = Some(10);
            parameters.use_inband_fec = Some(true);
            parameters.stereo = Some(true);
        }
        _ => {}
    }
    config.add_config(
        pt,
        offered.rtx.map(Pt::from),
        codec,
        Frequency::new(format.clock_rate).unwrap_or(Frequency::NINETY_KHZ),
        (format.channels > 0).then_some(format.channels),
        parameters,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=recvonly\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:0 PCMU/8000\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 106 107\r\na=mid:1\r\na=recvonly\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
        a=rtpmap:104 H264/90000\r\n\
        a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
        a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n\
        a=rtpmap:106 H264/90000\r\n\
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\n\
        a=simulcast:send h;~m,x;l\r\n";

    fn h264(fmtp: &str) -> Format {
        Format {
            codec: Codec::H264,
            clock_rate: 90_000,
            channels: 0,
            fmtp: fmtp.to_owned(),
        }
    }

    #[test]
    fn reads_a_browsers_offer() {
        let sections = sections(OFFER);
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[0].formats.len(), 1, "PCMU is none of ours");
        assert_eq!(sections[0].formats[0].format.channels, 2);
        assert!(sections[1].receives && !sections[1].sends);
        let pts: Vec<_> = sections[1].formats.iter().map(|f| (f.pt, f.rtx)).collect();
        assert_eq!(
            pts,
            [
                (96, Some(97)),
                (102, Some(103)),
                (104, Some(105)),
                (106, Some(107))
            ]
        );
        assert_eq!(sections[1].rids, ["h", "m", "l"]);
    }

    #[test]
    fn who_takes_requests_for_what_was_lost_says_so() {
        let taken = |line: &str| {
            let head = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000";
            sections(&format!("{head}\r\na=rtcp-fb:{line}\r\n"))[0].formats[0].nack
        };
        assert!(taken("96 nack") && taken("* nack"));
        assert!(!taken("96 nack pli") && !taken("97 nack") && !taken("96 goog-remb"));
    }

    #[test]
    fn sends_h264_under_the_closest_profile() {
        let video = &sections(OFFER)[1];
        let pt = |fmtp: &str, strict| choose_viewed(video, &h264(fmtp), strict).map(|o| o.pt);
        assert_eq!(
            pt("packetization-mode=1;profile-level-id=42c01f", true),
            Some(106)
        );
        assert_eq!(
            pt("packetization-mode=0;profile-level-id=42c01f", true),
            Some(104)
        );
        assert_eq!(
            pt("packetization-mode=1;profile-level-id=420029", true),
            Some(102)
        );
        assert_eq!(
            pt("packetization-mode=1;profile-level-id=640028", true),
            None
        );
        assert_eq!(
            pt("packetization-mode=1;profile-level-id=640028", false),
            Some(102)
        );
    }

    #[test]
    fn a_profile_of_vp9_that_was_not_offered_does_not_fit() {
        let offer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 98 100\r\na=rtpmap:98 VP9/90000\r\n\
            a=fmtp:98 profile-id=0\r\na=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\n";
        let video = &sections(offer)[0];
        let vp9 = |fmtp: &str| Format {
            codec: Codec::Vp9,
            ..h264(fmtp)
        };
        assert_eq!(choose_viewed(video, &vp9(""), true).map(|o| o.pt), Some(98));
        assert_eq!(
            choose_viewed(video, &vp9("profile-id=2"), true).map(|o| o.pt),
            Some(100)
        );
        assert!(choose_viewed(video, &vp9("profile-id=1"), true).is_none());
        assert!(choose_viewed(video, &h264(""), false).is_none());
    }

    #[test]
    fn a_publisher_keeps_its_order() {
        let video = &sections(OFFER)[1];
        assert_eq!(choose_published(video, &[]).map(|o| o.pt), Some(96));
        assert_eq!(
            choose_published(video, &[Codec::H264]).map(|o| o.pt),
            Some(102)
        );
        assert!(choose_published(video, &[Codec::Av1]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(m=|a=|rtpmap:|fmtp:|[ -~]|\r\n|\n){0,60}") {
            let _ = sections(&text);
        }
    }
}
