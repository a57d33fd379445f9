//! Labels that keep a snapshot only while something holds for it (containerd 2.3): on content or an image
//! `containerd.io/gc.cond.snapshot.<snapshotter>[/x]` = `usedat<24h|<key>`, and on the snapshot when it was last used.

use super::{Kind, Node};
use crate::{Labels, Namespace};
use std::time::{Duration, SystemTime};

const CONDITION: &str = "containerd.io/gc.cond.snapshot";
const USED_AT: &str = "containerd.io/gc.cond.value-usedat";

/// What has to hold for the time at which a snapshot was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    LessThan(Duration),
    MoreThan(Duration),
}

impl Condition {
    pub fn holds(self, used: SystemTime, now: SystemTime) -> bool {
        let ago = now.duration_since(used).unwrap_or_default();
        match self {
            Self::LessThan(time) => ago < time,
            Self::MoreThan(time) => ago > time,
        }
    }

    /// `usedat<24h`; none for whatever else.
    fn parse(text: &str) -> Option<Self> {
        let test = text.strip_prefix("usedat")?;
        match test.split_at_checked(1)? {
            ("<", time) => Some(Self::LessThan(duration(time)?)),
            (">", time) => Some(Self::MoreThan(duration(time)?)),
            _ => None,
        }
    }
}

/// Snapshots that the labels keep, each under a condition; of several, one is enough.
pub fn conditions(ns: &Namespace, labels: &Labels) -> Vec<(Node, Condition)> {
    let mut found = Vec::new();
    for (label, value) in labels {
        let Some(name) = label.strip_prefix(CONDITION) else {
            continue;
        };
        let name = name
            .trim_start_matches(['.', '/'])
            .split('/')
            .next()
            .unwrap_or_default();
        let Some((tests, key)) = value.split_once('|').filter(|_| !name.is_empty()) else {
            continue;
        };
        let node = Node::new(ns, Kind::Snapshot(name.to_owned()), key);
        found.extend(
            tests
                .split(',')
                .filter_map(Condition::parse)
                .map(|test| (node.clone(), test)),
        );
    }
    found
}

/// When the record was used, as its labels say.
pub fn used_at(labels: &Labels) -> Vec<SystemTime> {
    let told = labels.iter().filter(|(label, _)| label.starts_with(USED_AT));
    told.filter_map(|(_, time)| chrono::DateTime::parse_from_rfc3339(time).ok())
        .map(SystemTime::from)
        .collect()
}

/// As Go writes it: `1h30m`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (mut rest, mut total) = (text, Duration::ZERO);
    loop {
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, next) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, seconds) in [
            ("0", Some(0.0)),
            ("24h", Some(86400.0)),
            ("1h30m", Some(5400.0)),
            ("1.5h", Some(5400.0)),
            ("300ms", Some(0.3)),
            (".5s", Some(0.5)),
            ("", None),
            ("24", None),
            ("h", None),
            ("1d", None),
            ("-1h", None),
            ("1h ", None),
            ("999999999999999999999999h", None),
        ] {
            assert_eq!(
                duration(text).map(|found| found.as_secs_f64()),
                seconds,
                "{text:?} is a duration or not"
            );
        }
    }

    #[test]
    fn labels_spell_conditions() {
        let ns = Namespace::engine();
        let labels = Labels::from(
            [
                ("containerd.io/gc.cond.snapshot.native", "usedat<24h|top"),
                (
                    "containerd.io/gc.cond.snapshot.overlayfs/x",
                    "other=1,usedat>1h,usedat<=2h|a|b",
                ),
                ("containerd.io/gc.cond.snapshot", "usedat<24h|nobody's"),
                ("containerd.io/gc.cond.snapshot.native/y", "usedat<24h"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let hour = Duration::from_secs(3600);
        assert_eq!(
            conditions(&ns, &labels),
            [
                (Node::snapshot(&ns, "native", "top"), Condition::LessThan(24 * hour)),
                (Node::snapshot(&ns, "overlayfs", "a|b"), Condition::MoreThan(hour)),
            ]
        );
    }
}
