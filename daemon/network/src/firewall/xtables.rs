//! The programs of iptables, for one address family and one of the two kernels' tables they can mean.

use super::published::Version;
use super::run::Run;
use crate::Result;
use std::collections::BTreeMap;
use std::fs;

/// Which tables in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What `iptables` means on this machine.
    Usual,
    /// Those on nftables.
    Nft,
    /// The old ones.
    Legacy,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Xtables {
    pub version: Version,
    pub kind: Kind,
}

/// What `iptables-save` says of one table.
#[derive(Debug, Default)]
pub(crate) struct SavedTable {
    /// Chains with their policies; `-` for those that are jumped to.
    pub chains: BTreeMap<String, String>,
    /// `-A CHAIN ...`, in order.
    pub rules: Vec<String>,
}

pub(crate) type Saved = BTreeMap<String, SavedTable>;

impl Xtables {
    fn program(&self, suffix: &str) -> String {
        let family = match self.version {
            Version::V4 => "iptables",
            Version::V6 => "ip6tables",
        };
        let kind = match self.kind {
            Kind::Usual => "",
            Kind::Nft => "-nft",
            Kind::Legacy => "-legacy",
        };
        format!("{family}{kind}{suffix}")
    }

    /// Whether the old tables are meant.
    pub fn is_legacy(&self) -> Result<bool> {
        match self.kind {
            Kind::Legacy => Ok(true),
            Kind::Nft => Ok(false),
            Kind::Usual => {
                let said = Run::new(&self.program(""), &["--version"]).output()?;
                Ok(!said.contains("nf_tables"))
            }
        }
    }

    /// Everything that is there, or one table.
    pub fn saved(&self, table: Option<&str>) -> Result<Saved> {
        let args: Vec<&str> = table.map(|table| vec!["-t", table]).unwrap_or_default();
        Ok(read(&Run::new(&self.program("-save"), &args).output()?))
    }

    /// Applies text in the form of `iptables-save`, leaving alone what it does not name; a transaction for each table.
    pub fn restore(&self, text: String) -> Result<()> {
        let args = ["--noflush", "-w", "10"];
        Run::new(&self.program("-restore"), &args)
            .input(text)
            .output()
            .map(drop)
    }

    /// Whether the old `filter` table is there, without making it.
    pub fn legacy_filter(version: Version) -> bool {
        let path = match version {
            Version::V4 => "/proc/thread-self/net/ip_tables_names",
            Version::V6 => "/proc/thread-self/net/ip6_tables_names",
        };
        fs::read_to_string(path).is_ok_and(|names| names.lines().any(|name| name == "filter"))
    }
}

fn read(text: &str) -> Saved {
    let mut saved = Saved::new();
    let mut table = String::new();
    for line in text.lines() {
        let Some(mark) = line.chars().next() else { continue };
        match mark {
            '*' => {
                table = line[1..].to_owned();
                saved.entry(table.clone()).or_default();
            }
            ':' => {
                let mut words = line[1..].split(' ');
                if let (Some(chain), Some(policy), Some(saved)) = (words.next(), words.next(), saved.get_mut(&table)) {
                    saved.chains.insert(chain.to_owned(), policy.to_owned());
                }
            }
            '-' => {
                if let Some(saved) = saved.get_mut(&table) {
                    saved.rules.push(line.trim_end().to_owned());
                }
            }
            _ => {}
        }
    }
    saved
}

impl SavedTable {
    /// The rules of one chain, without `-A CHAIN `.
    pub fn of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules.iter().filter_map(move |rule| {
            let rest = rule.strip_prefix("-A ")?.strip_prefix(chain)?;
            rest.strip_prefix(' ')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read() {
        let text = "# by iptables\n*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\n-A DOCKER -j RETURN\nCOMMIT\n*nat\nCOMMIT\n";
        let saved = read(text);
        assert_eq!(saved["filter"].chains["FORWARD"], "DROP");
        assert_eq!(saved["filter"].of("FORWARD").collect::<Vec<_>>(), ["-j DOCKER"]);
        assert!(saved["nat"].rules.is_empty());
    }
}
