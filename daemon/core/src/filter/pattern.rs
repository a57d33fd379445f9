//! Go's regular expressions by a library that has nearly the same ones.

use regex_lite::{Regex, RegexBuilder};
use std::fmt::Write;

/// The most that one compiled expression may take, in bytes.
const SIZE: usize = 1 << 20;

/// An expression; one that does not compile matches nothing.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Option<Regex>);

impl Pattern {
    pub fn new(bytes: &[u8]) -> Self {
        let compile = |text| RegexBuilder::new(&translate(text)).size_limit(SIZE).build().ok();
        Self(std::str::from_utf8(bytes).ok().and_then(compile))
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Rewrites what Go reads otherwise: `\Q...\E`, octal and needless escapes, braces that count nothing, and brackets and
/// set operators inside a class.
fn translate(go: &str) -> String {
    let mut out = String::with_capacity(go.len());
    let mut rest = go;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            '{' if !counts(after) => {
                out.push_str(r"\{");
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// Whether what follows an opening brace makes it a repetition.
fn counts(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else {
        return false;
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => number(inside),
        Some((least, most)) => number(least) && (most.is_empty() || number(most)),
    }
}

/// What follows a backslash; answers what is left.
fn escape<'a>(after: &'a str, out: &mut String) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[c.len_utf8()..];
    match c {
        'Q' => {
            let (literal, rest) = rest.split_once(r"\E").unwrap_or((rest, ""));
            out.push_str(&regex_lite::escape(literal));
            rest
        }
        '0'..='7' => octal(after, out),
        // No escapes of Go's: made one that the library refuses too.
        'u' | 'U' => {
            out.push_str(r"\y");
            rest
        }
        c if c.is_ascii_punctuation() => {
            out.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4])));
            rest
        }
        c => {
            out.push('\\');
            out.push(c);
            rest
        }
    }
}

/// Up to three octal digits; one alone that is not zero would refer back, which neither side knows.
fn octal<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let end = digits
        .bytes()
        .take(3)
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    let (digits, rest) = digits.split_at(end);
    match u32::from_str_radix(digits, 8) {
        Ok(value) if end > 1 || value == 0 => {
            write!(out, r"\x{{{value:x}}}").expect("a String takes all");
        }
        _ => {
            out.push('\\');
            out.push_str(digits);
        }
    }
    rest
}

/// A class from behind its opening bracket; answers what follows it.
fn class<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = after;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    // A closing bracket that comes first stands for itself.
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str(r"\]");
        rest = tail;
    }
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                out.push(']');
                return tail;
            }
            '\\' => escape(tail, out),
            '[' if tail.starts_with(':') && tail.contains(":]") => {
                let end = tail.find(":]").map_or(0, |at| at + 2);
                out.push('[');
                out.push_str(&tail[..end]);
                &tail[end..]
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                tail
            }
            _ => {
                out.push(c);
                tail
            }
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_reads_them() {
        for (pattern, text, wanted) in [
            ("^/tasks/", "/tasks/exit", true),
            ("^/tasks/", "/images/create", false),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            (r"\Qa.b", "a.b", true),
            (r"a\/b", "a/b", true),
            (r"\<a\>", "<a>", true),
            (r"\_", "_", true),
            ("a{", "a{", true),
            ("a{,2}", "a{,2}", true),
            ("^a{2}$", "aa", true),
            ("^a{2,3}$", "aaaa", false),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[^]a]$", "b", true),
            ("^[a&&b]$", "&", true),
            ("^[~~]$", "~", true),
            ("^[[:digit:]]+$", "123", true),
            (r"^\x41\101\x{42}$", "AAB", true),
            (r"(?i)ABC", "xabcx", true),
            (r"(?P<n>a)(?:b)\z", "ab", true),
            (r"^\d+\.\d+$", "1.25", true),
            ("", "", true),
        ] {
            let pattern = Pattern::new(pattern.as_bytes());
            assert_eq!(pattern.is_match(text), wanted, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn what_does_not_compile_matches_nothing() {
        for pattern in ["[", "(", "*", r"\", r"(a)\1", r"\u0041", "a{1000}{1000}{1000}", "(?=a)"] {
            assert!(Pattern::new(pattern.as_bytes()).0.is_none(), "{pattern}");
        }
        assert!(!Pattern::new(b"\xff").is_match("\u{fffd}"));
    }
}
