//! Filters in Docker's manner: values of one key are alternatives, keys must all match.

use chrono::{FixedOffset, Local, NaiveDateTime};
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
        self.values("label").iter().all(|wanted| has(labels, wanted))
    }

    /// Which of the names that `key` asks for are met.
    pub fn patterns(&self, key: &str) -> Patterns {
        let values = self.values(key).iter();
        Patterns(
            values
                .map(|text| (text.clone(), regex_lite::Regex::new(text).ok()))
                .collect(),
        )
    }

    /// Not all of the `label!` values are met: what a cleaning up takes. As in Docker, several spare only what has them all.
    pub fn lacks_labels(&self, labels: &Labels) -> bool {
        let unwanted = self.values("label!");
        unwanted.is_empty() || !unwanted.iter().all(|unwanted| has(labels, unwanted))
    }

    /// None of the `label!` values is met.
    pub fn not_labels(&self, labels: &Labels) -> bool {
        !self.values("label!").iter().any(|unwanted| has(labels, unwanted))
    }

    /// The moment that `until` names: a duration back from now (`10m`, `1h30m`), seconds since the epoch, a date, or a date and a
    /// time, where both without a zone mean the daemon's.
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

/// Names as Docker matches them: as they are, or as regular expressions, of which those that are none match nothing else.
pub struct Patterns(Vec<(String, Option<regex_lite::Regex>)>);

impl Patterns {
    /// Nothing was asked for, or one of the patterns is met.
    pub fn meet(&self, name: &str) -> bool {
        let one = |(text, regex): &(String, Option<regex_lite::Regex>)| {
            text == name || regex.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        self.0.is_empty() || self.0.iter().any(one)
    }
}

/// Whether a label (`key` or `key=value`) is there.
fn has(labels: &Labels, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

/// In the order in which Docker reads it: a duration, a date, seconds.
fn moment(text: &str) -> Option<SystemTime> {
    if let Some((back, ago)) = duration(text).filter(|_| text != "0") {
        return match back {
            true => SystemTime::now().checked_sub(ago),
            false => SystemTime::now().checked_add(ago),
        };
    }
    date(text).or_else(|| seconds(text))
}

/// `2006-01-02`, with a time as exact as one likes, and with or without a zone.
fn date(text: &str) -> Option<SystemTime> {
    let zoned = text.contains(['Z', '+']) || text.matches('-').count() == 3;
    let (local, zone) = match (zoned, text.strip_suffix('Z')) {
        (true, Some(local)) => (local, FixedOffset::east_opt(0)?),
        (true, None) => {
            let (local, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
            (local, zone.parse().ok()?)
        }
        (false, _) => (text, *Local::now().offset()),
    };
    let (day, clock) = local
        .split_once('T')
        .map_or((local, None), |(day, clock)| (day, Some(clock)));
    if day.len() != "2006-01-02".len() {
        return None;
    }
    let clock = match clock {
        None => "00:00:00".to_owned(),
        Some(clock) => match clock.matches(':').count() {
            0 => format!("{clock}:00:00"),
            1 => format!("{clock}:00"),
            _ => clock.to_owned(),
        },
    };
    let time = NaiveDateTime::parse_from_str(&format!("{day}T{clock}"), "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    time.and_local_timezone(zone).single().map(SystemTime::from)
}

/// Seconds since the epoch, with or without a fraction.
fn seconds(text: &str) -> Option<SystemTime> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if ![whole, part].iter().all(|part| is_number(part)) {
        return None;
    }
    let digits: String = part.chars().chain("000000000".chars()).take(9).collect();
    UNIX_EPOCH.checked_add(Duration::new(whole.parse().ok()?, digits.parse().ok()?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// As Go spells durations; whether it goes back, which one with a minus does not.
fn duration(text: &str) -> Option<(bool, Duration)> {
    let (back, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some((back, total))
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
        assert_eq!(duration("1h30m"), Some((true, Duration::from_secs(5400))));
        assert_eq!(duration("1.5s10us"), Some((true, Duration::from_nanos(1_500_010_000))));
        assert_eq!(duration("-5s"), Some((false, Duration::from_secs(5))));
        for bad in [
            "",
            "-",
            "h",
            "10x",
            "later",
            "1e5",
            "-5",
            "2024-13-01",
            "2024-01-01T25",
            "2024-1-1",
            "é",
        ] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_with_and_without_time_and_zone() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(moment("1970-01-02T00:00+01:00"), at(23 * 3600));
        assert_eq!(moment("1970-01-02T01-02:00"), at(27 * 3600));
        assert_eq!(moment("1970-01-02Z"), at(86400));
        assert_eq!(moment("5.25"), Some(UNIX_EPOCH + Duration::from_millis(5250)));
        let here = moment("2024-01-01").expect("a date");
        for more in [
            "2024-01-01T00",
            "2024-01-01T00:00",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.0",
        ] {
            assert_eq!(moment(more), Some(here), "{more}");
        }
    }

    #[test]
    fn labels_that_spare() {
        let labels = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), String::new()))
                .collect::<Labels>()
        };
        let filters = |unwanted: &[&str]| {
            let unwanted = unwanted.iter().map(|name| (*name).to_owned()).collect();
            Filters(BTreeMap::from([("label!".to_owned(), unwanted)]))
        };
        let one = filters(&["a"]);
        assert!(one.not_labels(&Labels::new()) && one.lacks_labels(&Labels::new()));
        assert!(!one.not_labels(&labels(&["a"])) && !one.lacks_labels(&labels(&["a"])));
        let two = filters(&["a", "b"]);
        assert!(two.lacks_labels(&labels(&["a"])) && !two.lacks_labels(&labels(&["a", "b"])));
        assert!(!two.not_labels(&labels(&["a"])));
        assert!(filters(&[]).lacks_labels(&labels(&["a"])));
    }

    #[test]
    fn names_are_patterns() {
        let of = |text: &str| Filters(BTreeMap::from([("name".to_owned(), vec![text.to_owned()])])).patterns("name");
        assert!(of("^foo$").meet("foo") && !of("^foo$").meet("foobar"));
        assert!(of("o+b").meet("foobar") && of("(").meet("(") && !of("(").meet("x("));
        assert!(Filters::default().patterns("name").meet("anything"));
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
