//! Kernel settings of the calling thread's network namespace, under `/proc/sys/net`.

use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::PathBuf;

/// A family's settings of a device, or of `all` or `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// The file of a setting: `net.ipv4.ip_forward` is `/proc/sys/net/ipv4/ip_forward`. A slash in a name stands for a dot in
/// a device's name, as sysctl(8) has it.
fn path(name: &str) -> PathBuf {
    let parts = name.split('.').map(|part| part.replace('/', "."));
    std::iter::once("/proc/sys".to_owned()).chain(parts).collect()
}

fn device_path(family: Family, device: &str, setting: &str) -> PathBuf {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    ["/proc/sys/net", family, "conf", device, setting].iter().collect()
}

/// Sets one named as in sysctl(8).
pub fn set(name: &str, value: &str) -> Result<()> {
    write(path(name), value)
}

/// `None` if the kernel has no such setting.
pub fn get(name: &str) -> Result<Option<String>> {
    read(path(name))
}

/// Sets one of a device. A kernel without that family has nothing to set.
pub fn set_device(family: Family, device: &str, setting: &str, value: &str) -> Result<()> {
    match write(device_path(family, device, setting), value) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound && !has(family) => Ok(()),
        other => other,
    }
}

pub fn get_device(family: Family, device: &str, setting: &str) -> Result<Option<String>> {
    read(device_path(family, device, setting))
}

/// Whether the kernel knows the family at all.
pub fn has(family: Family) -> bool {
    device_path(family, "all", "forwarding").exists()
}

/// Writes only what is not so already: the files of some settings cannot be written in a container.
fn write(path: PathBuf, value: &str) -> Result<()> {
    if read(path.clone()).is_ok_and(|now| now.as_deref() == Some(value)) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::File {
        what: format!("set {} to {value}", path.display()),
        source,
    })
}

/// With single spaces between its words.
fn read(path: PathBuf) -> Result<Option<String>> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            what: format!("read {}", path.display()),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_files() {
        assert_eq!(
            path("net.ipv4.ip_forward"),
            PathBuf::from("/proc/sys/net/ipv4/ip_forward")
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/5.arp_ignore"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.5/arp_ignore")
        );
        assert_eq!(get("net.ipv4.no_such_setting").unwrap(), None);
        assert!(get("net.ipv4.ip_forward").unwrap().is_some());
        assert!(set("net.ipv4.no_such_setting", "1").is_err());
    }
}
