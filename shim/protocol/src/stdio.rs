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
    /// A program that takes the output.
    Binary(Binary),
    /// A scheme this shim does not serve, by name.
    Unknown(String),
}

/// `binary:///program?key=value`: the keys and values are the program's arguments, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binary {
    pub program: String,
    pub args: Vec<String>,
    /// `binary-v2`: it is ready when it has written a byte, and not when it closes the pipe.
    pub must_speak: bool,
}

impl Binary {
    fn parse(rest: &str, must_speak: bool) -> Self {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut args = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            args.extend([key, value].map(|word| unescaped(&word.replace('+', " "))));
        }
        Self {
            program: unescaped(path),
            args,
            must_speak,
        }
    }
}

/// `%41` is `A`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(value)) if byte == b'%' => {
                bytes.push(value);
                rest = &more[2..];
            }
            _ => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
            Some(("file", path)) => Self::File(unescaped(path.split('?').next().unwrap_or(path))),
            Some(("binary", rest)) => Self::Binary(Binary::parse(rest, false)),
            Some(("binary-v2", rest)) => Self::Binary(Binary::parse(rest, true)),
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
        assert_eq!(Stdio::parse("file:///a%20b?x"), Stdio::File("/a b".into()));
        let binary = Binary {
            program: "/l".into(),
            args: ["a", "b c", "d", ""].map(str::to_owned).to_vec(),
            must_speak: false,
        };
        assert_eq!(Stdio::parse("binary:///l?a=b%20c&d"), Stdio::Binary(binary.clone()));
        let second = Binary {
            must_speak: true,
            ..binary
        };
        assert_eq!(Stdio::parse("binary-v2:///l?a=b+c&d="), Stdio::Binary(second));
        assert_eq!(Stdio::parse("syslog:///l"), Stdio::Unknown("syslog".into()));
    }
}
