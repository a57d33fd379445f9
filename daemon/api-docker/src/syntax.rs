//! What Go says of a text that is no JSON: the character at which its scanner gives up, and where that stands.

use std::iter::Peekable;
use std::slice::Iter;

/// How deep Go's scanner goes.
const DEEPEST: usize = 10_000;

/// The complaint, or `None` where the text only ends too early.
pub fn complaint(text: &[u8]) -> Option<String> {
    let mut scan = Scan {
        rest: text.iter().peekable(),
        depth: 0,
    };
    match scan.value() {
        Err(Stop::Odd(byte, place)) => Some(format!("invalid character {} {place}", quoted(byte))),
        Err(Stop::Deep) => Some("exceeded max depth".to_owned()),
        Err(Stop::End) | Ok(()) => None,
    }
}

enum Stop {
    End,
    Deep,
    Odd(u8, String),
}

/// Go speaks of bytes.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        0x20..0x7f => format!("'{}'", char::from(byte)),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

struct Scan<'a> {
    rest: Peekable<Iter<'a, u8>>,
    depth: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Result<u8, Stop> {
        self.rest.next().copied().ok_or(Stop::End)
    }

    /// The next that is no space.
    fn solid(&mut self) -> Result<u8, Stop> {
        while self.rest.next_if(|byte| b" \t\r\n".contains(byte)).is_some() {}
        self.next()
    }

    fn value(&mut self) -> Result<(), Stop> {
        let first = self.solid()?;
        self.value_from(first)
    }

    fn value_from(&mut self, first: u8) -> Result<(), Stop> {
        match first {
            b'{' => self.deeper(Self::object),
            b'[' => self.deeper(Self::array),
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' => match self.next()? {
                digit @ b'0'..=b'9' => self.number(digit),
                odd => Err(stop(odd, "in numeric literal")),
            },
            digit @ b'0'..=b'9' => self.number(digit),
            odd => Err(stop(odd, "looking for beginning of value")),
        }
    }

    fn deeper(&mut self, inside: fn(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Stop::Deep);
        }
        let read = inside(self);
        self.depth -= 1;
        read
    }

    fn object(&mut self) -> Result<(), Stop> {
        let mut next = self.solid()?;
        if next == b'}' {
            return Ok(());
        }
        loop {
            match next {
                b'"' => self.string()?,
                odd => return Err(stop(odd, "looking for beginning of object key string")),
            }
            match self.solid()? {
                b':' => self.value()?,
                odd => return Err(stop(odd, "after object key")),
            }
            match self.solid()? {
                b',' => next = self.solid()?,
                b'}' => return Ok(()),
                odd => return Err(stop(odd, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<(), Stop> {
        let mut next = self.solid()?;
        if next == b']' {
            return Ok(());
        }
        loop {
            self.value_from(next)?;
            match self.solid()? {
                b',' => next = self.solid()?,
                b']' => return Ok(()),
                odd => return Err(stop(odd, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), Stop> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escaped()?,
                odd @ 0..0x20 => return Err(stop(odd, "in string literal")),
                _ => {}
            }
        }
    }

    fn escaped(&mut self) -> Result<(), Stop> {
        match self.next()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => (0..4).try_for_each(|_| match self.next()? {
                byte if byte.is_ascii_hexdigit() => Ok(()),
                odd => Err(stop(odd, "in \\u hexadecimal character escape")),
            }),
            odd => Err(stop(odd, "in string escape code")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Stop> {
        for expected in word.bytes().skip(1) {
            let found = self.next()?;
            if found != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(Stop::Odd(found, place));
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.rest.next_if(|byte| byte.is_ascii_digit()).is_some() {}
    }

    fn one_digit(&mut self, place: &str) -> Result<(), Stop> {
        match self.next()? {
            byte if byte.is_ascii_digit() => Ok(()),
            odd => Err(stop(odd, place)),
        }
    }

    fn number(&mut self, first: u8) -> Result<(), Stop> {
        if first != b'0' {
            self.digits();
        }
        if self.rest.next_if(|byte| **byte == b'.').is_some() {
            self.one_digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if self.rest.next_if(|byte| matches!(byte, b'e' | b'E')).is_some() {
            let _ = self.rest.next_if(|byte| matches!(byte, b'+' | b'-'));
            self.one_digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }
}

fn stop(byte: u8, place: &str) -> Stop {
    Stop::Odd(byte, place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_told_as_go_tells_it() {
        for (text, told) in [
            ("{invalid", "'i' looking for beginning of object key string"),
            ("{\"a\" 5", "'5' after object key"),
            ("{\"a\":1 \"b\"", "'\"' after object key:value pair"),
            ("{\"a\":1,}", "'}' looking for beginning of object key string"),
            ("[1 2]", "'2' after array element"),
            ("[1,]", "']' looking for beginning of value"),
            ("<a>", "'<' looking for beginning of value"),
            ("trux", "'x' in literal true (expecting 'e')"),
            ("\"a\nb\"", "'\\n' in string literal"),
            ("\"\\x\"", "'x' in string escape code"),
            ("\"\\u00g0\"", "'g' in \\u hexadecimal character escape"),
            ("-a", "'a' in numeric literal"),
            ("1.x", "'x' after decimal point in numeric literal"),
            ("1ex", "'x' in exponent of numeric literal"),
            ("\u{0}", "'\\x00' looking for beginning of value"),
        ] {
            assert_eq!(
                complaint(text.as_bytes()),
                Some(format!("invalid character {told}")),
                "{text}"
            );
        }
        for fine in [
            "",
            "{",
            "{\"a\":",
            "[1,",
            "\"a",
            "tr",
            "{\"a\": [1.5e-3, null, \"\\u0041\"]} x",
        ] {
            assert_eq!(complaint(fine.as_bytes()), None, "{fine}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let told = complaint("[".repeat(DEEPEST + 1).as_bytes());
        assert_eq!(told.as_deref(), Some("exceeded max depth"));
    }
}
