//! Times as Go writes and reads them.

use crate::answer::Failure;
use chrono::{DateTime, SecondsFormat, Utc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What never was.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits of a second as it takes.
pub fn nano(time: SystemTime) -> String {
    let text = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Nanos, true);
    match text.trim_end_matches('Z').split_once('.') {
        Some((whole, part)) => match part.trim_end_matches('0') {
            "" => format!("{whole}Z"),
            digits => format!("{whole}.{digits}Z"),
        },
        None => text,
    }
}

pub fn nano_or_zero(time: Option<SystemTime>) -> String {
    time.map_or_else(|| ZERO.to_owned(), nano)
}

/// With all nine digits, as log lines carry it.
pub fn padded(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// To the second.
pub fn seconds(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Seconds and nanoseconds since 1970.
pub fn unix(time: SystemTime) -> (i64, i64) {
    let time = DateTime::<Utc>::from(time);
    (time.timestamp(), time.timestamp_nanos_opt().unwrap_or_default())
}

/// Seconds since 1970 of a text that an image carries; 0 if it makes no sense.
pub fn seconds_of(text: Option<&str>) -> i64 {
    text.and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.timestamp())
        .unwrap_or_default()
}

/// `seconds` or `seconds.nanoseconds`, as clients send `since` and `until`. Nothing is no bound.
pub fn bound(text: &str) -> Result<Option<SystemTime>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let odd = |part: &str| {
        Failure::bad(format!(
            "strconv.ParseInt: parsing \"{}\": invalid syntax",
            part.escape_default()
        ))
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let seconds: i64 = whole.parse().map_err(|_| odd(whole))?;
    let digits: String = part.chars().take(9).collect();
    let nanos: u32 = digits.parse().map_err(|_| odd(part))?;
    let nanos = nanos * 10_u32.pow(9 - u32::try_from(digits.len()).unwrap_or(9));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let time = base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into())));
    time.map(Some).ok_or_else(|| odd(text))
}

/// How long something took, in the words of `docker ps` (go-units `HumanDuration`).
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, duration.as_secs_f64() / 3600.0);
    // Half an hour and more is the next.
    let rounded = (hours + 0.5) as u64;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if rounded == 1 => "About an hour".to_owned(),
        _ if rounded < 48 => format!("{rounded} hours"),
        _ if rounded < 24 * 7 * 2 => format!("{} days", rounded / 24),
        _ if rounded < 24 * 30 * 2 => format!("{} weeks", rounded / 24 / 7),
        _ if rounded < 24 * 365 * 2 => format!("{} months", rounded / 24 / 30),
        _ => format!("{} years", (hours / 24.0 / 365.0) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_500_000_000);
        assert_eq!(nano(at), "1970-01-01T00:00:01.5Z");
        assert_eq!(nano(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(padded(at), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(seconds(at), "1970-01-01T00:00:01Z");
        assert_eq!(nano_or_zero(None), ZERO);
    }

    #[test]
    fn bounds_as_clients_send_them() {
        assert_eq!(bound("").unwrap(), None);
        assert_eq!(bound("0").unwrap(), Some(UNIX_EPOCH));
        assert_eq!(bound("5.25").unwrap(), Some(UNIX_EPOCH + Duration::from_millis(5250)));
        assert_eq!(bound("-2").unwrap(), Some(UNIX_EPOCH - Duration::from_secs(2)));
        for bad in ["x", "1.x", "99999999999999999999"] {
            assert!(bound(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_as_people_say_them() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (65 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), words);
        }
    }
}
