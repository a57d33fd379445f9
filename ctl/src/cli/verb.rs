//! A command as data, and what parsing its arguments gives.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use super::flag::{Flag, Takes, parse_bool};
use crate::client::Daemon;
use crate::error::Result;

pub(crate) type Run = fn(Daemon, Parsed) -> Pin<Box<dyn Future<Output = Result<i32>>>>;

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arity {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

impl Arity {
    /// What is wrong with so many arguments, as Docker says it.
    pub(crate) fn complaint(self, count: usize) -> Option<String> {
        let s = |n: usize| if n == 1 { "" } else { "s" };
        match self {
            Self::None if count > 0 => Some("accepts no arguments".into()),
            Self::Exactly(n) if count != n => Some(format!("requires {n} argument{}", s(n))),
            Self::AtLeast(n) if count < n => Some(format!("requires at least {n} argument{}", s(n))),
            Self::AtMost(n) if count > n => Some(format!("requires at most {n} argument{}", s(n))),
            Self::Between(least, most) if count < least || count > most => Some(format!(
                "requires at least {least} and at most {most} argument{}",
                s(most)
            )),
            _ => None,
        }
    }

    /// Docker points to the help by "See" where arguments may follow without end.
    pub(crate) fn pointer(self) -> &'static str {
        if matches!(self, Self::AtLeast(_)) { "See" } else { "Run" }
    }
}

/// A command.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Stands at the top too: `gantry ps` beside `gantry container ls`.
    pub(crate) top: bool,
    /// Management command and the names under it, the first the usual one.
    pub(crate) group: &'static str,
    pub(crate) names: &'static [&'static str],
    pub(crate) about: &'static str,
    /// Said after `about` in help.
    pub(crate) more: &'static str,
    pub(crate) usage: &'static [&'static str],
    pub(crate) examples: &'static [&'static str],
    pub(crate) arity: Arity,
    /// Flags end at the first argument: what follows belongs to a container's command.
    pub(crate) flags_first: bool,
    pub(crate) flags: &'static [&'static [Flag]],
    pub(crate) run: Run,
}

impl Verb {
    pub(crate) fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + Clone + use<> {
        let flags: &'static [&'static [Flag]] = self.flags;
        flags.iter().flat_map(|part| part.iter())
    }

    /// Every way to call it, without the program's name.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = match self.group {
            "" => Vec::new(),
            group => self.names.iter().map(|name| format!("{group} {name}")).collect(),
        };
        if self.top {
            paths.push(self.name.to_owned());
        }
        paths
    }
}

/// What the user gave, checked.
#[derive(Debug, Default, Clone)]
pub(crate) struct Parsed {
    /// "run", "container run": as it was called.
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) given: HashMap<&'static str, Vec<String>>,
    pub(crate) defaults: HashMap<&'static str, bool>,
}

impl Parsed {
    pub(crate) fn note(&mut self, flag: &'static Flag, values: Vec<String>) {
        if let Takes::Bool(default) = flag.takes {
            self.defaults.insert(flag.long, default);
        }
        if !values.is_empty() {
            self.given.insert(flag.long, values);
        }
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn on(&self, name: &str) -> bool {
        let given = self.text(name).and_then(parse_bool);
        given.unwrap_or_else(|| self.defaults.get(name).copied().unwrap_or(false))
    }

    /// The last value given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// A number, checked at parse time.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// Bytes, checked at parse time.
    pub(crate) fn bytes(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        if text == "-1" {
            Some(-1)
        } else {
            crate::format::units::ram_in_bytes(text).ok()
        }
    }

    pub(crate) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }
}
