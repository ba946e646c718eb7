//! Tables by ids that we count ourselves. Nobody outside chooses them, so a multiplication spreads
//! them well enough, for a tenth of what the standard tables' hash costs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by ids.
pub type ById<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

/// Spreads numbers that follow each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

/// 2⁶⁴ divided by the golden ratio: what is multiplied by it lies far apart (Knuth, The Art of
/// Computer Programming, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(GOLDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_that_follow_each_other_share_neither_place_nor_mark() {
        let hash = |id: u64| {
            let mut spread = Spread::default();
            spread.write_u64(id);
            spread.finish()
        };
        // A table takes the place from the low bits and tells neighbours apart by the high ones.
        let places: HashSet<u64> = (0..1_024).map(|id| hash(id) & 1_023).collect();
        assert_eq!(places.len(), 1_024);
        let marks: HashSet<u64> = (0..1_024).map(|id| hash(id) >> 57).collect();
        assert_eq!(marks.len(), 128);
    }
}
