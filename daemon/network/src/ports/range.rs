//! Ports that are chosen when none is named.

use std::fs;
use std::ops::RangeInclusive;

/// What the kernel itself chooses from; if it cannot be read, the dynamic ports of RFC 6335.
fn all() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first > 0 && first <= last => first..=last,
        _ => 49_153..=65_535,
    }
}

/// Each of them once, those after the last that was given first: a port that was just freed is not given at once to
/// somebody else.
pub(super) fn ephemeral(last: Option<u16>) -> impl Iterator<Item = u16> {
    let (first, end) = (*all().start(), *all().end());
    let middle = last
        .and_then(|last| last.checked_add(1))
        .filter(|next| (first..=end).contains(next))
        .unwrap_or(first);
    (middle..=end).chain(first..middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_comes_once_beginning_after_the_last() {
        let (first, end) = (*all().start(), *all().end());
        let count = usize::from(end - first) + 1;
        let ports: Vec<u16> = ephemeral(Some(first)).collect();
        assert_eq!((ports[0], ports[count - 1], ports.len()), (first + 1, first, count));
        assert_eq!(ephemeral(Some(end)).next(), Some(first));
        assert_eq!(ephemeral(None).count(), count);
    }
}
