//! Filters in Docker's manner: values of one key are alternatives, keys must all match.

use gantry_core::{Error, Labels, Result};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Refuses keys that the listing does not know.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!(
                "invalid filter '{key}'; known are {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// No value given, or one of them satisfies `test`.
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| test(value))
    }

    /// Every `label` value (`key` or `key=value`) is met. Labels are not alternatives: Docker wants all of them.
    pub fn labels(&self, labels: &Labels) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Truth value of a key that is given once.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values(key) {
            [] => Ok(None),
            [value] => match value.to_ascii_lowercase().as_str() {
                "1" | "true" => Ok(Some(true)),
                "0" | "false" => Ok(Some(false)),
                _ => Err(Error::invalid(format!(
                    "invalid filter '{key}={value}': true or false is expected"
                ))),
            },
            _ => Err(Error::invalid(format!("invalid filter '{key}': give it once"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_within_a_key_and_all_labels() {
        let filters = Filters(BTreeMap::from([
            ("status".to_owned(), vec!["running".to_owned(), "exited".to_owned()]),
            ("label".to_owned(), vec!["a".to_owned(), "b=2".to_owned()]),
        ]));
        assert!(filters.any("status", |value| value == "exited"));
        assert!(!filters.any("status", |value| value == "paused"));
        assert!(filters.any("name", |_| false), "a key not given matches all");
        assert!(filters.labels(&Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())])));
        assert!(!filters.labels(&Labels::from([("a".into(), "1".into())])));
        assert!(filters.check(&["status"]).is_err());
    }
}
