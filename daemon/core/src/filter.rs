//! containerd's filters, as its clients write them: `name==foo,labels."a.b"~=^x`.
//!
//! A comma joins selectors that must all hold; of several filters one must. The grammar is that of `pkg/filters` in
//! containerd's sources at v2.4, oddities included, for clients send what that accepts and scripts compare what it says:
//!
//! ```text
//! selector := field ('.' field)* [("==" | "!=" | "~=") value]
//! field    := [A-Za-z0-9_]+ | "quoted"
//! value    := text without comma or space | "quoted"     after ~= also /quoted/ and |quoted|
//! ```
//!
//! Quoted text has Go's escapes. Spaces may stand before a token and never after the last one. `!=` holds where the field
//! is absent, and `~=` sees an absent field as empty. A regular expression that does not compile is not a bad filter: it
//! matches nothing. Of Go's expressions, `\p{...}` classes and folding of other than ASCII letters are missing here.

mod parse;
mod pattern;
mod records;
mod scan;
#[cfg(test)]
mod tests;

use crate::{Labels, Result};
use pattern::Pattern;
use std::borrow::Cow;

/// What can be filtered: it answers the text of a field.
pub trait Adaptor {
    /// The field at this path, which has at least one piece; none where the thing has no such field or it is unset.
    /// As in containerd, pieces that a plain field does not need are overlooked.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

impl<F: Fn(&[&str]) -> Option<Cow<'static, str>>> Adaptor for F {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        self(path)
    }
}

/// A field that counts as absent when it is empty.
pub fn set(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// A label by the rest of a path: the pieces joined again, so that `labels.a.b` and `labels."a.b"` are one.
pub fn label<'a>(labels: &'a Labels, path: &[&str]) -> Option<Cow<'a, str>> {
    labels.get(&path.join(".")).map(|value| Cow::Borrowed(value.as_str()))
}

/// One string of a list request: selectors that must all hold. An empty one holds for everything.
#[derive(Debug, Clone)]
pub struct Filter {
    selectors: Vec<Selector>,
}

impl Filter {
    /// Reads one filter; what does not parse is an invalid argument that shows where.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { selectors: Vec::new() });
        }
        let selectors = parse::selectors(text)?;
        Ok(Self { selectors })
    }

    pub fn matches(&self, thing: &(impl Adaptor + ?Sized)) -> bool {
        self.selectors.iter().all(|selector| selector.matches(thing))
    }
}

/// The filters of a list request: one of them must hold. None at all hold for everything.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    any: Vec<Filter>,
}

impl Filters {
    pub fn matches(&self, thing: &(impl Adaptor + ?Sized)) -> bool {
        self.any.is_empty() || self.any.iter().any(|filter| filter.matches(thing))
    }

    /// Whether there is nothing to look at, as with no filters or an empty one.
    pub fn match_all(&self) -> bool {
        self.any.is_empty() || self.any.iter().any(|filter| filter.selectors.is_empty())
    }
}

/// Reads all filters of a request.
pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Filters> {
    let any = texts
        .iter()
        .map(|text| Filter::parse(text.as_ref()))
        .collect::<Result<_>>()?;
    Ok(Filters { any })
}

#[derive(Debug, Clone)]
struct Selector {
    /// None: an escape made bytes that are no text, so that no field has this name.
    path: Option<Vec<String>>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    /// Bytes, for an escape may make some that are no text and so equal nothing.
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    Matches(Pattern),
}

impl Selector {
    fn matches(&self, thing: &(impl Adaptor + ?Sized)) -> bool {
        let found = self.path.as_ref().and_then(|path| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            thing.field(&path)
        });
        let text = found.as_deref().unwrap_or_default();
        match &self.test {
            Test::Present => found.is_some(),
            Test::Equal(value) => found.is_some() && text.as_bytes() == value,
            Test::NotEqual(value) => text.as_bytes() != value,
            Test::Matches(pattern) => pattern.is_match(text),
        }
    }
}
