//! Names of devices in the languages of firewalls, where some characters say more than themselves.

use super::Rules;
use crate::{Error, Result};

/// Refuses bridges whose names a rule would read as something else: a trailing `*` or `+` stands for any ending, and quotes and
/// backslashes end a name.
pub(super) fn check(rules: &Rules) -> Result<()> {
    let odd = |name: &str| {
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'*' | b'/' | b':' | b'!');
        name.is_empty() || name.len() > 15 || name.ends_with('+') || !name.bytes().all(plain)
    };
    match rules.networks.values().find(|network| odd(&network.device)) {
        None => Ok(()),
        Some(network) => Err(Error::Asked(gantry_core::Error::invalid(format!(
            "the bridge name \"{}\" cannot be said in a firewall rule",
            network.device
        )))),
    }
}
