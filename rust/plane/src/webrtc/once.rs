//! Numbers that were used: what is sealed under one twice gives both packets away.

/// Numbers behind the newest that are told apart: as many as receivers do, which drop what comes
/// later than that.
const WINDOW: u64 = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub struct Once {
    newest: u64,
    /// Bit `number % WINDOW`.
    used: [u64; (WINDOW / 64) as usize],
}

impl Once {
    /// Uses a number; `false` when it was used, or is too far behind for anybody to tell.
    pub fn take(&mut self, number: u64) -> bool {
        if number > self.newest {
            if number - self.newest >= WINDOW {
                self.used = Default::default();
            } else {
                for missing in self.newest + 1..number {
                    let (word, bit) = place(missing);
                    self.used[word] &= !bit;
                }
            }
            self.newest = number;
            let (word, bit) = place(number);
            self.used[word] |= bit;
            return true;
        }
        let (word, bit) = place(number);
        let fresh = self.newest - number < WINDOW && self.used[word] & bit == 0;
        if fresh {
            self.used[word] |= bit;
        }
        fresh
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn every_number_is_used_once(
            steps in prop::collection::vec((prop_oneof![0u64..4, 0u64..3_000], 0u64..1_500), 1..400)
        ) {
            let mut once = Once::default();
            let (mut used, mut newest) = (HashSet::<u64>::new(), 1);
            for (step, back) in steps {
                newest += step;
                let number = if step % 2 == 0 { newest.saturating_sub(back) } else { newest };
                let told = used.iter().max().is_none_or(|max| max.saturating_sub(number) < WINDOW);
                prop_assert_eq!(once.take(number), told && !used.contains(&number), "{}", number);
                if told {
                    used.insert(number);
                }
            }
        }
    }
}
