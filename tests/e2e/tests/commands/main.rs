//! Every command and every flag of `gantry`, as `gantry __commands` lists them: each has a case in which it does what it is for
//! and one in which it fails, over real containers. A command or flag without both fails the test.

mod containers;
mod images;
mod lent;
mod limits;
mod networks;
mod pruning;
mod registry;
mod shared;
mod stage;
mod volumes;

use serde_json::Value;
use stage::{Case, Stage};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A command's name and one of its flags; the command itself when the flag is empty.
type Key = (String, String);

/// What the program itself says it has.
fn listed(stage: &Stage) -> BTreeSet<Key> {
    let tree: Value = serde_json::from_str(&stage.gantry.ok(&["__commands"])).expect("the command tree is JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let mut keys = BTreeSet::new();
    for flag in tree["global"].as_array().expect("global flags") {
        keys.insert((String::new(), text(&flag["long"])));
    }
    for command in tree["commands"].as_array().expect("commands") {
        let name = text(&command["name"]);
        keys.insert((name.clone(), String::new()));
        for flag in command["flags"].as_array().expect("flags") {
            keys.insert((name.clone(), text(&flag["long"])));
        }
    }
    keys
}

/// The other names of a command reach the same one: its help is the same.
fn paths_agree(stage: &Stage) {
    let tree: Value = serde_json::from_str(&stage.gantry.ok(&["__commands"])).expect("the command tree is JSON");
    for command in tree["commands"].as_array().expect("commands") {
        for path in command["paths"].as_array().expect("paths") {
            let mut args: Vec<&str> = path.as_str().expect("a path").split(' ').collect();
            args.push("--help");
            let help = stage.gantry.ok(&args);
            assert!(help.contains("Usage:"), "{args:?}: {help}");
            let long = |flag: &Value| format!("--{}", flag["long"].as_str().expect("a name"));
            for flag in command["flags"].as_array().expect("flags").iter().map(long) {
                assert!(help.contains(&flag), "{args:?} does not tell of {flag}");
            }
        }
    }
}

fn keys<'a>(cases: impl Iterator<Item = &'a Case>) -> BTreeSet<Key> {
    cases
        .map(|case| (case.command.to_owned(), case.flag.to_owned()))
        .collect()
}

/// Runs the cases on a few threads; answers which failed.
fn work(stage: &Stage, cases: &[Case]) -> Vec<String> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    if catch_unwind(AssertUnwindSafe(|| (case.check)(stage))).is_err() {
                        failed.lock().expect("not poisoned").push(case.to_string());
                    }
                    if begun.elapsed().as_secs() >= 5 {
                        println!("slow: {case}: {:?}", begun.elapsed());
                    }
                }
            });
        }
    });
    failed.into_inner().expect("not poisoned")
}

#[test]
fn every_command_and_flag_succeeds_and_fails() {
    let stage = Stage::new();
    let mut cases: Vec<Case> = shared::cases();
    cases.extend(containers::cases());
    cases.extend(images::cases());
    cases.extend(networks::cases());
    cases.extend(pruning::cases());
    cases.extend(volumes::cases());

    let all = listed(&stage);
    let of = |succeeds: bool| keys(cases.iter().filter(|case| case.succeeds == succeeds));
    let (succeed, fail) = (of(true), of(false));
    let lacking = |cases: &BTreeSet<Key>| all.difference(cases).cloned().collect::<Vec<_>>();
    assert_eq!(lacking(&succeed), [], "without a case that succeeds");
    assert_eq!(lacking(&fail), [], "without a case that fails");
    let unknown: Vec<_> = succeed.union(&fail).filter(|key| !all.contains(*key)).collect();
    assert!(unknown.is_empty(), "cases of what there is not: {unknown:?}");

    paths_agree(&stage);
    let failed = work(&stage, &cases);
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:#?}",
        failed.len(),
        cases.len()
    );
    println!("{} commands and flags, {} cases", all.len(), cases.len());
}
