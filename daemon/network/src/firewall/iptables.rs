//! The iptables backend: chains that bear Docker's names, so that what manuals show of them is what is seen.
//!
//! `DOCKER` in `nat` and `filter`, `DOCKER-ISOLATION-STAGE-1` and `-2`, and `DOCKER-USER`, which is only made, never changed, and
//! comes first. Beyond what the manuals show there is `DOCKER-HAIRPIN` (ports as containers reach them by the host's address),
//! `DOCKER-ANSWERS` (sources that are changed so that answers come back), and `DOCKER` in `raw` (127/8 is this host's
//! own). Rules that stand in chains of the kernel's own bear no mark: they are known by their shape and by the devices and
//! addresses that our chains name. Networks whose containers may not talk to each other have a table of nftables besides.

mod apart;
mod lines;
mod owned;
mod rival;

use super::published::Version;
use super::xtables::{Kind, Saved, Xtables};
use super::{Backend, Rules, device};
use crate::{Instance, Result};
use apart::Apart;
use lines::{Line, Names};
use std::fmt::Write;
use std::path::Path;

const TABLES: [&str; 3] = ["raw", "nat", "filter"];

/// Makes iptables say what the rules say.
#[derive(Debug)]
pub struct Iptables {
    names: Names,
    versions: Vec<Xtables>,
    legacy: bool,
    drop_forward: bool,
    apart: Apart,
}

impl Iptables {
    /// `drop_forward` makes the policy of `FORWARD` a drop, as it has to be where this daemon is the one that switched
    /// forwarding on. Refused while a dockerd that has such chains runs in the same network namespace.
    pub fn new(instance: &Instance, drop_forward: bool) -> Result<Self> {
        let suffix = instance.chain_suffix();
        let v4 = Xtables {
            version: Version::V4,
            kind: Kind::Usual,
        };
        let mut versions = vec![v4];
        if Path::new("/proc/sys/net/ipv6").exists() {
            versions.push(Xtables {
                version: Version::V6,
                kind: Kind::Usual,
            });
        }
        let names = Names::new(&suffix);
        if suffix.is_empty() {
            rival::refuse(&v4, &names)?;
        }
        Ok(Self {
            legacy: v4.is_legacy()?,
            names,
            versions,
            drop_forward,
            apart: Apart::new(instance),
        })
    }

    /// Whether frames that cross a bridge are judged as well: by a table of nftables, where there is such.
    pub fn judges_bridged(instance: &Instance) -> bool {
        Apart::new(instance).is_possible()
    }

    fn lines(&self, version: Version, rules: &Rules) -> Vec<Line> {
        let mut lines = lines::standing(&self.names, version, rules);
        for endpoint in rules.endpoints.values() {
            lines.extend(lines::of_endpoint(&self.names, version, rules, endpoint));
        }
        lines
    }

    /// Text that puts `lines` in the place of all that is ours.
    fn replacing(&self, saved: &Saved, lines: &[Line]) -> String {
        let mut text = String::new();
        for table in TABLES {
            put(&mut text, format_args!("*{table}\n"));
            for chain in self.names.of(table) {
                put(&mut text, format_args!(":{chain} - [0:0]\n"));
            }
            if table == "filter" {
                self.front(&mut text, saved);
            }
            for old in owned::standing(&self.names, saved, table) {
                put(&mut text, format_args!("{}\n", old.replacen("-A ", "-D ", 1)));
            }
            let mut place = 0;
            for line in lines.iter().filter(|line| line.table == table) {
                if line.chain == "FORWARD" {
                    // Before what others have there, in our order.
                    place += 1;
                    put(&mut text, format_args!("-I FORWARD {place} {}\n", line.rest));
                } else {
                    put(&mut text, format_args!("{}\n", line.append()));
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    fn front(&self, text: &mut String, saved: &Saved) {
        if self.drop_forward {
            text.push_str(":FORWARD DROP [0:0]\n");
        }
        let there = saved
            .get("filter")
            .is_some_and(|table| table.chains.contains_key(&self.names.user));
        if !there {
            put(text, format_args!("-N {0}\n-A {0} -j RETURN\n", self.names.user));
        }
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written");
}

impl Backend for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn restore(&self, rules: &Rules) -> Result<()> {
        device::check(rules)?;
        for tables in &self.versions {
            let saved = tables.saved(None)?;
            tables.restore(self.replacing(&saved, &self.lines(tables.version, rules)))?;
        }
        self.apart.restore(rules)
    }

    fn change(&self, before: &Rules, after: &Rules) -> Result<()> {
        if before.networks != after.networks {
            return self.restore(after);
        }
        self.apart.change(before, after)?;
        let (before, after) = before.difference(after);
        for tables in &self.versions {
            let of = |rules: &Rules| -> Vec<Line> {
                let of = |endpoint| lines::of_endpoint(&self.names, tables.version, rules, endpoint);
                rules.endpoints.values().flat_map(of).collect()
            };
            let (was, is) = (of(&before), of(&after));
            let text = altered(&was, &is);
            if !text.is_empty() {
                tables.restore(text)?;
            }
        }
        Ok(())
    }

    fn intact(&self, rules: &Rules) -> Result<bool> {
        for tables in &self.versions {
            let saved = tables.saved(None)?;
            if !owned::complete(&saved, &self.lines(tables.version, rules)) || !self.names_stand(&saved) {
                return Ok(false);
            }
        }
        self.apart.intact(rules)
    }

    fn silent(&self) -> bool {
        self.legacy
    }

    fn owns_forward(&self, legacy: bool) -> bool {
        self.legacy == legacy
    }

    fn clear(&self) -> Result<()> {
        for tables in &self.versions {
            let saved = tables.saved(None)?;
            tables.restore(self.removing(&saved))?;
        }
        self.apart.clear()
    }
}

impl Iptables {
    fn names_stand(&self, saved: &Saved) -> bool {
        let user = saved
            .get("filter")
            .is_some_and(|table| table.chains.contains_key(&self.names.user));
        let policy = saved.get("filter").and_then(|table| table.chains.get("FORWARD"));
        user && (!self.drop_forward || policy.is_some_and(|policy| policy == "DROP"))
    }

    fn removing(&self, saved: &Saved) -> String {
        let mut text = String::new();
        for table in TABLES {
            let Some(there) = saved.get(table) else { continue };
            put(&mut text, format_args!("*{table}\n"));
            for old in owned::standing(&self.names, saved, table) {
                put(&mut text, format_args!("{}\n", old.replacen("-A ", "-D ", 1)));
            }
            let mut chains: Vec<&str> = self.names.of(table);
            chains.retain(|chain| there.chains.contains_key(*chain));
            if table == "filter" {
                if self.drop_forward {
                    text.push_str("-P FORWARD ACCEPT\n");
                }
                // What a user put there stays.
                if there.chains.contains_key(&self.names.user)
                    && there.of(&self.names.user).all(|rule| rule == "-j RETURN")
                {
                    chains.push(&self.names.user);
                }
            }
            for chain in &chains {
                put(&mut text, format_args!("-F {chain}\n"));
            }
            for chain in &chains {
                put(&mut text, format_args!("-X {chain}\n"));
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

/// Text for rules that go and rules that come, a transaction for each table.
fn altered(was: &[Line], is: &[Line]) -> String {
    let mut text = String::new();
    for table in TABLES {
        let going = was
            .iter()
            .filter(|line| line.table == table && !is.contains(line))
            .map(Line::delete);
        let coming = is
            .iter()
            .filter(|line| line.table == table && !was.contains(line))
            .map(Line::append);
        let all: Vec<String> = going.chain(coming).collect();
        if !all.is_empty() {
            put(&mut text, format_args!("*{table}\n{}\nCOMMIT\n", all.join("\n")));
        }
    }
    text
}
