//! When frames were sent, told to receivers that cannot look into them.
//!
//! A receiver of encrypted packets sees their length only. So the publisher makes the last packet
//! of frame `n` as long as `n` modulo [`NUMBERS`] says, and writes the time at which it sent that
//! frame into a small file that receivers on the same machine read.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Frames that can be told apart: 4 s at 30 frames a second, more than any delay worth a name.
pub const NUMBERS: usize = 128;
/// Payload of a last packet at least: header bytes of a fragment and a stamp.
const MIN_TAIL: usize = 48;

/// Send times of the last frames, by number.
pub type Times = [u64; NUMBERS];

/// The file.
pub struct SentLog(File);

impl SentLog {
    /// Makes the file anew.
    pub fn create(path: &str) -> Result<Self, String> {
        let file = File::create(path).map_err(|e| format!("{path}: {e}"))?;
        let log = Self(file);
        log.0
            .write_all_at(&[0; NUMBERS * 8], 0)
            .map_err(|e| format!("{path}: {e}"))?;
        Ok(log)
    }

    /// Opens a file that a publisher has made.
    pub fn open(path: &str) -> Result<Self, String> {
        File::open(path)
            .map(Self)
            .map_err(|e| format!("{path}: {e}"))
    }

    /// Notes that a frame is sent now.
    pub fn note(&self, frame: u64, at_us: u64) -> Result<(), String> {
        let place = frame % NUMBERS as u64 * 8;
        self.0
            .write_all_at(&at_us.to_ne_bytes(), place)
            .map_err(|e| format!("log of send times: {e}"))
    }

    /// Reads all times; they stay as they were when the file cannot be read.
    pub fn read(&self, times: &mut Times) {
        let mut bytes = [0; NUMBERS * 8];
        if self.0.read_exact_at(&mut bytes, 0).is_ok() {
            for (time, bytes) in times.iter_mut().zip(bytes.as_chunks().0) {
                *time = u64::from_ne_bytes(*bytes);
            }
        }
    }
}

/// The payload length nearest to `length` that tells the frame's number and fits into a packet.
pub fn tell(length: usize, frame: u64, max: usize) -> usize {
    let number = (frame % NUMBERS as u64) as usize;
    let mut told = length - length % NUMBERS + number;
    if told > length + NUMBERS / 2 && told >= MIN_TAIL + NUMBERS {
        told -= NUMBERS;
    }
    while told > max {
        told -= NUMBERS;
    }
    while told < MIN_TAIL {
        told += NUMBERS;
    }
    told
}

/// The number a payload length tells.
pub fn told(length: usize) -> usize {
    length % NUMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_tell_numbers_and_stay_near() {
        for length in MIN_TAIL..1188 {
            for frame in [0, 1, 63, 127, 128, 500] {
                let new = tell(length, frame, 1188);
                assert_eq!(told(new), frame as usize % NUMBERS);
                assert!((MIN_TAIL..=1188).contains(&new));
                assert!(new.abs_diff(length) <= NUMBERS, "{length} {frame} {new}");
            }
        }
    }

    #[test]
    fn times_are_read_back() {
        let path = std::env::temp_dir().join(format!("helio-sent-{}", std::process::id()));
        let path = path.to_str().unwrap();
        let log = SentLog::create(path).unwrap();
        log.note(130, 77).unwrap();
        let mut times = [0; NUMBERS];
        SentLog::open(path).unwrap().read(&mut times);
        assert_eq!((times[2], times[3]), (77, 0));
        std::fs::remove_file(path).unwrap();
    }
}
