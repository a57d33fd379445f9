//! The command tree for programs: `gantry __commands`.

use super::flag::Takes;
use super::tree::{GLOBAL, verbs};
use super::{Flag, Verb};
use crate::template::{Struct, Value};

/// JSON: `{"commands":[{"name","paths","usage","arguments","flags":[{"long","short","type","takes_value","default"}],
/// "refused":["--publish",...]}],"global":[...]}`.
pub(crate) fn listing() -> String {
    let commands: Vec<Value> = verbs().map(command).collect();
    let global = shown(GLOBAL.iter());
    let tree = Struct::new("tree").with("commands", commands).with("global", global);
    format!("{}\n", Value::from(tree).pretty_json())
}

fn command(verb: &Verb) -> Value {
    let usage: Vec<String> = verb.usage.iter().map(|line| (*line).to_owned()).collect();
    let refused: Vec<Value> = verb
        .all_flags()
        .filter(|flag| flag.is_unbuilt())
        .map(|flag| format!("--{}", flag.long).into())
        .collect();
    Struct::new("command")
        .with("name", verb.name)
        .with("paths", verb.paths().as_slice())
        .with("usage", usage.as_slice())
        .with("arguments", format!("{:?}", verb.arity))
        .with("flags", shown(verb.all_flags()))
        .with("refused", refused)
        .into()
}

fn shown(flags: impl Iterator<Item = &'static Flag>) -> Vec<Value> {
    let one = |flag: &'static Flag| {
        let kind = if matches!(flag.takes, Takes::Bool(_)) {
            "bool"
        } else {
            flag.type_name()
        };
        Value::from(
            Struct::new("flag")
                .with("long", flag.long)
                .with("short", flag.short.map(|short| short.to_string()))
                .with("type", kind)
                .with("takes_value", !flag.is_switch())
                .with("default", flag.default),
        )
    };
    flags.filter(|flag| !flag.is_unbuilt()).map(one).collect()
}
