//! Port 53 of 127.0.0.11 leads to our ports, within a sandbox.
//!
//! Queries are led to us when they leave the asker; answers find their way back by the connection's entry, or by the second
//! rule when that entry is forgotten by the time we answer.

use super::sockets::Ports;
use crate::files::EMBEDDED;
use crate::firewall::run::Run;
use crate::{Error, Result};
use tracing::debug;

const TABLE: &str = "gantry-names";
/// Docker's names, which those who look into sandboxes know.
const CHAINS: [&str; 2] = ["DOCKER_OUTPUT", "DOCKER_POSTROUTING"];

/// In the calling thread's namespace. May be done again.
pub fn redirect(ports: Ports) -> Result<()> {
    let by_nft = Run::new("nft", &["-f", "-"]).input(nft(ports)).output();
    let Err(why) = by_nft else { return Ok(()) };
    debug!(%why, "nft cannot lead a sandbox's port 53, trying iptables");
    by_iptables(ports).map_err(|also| Error::Program {
        program: "nft and iptables".to_owned(),
        output: format!("neither can lead a sandbox's port 53 to its name server: {why}; {also}"),
    })
}

/// The priorities are those of the kernel's own destination and source NAT.
fn nft(Ports { udp, tcp }: Ports) -> String {
    format!(
        "add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
\tchain output {{
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr {EMBEDDED} udp dport 53 dnat to {EMBEDDED}:{udp}
\t\tip daddr {EMBEDDED} tcp dport 53 dnat to {EMBEDDED}:{tcp}
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority 100; policy accept;
\t\tip saddr {EMBEDDED} udp sport {udp} snat to {EMBEDDED}:53
\t\tip saddr {EMBEDDED} tcp sport {tcp} snat to {EMBEDDED}:53
\t}}
}}
"
    )
}

pub(super) fn by_iptables(ports: Ports) -> Result<()> {
    Run::new("iptables-restore", &["--noflush", "--wait", "5"])
        .input(iptables(ports))
        .output()?;
    for (hook, selector, chain) in [("OUTPUT", "-d", CHAINS[0]), ("POSTROUTING", "-s", CHAINS[1])] {
        let address = EMBEDDED.to_string();
        let rule = ["--wait", "5", "-t", "nat", "-C", hook, selector, &address, "-j", chain];
        if Run::new("iptables", &rule).output().is_err() {
            let mut rule = rule;
            rule[4] = "-A";
            Run::new("iptables", &rule).output()?;
        }
    }
    Ok(())
}

/// Naming a chain empties it.
fn iptables(Ports { udp, tcp }: Ports) -> String {
    let [output, postrouting] = CHAINS;
    format!(
        "*nat
:{output} - [0:0]
:{postrouting} - [0:0]
-A {output} -d {EMBEDDED}/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination {EMBEDDED}:{tcp}
-A {output} -d {EMBEDDED}/32 -p udp -m udp --dport 53 -j DNAT --to-destination {EMBEDDED}:{udp}
-A {postrouting} -s {EMBEDDED}/32 -p tcp -m tcp --sport {tcp} -j SNAT --to-source :53
-A {postrouting} -s {EMBEDDED}/32 -p udp -m udp --sport {udp} -j SNAT --to-source :53
COMMIT
"
    )
}
