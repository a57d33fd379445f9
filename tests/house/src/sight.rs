//! What a room may not see of the world outside.

use crate::rooms::{Wing, place};
use crate::{Crate, Dependency, Finding, Kind, Plan};

/// What may never end up in `daemon/core`, however deep.
const NOT_IN_CORE: [&str; 9] = [
    "tokio",
    "async-std",
    "smol",
    "rocksdb",
    "tonic",
    "ttrpc",
    "http",
    "hyper",
    "axum",
];
/// Databases: the store's alone.
const DATABASES: [&str; 5] = ["rocksdb", "librocksdb-sys", "sled", "redb", "rusqlite"];
/// HTTP servers by themselves.
const HTTP_SERVERS: [&str; 6] = ["axum", "warp", "actix-web", "rocket", "tiny_http", "poem"];
/// HTTP libraries that serve when this feature is asked for.
const SERVING: [(&str, &[&str]); 3] = [
    ("hyper", &["server", "full"]),
    ("hyper-util", &["server", "server-auto", "server-graceful", "full"]),
    ("h2", &[]),
];

pub fn judge(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &plan.crates {
        let Some(place) = place(member) else { continue };
        if place.wing == Wing::Tests {
            continue;
        }
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != Kind::Dev)
        {
            if let Some(why) = obstacle(member, dependency, place.wing) {
                findings.push(Finding::new(
                    &member.name,
                    format!("must not see {}: {why}", dependency.name),
                ));
            }
        }
        if member.dir == "daemon/core" {
            findings.extend(core(member, plan));
        }
    }
    findings
}

fn obstacle(member: &Crate, dependency: &Dependency, wing: Wing) -> Option<&'static str> {
    let (name, dir) = (dependency.name.as_str(), member.dir.as_str());
    let serves = matches!(wing, Wing::Floor(6 | 7));
    if DATABASES.contains(&name) && dir != "daemon/store" {
        return Some("one store, and it is daemon/store");
    }
    if name.starts_with("tonic") {
        let client = matches!(dir, "ctl" | "snapshotters/proxy" | "daemon/network");
        let generated =
            matches!(dir, "proto" | "proto/containerd") || (dependency.kind == Kind::Build && dir.starts_with("proto"));
        return (!serves && !client && !generated)
            .then_some("tonic is for doors, gantryd, ctl, snapshotters/proxy and the cluster store");
    }
    if HTTP_SERVERS.contains(&name) && !serves {
        return Some("HTTP servers stand at doors and in gantryd only");
    }
    let (_, features) = SERVING.iter().find(|(known, _)| *known == name)?;
    let asked = features.is_empty() || dependency.features.iter().any(|one| features.contains(&one.as_str()));
    (asked && !serves).then_some("its server part is for doors and gantryd only: take the client's features")
}

fn core(member: &Crate, plan: &Plan) -> Vec<Finding> {
    let direct = member
        .dependencies
        .iter()
        .filter(|d| d.kind == Kind::Normal)
        .map(|d| d.name.as_str());
    let deep = plan.reach.get(&member.name).into_iter().flatten().map(String::as_str);
    let mut found: Vec<&str> = direct.chain(deep).filter(|name| NOT_IN_CORE.contains(name)).collect();
    found.sort_unstable();
    found.dedup();
    found
        .into_iter()
        .map(|name| {
            Finding::new(
                &member.name,
                format!("must not reach {name}: core is pure, no IO, async, store or wire"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::made_up::{member, plan};

    fn found(dir: &str, dependencies: &[&str]) -> usize {
        judge(&plan(vec![member("it", dir, dependencies)])).len()
    }

    #[test]
    fn what_is_allowed() {
        for (dir, on) in [
            ("daemon/store", "rocksdb"),
            ("daemon/api-docker", "hyper+server"),
            ("daemon/gantryd", "axum"),
            ("daemon/gantryd", "tonic"),
            ("daemon/image", "hyper+client+http1"),
            ("daemon/image", "dev:hyper+server"),
            ("ctl", "tonic"),
            ("snapshotters/proxy", "tonic"),
            ("tests/e2e", "rocksdb"),
            ("daemon/core", "serde"),
        ] {
            assert_eq!(found(dir, &[on]), 0, "{dir} on {on}");
        }
    }

    #[test]
    fn what_is_not() {
        for (dir, on) in [
            ("daemon/engine", "rocksdb"),
            ("daemon/engine", "tonic"),
            ("daemon/task", "tonic-health"),
            ("daemon/image", "hyper+client+server"),
            ("daemon/image", "axum"),
            ("snapshotters/overlayfs", "tonic"),
            ("ctl", "axum"),
            ("daemon/core", "tokio"),
            ("daemon/core", "http"),
        ] {
            assert_eq!(found(dir, &[on]), 1, "{dir} on {on}");
        }
    }

    #[test]
    fn core_is_looked_through_to_the_bottom() {
        let mut bad = plan(vec![member("gantry-core", "daemon/core", &["innocent"])]);
        bad.reach.insert(
            "gantry-core".to_owned(),
            ["innocent", "tokio"].map(str::to_owned).into(),
        );
        assert_eq!(judge(&bad).len(), 1);
    }
}
