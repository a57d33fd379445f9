//! Names at the service: `<scope>/<id>/active`, `/layer` once committed, `/look-<n>` for a moment. Three pieces, as the
//! keys are that containerd gives to a snapshotter.

use gantry_snapshots_api::Id;

const ACTIVE: &str = "active";
const LAYER: &str = "layer";
const LOOK: &str = "look-";

#[derive(Debug)]
pub struct Keys {
    scope: String,
}

impl Keys {
    pub fn new(scope: String) -> Self {
        Self { scope }
    }

    /// Of an active snapshot or a view.
    pub fn active(&self, id: Id) -> String {
        format!("{}/{id}/{ACTIVE}", self.scope)
    }

    /// Of what was committed.
    pub fn layer(&self, id: Id) -> String {
        format!("{}/{id}/{LAYER}", self.scope)
    }

    /// Of a view to look at something.
    pub fn look(&self, id: Id, number: u64) -> String {
        format!("{}/{id}/{LOOK}{}-{number}", self.scope, std::process::id())
    }

    /// The number of a snapshot of ours, if the name is one of [`Keys::active`] or [`Keys::layer`].
    pub fn id(&self, name: &str) -> Option<Id> {
        self.parse(name)
            .filter(|(_, last)| [ACTIVE, LAYER].contains(last))
            .map(|(id, _)| id)
    }

    pub fn is_look(&self, name: &str) -> bool {
        self.parse(name).is_some_and(|(_, last)| last.starts_with(LOOK))
    }

    fn parse<'a>(&self, name: &'a str) -> Option<(Id, &'a str)> {
        let rest = name.strip_prefix(&self.scope)?.strip_prefix('/')?;
        let (id, last) = rest.split_once('/')?;
        Some((id.parse().ok()?, last))
    }
}

/// A value in a filter.
pub fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        let keys = Keys::new("gantry".into());
        assert_eq!(keys.active(7), "gantry/7/active");
        assert_eq!(keys.id(&keys.active(7)), Some(7));
        assert_eq!(keys.id(&keys.layer(8)), Some(8));
        assert_eq!(keys.id(&keys.look(8, 1)), None);
        assert!(keys.is_look(&keys.look(8, 1)) && !keys.is_look(&keys.layer(8)));
        for other in [
            "gantry/7",
            "gantry2/7/active",
            "gantry/x/active",
            "sha256:abc",
            "k8s.io/7/active",
            "",
        ] {
            assert_eq!(keys.id(other), None, "{other}");
            assert!(!keys.is_look(other));
        }
    }

    #[test]
    fn quoted_as_filters_read_it() {
        assert_eq!(quote(r#"a"\b"#), r#""a\"\\b""#);
    }
}
