//! From an offer to a negotiation: checks it, chooses formats, turns directions.

use super::Refused;
use super::formats::{self, Format, MAX_OFFER, Offered, Section};
use super::session::{PublishOptions, ViewOptions};
use crate::media::Kind;
use str0m::media::{Mid, Rid};

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

/// Simulcast layers taken of one section; browsers send three.
const MAX_RIDS: usize = 8;

/// The protocol stack answers with names it has cut or changed: who made them would not know them.
fn named(sdp: &str) -> Result<(), Refused> {
    let mut names = sdp
        .split('\n')
        .filter_map(|line| line.trim_end_matches('\r').strip_prefix("a=mid:"));
    if names.any(|name| *Mid::from(name) != *name) {
        let why = "an a=mid has more than 16 characters, or others than letters, digits and _";
        return Err(Refused::Malformed(why.to_owned()));
    }
    Ok(())
}

fn layered(section: &Section) -> Result<(), Refused> {
    let refused = |why: &str| Err(Refused::Malformed(format!("a=simulcast {why}")));
    let rids = &section.rids;
    if rids.len() > MAX_RIDS {
        return refused(&format!("has more than {MAX_RIDS} layers"));
    }
    let plain = |rid: &String| rid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !rids
        .iter()
        .all(|rid| plain(rid) && *Rid::from(&**rid) == **rid)
    {
        return refused(
            "names a layer by more than 8 characters, or others than letters and digits",
        );
    }
    if (1..rids.len()).any(|at| rids[..at].contains(&rids[at])) {
        return refused("names two layers alike");
    }
    Ok(())
}

fn read(sdp: &str) -> Result<Vec<Section>, Refused> {
    if sdp.len() > MAX_OFFER {
        return Err(Refused::TooLarge);
    }
    #[cfg(test)]
    assert!(!sdp.contains("a=x-trap"), "a trap");
    named(sdp)?;
    let sections = formats::sections(sdp);
    sections.iter().try_for_each(layered)?;
    Ok(sections)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc_support::view_options;

    const OBS: &str = include_str!("../../../../tests/data/webrtc/obs-simulcast.sdp");

    fn told(sdp: &str) -> String {
        let Err(Refused::Malformed(why)) = publish(sdp, &PublishOptions::default()) else {
            panic!("taken");
        };
        assert_eq!(
            view(sdp, &view_options(&[0], None)).err(),
            Some(Refused::Malformed(why.clone()))
        );
        why
    }

    fn with_rids(rids: &str) -> String {
        assert!(OBS.contains("a=simulcast:send 0;1;2"));
        OBS.replace(
            "a=simulcast:send 0;1;2",
            &format!("a=simulcast:send {rids}"),
        )
    }

    #[test]
    fn layers_are_few_and_told_apart() {
        let all = "0;1;2;3;4;5;6;7";
        let chosen = publish(&with_rids(all), &PublishOptions::default()).unwrap();
        assert!(chosen.iter().any(|chosen| chosen.rids.len() == MAX_RIDS));
        assert!(told(&with_rids(&format!("{all};8"))).contains("8 layers"));
        assert!(told(&with_rids("picture01;picture02")).contains("8 characters"));
        assert!(told(&with_rids("hi-res;low")).contains("letters and digits"));
        assert!(told(&with_rids("a;b;~a")).contains("alike"));
    }

    #[test]
    fn sections_have_names_that_can_be_answered() {
        let named = |mid: &str| OBS.replace("a=mid:0", &format!("a=mid:{mid}"));
        assert!(OBS.contains("a=mid:0"));
        for mid in ["sixteen_letters1", "Video0"] {
            assert!(publish(&named(mid), &PublishOptions::default()).is_ok());
        }
        for mid in ["seventeen_letters", "audio-0", "a b", "\u{e9}"] {
            assert!(told(&named(mid)).contains("a=mid"));
        }
    }
}
