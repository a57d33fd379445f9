//! One version of everything, stated once: in the root manifest's table.

use crate::{Crate, Finding, Plan};
use toml::{Table, Value};

const SHARED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub fn judge(plan: &Plan) -> Vec<Finding> {
    plan.crates.iter().flat_map(of_crate).collect()
}

fn of_crate(member: &Crate) -> Vec<Finding> {
    let manifest: Table = match member.manifest.parse() {
        Ok(table) => table,
        Err(error) => {
            return vec![Finding::new(
                &member.name,
                format!("its manifest does not parse: {error}"),
            )];
        }
    };
    let mut findings = Vec::new();
    let package = manifest.get("package").and_then(Value::as_table);
    for key in SHARED {
        if !package.and_then(|table| table.get(key)).is_some_and(inherited) {
            findings.push(Finding::new(&member.name, format!("say `{key}.workspace = true`")));
        }
    }
    if !manifest.get("lints").is_some_and(inherited) {
        findings.push(Finding::new(
            &member.name,
            "take the lints of the workspace: `[lints]` `workspace = true`",
        ));
    }
    for (name, value) in tables(&manifest) {
        if !inherited(value) {
            findings.push(Finding::new(
                &member.name,
                format!("the version of {name} is not from the workspace table: say `{name}.workspace = true`"),
            ));
        }
    }
    findings
}

/// Dependencies of every kind, those for one target only among them.
fn tables(manifest: &Table) -> Vec<(&String, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let each = targets
        .into_iter()
        .flat_map(|targets| targets.values())
        .filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(each)
        .flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flatten()
        .collect()
}

fn inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::made_up::{member, plan};

    const HEAD: &str = "[package]\nname='x'\nversion.workspace=true\nedition.workspace=true\n\
        rust-version.workspace=true\nlicense.workspace=true\npublish.workspace=true\n[lints]\nworkspace=true\n";

    fn found(rest: &str) -> Vec<Finding> {
        let manifest = format!("{HEAD}{rest}");
        judge(&plan(vec![Crate {
            manifest,
            ..member("x", "daemon/core", &[])
        }]))
    }

    #[test]
    fn the_table_is_the_only_place() {
        assert_eq!(
            found("[dependencies]\nserde.workspace=true\nnix={workspace=true,features=['fs']}"),
            []
        );
        for bad in [
            "[dependencies]\nserde='1'",
            "[dev-dependencies]\nserde={version='1'}",
            "[build-dependencies]\nserde={path='../x'}",
            "[target.'cfg(unix)'.dependencies]\nserde='1'",
        ] {
            assert_eq!(found(bad).len(), 1, "{bad}");
        }
        assert!(
            found("[dependencies")
                .iter()
                .any(|finding| finding.what.contains("does not parse"))
        );
    }

    #[test]
    fn package_keys_and_lints_are_shared() {
        let manifest = "[package]\nname='x'\nversion='1.0.0'\n".to_owned();
        let found = judge(&plan(vec![Crate {
            manifest,
            ..member("x", "daemon/core", &[])
        }]));
        assert_eq!(found.len(), SHARED.len() + 1);
    }
}
