//! Files that outgrew their idea. A warning, for beauty is lost in the tail.

use crate::Finding;
use std::path::Path;

/// Lines of a file that is surely several ideas.
pub const TOO_LONG: usize = 600;

/// Our sources longer than `limit` lines, longest first.
pub fn long_files(root: &Path, limit: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    for room in ["proto", "daemon", "snapshotters", "shim", "ctl", "tests"] {
        walk(&root.join(room), &mut |path| {
            let lines = std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
            if lines > limit {
                found.push((lines, path.strip_prefix(root).unwrap_or(path).display().to_string()));
            }
        });
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
        .into_iter()
        .map(|(lines, path)| Finding::new(path, format!("{lines} lines: which ideas are in it")))
        .collect()
}

fn walk(dir: &Path, see: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && entry.file_name() != "target" {
            walk(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let longest = long_files(&crate::root(), 10);
        assert!(
            longest.iter().any(|finding| finding.at == "tests/house/src/size.rs"),
            "it sees sources"
        );
        assert!(long_files(&crate::root(), usize::MAX).is_empty());
    }
}
