//! Places where a fault test may end the daemon. Compiled in only with the `failpoints` feature.

/// Names of the failpoints of this room, in the order a pull passes them.
pub const FAILPOINTS: &[&str] = &[
    "image::load::scanned",
    "image::unpack::prepared",
    "image::blob::written",
    "image::blob::committed",
    "image::unpack::filled",
    "image::unpack::committed",
    "image::config::labelled",
];

/// Passes a failpoint.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

pub(crate) use failpoint;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    fn named_in(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named_in(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("failpoint!(\"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once("\");")?.0.to_owned())));
        }
    }

    #[test]
    fn every_failpoint_is_listed() {
        let mut found = BTreeSet::new();
        named_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed = super::FAILPOINTS.iter().map(|name| (*name).to_owned());
        assert_eq!(found, listed.collect());
    }
}
