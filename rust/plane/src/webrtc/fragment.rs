//! Trickle ICE by `PATCH`: fragments of a description (RFC 8840 §4, RFC 9725 §4.3).

use std::fmt::Write as _;

/// Longest fragment taken, in bytes.
pub const MAX_FRAGMENT: usize = 16 << 10;

/// Most candidates taken from one fragment; a machine with a dozen interfaces has fewer.
pub const MAX_CANDIDATES: usize = 32;

/// What a fragment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The peer's name and password.
    pub credentials: Option<(String, String)>,
    /// Candidates, each as after `a=`.
    pub candidates: Vec<String>,
    /// No more will follow.
    pub end: bool,
}

/// Reads a fragment; `None` when it is none.
pub fn parse(text: &str) -> Option<Fragment> {
    if text.len() > MAX_FRAGMENT {
        return None;
    }
    let (mut ufrag, mut password) = (None, None);
    let mut fragment = Fragment::default();
    let mut lines = 0;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            continue;
        }
        if !matches!(line.as_bytes(), [b'a'..=b'z', b'=', ..]) {
            return None;
        }
        lines += 1;
        if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
            ufrag.get_or_insert_with(|| value.to_owned());
        } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
            password.get_or_insert_with(|| value.to_owned());
        } else if line.starts_with("a=candidate:") {
            if fragment.candidates.len() >= MAX_CANDIDATES {
                return None;
            }
            fragment.candidates.push(line[2..].to_owned());
        } else if line == "a=end-of-candidates" {
            fragment.end = true;
        }
    }
    // RFC 8839 §5.4: 4 to 256 and 22 to 256 of these characters.
    let token = |text: &String, least: usize| {
        (least..=256).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
    };
    fragment.credentials = match (ufrag, password) {
        (Some(ufrag), Some(password)) if token(&ufrag, 4) && token(&password, 22) => {
            Some((ufrag, password))
        }
        (None, None) => None,
        _ => return None,
    };
    (lines > 0).then_some(fragment)
}

/// The first credentials a description names.
pub fn parse_credentials(sdp: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        sdp.lines()
            .find_map(|line| line.trim_end().strip_prefix(name))
            .map(str::to_owned)
    };
    Some((value("a=ice-ufrag:")?, value("a=ice-pwd:")?))
}

/// The offer again, as it would be after the restart: other credentials, no old candidates.
pub fn restarted_offer(offer: &str, credentials: &(String, String)) -> String {
    let mut out = String::with_capacity(offer.len());
    for line in offer.lines().map(str::trim_end) {
        let _ = if line.starts_with("a=ice-ufrag:") {
            write!(out, "a=ice-ufrag:{}\r\n", credentials.0)
        } else if line.starts_with("a=ice-pwd:") {
            write!(out, "a=ice-pwd:{}\r\n", credentials.1)
        } else if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            Ok(())
        } else {
            write!(out, "{line}\r\n")
        };
    }
    out
}

/// What answers a restart: our new credentials and our candidates, out of a full answer.
pub fn of_answer(answer: &str) -> String {
    let mut out = String::from("a=ice-lite\r\n");
    let mut sections = 0;
    for line in answer.lines().map(str::trim_end) {
        let media = line.starts_with("m=");
        sections += u32::from(media);
        // All sections share one transport (BUNDLE), so the first tells everything.
        if sections == 1
            && (media
                || line.starts_with("a=mid:")
                || line.starts_with("a=ice-ufrag:")
                || line.starts_with("a=ice-pwd:")
                || line.starts_with("a=candidate:")
                || line == "a=end-of-candidates")
        {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_example_of_the_standard() {
        let text = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
            a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
            a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
            a=end-of-candidates\r\n";
        let fragment = parse(text).unwrap();
        let (name, password) = fragment.credentials.unwrap();
        assert_eq!((name.as_str(), password.len()), ("EsAw", 24));
        assert_eq!(fragment.candidates.len(), 1);
        assert!(fragment.candidates[0].starts_with("candidate:1387637174 "));
        assert!(fragment.end);
    }

    #[test]
    fn refuses_what_is_no_fragment() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("hello"), None);
        assert_eq!(
            parse("a=ice-ufrag:EsAw\r\n"),
            None,
            "a name without a password"
        );
        assert_eq!(
            parse("a=ice-ufrag:E<>w\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"),
            None
        );
        let many = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(MAX_CANDIDATES + 1);
        assert_eq!(parse(&many), None);
    }
}
