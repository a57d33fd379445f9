//! Arrows only run down.

use crate::rooms::{Place, Wing, place};
use crate::{Crate, Dependency, Finding, Kind, Plan};

/// What the shim's binary may see of us, so that it stays small.
const SHIM_SEES: [&str; 3] = ["shim/protocol", "proto/shim", "proto/attach"];
/// What the command tool may see of us: it speaks through the door like any other client.
const TOOL_SEES: [&str; 2] = ["proto", "proto/attach"];
/// Floor 2 stands on core: it may be leant on from the same floor, by who says so here.
const ON_CORE: [&str; 1] = ["snapshotters/api"];
/// What a test beside the code may look up to: the contracts every implementation is held to.
const SUITES: &str = "tests/suites";

pub fn judge(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &plan.crates {
        for dependency in &member.dependencies {
            let Some(target) = plan.named(&dependency.name) else {
                continue;
            };
            if let Some(why) = obstacle(member, dependency, target) {
                let what = format!("{} must not lean on {}: {why}", member.dir, target.dir);
                findings.push(Finding::new(&member.name, what));
            }
        }
        if member.dir == "tests/xtask" {
            findings.extend(light(member));
        }
    }
    findings
}

fn obstacle(member: &Crate, dependency: &Dependency, target: &Crate) -> Option<String> {
    let (Some(from), Some(to)) = (place(member), place(target)) else {
        return None;
    };
    if from.wing == Wing::Tests {
        return None;
    }
    if dependency.kind == Kind::Dev && target.dir == SUITES {
        return None;
    }
    if to.wing == Wing::Tests {
        return Some("nothing looks at tests".to_owned());
    }
    match from.wing {
        Wing::Shim => unseen(
            &SHIM_SEES,
            target,
            "the shim leans on shim/protocol and the shim's wire only",
        ),
        Wing::Tool => unseen(
            &TOOL_SEES,
            target,
            "the command tool is a client: it sees gantry.v1 and attach only",
        ),
        Wing::Floor(_) if target.dir == "daemon/core" && ON_CORE.contains(&member.dir.as_str()) => None,
        Wing::Floor(own) => floors(own, &from, &to),
        Wing::Tests => None,
    }
}

fn unseen(seen: &[&str], target: &Crate, why: &str) -> Option<String> {
    (!seen.contains(&target.dir.as_str())).then(|| why.to_owned())
}

fn floors(own: u8, from: &Place, to: &Place) -> Option<String> {
    match to.wing {
        Wing::Floor(other) if other < own => None,
        Wing::Floor(other) if other == own && from.room == to.room => None,
        Wing::Floor(other) if other == own && own == 6 => Some("a door never sees another door".to_owned()),
        Wing::Floor(other) if other == own => Some(format!("both stand on floor {own}")),
        Wing::Floor(other) => Some(format!("the arrow runs up, from floor {own} to floor {other}")),
        Wing::Shim | Wing::Tool | Wing::Tests => Some("it is a program of its own".to_owned()),
    }
}

/// xtask is built before anything is installed.
fn light(member: &Crate) -> Vec<Finding> {
    let heavy = member
        .dependencies
        .iter()
        .filter(|dependency| dependency.name != "anyhow");
    heavy
        .map(|dependency| {
            Finding::new(
                &member.name,
                format!(
                    "leans on {}: it must build before anything is installed",
                    dependency.name
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::made_up::{member, plan};

    /// The house's crates with their names, and one that leans on what is asked.
    fn with(dir: &str, dependencies: &[&str]) -> Vec<Finding> {
        let others = [
            ("proto", "proto"),
            ("proto-shim", "proto/shim"),
            ("proto-attach", "proto/attach"),
            ("core", "daemon/core"),
            ("store", "daemon/store"),
            ("image", "daemon/image"),
            ("snapshots-api", "snapshotters/api"),
            ("overlay", "snapshotters/overlayfs"),
            ("engine", "daemon/engine"),
            ("api-engine", "daemon/api-engine"),
            ("shim-protocol", "shim/protocol"),
            ("shim", "shim"),
            ("suites", "tests/suites"),
            ("e2e", "tests/e2e"),
        ];
        let mut crates: Vec<Crate> = others.iter().map(|(name, dir)| member(name, dir, &[])).collect();
        crates.push(member("it", dir, dependencies));
        judge(&plan(crates))
    }

    #[test]
    fn down_is_allowed() {
        for (dir, on) in [
            ("daemon/gantryd", "api-engine"),
            ("daemon/engine", "store"),
            ("snapshotters/native", "overlay"),
            ("daemon/store", "snapshots-api"),
            ("snapshotters/api", "core"),
            ("snapshotters/native", "dev:suites"),
            ("shim", "proto-shim"),
            ("ctl", "proto-attach"),
            ("tests/faults", "e2e"),
        ] {
            assert_eq!(with(dir, &[on]), [], "{dir} on {on}");
        }
    }

    #[test]
    fn up_and_sideways_are_found() {
        for (dir, on, why) in [
            ("daemon/core", "store", "floor 2 to floor 3"),
            ("daemon/engine", "api-engine", "floor 4 to floor 6"),
            ("daemon/store", "image", "both stand on floor 3"),
            ("daemon/api-docker", "api-engine", "never sees another door"),
            ("daemon/image", "overlay", "both stand on floor 3"),
            ("shim", "core", "the shim leans on"),
            ("shim", "proto", "the shim leans on"),
            ("ctl", "core", "is a client"),
            ("ctl", "proto-shim", "is a client"),
            ("daemon/task", "shim", "a program of its own"),
            ("daemon/engine", "suites", "nothing looks at tests"),
            ("daemon/engine", "dev:e2e", "nothing looks at tests"),
            ("shim/protocol", "core", "both stand on floor 2"),
            ("daemon/store", "dev:overlay", "both stand on floor 3"),
            ("daemon/core", "dev:engine", "floor 2 to floor 4"),
            ("tests/xtask", "tokio", "before anything is installed"),
        ] {
            let found = with(dir, &[on]);
            assert!(
                found.len() == 1 && found[0].what.contains(why),
                "{dir} on {on}: {found:?}"
            );
        }
    }
}
