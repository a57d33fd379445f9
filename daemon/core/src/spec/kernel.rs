//! Kernel parameters of a container's own namespaces.

use super::{Network, Share, SpecInput};
use crate::{Error, Result};
use std::collections::HashMap;

/// Parameters of the IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// What a container of its own network namespace may do without capabilities (bind low ports and ping), and what is asked for.
pub(super) fn sysctls(input: &SpecInput<'_>) -> Result<Option<HashMap<String, String>>> {
    let host_network = input.network == Network::Host;
    let mut all = HashMap::new();
    if !host_network {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in &input.host.sysctls {
        // Some write them as paths.
        let plain = name.replace('/', ".");
        let refuse = |why: &str| Err(Error::invalid(format!("sysctl \"{name}\" {why}")));
        let ipc = IPC.contains(&plain.as_str()) || plain.starts_with("fs.mqueue.");
        match plain.as_str() {
            _ if plain.starts_with("net.") && host_network => {
                return refuse("not allowed in host network namespace");
            }
            _ if ipc && input.shared.ipc == Share::Host => return refuse("not allowed in host IPC namespace"),
            _ if ipc || plain.starts_with("net.") => {}
            "kernel.domainname" if input.shared.uts == Share::Private => {}
            _ => return refuse("is not in a separate kernel namespace"),
        }
        all.insert(plain, value.clone());
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}
