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

/// A test function whose name begins with the promise's number, or with several of which it is one (`p12_p16_...`).
fn names(line: &str, number: &str) -> bool {
    let Some(name) = line.trim().strip_prefix("fn ") else {
        return false;
    };
    let mut numbers = name
        .split('_')
        .take_while(|part| part.len() == 3 && part.starts_with('p'));
    numbers.any(|part| part == number)
}

/// A row of the README's table of promises that says "holds" has a test named for its number.
#[test]
fn promises_that_hold_have_a_test() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let tests = sources(&root().join("tests"));
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| P")).collect();
    assert!(!rows.is_empty(), "the README promises");
    for row in rows {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let number = cells.next().expect("a row has cells").to_lowercase();
        match cells.next_back().expect("a row has a state") {
            "holds" => assert!(
                tests.lines().any(|line| names(line, &number)),
                "{number} holds, but no test is named {number}_..."
            ),
            state => assert_eq!(state, "pending", "the state of {number}"),
        }
    }
}

fn sources(dir: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).expect("a directory of ours").flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).expect("a source of ours");
        }
    }
    text
}
