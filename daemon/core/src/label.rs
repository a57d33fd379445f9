//! Labels: small key and value texts on records.

use crate::{Error, Result};
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// Longest key and value together, in bytes (containerd's rule).
pub const MAX_LABEL: usize = 4096;

/// Checks the length rule of every label.
pub fn validate(labels: &Labels) -> Result<()> {
    for (key, value) in labels {
        if key.len() + value.len() > MAX_LABEL {
            let shown: String = key.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "label key and value length ({} bytes) greater than maximum size ({MAX_LABEL} bytes), key: {shown}",
                key.len() + value.len()
            )));
        }
    }
    Ok(())
}

/// Sets labels over others; an empty value deletes the key (containerd's rule).
pub fn merge(into: &mut Labels, from: &Labels) {
    for (key, value) in from {
        if value.is_empty() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_deletes_and_length_is_checked() {
        let mut labels = Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        merge(
            &mut labels,
            &Labels::from([("a".into(), String::new()), ("c".into(), "3".into())]),
        );
        assert_eq!(
            labels,
            Labels::from([("b".into(), "2".into()), ("c".into(), "3".into())])
        );
        assert!(validate(&Labels::from([("k".into(), "v".repeat(MAX_LABEL))])).is_err());
        assert!(validate(&Labels::from([("k".into(), "v".repeat(MAX_LABEL - 1))])).is_ok());
    }
}
