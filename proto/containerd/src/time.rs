//! Times on the wire: an unset one is Go's zero time, not 1970 and not a missing field.

use prost_types::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first of January of the year 1, how Go's servers write "never".
pub const ZERO: Timestamp = Timestamp {
    seconds: -62_135_596_800,
    nanos: 0,
};

/// A time, or [`ZERO`] where there is none.
pub fn timestamp(time: Option<SystemTime>) -> Timestamp {
    let Some(time) = time else { return ZERO };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos().cast_signed(),
        },
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos().cast_signed() {
                0 => Timestamp {
                    seconds: -seconds,
                    nanos: 0,
                },
                nanos => Timestamp {
                    seconds: -seconds - 1,
                    nanos: 1_000_000_000 - nanos,
                },
            }
        }
    }
}

/// The time, if the field is there, is not [`ZERO`], and is one that protobuf allows.
pub fn system_time(stamp: Option<&Timestamp>) -> Option<SystemTime> {
    let stamp = stamp.filter(|stamp| **stamp != ZERO)?;
    let nanos = u32::try_from(stamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let whole = Duration::from_secs(stamp.seconds.unsigned_abs());
    let base = if stamp.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    base?.checked_add(Duration::from_nanos(u64::from(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (seconds, nanos) in [(0, 0), (1, 999_999_999), (-1, 500_000_000), (-5, 0), (1_800_000_000, 7)] {
            let stamp = Timestamp { seconds, nanos };
            assert_eq!(timestamp(system_time(Some(&stamp))), stamp);
        }
    }

    #[test]
    fn unset_is_zero_and_nonsense_is_none() {
        assert_eq!(timestamp(None), ZERO);
        assert_eq!(system_time(None), None);
        assert_eq!(system_time(Some(&ZERO)), None);
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            let _ = system_time(Some(&Timestamp { seconds, nanos }));
        }
        assert_eq!(system_time(Some(&Timestamp { seconds: 3, nanos: -1 })), None);
    }
}
