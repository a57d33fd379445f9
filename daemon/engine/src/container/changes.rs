//! Changes: what differs from the image.

use crate::Engine;
use crate::gate::blocking;
use gantry_core::Result;
use std::path::Path;

pub use gantry_image::{Change, ChangeKind};

impl Engine {
    /// In path order; a directory before what is in it.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let keeper = self.find(name)?;
        let (context, record) = (self.context.clone(), keeper.record());
        blocking(move || {
            let parent = (!record.chain_id.is_empty()).then_some(record.chain_id.as_str());
            let changes =
                context
                    .images
                    .changes(&context.namespace, &record.snapshotter, &record.snapshot_key, parent)?;
            Ok(own(changes))
        })
        .await
    }
}

/// By this file programs see that they are in a container.
pub(super) const MARK: &str = ".dockerenv";

/// What a start makes to mount on, and its mark: not the container's doing.
pub(super) const MOUNT_POINTS: [&str; 7] = [
    "/.dockerenv",
    "/dev",
    "/proc",
    "/sys",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
];

/// Leaves out what a start made, and the directory that only that changed.
fn own(changes: Vec<Change>) -> Vec<Change> {
    let made = |change: &Change| {
        change.kind == ChangeKind::Added && MOUNT_POINTS.iter().any(|point| change.path == Path::new(point))
            || ["/dev", "/proc", "/sys"]
                .iter()
                .any(|point| change.path.starts_with(point))
    };
    let (hidden, rest): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(made);
    let etc = Path::new("/etc");
    let touched = hidden.iter().any(|change| change.path.parent() == Some(etc));
    let used = rest
        .iter()
        .any(|change| change.path != etc && change.path.starts_with(etc));
    rest.into_iter()
        .filter(|change| !(touched && !used && change.path == etc && change.kind != ChangeKind::Deleted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, path: &str) -> Change {
        Change {
            path: path.into(),
            kind,
        }
    }

    #[test]
    fn what_a_start_makes_is_not_shown() {
        use ChangeKind::{Added, Modified};
        let made = vec![
            change(Modified, "/etc"),
            change(Added, "/etc/hosts"),
            change(Added, "/proc"),
        ];
        assert_eq!(own(made.clone()), Vec::new());
        let bare = vec![
            change(Added, "/.dockerenv"),
            change(Added, "/etc"),
            change(Added, "/etc/hosts"),
        ];
        assert_eq!(own(bare), Vec::new(), "an image without /etc");
        let both = [made, vec![change(Added, "/etc/motd")]].concat();
        assert_eq!(own(both), vec![change(Modified, "/etc"), change(Added, "/etc/motd")]);
    }
}
