//! Sizes and durations in the words of docker/go-units.

use chrono::{DateTime, Utc};

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// "About a minute", "3 hours".
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match (seconds, minutes, hours) {
        (..1, _, _) => "Less than a second".into(),
        (1, _, _) => "1 second".into(),
        (..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".into(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// "3 hours ago", as of `now`.
pub(crate) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ago", human_duration((now - time).num_seconds()))
}

/// "1.24MB": decimal units, `digits` significant ones.
pub(crate) fn human_size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &DECIMAL, digits)
}

/// "1.5GiB": binary units, four significant digits.
pub(crate) fn bytes_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(bytes: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = bytes;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Go's `%.<digits>g`.
pub(crate) fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let digits = digits.max(1);
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

/// "512m", "1.5g": binary multiples, as `--memory` takes them.
pub(crate) fn ram_in_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text
        .rfind(|it: char| it.is_ascii_digit() || it == '.' || it == ' ')
        .ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    let number: f64 = number
        .strip_suffix(' ')
        .unwrap_or(number)
        .parse()
        .map_err(|_| invalid())?;
    if number < 0.0 || !number.is_finite() {
        return Err(invalid());
    }
    let lower = suffix.to_ascii_lowercase();
    let mut letters = lower.chars();
    let power = match letters.next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return Err(format!("invalid suffix: '{suffix}'")),
    };
    let rest = letters.as_str();
    if !(rest.is_empty() || (power > 0 && matches!(rest, "b" | "ib"))) {
        return Err(format!("invalid suffix: '{suffix}'"));
    }
    let bytes = number * 1024_f64.powi(power);
    if bytes >= i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_docker_s() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (3600 * 47, "47 hours"),
            (3600 * 48, "2 days"),
            (3600 * 24 * 14, "2 weeks"),
            (3600 * 24 * 60, "2 months"),
            (3600 * 24 * 365 * 2, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn sizes_are_docker_s() {
        for (bytes, digits, want) in [
            (0.0, 3, "0B"),
            (999.0, 3, "999B"),
            (1000.0, 3, "1kB"),
            (1_238_000.0, 3, "1.24MB"),
            (4_261_502.0, 4, "4.262MB"),
            (123_456_789.0, 3, "123MB"),
            (1_113_000_000.0, 3, "1.11GB"),
        ] {
            assert_eq!(human_size(bytes, digits), want, "{bytes}");
        }
        assert_eq!(bytes_size(1_572_864.0), "1.5MiB");
        assert_eq!(bytes_size(31.26 * 1024.0 * 1024.0 * 1024.0), "31.26GiB");
    }

    #[test]
    fn memory_is_read_as_docker_reads_it() {
        for (text, want) in [
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("42", 42),
            ("4KB", 4096),
            ("1GiB", 1 << 30),
            ("6 m", 6 << 20),
        ] {
            assert_eq!(ram_in_bytes(text), Ok(want), "{text}");
        }
        for text in ["", "abc", "-1", "1x", "1mm", "m", "9999999999999t"] {
            assert!(ram_in_bytes(text).is_err(), "{text}");
        }
        assert_eq!(ram_in_bytes("abc").unwrap_err(), "invalid size: 'abc'");
        assert_eq!(ram_in_bytes("1x").unwrap_err(), "invalid suffix: 'x'");
    }
}
