//! Command line: `--name value` pairs and flags, nothing more.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The options of one sub-command.
pub struct Args {
    values: BTreeMap<String, String>,
}

impl Args {
    /// Reads `--name value` pairs; a name followed by another name or by nothing is a flag.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut rest = words.iter().peekable();
        while let Some(word) = rest.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("expected an option, got {word:?}"))?;
            let value = match rest.peek() {
                Some(next) if !next.starts_with("--") => rest.next().cloned().unwrap_or_default(),
                _ => "true".to_owned(),
            };
            values.insert(name.to_owned(), value);
        }
        Ok(Self { values })
    }

    /// The text of an option, or the default.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.get(name).map_or(default, String::as_str)
    }

    /// The text of an option that must be given.
    pub fn required(&self, name: &str) -> Result<&str, String> {
        self.values
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| format!("--{name} is needed"))
    }

    /// A number, or the default.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.values.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name}: {text:?} is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_and_flags() {
        let words: Vec<String> = ["--count", "5", "--gro", "--mode", "tcp"]
            .map(str::to_owned)
            .to_vec();
        let args = Args::parse(&words).unwrap();
        assert_eq!(args.number("count", 1), Ok(5));
        assert_eq!(args.text("gro", "false"), "true");
        assert_eq!(args.text("mode", "udp"), "tcp");
        assert!(args.required("url").is_err());
        assert!(args.number::<u32>("mode", 1).is_err());
    }
}
