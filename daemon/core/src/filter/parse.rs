//! Tokens to selectors, and errors that show the place.

use super::{
    Pattern, Selector, Test,
    scan::{Kind, Scanner, Token, unquote},
};
use crate::{Error, Result};

pub(super) fn selectors(input: &str) -> Result<Vec<Selector>> {
    let mut parser = Parser {
        input,
        scanner: Scanner::new(input),
    };
    let mut selectors = vec![parser.selector()?];
    loop {
        match parser.scanner.peek() {
            None => return Ok(selectors),
            Some(',') => {
                parser.scanner.scan();
                selectors.push(parser.selector()?);
            }
            Some(other) => {
                let shown = if other == '\0' { '\u{fffd}' } else { other };
                return Err(parser.error(parser.scanner.position(), &format!("unexpected input: {shown}")));
            }
        }
    }
}

struct Parser<'a> {
    input: &'a str,
    scanner: Scanner<'a>,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector> {
        let path = self.path()?;
        let test = match self.scanner.peek() {
            None | Some(',') => Test::Present,
            Some(_) => self.test()?,
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Option<Vec<String>>> {
        let mut pieces = vec![self.field()?];
        while self.scanner.peek() == Some('.') {
            self.scanner.scan();
            pieces.push(self.field()?);
        }
        Ok(pieces.into_iter().map(|piece| String::from_utf8(piece).ok()).collect())
    }

    fn field(&mut self) -> Result<Vec<u8>> {
        let token = self.scanner.scan();
        match token.kind {
            Kind::Field(name) => Ok(name.into()),
            Kind::Quoted(text) => self.unquote(token.at, text, false),
            _ => Err(self.wrong(&token, "expected field or quoted")),
        }
    }

    fn test(&mut self) -> Result<Test> {
        let token = self.scanner.scan();
        let Kind::Operator(operator) = token.kind else {
            return Err(self.wrong(&token, r#"expected an operator ("=="|"!="|"~=")"#));
        };
        Ok(match operator {
            "==" => Test::Equal(self.value(false)?),
            "!=" => Test::NotEqual(self.value(false)?),
            "~=" => Test::Matches(Pattern::new(&self.value(true)?)),
            other => return Err(self.error(token.at, &format!("unsupported operator \"{other}\""))),
        })
    }

    fn value(&mut self, any_quotes: bool) -> Result<Vec<u8>> {
        let token = self.scanner.scan();
        match token.kind {
            Kind::Value(text) | Kind::Field(text) => Ok(text.into()),
            Kind::Quoted(text) => self.unquote(token.at, text, any_quotes),
            _ => Err(self.wrong(&token, "expected value or quoted")),
        }
    }

    fn unquote(&self, at: usize, quoted: &str, any_quotes: bool) -> Result<Vec<u8>> {
        if !any_quotes && !quoted.starts_with('"') {
            return Err(self.error(at, "invalid quote encountered"));
        }
        unquote(quoted).ok_or_else(|| self.error(at, "unquoting failed: quote syntax error"))
    }

    fn wrong(&self, token: &Token<'a>, expected: &str) -> Error {
        match token.kind {
            Kind::Illegal(why) => self.error(token.at, why),
            _ => self.error(token.at, expected),
        }
    }

    /// containerd's form: the character at fault stands between bars.
    fn error(&self, at: usize, message: &str) -> Error {
        let (before, rest) = self.input.split_at(at.min(self.input.len()));
        let mut after = rest.chars();
        let place = match after.next() {
            Some(fault) => format!("{before} >|{fault}|< {}", after.as_str()),
            None => self.input.to_owned(),
        };
        Error::invalid(format!("filters: parse error: [{place}]: {message}"))
    }
}
