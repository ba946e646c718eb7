//! Reading fields that are not whole bytes.

/// Reads bits, most significant first. Every read may fail at the end of the data.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Position in bits.
    at: usize,
    /// Skip the emulation prevention bytes of H.264 section 7.3.1 and H.265 section 7.3.1.1.
    escaped: bool,
    /// Zero bytes passed in a row, for `escaped`.
    zeros: u8,
}

impl<'a> Bits<'a> {
    /// Plain bits.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            escaped: false,
            zeros: 0,
        }
    }

    /// Bits of a NAL unit's payload (after the NAL unit header, which never ends in zero).
    pub(super) fn of_nal(data: &'a [u8]) -> Self {
        Self {
            escaped: true,
            ..Self::new(data)
        }
    }

    /// One bit.
    fn bit(&mut self) -> Option<u32> {
        if self.escaped && self.at.is_multiple_of(8) {
            let byte = *self.data.get(self.at >> 3)?;
            if self.zeros >= 2 && byte == 3 {
                self.at += 8;
                self.zeros = 0;
            }
            let byte = *self.data.get(self.at >> 3)?;
            self.zeros = if byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
        }
        let byte = *self.data.get(self.at >> 3)?;
        let bit = (byte >> (7 - (self.at & 7))) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// `count` bits as a number, at most 32.
    pub(super) fn read(&mut self, count: u8) -> Option<u32> {
        if count > 32 {
            return None;
        }
        let mut value = 0;
        for _ in 0..count {
            value = (value << 1) | self.bit()?;
        }
        Some(value)
    }

    /// Pass over `count` bits.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.bit()?;
        }
        Some(())
    }

    /// An Exp-Golomb number, ue(v) of H.264 section 9.1.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.read(zeros)?;
        Some((1_u32 << zeros) - 1 + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers_follow_the_table_of_the_standard() {
        // 1 010 011 00100 00101 -> 0 1 2 3 4
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!(
            [bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()],
            [Some(0), Some(1), Some(2), Some(3), Some(4)]
        );
        assert_eq!(
            Bits::new(&[0; 8]).ue(),
            None,
            "more zeros than any number has"
        );
    }

    #[test]
    fn emulation_prevention_is_passed_over_only_in_nal_units() {
        let data = [0, 0, 3, 1];
        assert_eq!(Bits::of_nal(&data).read(24), Some(1));
        assert_eq!(Bits::new(&data).read(24), Some(3));
        assert_eq!(Bits::of_nal(&[0, 0, 3]).read(24), None);
    }

    #[test]
    fn reading_past_the_end_gives_nothing() {
        assert_eq!(Bits::new(&[0xff]).read(9), None);
        assert_eq!(Bits::new(&[0xff; 8]).read(33), None);
        assert_eq!(Bits::new(&[0xff]).skip(9), None);
    }
}
