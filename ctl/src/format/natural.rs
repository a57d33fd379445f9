//! The order people expect of names with numbers in them: "net2" before "net10".

use std::cmp::Ordering;

/// Compares runs of digits as numbers, everything else byte by byte.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (left.first(), right.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (one, rest) = number(left);
            let (other, others_rest) = number(right);
            let order = one.len().cmp(&other.len()).then_with(|| one.cmp(other));
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest, others_rest);
        } else if x != y {
            return x.cmp(y);
        } else {
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The digits at the beginning without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = ["net10", "net2", "web", "net", "443/tcp", "80/tcp", "net02", "net2a"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(
            names,
            ["80/tcp", "443/tcp", "net", "net02", "net2", "net2a", "net10", "web"]
        );
    }
}
