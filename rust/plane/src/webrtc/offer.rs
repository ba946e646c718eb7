//! From an offer to a negotiation: checks it, chooses formats, turns directions.

use super::Refused;
use super::formats::{self, Format, MAX_OFFER, Offered, Section};
use super::session::{PublishOptions, ViewOptions};
use crate::media::Kind;

/// A section, and the format chosen for it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its `a=mid`.
    pub mid: String,
    /// What it carries.
    pub kind: Kind,
    /// The format, with the peer's payload types.
    pub offered: Offered,
    /// Simulcast layers, in the peer's order.
    pub rids: Vec<String>,
}

fn read(sdp: &str) -> Result<Vec<Section>, Refused> {
    if sdp.len() > MAX_OFFER {
        return Err(Refused::TooLarge);
    }
    #[cfg(test)]
    assert!(!sdp.contains("a=x-trap"), "a trap");
    Ok(formats::sections(sdp))
}

fn names<'a>(all: impl Iterator<Item = &'a Format>) -> Vec<String> {
    all.map(ToString::to_string).collect()
}

/// What a publisher will send, section by section.
pub fn publish(sdp: &str, options: &PublishOptions) -> Result<Vec<Chosen>, Refused> {
    let sections = read(sdp)?;
    let sending: Vec<&Section> = sections.iter().filter(|section| section.sends).collect();
    if sending.is_empty() {
        return Err(Refused::NothingOffered);
    }
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut unfit = Vec::new();
    for section in sending {
        match formats::choose_published(section, &options.codecs) {
            Some(offered) => chosen.push(Chosen {
                mid: section.mid.clone(),
                kind: section.kind,
                offered: offered.clone(),
                rids: section.rids.clone(),
            }),
            None => unfit.push(section),
        }
    }
    // A picture that cannot be taken is not silently left away.
    if chosen.is_empty() || unfit.iter().any(|section| section.kind == Kind::Video) {
        return Err(Refused::NoCommonCodec {
            offered: names(
                unfit
                    .iter()
                    .flat_map(|s| s.formats.iter().map(|o| &o.format)),
            ),
            has: options.codecs.iter().map(|c| format!("{c:?}")).collect(),
        });
    }
    Ok(chosen)
}

/// What a viewer is sent: at most one section of each kind.
pub fn view(sdp: &str, options: &ViewOptions) -> Result<Vec<Chosen>, Refused> {
    let sections = read(sdp)?;
    let mut chosen = Vec::new();
    let mut wanted = false;
    for kind in [Kind::Video, Kind::Audio] {
        let receiving = |section: &&Section| section.kind == kind && section.receives;
        let tracks = || options.tracks.iter().filter(|track| track.kind == kind);
        let Some(section) = sections.iter().find(receiving) else {
            continue;
        };
        wanted = true;
        let Some(first) = tracks().next() else {
            continue;
        };
        match formats::choose_viewed(section, &first.format, options.strict_profiles) {
            Some(offered) => chosen.push(Chosen {
                mid: section.mid.clone(),
                kind,
                offered: offered.clone(),
                rids: Vec::new(),
            }),
            // Sound alone is not what somebody came for; the page has other ways to show pictures.
            None if kind == Kind::Video => {
                return Err(Refused::NoCommonCodec {
                    offered: names(section.formats.iter().map(|o| &o.format)),
                    has: names(tracks().map(|track| &track.format)),
                });
            }
            None => {}
        }
    }
    if !wanted {
        return Err(Refused::NothingOffered);
    }
    if chosen.is_empty() {
        return Err(Refused::NoCommonCodec {
            offered: names(
                sections
                    .iter()
                    .flat_map(|s| s.formats.iter().map(|o| &o.format)),
            ),
            has: names(options.tracks.iter().map(|track| &track.format)),
        });
    }
    Ok(chosen)
}

/// The offer with its directions narrowed to ours: what is not used is inactive, and nothing goes
/// both ways (RFC 9725 §4.2). `direction` is the peer's, `sendonly` or `recvonly`.
pub fn narrowed(sdp: &str, chosen: &[Chosen], direction: &str) -> String {
    let mut out = String::with_capacity(sdp.len() + 64);
    for (at, part) in sdp.split("\nm=").enumerate() {
        if at > 0 {
            out.push_str("m=");
        }
        let lines = || part.split('\n').map(|line| line.trim_end_matches('\r'));
        for line in lines().filter(|line| !line.is_empty()) {
            if !matches!(
                line,
                "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"
            ) {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        if at > 0 && (part.starts_with("audio") || part.starts_with("video")) {
            let mid = lines().find_map(|line| line.strip_prefix("a=mid:"));
            let used = chosen.iter().any(|chosen| Some(chosen.mid.as_str()) == mid);
            out.push_str("a=");
            out.push_str(if used { direction } else { "inactive" });
            out.push_str("\r\n");
        }
    }
    out
}
