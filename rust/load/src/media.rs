//! The stream that is published: H.264-shaped or Opus-shaped RTP packets of exact sizes.

use crate::sentlog;
use crate::stamp::{self, Stamp};

/// Bytes of a full RTP packet, header included: fits any path, the size of LIMITS' tables.
pub const PACKET: usize = 1200;
/// Bytes of an RTP header without extensions (RFC 3550 5.1).
pub const RTP_HEADER: usize = 12;
/// Payload type of video, as announced.
pub const VIDEO_PT: u8 = 96;
/// Payload type of audio, as announced.
pub const AUDIO_PT: u8 = 97;

const FU_HEADER: usize = 2; // RFC 6184 5.8
const FU_A: u8 = 28;
const NAL_IDR: u8 = 0x65;
const NAL_SLICE: u8 = 0x41;
const FILLER: u8 = 0x55;

/// Sequence parameter set: baseline, 1280×720, 30 frames a second.
pub const SPS: [u8; 23] = [
    0x67, 0x42, 0xC0, 0x1F, 0xDA, 0x01, 0x40, 0x16, 0xEC, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40,
    0x00, 0x00, 0x0F, 0x03, 0xC6, 0x0C, 0xA8,
];
/// Picture parameter set.
pub const PPS: [u8; 4] = [0x68, 0xCE, 0x0F, 0xC8];

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Opus-shaped instead of H.264-shaped.
    pub audio: bool,
    /// Bits of RTP payload a second.
    pub bitrate: u64,
    /// Frames a second.
    pub fps: u64,
    /// How much larger a keyframe is than another frame.
    pub idr_factor: u64,
    /// Exactly this many full packets in every frame (0: by bitrate).
    pub packets_per_frame: u64,
    /// Whether the length of a frame's last packet tells its number, see [`crate::sentlog`].
    pub numbered: bool,
}

impl Shape {
    /// Ticks of the RTP clock a second (RFC 6184 8.1, RFC 7587 4.1).
    pub fn clock(&self) -> u64 {
        if self.audio { 48_000 } else { 90_000 }
    }

    fn frame_bytes(&self, keyframe: bool) -> usize {
        let full = PACKET - RTP_HEADER;
        if self.packets_per_frame > 0 {
            return self.packets_per_frame as usize * (full - FU_HEADER);
        }
        let second = self.bitrate / 8;
        let bytes = if self.audio {
            second / self.fps
        } else {
            // One keyframe and fps - 1 others a second, one keyframe being idr_factor others.
            let other = second / (self.fps - 1 + self.idr_factor);
            other * if keyframe { self.idr_factor } else { 1 }
        };
        (bytes as usize).max(stamp::LEN + stamp::VIDEO_OFFSET)
    }

    /// Bytes of a frame's NAL unit: near those of its bitrate where it is numbered.
    fn nal_bytes(&self, frame: u64, keyframe: bool) -> usize {
        let bytes = 1 + self.frame_bytes(keyframe);
        if !self.numbered {
            return bytes;
        }
        let max = PACKET - RTP_HEADER;
        let before = match bytes.checked_sub(max + 1) {
            None => 0,
            Some(_) => (bytes - 2) / (max - FU_HEADER) * (max - FU_HEADER) + 1 - FU_HEADER,
        };
        before + sentlog::tell(bytes - before, frame, max)
    }
}

/// Makes the packets of one frame after the other.
pub struct Source {
    shape: Shape,
    ssrc: u32,
    sequence: u16,
    number: u32,
    frame: u64,
    units: Vec<Vec<Vec<u8>>>,
    /// Packets of the current frame.
    pub packets: Vec<Vec<u8>>,
}

impl Source {
    /// A synthetic source; `units` (access units of NAL units, without start codes) replace the
    /// synthetic frames when there are any, and then carry no stamps.
    pub fn new(shape: Shape, units: Vec<Vec<Vec<u8>>>) -> Self {
        Self {
            shape,
            ssrc: 0x4845_4C49,
            sequence: 1,
            number: 0,
            frame: 0,
            units,
            packets: Vec::new(),
        }
    }

    /// RTP timestamp of the next frame.
    pub fn timestamp(&self) -> u32 {
        (self.frame * self.shape.clock() / self.shape.fps) as u32
    }

    /// Source identifier.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    fn packet(&mut self, payload: &[u8], marker: bool) {
        let pt = if self.shape.audio { AUDIO_PT } else { VIDEO_PT };
        let mut packet = Vec::with_capacity(RTP_HEADER + payload.len());
        packet.extend([0x80, pt | if marker { 0x80 } else { 0 }]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp().to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets.push(packet);
    }

    /// Splits one NAL unit (RFC 6184 5.6, 5.8).
    fn nal(&mut self, nal: &[u8], marker: bool) {
        if nal.len() <= PACKET - RTP_HEADER {
            self.packet(nal, marker);
            return;
        }
        let chunk = PACKET - RTP_HEADER - FU_HEADER;
        let count = (nal.len() - 1).div_ceil(chunk);
        for (i, data) in nal[1..].chunks(chunk).enumerate() {
            let start = if i == 0 { 0x80 } else { 0 };
            let end = if i + 1 == count { 0x40 } else { 0 };
            let mut payload = vec![nal[0] & 0x60 | FU_A, start | end | nal[0] & 0x1F];
            payload.extend(data);
            self.packet(&payload, marker && end != 0);
        }
    }

    fn stamp_all(&mut self, now_us: u64, intra: bool) {
        let offset = RTP_HEADER
            + if self.shape.audio {
                stamp::AUDIO_OFFSET
            } else {
                stamp::VIDEO_OFFSET
            };
        for packet in &mut self.packets {
            // Parameter sets stay as they are.
            let parameter_set = !self.shape.audio && matches!(packet[RTP_HEADER] & 0x1F, 7 | 8);
            if !parameter_set && packet.len() >= offset + stamp::LEN {
                let stamp = Stamp {
                    sent_us: now_us,
                    number: self.number,
                };
                stamp::write(&mut packet[offset..], stamp, intra);
                self.number = (self.number + 1) & stamp::NUMBER_MASK;
            }
        }
    }

    /// Makes the packets of the next frame, to be sent now.
    pub fn next_frame(&mut self, now_us: u64) {
        self.packets.clear();
        if !self.units.is_empty() {
            let index = (self.frame % self.units.len() as u64) as usize;
            let unit = std::mem::take(&mut self.units[index]);
            for (i, nal) in unit.iter().enumerate() {
                self.nal(nal, i + 1 == unit.len());
            }
            self.units[index] = unit;
        } else if self.shape.audio {
            let mut payload = vec![FILLER; self.shape.frame_bytes(false)];
            payload[0] = 0xFC; // Opus TOC: CELT, full band, 20 ms, stereo (RFC 6716 3.1)
            self.packet(&payload, false);
            self.stamp_all(now_us, false);
        } else {
            let keyframe = self.frame.is_multiple_of(self.shape.fps);
            if keyframe {
                self.nal(&SPS, false);
                self.nal(&PPS, false);
            }
            let mut nal = vec![FILLER; self.shape.nal_bytes(self.frame, keyframe)];
            nal[0] = if keyframe { NAL_IDR } else { NAL_SLICE };
            if let Some(last) = nal.last_mut() {
                *last = 0x80; // a NAL unit never ends in zero (7.4.1)
            }
            self.nal(&nal, true);
            self.stamp_all(now_us, keyframe);
        }
        self.frame += 1;
    }

    /// SDP that announces the stream (RFC 8866, RFC 6184 8.2, RFC 7587 7).
    pub fn sdp(&self) -> String {
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=load\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n";
        if self.shape.audio {
            return format!(
                "{head}m=audio 0 RTP/AVP {AUDIO_PT}\r\na=rtpmap:{AUDIO_PT} opus/48000/2\r\n\
                 a=control:trackID=0\r\n"
            );
        }
        let find = |kind: u8, default: &[u8]| {
            let mut nals = self.units.iter().flatten();
            nals.find(|nal| nal[0] & 0x1F == kind).map_or_else(
                || crate::rtsp::base64(default),
                |nal| crate::rtsp::base64(nal),
            )
        };
        let (sps, pps) = (find(7, &SPS), find(8, &PPS));
        format!(
            "{head}m=video 0 RTP/AVP {VIDEO_PT}\r\na=rtpmap:{VIDEO_PT} H264/90000\r\n\
             a=fmtp:{VIDEO_PT} packetization-mode=1;profile-level-id=42C01F;\
             sprop-parameter-sets={sps},{pps}\r\na=control:trackID=0\r\n"
        )
    }
}

/// Splits an Annex B file into access units (H.264 Annex B; a unit ends with its last slice).
pub fn access_units(file: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    let mut start = None;
    let mut i = 0;
    while i + 3 <= file.len() {
        if file[i..i + 3] == [0, 0, 1] {
            if let Some(from) = start {
                nals.push(trimmed(&file[from..i]));
            }
            start = Some(i + 3);
            i += 3;
        } else {
            i += 1;
        }
    }
    if let Some(from) = start {
        nals.push(trimmed(&file[from..]));
    }
    let mut units: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut has_slice = true;
    for nal in nals.into_iter().filter(|nal| nal.len() > 1) {
        let slice = matches!(nal[0] & 0x1F, 1..=5);
        // first_mb_in_slice is 0 exactly when the slice's first bit is set (7.3.3).
        let begins = !slice || nal[1] & 0x80 != 0;
        if begins && has_slice {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= slice;
        if let Some(unit) = units.last_mut() {
            unit.push(nal);
        }
    }
    units
}

fn trimmed(nal: &[u8]) -> Vec<u8> {
    let end = nal.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    nal[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            audio: false,
            bitrate: 2_000_000,
            fps: 30,
            idr_factor: 4,
            packets_per_frame: 0,
            numbered: false,
        }
    }

    #[test]
    fn numbered_frames_tell_their_number_and_keep_their_rate() {
        for bitrate in [100_000, 600_000, 2_000_000] {
            let mut source = Source::new(
                Shape {
                    bitrate,
                    numbered: true,
                    ..shape()
                },
                Vec::new(),
            );
            let mut bytes = 0;
            for frame in 0..300 {
                source.next_frame(7);
                let last = source.packets.last().unwrap();
                assert_eq!(
                    sentlog::told(last.len() - RTP_HEADER),
                    frame % sentlog::NUMBERS
                );
                assert!(source.packets.iter().all(|p| p.len() <= PACKET));
                bytes += source.packets.iter().map(Vec::len).sum::<usize>() as u64;
            }
            let told = bytes * 8 / 10;
            assert!(told.abs_diff(bitrate) < bitrate / 8, "{told} of {bitrate}");
        }
    }

    #[test]
    fn a_second_has_the_bitrate_and_one_keyframe() {
        let mut source = Source::new(shape(), Vec::new());
        let (mut bytes, mut keyframes, mut markers) = (0, 0, 0);
        for _ in 0..30 {
            source.next_frame(7);
            bytes += source.packets.iter().map(Vec::len).sum::<usize>();
            keyframes += usize::from(source.packets[0][RTP_HEADER] == 0x67);
            markers += source.packets.iter().filter(|p| p[1] & 0x80 != 0).count();
            assert!(source.packets.iter().all(|p| p.len() <= PACKET));
        }
        assert_eq!((keyframes, markers), (1, 30));
        assert!((245_000..257_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn every_media_packet_is_stamped_in_order() {
        let mut source = Source::new(shape(), Vec::new());
        source.next_frame(99);
        let stamps: Vec<_> = source.packets[2..]
            .iter()
            .map(|p| stamp::read(&p[RTP_HEADER + stamp::VIDEO_OFFSET..]).unwrap())
            .collect();
        for (i, stamp) in stamps.iter().enumerate() {
            assert_eq!((stamp.number, stamp.sent_us), (i as u32, 99));
        }
    }

    #[test]
    fn bursts_have_exactly_the_packets_asked_for() {
        let mut source = Source::new(
            Shape {
                packets_per_frame: 8,
                ..shape()
            },
            Vec::new(),
        );
        source.next_frame(0);
        assert_eq!(source.packets.len(), 10); // with SPS and PPS
        source.next_frame(0);
        assert_eq!(source.packets.len(), 8);
        assert!(source.packets.iter().all(|p| p.len() == PACKET));
    }

    #[test]
    fn a_file_is_split_into_access_units() {
        let file = [
            0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x65, 0x88, 0, 0, 1, 0x65, 0x08, 0, 0,
            1, 0x41, 0x9A,
        ];
        let units = access_units(&file);
        assert_eq!(units.iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
    }
}
