//! Times: the wire's, Docker's ways to print them, and what `--since` and `--until` take.

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use prost_types::Timestamp;

pub(crate) fn from_wire(stamp: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    let stamp = stamp?;
    DateTime::from_timestamp(stamp.seconds, u32::try_from(stamp.nanos).ok()?)
}

pub(crate) fn to_wire(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// RFC 3339, nanoseconds without trailing zeros, as Go's encoder writes it; year 1 for "never".
pub(crate) fn rfc3339_nano(time: Option<DateTime<Utc>>) -> String {
    let Some(time) = time else {
        return "0001-01-01T00:00:00Z".to_owned();
    };
    let nanos = time.timestamp_subsec_nanos();
    let whole = time.format("%Y-%m-%dT%H:%M:%S");
    if nanos == 0 {
        return format!("{whole}Z");
    }
    let digits = format!("{nanos:09}");
    format!("{whole}.{}Z", digits.trim_end_matches('0'))
}

/// RFC 3339 with all nine digits.
pub(crate) fn rfc3339_fixed(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// The same in the local zone.
pub(crate) fn rfc3339_fixed_local(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// As Go prints a time that knows fractions of seconds: "2006-01-02 15:04:05.123 +0000 UTC".
pub(crate) fn go_string_nano(time: DateTime<Utc>) -> String {
    let whole = go_string(time);
    let nanos = time.timestamp_subsec_nanos();
    if nanos == 0 {
        return whole;
    }
    let digits = format!("{nanos:09}");
    let (moment, zone) = whole.split_at("2006-01-02 15:04:05".len());
    format!("{moment}.{}{zone}", digits.trim_end_matches('0'))
}

/// As Go prints a time: "2006-01-02 15:04:05 +0000 UTC".
pub(crate) fn go_string(time: DateTime<Utc>) -> String {
    let local = time.with_timezone(&Local);
    let offset = local.format("%z").to_string();
    let zone = if offset == "+0000" {
        "UTC".to_owned()
    } else {
        offset.clone()
    };
    format!("{} {offset} {zone}", local.format("%Y-%m-%d %H:%M:%S"))
}

/// Reads a moment: a duration back from `now` ("42m"), seconds since 1970 ("1136073600.5"), or a date and time. A bare "0" is
/// the beginning of 1970 and no duration.
pub(crate) fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let bad = || format!("failed to parse value as time or duration: {text:?}");
    if let Some(back) = parse_duration(text).filter(|_| text != "0") {
        return now.checked_sub_signed(back).ok_or_else(bad);
    }
    if let Ok(time) = DateTime::<FixedOffset>::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    if let Some(time) = parse_unix(text) {
        return Ok(time);
    }
    let zoned = text.len() > 10 && (text.ends_with('Z') || text[10..].contains(['+', '-']));
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    if zoned {
        let text = text
            .strip_suffix('Z')
            .map_or(text.to_owned(), |text| format!("{text}+00:00"));
        let parsed = formats
            .iter()
            .find_map(|format| DateTime::parse_from_str(&text, &format!("{format}%:z")).ok());
        return parsed.map(|time| time.with_timezone(&Utc)).ok_or_else(bad);
    }
    let long = if text.len() == 10 {
        format!("{text}T00:00")
    } else if text.len() == 13 {
        format!("{text}:00")
    } else {
        text.to_owned()
    };
    let naive = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&long, format).ok())
        .ok_or_else(bad)?;
    Local
        .from_local_datetime(&naive)
        .earliest()
        .map(|time| time.with_timezone(&Utc))
        .ok_or_else(bad)
}

fn parse_unix(text: &str) -> Option<DateTime<Utc>> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !part.bytes().all(|byte| byte.is_ascii_digit()) || part.len() > 9 {
        return None;
    }
    let nanos: u32 = format!("{part:0<9}").parse().ok()?;
    DateTime::from_timestamp(whole.parse().ok()?, nanos)
}

/// Go's durations: "1h30m", "1.5s", "300ms", "-2m".
pub(crate) fn parse_duration(text: &str) -> Option<TimeDelta> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(TimeDelta::zero());
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|it: char| it.is_ascii_digit() || it == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += number * unit;
        rest = &rest[letters..];
    }
    let total = if negative { -nanos } else { nanos };
    (total.abs() < i64::MAX as f64).then(|| TimeDelta::nanoseconds(total as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[test]
    fn moments_in_every_form() {
        for (text, want) in [
            ("10m", 1_700_000_000 - 600),
            ("1h30m", 1_700_000_000 - 5400),
            ("1136073600", 1_136_073_600),
            ("0", 0),
            ("0s", 1_700_000_000),
            ("2013-01-02T13:23:37Z", 1_357_133_017),
            ("2013-01-02T13:23:37+01:00", 1_357_129_417),
            ("2013-01-02T13:23Z", 1_357_132_980),
        ] {
            assert_eq!(parse(text, now()).map(|time| time.timestamp()), Ok(want), "{text}");
        }
        assert_eq!(
            parse("1136073600.000000001", now()).unwrap().timestamp_subsec_nanos(),
            1
        );
        assert!(parse("2013-01-02", now()).is_ok());
        assert_eq!(
            parse("foo", now()).unwrap_err(),
            "failed to parse value as time or duration: \"foo\""
        );
    }

    #[test]
    fn printed_as_go_prints() {
        let time = DateTime::from_timestamp(1_357_133_017, 120_000_000).unwrap();
        assert_eq!(rfc3339_nano(Some(time)), "2013-01-02T13:23:37.12Z");
        assert_eq!(rfc3339_fixed(time), "2013-01-02T13:23:37.120000000Z");
        assert!(go_string_nano(time).contains(":37.12 "));
        assert!(!go_string_nano(DateTime::from_timestamp(5, 0).unwrap()).contains('.'));
        assert_eq!(rfc3339_nano(None), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn durations_as_go_reads_them() {
        assert_eq!(parse_duration("1.5s"), Some(TimeDelta::milliseconds(1500)));
        assert_eq!(parse_duration("300ms"), Some(TimeDelta::milliseconds(300)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("x"), None);
    }
}
