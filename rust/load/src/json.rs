//! Writes one JSON object; the harness reads one object a line.

use std::fmt::Write as _;
use std::io::Write as _;

/// An object being written.
pub struct Object(String);

impl Object {
    /// An empty object.
    pub fn new() -> Self {
        Self("{".to_owned())
    }

    fn key(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
    }

    /// Adds a whole number.
    pub fn int(mut self, name: &str, value: u64) -> Self {
        self.key(name);
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds a fraction; one that is not finite becomes null.
    pub fn float(mut self, name: &str, value: f64) -> Self {
        self.key(name);
        if value.is_finite() {
            let _ = write!(self.0, "{value:.6}");
        } else {
            self.0.push_str("null");
        }
        self
    }

    /// Adds text; only quotes, backslashes and control characters need care here.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.key(name);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                c if c < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", c as u32);
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// Adds another object.
    pub fn object(mut self, name: &str, value: Object) -> Self {
        self.key(name);
        self.0.push_str(&value.finish());
        self
    }

    /// The object's text.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// Prints the object as a line and flushes, so that a harness sees it at once.
    pub fn print(self) {
        let mut out = std::io::stdout().lock();
        // A harness that has gone away is no reason to fail: its pipe is closed, we end soon.
        let _ = writeln!(out, "{}", self.finish());
        let _ = out.flush();
    }
}

/// Prints `{"event": name, "at_us": now}`.
pub fn event(name: &str) {
    Object::new()
        .text("event", name)
        .int("at_us", crate::sys::now_us())
        .print();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_kind_and_escapes() {
        let text = Object::new()
            .int("a", 1)
            .float("b", f64::NAN)
            .text("c", "x\"\n")
            .object("d", Object::new().float("e", 0.5))
            .finish();
        assert_eq!(
            text,
            r#"{"a":1,"b":null,"c":"x\"\u000a","d":{"e":0.500000}}"#
        );
    }
}
