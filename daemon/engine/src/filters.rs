//! Filters in Docker's manner: values of one key are alternatives, keys must all match.

use gantry_core::{Error, Labels, Result};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Refuses keys that the listing does not know.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!(
                "invalid filter '{key}'; known are {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// No value given, or one of them satisfies `test`.
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| test(value))
    }

    /// Every `label` value (`key` or `key=value`) is met. Labels are not alternatives: Docker wants all of them.
    pub fn labels(&self, labels: &Labels) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// None of the `label!` values is met.
    pub fn not_labels(&self, labels: &Labels) -> bool {
        self.values("label!")
            .iter()
            .all(|unwanted| match unwanted.split_once('=') {
                Some((key, value)) => labels.get(key).is_none_or(|have| have != value),
                None => !labels.contains_key(unwanted),
            })
    }

    /// The moment that `until` names: a duration back from now (`10m`, `1h30m`), seconds since the epoch, or RFC 3339.
    pub fn until(&self) -> Result<Option<SystemTime>> {
        match self.values("until") {
            [] => Ok(None),
            [text] => moment(text).map(Some).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid filter 'until={text}': a time or a duration is expected"
                ))
            }),
            _ => Err(Error::invalid("more than one until filter specified")),
        }
    }

    /// Truth value of a key that is given once.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values(key) {
            [] => Ok(None),
            [value] => match value.to_ascii_lowercase().as_str() {
                "1" | "true" => Ok(Some(true)),
                "0" | "false" => Ok(Some(false)),
                _ => Err(Error::invalid(format!(
                    "invalid filter '{key}={value}': true or false is expected"
                ))),
            },
            _ => Err(Error::invalid(format!("invalid filter '{key}': give it once"))),
        }
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    if let Ok(seconds) = text.parse::<f64>() {
        return UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?);
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.into());
    }
    SystemTime::now().checked_sub(duration(text)?)
}

/// As Go spells durations, in hours, minutes, seconds and milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_a_time_or_a_duration() {
        assert_eq!(moment("10"), Some(UNIX_EPOCH + Duration::from_secs(10)));
        assert_eq!(
            moment("1970-01-01T00:00:05Z"),
            Some(UNIX_EPOCH + Duration::from_secs(5))
        );
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        for bad in ["", "h", "10x", "later"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
        let filters = Filters(BTreeMap::from([("label!".to_owned(), vec!["a".to_owned()])]));
        assert!(filters.not_labels(&Labels::new()));
        assert!(!filters.not_labels(&Labels::from([("a".into(), "1".into())])));
    }

    #[test]
    fn alternatives_within_a_key_and_all_labels() {
        let filters = Filters(BTreeMap::from([
            ("status".to_owned(), vec!["running".to_owned(), "exited".to_owned()]),
            ("label".to_owned(), vec!["a".to_owned(), "b=2".to_owned()]),
        ]));
        assert!(filters.any("status", |value| value == "exited"));
        assert!(!filters.any("status", |value| value == "paused"));
        assert!(filters.any("name", |_| false), "a key not given matches all");
        assert!(filters.labels(&Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())])));
        assert!(!filters.labels(&Labels::from([("a".into(), "1".into())])));
        assert!(filters.check(&["status"]).is_err());
    }
}
