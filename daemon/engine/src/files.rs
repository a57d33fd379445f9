//! Files the host makes for a container (hostname, hosts, resolv.conf), and the accounts read from its root filesystem.

use crate::context::Context;
use crate::layered::{self, Found};
use gantry_core::container::ContainerRecord;
use gantry_core::error::io_kind;
use gantry_core::spec::user::{self, ResolvedUser};
use gantry_core::{Error, Mount, Result};
use gantry_network::files::{Hosts, Upstream, hosts};
use std::fs;
use std::net::IpAddr;
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

    /// Groups by name or number.
    pub fn groups(&self, names: &[String]) -> Result<Vec<u32>> {
        names
            .iter()
            .map(|name| user::group(name, self.group.as_deref()))
            .collect()
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

/// The texts of a container's files that say where it is in its networks.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    pub hosts: String,
    pub resolv_conf: String,
    /// Whom the embedded name server asks.
    pub upstreams: Vec<Upstream>,
    pub ndots_set: bool,
}

impl Texts {
    /// Those of another container.
    pub fn read(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path)
                .map_err(|error| Error::new(io_kind(&error), format!("read {}: {error}", path.display())))
        };
        Ok(Self {
            hosts: text("hosts")?,
            resolv_conf: text("resolv.conf")?,
            ..Self::default()
        })
    }
}

/// Writes hostname, hosts and resolv.conf into the container's directory. They are made anew at each start.
pub fn write(context: &Context, record: &ContainerRecord, texts: &Texts) -> Result<()> {
    let dir = context.state_dir(&record.id);
    put(&dir, "hostname", &format!("{}\n", hostname(record)))?;
    put(&dir, "hosts", &texts.hosts)?;
    put(&dir, "resolv.conf", &texts.resolv_conf)
}

/// Writes those of a running container again, where its networks have changed.
pub fn rewrite(context: &Context, record: &ContainerRecord, texts: &Texts) -> Result<()> {
    let dir = context.state_dir(&record.id);
    put(&dir, "hosts", &texts.hosts)?;
    put(&dir, "resolv.conf", &texts.resolv_conf)
}

pub fn hostname(record: &ContainerRecord) -> &str {
    match record.config.hostname.as_str() {
        "" => record.id.short(),
        name => name,
    }
}

/// The host's own hosts file with what the user adds.
pub fn host_hosts(extra: &[String], gateways: &[IpAddr]) -> Result<String> {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let added = hosts(&Hosts {
        extra,
        host_gateways: gateways,
        ..Hosts::default()
    })?;
    let lines = added.lines().skip(1);
    for line in lines {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    // In place, not by rename: a running container has it mounted.
    fs::write(&path, text).map_err(|error| Error::new(io_kind(&error), format!("write {}: {error}", path.display())))
}
