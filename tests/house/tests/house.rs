//! This house, judged.

use gantry_house::{Plan, judge, licence, read, root, size};
use std::sync::OnceLock;

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| read(&root()).expect("the workspace can be read"))
}

#[test]
fn no_rule_is_broken() {
    let found: Vec<String> = judge(plan()).iter().map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "the house breaks its rules:\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn the_judge_sees_the_whole_graph() {
    assert!(plan().crates.len() > 15, "our crates");
    assert!(plan().packages.len() > 100, "and what they lean on");
    assert!(plan().reach["gantry-store"].contains("rocksdb"), "however deep");
    assert!(!plan().reach["gantry-core"].contains("tokio"));
}

#[test]
fn what_was_looked_at_by_hand_is_still_here() {
    for (name, _) in licence::LOOKED_AT {
        let there = plan().packages.iter().any(|package| package.name == name);
        assert!(there, "{name} is gone: take it off the list");
    }
}

#[test]
fn long_files_are_warned_about() {
    for finding in size::long_files(&root(), size::TOO_LONG) {
        println!("warning: {finding}");
    }
}
