//! A set of numbers kept as ranges: as small for a /64 as for a /24, and the next free number is found at once.

use std::collections::BTreeMap;

/// First to last, ends included; ranges neither touch nor overlap.
#[derive(Debug, Clone, Default)]
pub struct Ranges(BTreeMap<u128, u128>);

impl Ranges {
    pub fn contains(&self, number: u128) -> bool {
        self.around(number).is_some()
    }

    /// False if it was there.
    pub fn insert(&mut self, number: u128) -> bool {
        if self.contains(number) {
            return false;
        }
        let mut last = number;
        if let Some(next) = number.checked_add(1).and_then(|next| self.0.remove_entry(&next)) {
            last = next.1;
        }
        let below = self.0.range_mut(..number).next_back();
        match below {
            Some((_, end)) if end.checked_add(1) == Some(number) => *end = last,
            _ => {
                self.0.insert(number, last);
            }
        }
        true
    }

    /// False if it was not there.
    pub fn remove(&mut self, number: u128) -> bool {
        let Some((first, last)) = self.around(number) else {
            return false;
        };
        if first == number {
            self.0.remove(&first);
        } else {
            self.0.insert(first, number - 1);
        }
        if last > number {
            self.0.insert(number + 1, last);
        }
        true
    }

    /// The smallest number from `first` to `last` that is not in the set.
    pub fn first_free(&self, first: u128, last: u128) -> Option<u128> {
        let free = match self.around(first) {
            None => first,
            Some((_, end)) => end.checked_add(1)?,
        };
        (free <= last).then_some(free)
    }

    fn around(&self, number: u128) -> Option<(u128, u128)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (*last >= number).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let number = random.random_range(0..200u128);
            match random.random_bool(0.5) {
                true => assert_eq!(ranges.insert(number), plain.insert(number)),
                false => assert_eq!(ranges.remove(number), plain.remove(&number)),
            }
            let from = random.random_range(0..200u128);
            let free = (from..=180).find(|number| !plain.contains(number));
            assert_eq!(ranges.first_free(from, 180), free);
        }
        for (end, next) in ranges.0.values().zip(ranges.0.keys().skip(1)) {
            assert!(end + 1 < *next, "ranges touch: {ranges:?}");
        }
    }

    #[test]
    fn the_last_number_of_all() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(u128::MAX) && ranges.insert(u128::MAX - 1));
        assert_eq!(ranges.first_free(u128::MAX - 1, u128::MAX), None);
        assert!(ranges.remove(u128::MAX));
        assert_eq!(ranges.first_free(u128::MAX - 1, u128::MAX), Some(u128::MAX));
    }
}
