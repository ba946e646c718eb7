//! The end of all sessions, so that nobody sends to those who come to the same ports next.

use super::{KINDS, Load, State};
use crate::sys;

/// How long answers to TEARDOWN are waited for, µs.
const PATIENCE_US: u64 = 3_000_000;

impl Load {
    /// Ends the sessions and waits until the servers have said so.
    pub(super) fn farewell(&mut self) {
        let mut left = Vec::with_capacity(self.readers.len());
        for index in 0..self.readers.len() {
            let url = self.url(index).plain.clone();
            let reader = &mut self.readers[index];
            let told = reader.state == State::Playing && reader.request("TEARDOWN", &url, "");
            left.push(told && !reader.slow); // a slow one is not read
        }
        let (until, mut tokens) = (sys::now_us() + PATIENCE_US, Vec::new());
        while left.contains(&true) && sys::now_us() < until {
            self.epoll.wait(10, &mut tokens);
            for token in &tokens {
                let (index, kind) = ((token / KINDS) as usize, token % KINDS);
                if kind == 0 && left.get(index) == Some(&true) {
                    left[index] = !self.answered(index);
                } else if kind > 0 {
                    self.read_udp(index, kind);
                }
            }
        }
    }

    /// Whether the answer to the last request has come, or none will.
    fn answered(&mut self, index: usize) -> bool {
        let reader = &self.readers[index];
        let wanted = format!("cseq: {}\r\n", reader.cseq);
        match sys::read(&reader.connection, &mut self.buffer) {
            Ok(None) => false,
            Ok(Some(got)) if got > 0 => String::from_utf8_lossy(&self.buffer[..got])
                .to_ascii_lowercase()
                .contains(&wanted),
            _ => true,
        }
    }
}
