//! Takes typed values out of a [`Document`]; an error names file, line and key.

use super::document::Document;
use crate::error::Result;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

pub struct Reader {
    pub document: Document,
}

impl Reader {
    pub fn take(&mut self, keys: &[&str]) -> Option<Value> {
        let (last, above) = keys.split_last()?;
        let mut table = &mut self.document.table;
        for name in above {
            table = table.get_mut(*name)?.as_table_mut()?;
        }
        table.remove(*last)
    }

    /// Every table on the way to a key that is none is an error, or its keys would be missed in silence.
    pub fn check_tables(&self, sections: &[&str]) -> Result<()> {
        for name in sections {
            match self.document.table.get(*name) {
                None | Some(Value::Table(_)) => {}
                Some(other) => {
                    return Err(self
                        .document
                        .wrong(&[name], format!("a table is expected, found {}", other.type_str())));
                }
            }
        }
        let plugins = self.document.table.get("plugins").and_then(Value::as_table);
        for (id, section) in plugins.into_iter().flatten() {
            if !section.is_table() {
                let reason = format!("a table is expected, found {}", section.type_str());
                return Err(self.document.wrong(&["plugins", id], reason));
            }
        }
        Ok(())
    }

    fn expected<T>(&self, keys: &[&str], what: &str, found: &Value) -> Result<T> {
        let reason = format!("{what} is expected, found {} {found}", found.type_str());
        Err(self.document.wrong(keys, reason))
    }

    /// An empty text counts as not given.
    pub fn text(&mut self, keys: &[&str]) -> Result<Option<String>> {
        match self.take(keys) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => self.expected(keys, "a text", &other),
        }
    }

    pub fn texts(&mut self, keys: &[&str]) -> Result<Vec<String>> {
        let list = match self.take(keys) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return self.expected(keys, "a list of texts", &other),
        };
        list.into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                other => self.expected(keys, "a list of texts", &other),
            })
            .collect()
    }

    pub fn whole<T: TryFrom<i64>>(&mut self, keys: &[&str]) -> Result<Option<T>> {
        match self.take(keys) {
            None => Ok(None),
            Some(Value::Integer(number)) => match T::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.document.wrong(keys, format!("{number} is out of range"))),
            },
            Some(other) => self.expected(keys, "a whole number", &other),
        }
    }

    pub fn within(&mut self, keys: &[&str], range: RangeInclusive<i32>) -> Result<Option<i32>> {
        let number = self.whole(keys)?;
        match number {
            Some(number) if !range.contains(&number) => {
                let reason = format!("{number} is not between {} and {}", range.start(), range.end());
                Err(self.document.wrong(keys, reason))
            }
            fits => Ok(fits),
        }
    }

    pub fn path(&mut self, keys: &[&str]) -> Result<Option<PathBuf>> {
        let text = self.text(keys)?;
        match text {
            Some(text) if !text.starts_with('/') => {
                Err(self.document.wrong(keys, format!("{text:?} is no absolute path")))
            }
            text => Ok(text.map(PathBuf::from)),
        }
    }

    /// A path, with or without `unix://`.
    pub fn socket(&mut self, keys: &[&str]) -> Result<Option<PathBuf>> {
        let text = self.text(keys)?;
        let Some(text) = text else { return Ok(None) };
        let path = text.strip_prefix("unix://").unwrap_or(&text);
        match path.starts_with('/') {
            true => Ok(Some(PathBuf::from(path))),
            false => Err(self.document.wrong(keys, format!("{text:?} is no path of a socket"))),
        }
    }

    /// As Go writes durations: `1h2m3.5s`.
    pub fn duration(&mut self, keys: &[&str]) -> Result<Option<Duration>> {
        let text = match self.take(keys) {
            None => return Ok(None),
            // containerd reads a bare number as nanoseconds.
            Some(Value::Integer(nanos)) => match u64::try_from(nanos) {
                Ok(nanos) => return Ok(Some(Duration::from_nanos(nanos))),
                Err(_) => return Err(self.document.wrong(keys, "a time must not be negative")),
            },
            Some(Value::String(text)) => text,
            Some(other) => return self.expected(keys, "a time such as \"5s\"", &other),
        };
        match duration(&text) {
            Some(found) => Ok(Some(found)),
            None => Err(self
                .document
                .wrong(keys, format!("{text:?} is no time; one is \"1m30s\" or \"100ms\""))),
        }
    }
}

/// Signed and fractional as Go's, but never below zero.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos() {
        for (text, millis) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("100ms", 100),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5x", "1s x", "1..s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
