//! Progress as clients draw it: one JSON object a line, each ended by `\r\n`.

use crate::answer::Failure;
use crate::go_json;
use bytes::Bytes;
use gantry_image::Progress;
use gantry_image::progress::Status;
use serde::Serialize;
use serde_json::json;

#[derive(Debug, Serialize)]
struct Line {
    status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    progress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
}

#[derive(Debug, Serialize)]
struct Detail {
    #[serde(skip_serializing_if = "zero")]
    current: u64,
    #[serde(skip_serializing_if = "zero")]
    total: u64,
}

fn zero(number: &u64) -> bool {
    *number == 0
}

fn ended(mut bytes: Vec<u8>) -> Bytes {
    bytes.extend_from_slice(b"\r\n");
    Bytes::from(bytes)
}

/// A sentence.
pub fn status(text: impl Into<String>) -> Bytes {
    ended(go_json::value_bytes(&json!({ "status": text.into() })))
}

/// Text that is printed as it is.
pub fn text(text: impl Into<String>) -> Bytes {
    ended(go_json::value_bytes(&json!({ "stream": text.into() })))
}

pub fn failure(failure: &Failure) -> Bytes {
    ended(go_json::value_bytes(&json!({
        "errorDetail": { "message": failure.message },
        "error": failure.message,
    })))
}

/// A step of a transfer. Those that are counted carry a bar beside the numbers, for clients that draw none themselves.
pub fn step(step: &Progress) -> Bytes {
    let counted = matches!(
        step.status,
        Status::Downloading | Status::Extracting | Status::LoadingLayer | Status::Pushing | Status::Saving
    );
    let whole = matches!(
        step.status,
        Status::PullingFrom(_) | Status::Digest(_) | Status::Note(_)
    );
    ended(go_json::value_bytes(&Line {
        status: step.status.to_string(),
        detail: (!whole).then_some(match counted {
            true => Detail {
                current: step.current,
                total: step.total,
            },
            false => Detail { current: 0, total: 0 },
        }),
        progress: if counted {
            bar(step.current, step.total)
        } else {
            String::new()
        },
        id: step.id.clone(),
    }))
}

/// `[====>    ]  1.5MB/3MB`, for terminals of unknown width.
fn bar(current: u64, total: u64) -> String {
    if current == 0 && total == 0 {
        return String::new();
    }
    if total == 0 || current > total {
        return format!("{:>8}", size(current));
    }
    let done = usize::try_from(current.saturating_mul(50) / total).unwrap_or(50);
    let arrow = if done < 50 { ">" } else { "" };
    let rest = 50_usize.saturating_sub(done + arrow.len());
    format!(
        "[{}{arrow}{}] {:>8}/{}",
        "=".repeat(done),
        " ".repeat(rest),
        size(current),
        size(total)
    )
}

/// Four digits and a unit of 1000 (go-units `HumanSize`).
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        value if value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{short}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: Status, current: u64, total: u64) -> String {
        let bytes = step(&Progress {
            id: "abc".into(),
            status,
            current,
            total,
            about: None,
        });
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn lines_as_docker_writes_them() {
        assert_eq!(
            written(Status::PullComplete, 0, 0),
            "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"abc\"}\r\n"
        );
        let counted = written(Status::Downloading, 1, 2);
        assert!(
            counted.contains("\"progressDetail\":{\"current\":1,\"total\":2}"),
            "{counted}"
        );
        assert!(counted.contains("1B/2B"), "{counted}");
        assert_eq!(
            written(Status::PullingFrom("library/x".into()), 0, 0),
            "{\"status\":\"Pulling from library/x\",\"id\":\"abc\"}\r\n"
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_540_000), "1.54MB");
        assert_eq!(size(12_340), "12.34kB");
    }
}
