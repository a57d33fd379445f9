//! Text to tokens. Positions are bytes.

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub at: usize,
    pub kind: Kind<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    End,
    Field(&'a str),
    Value(&'a str),
    /// With its quotes, and with legal escapes only.
    Quoted(&'a str),
    Separator(char),
    Operator(&'a str),
    /// A character that no token begins with.
    Other,
    Illegal(&'static str),
}

pub(super) struct Scanner<'a> {
    input: &'a str,
    /// Where the next character begins.
    next: usize,
    /// After an operator, until a value or a separator has come.
    value: bool,
}

impl<'a> Scanner<'a> {
    pub fn new(input: &'a str) -> Self {
        Self {
            input,
            next: 0,
            value: false,
        }
    }

    /// Where the next character begins.
    pub fn position(&self) -> usize {
        self.next
    }

    /// The next character, not taken.
    pub fn peek(&self) -> Option<char> {
        self.input[self.next..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.next += found.len_utf8();
        Some(found)
    }

    fn bump_while(&mut self, fits: impl Fn(char) -> bool) {
        while self.peek().is_some_and(|c| illegal(c).is_none() && fits(c)) {
            self.bump();
        }
    }

    pub fn scan(&mut self) -> Token<'a> {
        let mut at = self.next;
        let mut first = self.bump();
        while first.is_some_and(char::is_whitespace) {
            at = self.next;
            first = self.bump();
        }
        let kind = match first {
            None => Kind::End,
            Some(first) => self.token(at, first),
        };
        Token { at, kind }
    }

    fn token(&mut self, at: usize, first: char) -> Kind<'a> {
        if let Some(why) = illegal(first) {
            return Kind::Illegal(why);
        }
        match first {
            '/' | '|' | '"' => match self.quoted(first) {
                Ok(()) => Kind::Quoted(&self.input[at..self.next]),
                Err(why) => Kind::Illegal(why),
            },
            ',' | '.' => {
                self.value = false;
                Kind::Separator(first)
            }
            '=' | '!' | '~' => {
                self.bump_while(|c| matches!(c, '=' | '!' | '~'));
                self.value = true;
                Kind::Operator(&self.input[at..self.next])
            }
            _ if self.value => {
                self.bump_while(in_value);
                self.value = false;
                Kind::Value(&self.input[at..self.next])
            }
            _ if in_field(first) => {
                self.bump_while(in_field);
                Kind::Field(&self.input[at..self.next])
            }
            _ => Kind::Other,
        }
    }

    /// Goes behind the closing quote. The first wrong escape is told only if there is a closing quote or it came before
    /// the end did.
    fn quoted(&mut self, quote: char) -> Result<(), &'static str> {
        let mut wrong = None;
        loop {
            match self.bump() {
                None | Some('\n') => return Err(wrong.unwrap_or("quoted literal not terminated")),
                Some(c) if illegal(c).is_some() => return Err(wrong.or(illegal(c)).unwrap_or_default()),
                Some(c) if c == quote => return wrong.map_or(Ok(()), Err),
                Some('\\') => {
                    if let Err(why) = self.escape(quote) {
                        wrong.get_or_insert(why);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// What follows a backslash; of a wrong escape only what is legal of it.
    fn escape(&mut self, quote: char) -> Result<(), &'static str> {
        let (base, digits) = match self.peek() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => (0, 0),
            Some(c) if c == quote => (0, 0),
            Some('0'..='7') => (8, 3),
            Some('x') => (16, 2),
            Some('u') => (16, 4),
            Some('U') => (16, 8),
            _ => return Err("illegal escape sequence"),
        };
        if base != 8 {
            self.bump();
        }
        for _ in 0..digits {
            if !self.peek().is_some_and(|c| c.is_digit(base)) {
                return Err("illegal numeric escape sequence");
            }
            self.bump();
        }
        Ok(())
    }
}

fn illegal(c: char) -> Option<&'static str> {
    match c {
        '\0' => Some("unexpected null"),
        // Go's scanner cannot tell it from bytes that are no text.
        '\u{fffd}' => Some("rune error"),
        _ => None,
    }
}

fn in_field(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Go's graphic characters without spaces. (A code point that no Unicode version assigns counts as one here.)
fn in_value(c: char) -> bool {
    !(c == ',' || c.is_whitespace() || c.is_control() || is_format(c) || is_private(c))
}

/// Unicode 15 category Cf.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// Unicode category Co.
fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}')
}

/// The bytes that a scanned quoted text stands for; none if an escape names no character (`\777`, `\U00110000`).
pub(super) fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut rest = &quoted[1..quoted.len() - 1];
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(start) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..start]);
        let escape = rest[start + 1..].chars().next()?;
        rest = &rest[start + 1 + escape.len_utf8()..];
        let plain = match escape {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '0'..='7' => {
                let digits = rest.get(..2)?;
                rest = &rest[2..];
                let value = u32::from_str_radix(&format!("{escape}{digits}"), 8).ok()?;
                u8::try_from(value).ok()?
            }
            'x' => {
                let digits = rest.get(..2)?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            'u' | 'U' => {
                let digits = rest.get(..if escape == 'u' { 4 } else { 8 })?;
                rest = &rest[digits.len()..];
                let value = u32::from_str_radix(digits, 16)
                    .ok()
                    .filter(|value| *value <= 0x0010_ffff)?;
                // Go writes half of a surrogate pair as the replacement character.
                let value = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            // A backslash or the quote itself.
            other => u8::try_from(other).ok()?,
        };
        bytes.push(plain);
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}
