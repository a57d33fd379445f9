//! What the stdio strings of the task API mean to a gantry shim.

/// In ExecProcessRequest.stdin: the shim holds stdin open for attached clients.
pub const HELD: &str = "attach://";
/// The same, closed when the first client that had it ends or goes away.
pub const HELD_ONCE: &str = "attach://?once=1";

/// One stdio string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Empty: /dev/null. Output still goes to the log and to attached clients when gantryd drives.
    Null,
    /// Attached clients; `once` matters for stdin only.
    Attach { once: bool },
    /// A named pipe: a bare path or `fifo://`.
    Fifo(String),
    /// A file that is appended to.
    File(String),
    /// A scheme this shim does not serve, by name.
    Unknown(String),
}

impl Stdio {
    pub fn parse(text: &str) -> Self {
        match text.split_once("://") {
            None if text.is_empty() => Self::Null,
            None => Self::Fifo(text.to_owned()),
            Some(("attach", rest)) => Self::Attach {
                once: rest == "?once=1",
            },
            Some(("fifo", path)) => Self::Fifo(path.to_owned()),
            Some(("file", path)) => Self::File(path.split('?').next().unwrap_or(path).to_owned()),
            Some((scheme, _)) => Self::Unknown(scheme.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert_eq!(Stdio::parse(""), Stdio::Null);
        assert_eq!(Stdio::parse(HELD), Stdio::Attach { once: false });
        assert_eq!(Stdio::parse(HELD_ONCE), Stdio::Attach { once: true });
        assert_eq!(Stdio::parse("/run/x"), Stdio::Fifo("/run/x".into()));
        assert_eq!(Stdio::parse("file:///l"), Stdio::File("/l".into()));
        assert_eq!(Stdio::parse("binary:///l?a=b"), Stdio::Unknown("binary".into()));
    }
}
