//! Field masks: which part of a record an update speaks of.

use gantry_core::meta::Change;
use gantry_core::{Error, Labels, Result};
use std::collections::BTreeMap;

/// What a mask says of one map of a record: nothing, that it is replaced, or which of its entries are.
pub struct Part<'a, V> {
    name: &'static str,
    given: &'a BTreeMap<String, V>,
    whole: bool,
    named: BTreeMap<String, V>,
}

impl<'a, V: Clone + Default> Part<'a, V> {
    /// `given` is the map as the request has it.
    pub fn new(name: &'static str, given: &'a BTreeMap<String, V>) -> Self {
        Self {
            name,
            given,
            whole: false,
            named: BTreeMap::new(),
        }
    }

    /// Whether a path speaks of this map; it is remembered then.
    pub fn takes(&mut self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.name) else {
            return false;
        };
        match rest.strip_prefix('.') {
            Some(key) => {
                let value = self.given.get(key).cloned().unwrap_or_default();
                self.named.insert(key.to_owned(), value);
            }
            None if rest.is_empty() => self.whole = true,
            None => return false,
        }
        true
    }

    /// What comes of all the paths. An entry the request does not have has an empty value, which takes it away.
    pub fn change(self) -> Option<Change<BTreeMap<String, V>>> {
        if self.whole {
            return Some(Change::Replace(self.given.clone()));
        }
        (!self.named.is_empty()).then_some(Change::Merge(self.named))
    }
}

/// The change of labels that a mask describes, for records of which only labels can change. No mask means all of them.
/// `refused` makes the error for a path that cannot be updated.
pub fn labels(paths: &[String], given: &Labels, refused: impl Fn(&str) -> Error) -> Result<Change<Labels>> {
    let mut part = Part::new("labels", given);
    if let Some(odd) = paths.iter().find(|path| !part.takes(path)) {
        return Err(refused(odd));
    }
    Ok(part.change().unwrap_or_else(|| Change::Replace(given.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_changes() {
        let given = Labels::from([("a".to_owned(), "1".to_owned()), ("b.c".to_owned(), "2".to_owned())]);
        let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let change = |list: &[&str]| labels(&paths(list), &given, |path| Error::invalid(path.to_owned()));
        assert_eq!(change(&[]).unwrap(), Change::Replace(given.clone()));
        assert_eq!(change(&["labels"]).unwrap(), Change::Replace(given.clone()));
        let merged = Labels::from([("b.c".to_owned(), "2".to_owned()), ("gone".to_owned(), String::new())]);
        assert_eq!(change(&["labels.b.c", "labels.gone"]).unwrap(), Change::Merge(merged));
        assert_eq!(change(&["size"]).unwrap_err().message(), "size");
        assert!(change(&["labels", "size"]).is_err());
        assert!(change(&["labelsx"]).is_err());
    }
}
