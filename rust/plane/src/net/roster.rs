//! Readers in no order, each found by its id at once however many they are.

use crate::event::Id;
use std::collections::HashMap;

/// What has a reader's id.
pub trait Named {
    /// The id.
    fn id(&self) -> Id;
}

/// The readers.
#[derive(Debug)]
pub struct Roster<T> {
    rows: Vec<T>,
    places: HashMap<Id, usize>,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Named> Roster<T> {
    /// Adds one; an id comes once.
    pub fn add(&mut self, row: T) {
        self.places.insert(row.id(), self.rows.len());
        self.rows.push(row);
    }

    /// The one with this id.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let place = *self.places.get(&id)?;
        self.rows.get_mut(place)
    }

    /// Takes one out; the last takes its place.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let place = self.places.remove(&id)?;
        let row = self.rows.swap_remove(place);
        if let Some(moved) = self.rows.get(place) {
            self.places.insert(moved.id(), place);
        }
        Some(row)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All, to read.
    pub fn rows(&self) -> &[T] {
        &self.rows
    }

    /// All, to change.
    pub fn rows_mut(&mut self) -> &mut [T] {
        &mut self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Row(Id, u32);

    impl Named for Row {
        fn id(&self) -> Id {
            self.0
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_list_finds(orders in prop::collection::vec((any::<bool>(), 0..12_u64), 0..200)) {
            let mut roster = Roster::default();
            let mut plain: Vec<Row> = Vec::new();
            for (number, (adds, id)) in (0..).zip(orders) {
                let known = plain.iter().position(|row| row.0 == id);
                if adds && known.is_none() {
                    plain.push(Row(id, number));
                    roster.add(Row(id, number));
                } else if !adds {
                    let expected = known.map(|place| plain.remove(place));
                    prop_assert_eq!(roster.remove(id), expected);
                }
                for id in 0..12 {
                    let expected = plain.iter().find(|row| row.0 == id);
                    prop_assert_eq!(roster.get_mut(id).map(|row| &*row), expected);
                }
                prop_assert_eq!(roster.rows().len(), plain.len());
            }
        }
    }
}
