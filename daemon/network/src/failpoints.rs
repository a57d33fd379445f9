//! Places where a fault test may end the daemon: between what is written down and what the kernel is told. Compiled in only with
//! the `failpoints` feature.

/// Their names.
pub const FAILPOINTS: &[&str] = &[
    "network::bridge",
    "network::vxlan",
    "network::cni",
    "network::pair::join",
    "network::pair::joining",
    "network::macvlan::join",
    "network::macvlan::joining",
];

#[cfg(test)]
mod tests {
    use super::FAILPOINTS;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_stop_in_the_code_is_named_once_in_the_list() {
        let mut found = Vec::new();
        gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let set: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(set.len(), found.len(), "a name stands twice");
        assert_eq!(set, FAILPOINTS.iter().copied().collect());
    }

    fn gather(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, found);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let names = text.split("fail_point!(\"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once("\");")?.0.to_owned())));
        }
    }
}
