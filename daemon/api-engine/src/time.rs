//! Times on the wire.

use gantry_core::{Error, Result};
use prost_types::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of 0001-01-01 and 9999-12-31, the bounds of protobuf's Timestamp.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

pub fn out(time: SystemTime) -> Timestamp {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(LAST), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(LAST);
            match before.subsec_nanos() {
                0 => (-whole, 0),
                nanos => (-whole - 1, 1_000_000_000 - nanos),
            }
        }
    };
    Timestamp {
        seconds: seconds.clamp(FIRST, LAST),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

pub fn into(field: &str, stamp: Option<Timestamp>) -> Result<Option<SystemTime>> {
    let Some(stamp) = stamp else { return Ok(None) };
    let odd = || Error::invalid(format!("{field}: {} s {} ns is not a time", stamp.seconds, stamp.nanos));
    let nanos = u32::try_from(stamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(odd)?;
    if !(FIRST..=LAST).contains(&stamp.seconds) {
        return Err(odd());
    }
    let whole = Duration::from_secs(stamp.seconds.unsigned_abs());
    let base = if stamp.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into())))
        .map(Some)
        .ok_or_else(odd)
}

/// RFC 3339 text as images carry it; nothing if it makes no sense.
pub fn from_text(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (seconds, nanos) in [(0, 0), (1_700_000_000, 999_999_999), (-1, 500_000_000), (-5, 0)] {
            let stamp = Timestamp { seconds, nanos };
            let time = into("since", Some(stamp)).unwrap().unwrap();
            assert_eq!(out(time), stamp);
        }
        assert_eq!(into("since", None).unwrap(), None);
    }

    #[test]
    fn odd_times_are_refused_by_name() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            let error = into("until", Some(Timestamp { seconds, nanos })).unwrap_err();
            assert!(error.message().starts_with("until: "), "{error}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(
            from_text(Some("1970-01-01T00:00:01Z")),
            Some(Timestamp { seconds: 1, nanos: 0 })
        );
        assert_eq!(from_text(Some("yesterday")), None);
    }
}
