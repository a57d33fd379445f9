//! Which crate lives in which room, and on which floor.

use crate::{Crate, Finding, Plan};

/// Where a crate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Crates of one room may lean on each other.
    pub room: String,
    pub wing: Wing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wing {
    /// The daemon's rooms, by floor.
    Floor(u8),
    /// The shim's binary.
    Shim,
    /// The command tool.
    Tool,
    Tests,
}

/// The drawing of docs/ARCHITECTURE.md: directory, floor. A directory that ends in `/` or `-` stands for all that begins
/// so; the first line that fits counts.
const FLOORS: [(&str, u8); 14] = [
    ("daemon/gantryd", 7),
    ("daemon/api-", 6),
    ("daemon/build", 5),
    ("daemon/engine", 4),
    ("daemon/image", 3),
    ("daemon/task", 3),
    ("daemon/network", 3),
    ("daemon/store", 3),
    ("snapshotters/api", 2),
    ("snapshotters/", 3),
    ("daemon/core", 2),
    ("shim/protocol", 2),
    ("proto/", 1),
    ("proto", 1),
];

const NO_ROOM: [&str; 3] = ["util", "common", "misc"];

pub fn place(member: &Crate) -> Option<Place> {
    let dir = member.dir.as_str();
    let wing = match dir {
        "shim" => Wing::Shim,
        "ctl" => Wing::Tool,
        _ if dir.starts_with("tests/") => Wing::Tests,
        _ => {
            let fits = |name: &str| {
                if name.ends_with(['/', '-']) {
                    dir.starts_with(name)
                } else {
                    dir == name
                }
            };
            Wing::Floor(FLOORS.iter().find(|(name, _)| fits(name))?.1)
        }
    };
    let room = match dir.split('/').next() {
        Some(shared @ ("snapshotters" | "proto")) => shared.to_owned(),
        _ => dir.to_owned(),
    };
    Some(Place { room, wing })
}

/// Every crate has a place, the drawing names its room, and no room is a drawer for odds and ends.
pub fn judge(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &plan.crates {
        let last = member.dir.rsplit('/').next().unwrap_or_default();
        if NO_ROOM.contains(&last) {
            findings.push(Finding::new(
                &member.name,
                format!("there is no room called {last}: name the idea"),
            ));
        }
        match place(member) {
            None => findings.push(Finding::new(
                &member.name,
                format!(
                    "{} has no floor: give it one in docs/ARCHITECTURE.md and in tests/house/src/rooms.rs",
                    member.dir
                ),
            )),
            Some(place) if place.wing != Wing::Tests && !plan.architecture.contains(&place.room) => {
                findings.push(Finding::new(
                    &member.name,
                    format!("docs/ARCHITECTURE.md does not know the room {}", place.room),
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::made_up::{member, plan};

    #[test]
    fn places() {
        let wing = |dir| place(&member("x", dir, &[])).map(|place| place.wing);
        assert_eq!(wing("daemon/api-docker"), Some(Wing::Floor(6)));
        assert_eq!(wing("snapshotters/api"), Some(Wing::Floor(2)));
        assert_eq!(wing("snapshotters/erofs"), Some(Wing::Floor(3)));
        assert_eq!(wing("proto/shim"), Some(Wing::Floor(1)));
        assert_eq!(wing("proto/containerd"), Some(Wing::Floor(1)));
        assert_eq!(wing("shim"), Some(Wing::Shim));
        assert_eq!(wing("tests/vm"), Some(Wing::Tests));
        assert_eq!(wing("daemon/attic"), None);
        assert_eq!(wing("daemon/core/inner"), None);
    }

    #[test]
    fn the_homeless_and_the_drawer_are_found() {
        let mut bad = plan(vec![
            member("gantry-attic", "daemon/attic", &[]),
            member("gantry-util", "snapshotters/util", &[]),
            member("gantry-core", "daemon/core", &[]),
        ]);
        bad.architecture = "snapshotters and nothing else".to_owned();
        let found = judge(&bad);
        let at = |name: &str| found.iter().filter(|finding| finding.at == name).count();
        assert_eq!(
            (at("gantry-attic"), at("gantry-util"), at("gantry-core")),
            (1, 1, 1),
            "{found:?}"
        );
    }
}
