//! Names of devices in the languages of firewalls, where some characters say more than themselves.

use super::Rules;
use crate::{Error, Result};

/// Refuses devices whose names a rule would read as something else: a trailing `*` or `+` stands for any ending, and quotes and
/// backslashes end a name.
pub(super) fn check(rules: &Rules) -> Result<()> {
    let odd = |name: &str| {
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'*' | b'/' | b':' | b'!');
        name.is_empty() || name.len() > 15 || name.ends_with('+') || !name.bytes().all(plain)
    };
    let bridges = rules.networks.values().map(|network| &network.device);
    let ports = rules
        .endpoints
        .values()
        .map(|endpoint| &endpoint.interface)
        .filter(|name| !name.is_empty());
    match bridges.chain(ports).find(|name| odd(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Asked(gantry_core::Error::invalid(format!(
            "the device name \"{name}\" cannot be said in a firewall rule"
        )))),
    }
}
