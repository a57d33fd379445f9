//! The words inside frames.

use serde::{Deserialize, Serialize};

/// Stream number of stdout; of a terminal's one stream, too.
pub const STDOUT: u8 = 1;
/// Stream number of stderr.
pub const STDERR: u8 = 2;
/// The most descriptors that travel with one PUT or KEPT frame.
pub const MAX_DESCRIPTORS: usize = 64;

/// Opens a conversation about one process's stdio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The container's id.
    pub container: String,
    /// The exec's id; none means the container's first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<String>,
    /// The client may send stdin. Harmless if the process's stdin is not held open: the bytes are dropped.
    pub stdin: bool,
    /// The client wants stdout (a terminal's stream counts as stdout).
    pub stdout: bool,
    /// The client wants stderr.
    pub stderr: bool,
}

/// The answer to a Hello: from here on no byte is missed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ready {
    /// The process has a terminal: one stream, and RESIZE makes sense.
    pub terminal: bool,
    /// The process's stdin is held open and will take STDIN frames.
    pub stdin: bool,
    /// The process has been started already.
    pub started: bool,
}

/// How the process ended. Sent after the last byte of output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// Exit code, or 128 + signal number.
    pub status: u32,
    /// RFC 3339 with nanoseconds, UTC.
    pub exited_at: String,
    /// The kernel's memory killer ended it.
    pub oom_killed: bool,
}

/// Why a conversation was refused or broken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

/// What kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// No such container, exec or descriptor.
    NotFound,
    /// The conversation makes no sense.
    Invalid,
    /// The process was removed before it was ever started.
    NeverStarted,
    /// Too many clients or descriptors.
    Exhausted,
    /// The shim's own trouble.
    Internal,
}

/// Names of kept descriptors, in the order in which the descriptors travel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    pub names: Vec<String>,
}

/// Payload of a RESIZE frame.
pub fn encode_resize(height: u16, width: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (height.to_be_bytes(), width.to_be_bytes());
    [a, b, c, d]
}

/// Height and width of a RESIZE frame.
pub fn decode_resize(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Payload of a SIGNAL frame.
pub fn encode_signal(signal: u32) -> [u8; 4] {
    signal.to_be_bytes()
}

/// Signal number of a SIGNAL frame.
pub fn decode_signal(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payloads_round_trip() {
        assert_eq!(decode_resize(&encode_resize(24, 80)), Some((24, 80)));
        assert_eq!(decode_resize(&[1]), None);
        assert_eq!(decode_signal(&encode_signal(15)), Some(15));
    }

    #[test]
    fn a_hello_from_an_older_client_is_understood() {
        let hello: Hello = serde_json::from_str(r#"{"container":"a","stdout":true,"new":1}"#).unwrap();
        assert_eq!(
            hello,
            Hello {
                container: "a".into(),
                stdout: true,
                ..Hello::default()
            }
        );
    }
}
