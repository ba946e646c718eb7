//! What somebody is told who speaks plain HTTP where TLS is spoken: a person typed the address
//! without `https://`.

/// Bytes of a request that are looked at.
pub const LOOK: usize = 4 << 10;

/// Whether the first bytes of a connection are an HTTP request rather than TLS.
pub fn is_http(first: &[u8]) -> bool {
    first.first().is_some_and(u8::is_ascii_uppercase)
}

/// The answer to the beginning of a request: where the same is by HTTPS, or a refusal.
pub fn answer(request: &[u8]) -> Vec<u8> {
    if let Some(place) = place(request) {
        return format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://{place}\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes();
    }
    let text = "This port speaks HTTPS: the address begins with https://\n";
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// Host and path of a request that may simply be repeated elsewhere.
fn place(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path, version) = (first.next()?, first.next()?, first.next()?);
    let harmless = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let repeatable = matches!(method, "GET" | "HEAD") && version.starts_with("HTTP/1.");
    if !repeatable || !path.starts_with('/') || !harmless(path) {
        return None;
    }
    let host = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim())?;
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    named.then(|| format!("{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(request: &str) -> String {
        String::from_utf8(answer(request.as_bytes())).unwrap()
    }

    #[test]
    fn a_page_is_found_by_https() {
        let told = told("GET /watch/demo?a=b HTTP/1.1\r\nhost: 192.168.1.5:8443\r\n\r\n");
        assert!(told.contains("\r\nLocation: https://192.168.1.5:8443/watch/demo?a=b\r\n"));
    }

    #[test]
    fn what_cannot_be_repeated_is_refused() {
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET //evil\u{1} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert!(told(request).starts_with("HTTP/1.1 400 "), "{request}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_further_header_lines(request in "GET /[ -~\r\n]{0,40} HTTP/1.1\r\n[ -~\r\n]{0,40}") {
            let told = answer(request.as_bytes());
            let head = told.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let lines = told[..head].split(|byte| *byte == b'\n').count();
            prop_assert!(lines == 4 || lines == 5 && told.starts_with(b"HTTP/1.1 400"));
        }
    }
}
