//! Cuts a template into text and actions, and actions into tokens.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Action { line: usize, tokens: Vec<Spanned> },
}

/// A token and where it stood in its template, for the text of errors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) at: usize,
    /// Blanks stood before it: `.A.B` is one chain, `.A .B` are two arguments.
    pub(crate) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Dot,
    Field(String),
    Variable(String),
    Word(String),
    Str(String),
    Int(i64),
    Float(f64),
    Pipe,
    Comma,
    Assign,
    Declare,
    Open,
    Close,
}

/// Splits `source` at `{{` and `}}`, honouring trim markers and dropping comments.
pub(crate) fn pieces(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = source;
    let mut trim_next = false;
    loop {
        let start = rest.find("{{");
        let text = &rest[..start.unwrap_or(rest.len())];
        let after = start.map(|start| &rest[start + 2..]);
        let trim_here =
            after.is_some_and(|after| after.strip_prefix('-').is_some_and(|next| next.starts_with(is_blank)));
        let mut text = if trim_next {
            text.trim_start_matches(is_blank)
        } else {
            text
        };
        if trim_here {
            text = text.trim_end_matches(is_blank);
        }
        if !text.is_empty() {
            out.push(Piece::Text(text.to_owned()));
        }
        let Some(mut body) = after else { return Ok(out) };
        if trim_here {
            body = &body[1..];
        }
        let at = source.len() - body.len();
        let line = 1 + source[..at].matches('\n').count();
        let (inside, next, trimmed) = action(body, line)?;
        trim_next = trimmed;
        rest = next;
        if let Some(inside) = inside {
            out.push(Piece::Action {
                line,
                tokens: tokens(inside, at, line)?,
            });
        }
    }
}

fn is_blank(it: char) -> bool {
    matches!(it, ' ' | '\t' | '\r' | '\n')
}

/// What is inside an action (none for a comment), what follows it, and whether it trims what follows.
fn action(body: &str, line: usize) -> Result<(Option<&str>, &str, bool), TemplateError> {
    let lead = body.trim_start_matches(is_blank);
    if lead.starts_with("/*") {
        let end = lead
            .find("*/")
            .ok_or_else(|| TemplateError::parse(line, "unclosed comment"))?;
        let after = &lead[end + 2..];
        let (after, trimmed) = match after.trim_start_matches(is_blank).strip_prefix("-}}") {
            Some(after) => (after, true),
            None => {
                let closed = after.trim_start_matches(is_blank).strip_prefix("}}");
                (
                    closed.ok_or_else(|| TemplateError::parse(line, "comment ends before closing delimiter"))?,
                    false,
                )
            }
        };
        return Ok((None, after, trimmed));
    }
    let end = closing(body).ok_or_else(|| TemplateError::parse(line, "unclosed action"))?;
    let inside = &body[..end];
    let trimmed = inside.strip_suffix('-').filter(|before| before.ends_with(is_blank));
    Ok((Some(trimmed.unwrap_or(inside)), &body[end + 2..], trimmed.is_some()))
}

/// Where the `}}` outside of quotes stands.
fn closing(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'`'), b'`') => quote = None,
            (Some(b'`'), _) => {}
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, byte @ (b'"' | b'`' | b'\'')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => {}
        }
        at += 1;
    }
    None
}

fn tokens(inside: &str, base: usize, line: usize) -> Result<Vec<Spanned>, TemplateError> {
    let mut out: Vec<Spanned> = Vec::new();
    let mut rest = inside;
    loop {
        let lead = rest.trim_start_matches(is_blank);
        let spaced = lead.len() < rest.len() || out.is_empty();
        if lead.is_empty() {
            return Ok(out);
        }
        let at = base + inside.len() - lead.len();
        let (token, used) = token(lead, line)?;
        out.push(Spanned { token, at, spaced });
        rest = &lead[used..];
    }
}

fn word_len(text: &str) -> usize {
    text.find(|it: char| !it.is_alphanumeric() && it != '_')
        .unwrap_or(text.len())
}

fn token(text: &str, line: usize) -> Result<(Token, usize), TemplateError> {
    let first = text.chars().next().expect("the caller gave at least one character");
    let two = text.get(1..).and_then(|rest| rest.chars().next());
    Ok(match first {
        '|' => (Token::Pipe, 1),
        ',' => (Token::Comma, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        '=' => (Token::Assign, 1),
        ':' if two == Some('=') => (Token::Declare, 2),
        '.' if two.is_some_and(|it| it.is_alphabetic() || it == '_') => {
            let len = word_len(&text[1..]);
            (Token::Field(text[1..=len].to_owned()), len + 1)
        }
        '.' if !two.is_some_and(|it| it.is_ascii_digit()) => (Token::Dot, 1),
        '$' => {
            let len = word_len(&text[1..]);
            (Token::Variable(text[1..=len].to_owned()), len + 1)
        }
        '"' => quoted(text, line)?,
        '`' => {
            let end = text[1..]
                .find('`')
                .ok_or_else(|| TemplateError::parse(line, "unterminated raw quoted string"))?;
            (Token::Str(text[1..=end].to_owned()), end + 2)
        }
        '\'' => character(text, line)?,
        it if it.is_ascii_digit() || matches!(it, '+' | '-' | '.') => number(text, line)?,
        it if it.is_alphabetic() || it == '_' => {
            let len = word_len(text);
            (Token::Word(text[..len].to_owned()), len)
        }
        other => return Err(TemplateError::parse(line, format!("unexpected {other:?} in command"))),
    })
}

fn quoted(text: &str, line: usize) -> Result<(Token, usize), TemplateError> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, it)) = chars.next() {
        match it {
            '"' => return Ok((Token::Str(out), at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, escaped @ ('"' | '\\' | '\''))) => out.push(escaped),
                Some((_, mark @ ('x' | 'u'))) => {
                    let digits: String = chars
                        .by_ref()
                        .take(if mark == 'x' { 2 } else { 4 })
                        .map(|(_, it)| it)
                        .collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    out.push(code.ok_or_else(|| TemplateError::parse(line, "invalid syntax in quoted string"))?);
                }
                _ => return Err(TemplateError::parse(line, "invalid syntax in quoted string")),
            },
            other => out.push(other),
        }
    }
    Err(TemplateError::parse(line, "unterminated quoted string"))
}

fn character(text: &str, line: usize) -> Result<(Token, usize), TemplateError> {
    let mut chars = text.chars().skip(1);
    let (value, used) = match (chars.next(), chars.next()) {
        (Some('\\'), Some('n')) => ('\n', 4),
        (Some('\\'), Some('t')) => ('\t', 4),
        (Some('\\'), Some(it)) => (it, 3 + it.len_utf8()),
        (Some(it), Some('\'')) => (it, 2 + it.len_utf8()),
        _ => return Err(TemplateError::parse(line, "unterminated character constant")),
    };
    if !text.get(..used).is_some_and(|it| it.ends_with('\'')) {
        return Err(TemplateError::parse(line, "unterminated character constant"));
    }
    Ok((Token::Int(i64::from(u32::from(value))), used))
}

fn number(text: &str, line: usize) -> Result<(Token, usize), TemplateError> {
    let part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_');
    let len = 1 + text[1..].find(|it: char| !part(it)).unwrap_or(text.len() - 1);
    let plain = text[..len].replace('_', "");
    let token = match plain.trim_start_matches('+').strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok().map(Token::Int),
        None => plain
            .parse()
            .ok()
            .map(Token::Int)
            .or_else(|| plain.parse().ok().map(Token::Float)),
    };
    let bad = || TemplateError::parse(line, format!("bad number syntax: {:?}", &text[..len]));
    token.map(|token| (token, len)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_drops_comments() {
        let got = pieces("a {{- /* note */ -}} b{{ .X }}c").unwrap();
        assert_eq!(got[0], Piece::Text("a".into()));
        assert_eq!(got[1], Piece::Text("b".into()));
        assert!(matches!(&got[2], Piece::Action { tokens, .. } if tokens[0].token == Token::Field("X".into())));
        assert_eq!(got[3], Piece::Text("c".into()));
    }

    #[test]
    fn braces_in_quotes_do_not_close() {
        assert_eq!(pieces(r#"{{"}}"}}"#).unwrap().len(), 1);
        assert_eq!(pieces("{{.A").unwrap_err().to_string(), "template: :1: unclosed action");
    }

    #[test]
    fn numbers_and_characters() {
        let kinds = |text: &str| {
            tokens(text, 0, 1)
                .unwrap()
                .into_iter()
                .map(|it| it.token)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kinds("-3 2.5 0x10 'a'"),
            [Token::Int(-3), Token::Float(2.5), Token::Int(16), Token::Int(97)]
        );
        assert!(tokens("3x", 0, 1).is_err());
    }
}
