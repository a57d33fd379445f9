//! A table of nftables as we want it, and the text that makes it so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One table: sets and maps with their elements, chains with their rules, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// `ip gantry`
    pub name: String,
    pub sets: BTreeMap<&'static str, Set>,
    pub chains: BTreeMap<String, Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// `set` or `map`.
    pub keyword: &'static str,
    pub kind: &'static str,
    /// Its elements are ranges, which the kernel counts in its own way.
    pub ranges: bool,
    pub elements: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// `type nat hook output priority -100`; none for those that are jumped to.
    pub base: Option<&'static str>,
    pub rules: Vec<String>,
}

impl Table {
    pub fn new(name: String) -> Self {
        Self {
            name,
            sets: BTreeMap::new(),
            chains: BTreeMap::new(),
        }
    }

    pub fn set(&mut self, keyword: &'static str, name: &'static str, kind: &'static str) {
        let set = Set {
            keyword,
            kind,
            ranges: false,
            elements: BTreeSet::new(),
        };
        self.sets.insert(name, set);
    }

    pub fn ranges(&mut self, keyword: &'static str, name: &'static str, kind: &'static str) {
        self.set(keyword, name, kind);
        if let Some(set) = self.sets.get_mut(name) {
            set.ranges = true;
        }
    }

    /// Adds an element to a set that was declared.
    pub fn element(&mut self, set: &'static str, element: String) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(element);
        }
    }

    pub fn chain(&mut self, name: &str, base: Option<&'static str>, rules: Vec<String>) {
        self.chains.insert(name.to_owned(), Chain { base, rules });
    }

    /// Text that puts the whole table in the place of whatever there is.
    pub fn replaced(&self) -> String {
        let mut text = format!("table {0}\ndelete table {0}\ntable {0} {{\n", self.name);
        for (name, set) in &self.sets {
            let flags = if set.ranges { " flags interval;" } else { "" };
            put(
                &mut text,
                format_args!("{} {name} {{ type {};{flags} }}\n", set.keyword, set.kind),
            );
        }
        // Declared before any rule jumps to one.
        for (name, chain) in &self.chains {
            let base = chain
                .base
                .map(|base| format!(" {base}; policy accept; "))
                .unwrap_or_default();
            put(&mut text, format_args!("chain {name} {{{base}}}\n"));
        }
        text.push_str("}\n");
        for (name, chain) in &self.chains {
            self.fill(&mut text, name, chain);
        }
        for (name, set) in &self.sets {
            self.elements(&mut text, "add", name, set.elements.iter());
        }
        text
    }

    /// Text that removes it, also if it is not there.
    pub fn removed(&self) -> String {
        format!("table {0}\ndelete table {0}\n", self.name)
    }

    /// Text that makes `self` of `before`: a table of the same name and sets.
    pub fn changed(&self, before: &Self) -> String {
        let mut text = String::new();
        let nothing = BTreeSet::new();
        let mut leaving = String::new();
        let mut coming = String::new();
        for (name, set) in &self.sets {
            let old = before.sets.get(name).map_or(&nothing, |set| &set.elements);
            self.elements(&mut leaving, "delete", name, old.difference(&set.elements));
            self.elements(&mut coming, "add", name, set.elements.difference(old));
        }
        let altered = |name: &String, chain: &Chain| before.chains.get(name) != Some(chain);
        let altered: Vec<_> = self
            .chains
            .iter()
            .filter(|(name, chain)| altered(name, chain))
            .collect();
        for (name, _) in &altered {
            put(&mut text, format_args!("add chain {} {name}\n", self.name));
        }
        text.push_str(&leaving);
        for (name, chain) in &altered {
            put(&mut text, format_args!("flush chain {} {name}\n", self.name));
            self.fill(&mut text, name, chain);
        }
        for name in before.chains.keys().filter(|name| !self.chains.contains_key(*name)) {
            put(
                &mut text,
                format_args!("flush chain {0} {name}\ndelete chain {0} {name}\n", self.name),
            );
        }
        text.push_str(&coming);
        text
    }

    fn fill(&self, text: &mut String, name: &str, chain: &Chain) {
        for rule in &chain.rules {
            put(text, format_args!("add rule {} {name} {rule}\n", self.name));
        }
    }

    fn elements<'a>(&self, text: &mut String, verb: &str, set: &str, elements: impl Iterator<Item = &'a String>) {
        let mut elements = elements.peekable();
        if elements.peek().is_none() {
            return;
        }
        put(text, format_args!("{verb} element {} {set} {{ ", self.name));
        for element in elements {
            text.push_str(element);
            text.push_str(", ");
        }
        text.push_str("}\n");
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written");
}
