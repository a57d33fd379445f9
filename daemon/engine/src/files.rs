//! Files the host makes for a container (hostname, hosts, resolv.conf), and the accounts read from its root filesystem.

use crate::context::Context;
use crate::layered::{self, Found};
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::error::io_kind;
use gantry_core::spec::user::{self, ResolvedUser};
use gantry_core::{Error, Mount, Result};
use std::fs;
use std::path::Path;

/// `/etc/passwd` and `/etc/group` of a container.
pub struct Accounts {
    passwd: Option<String>,
    group: Option<String>,
}

impl Accounts {
    /// `user[:group]` as numbers.
    pub fn resolve(&self, spec: &str) -> Result<ResolvedUser> {
        user::resolve(spec, self.passwd.as_deref(), self.group.as_deref())
    }
}

/// Reads the accounts from the layers; mounts the tree only if the layers leave a doubt.
pub fn accounts(context: &Context, mounts: &[Mount]) -> Result<Accounts> {
    let mut texts = Vec::with_capacity(2);
    for name in ["passwd", "group"] {
        texts.push(match layered::read(mounts, "etc", name) {
            Found::Text(text) => Some(text),
            Found::Missing => None,
            Found::Unsure => mounted(context, mounts, name)?,
        });
    }
    let group = texts.pop().flatten();
    Ok(Accounts {
        passwd: texts.pop().flatten(),
        group,
    })
}

/// The careful way: a private mount, and a look that cannot leave it.
fn mounted(context: &Context, mounts: &[Mount], name: &str) -> Result<Option<String>> {
    let path = format!("etc/{name}");
    crate::container::rootfs::with(&context.mount_point(), mounts, move |root| {
        crate::container::rootfs::read_text(root, &path)
    })
}

/// Writes hostname, hosts and resolv.conf into the container's directory. They are made anew at each start.
pub fn write(context: &Context, record: &ContainerRecord) -> Result<()> {
    let dir = context.state_dir(&record.id);
    let hostname = hostname(record);
    put(&dir, "hostname", &format!("{hostname}\n"))?;
    put(&dir, "hosts", &hosts(record, hostname))?;
    put(&dir, "resolv.conf", &resolv_conf(record))
}

pub fn hostname(record: &ContainerRecord) -> &str {
    match record.config.hostname.as_str() {
        "" => record.id.short(),
        name => name,
    }
}

fn hosts(record: &ContainerRecord, hostname: &str) -> String {
    if record.host.network_mode == NetworkMode::Host
        && let Ok(text) = fs::read_to_string("/etc/hosts")
    {
        return text;
    }
    let own = match record.host.network_mode {
        // Its only address is loopback's.
        NetworkMode::None => format!("127.0.0.1\t{hostname}\n"),
        NetworkMode::Host => String::new(),
    };
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n{own}"
    )
}

fn resolv_conf(record: &ContainerRecord) -> String {
    match record.host.network_mode {
        NetworkMode::Host | NetworkMode::None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    }
}

fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    // In place, not by rename: a running container has it mounted.
    fs::write(&path, text).map_err(|error| Error::new(io_kind(&error), format!("write {}: {error}", path.display())))
}
