//! Field masks: which part of a record an update speaks of.

use gantry_core::meta::Change;
use gantry_core::{Error, Labels, Result};

/// The change of labels that a mask describes, for records of which only labels can change. No mask means all of them.
/// `refused` makes the error for a path that cannot be updated.
pub fn labels(paths: &[String], given: &Labels, refused: impl Fn(&str) -> Error) -> Result<Change<Labels>> {
    if paths.is_empty() || paths.iter().any(|path| path == "labels") {
        if let Some(odd) = paths.iter().find(|path| !is_label(path)) {
            return Err(refused(odd));
        }
        return Ok(Change::Replace(given.clone()));
    }
    let mut named = Labels::new();
    for path in paths {
        let key = path.strip_prefix("labels.").ok_or_else(|| refused(path))?;
        named.insert(key.to_owned(), given.get(key).cloned().unwrap_or_default());
    }
    Ok(Change::Merge(named))
}

fn is_label(path: &str) -> bool {
    path == "labels" || path.starts_with("labels.")
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
    }
}
