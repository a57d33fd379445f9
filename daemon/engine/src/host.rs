//! The host as the spec builder needs to know it, and the OCI spec of a container on it.

mod facts;
mod hooks;
pub mod real_time;
pub mod shared;

use crate::Config;
use crate::context::Context;
use gantry_core::container::{BindMount, ContainerRecord, HostConfig};
use gantry_core::spec::security::Seccomp;
use gantry_core::spec::user::ResolvedUser;
use gantry_core::spec::{self, Defaults, EtcFiles, Network, Shared, SpecInput};
use gantry_core::volume::MountKind;
use gantry_core::{ContainerId, Error, Result};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use facts::{filesystem_name, gather, os_name, total_memory, warnings};

/// What a container has around it on the host.
pub struct Around {
    pub network: Network,
    pub binds: Vec<BindMount>,
    pub shared: Shared,
    /// Variables that tell of other containers.
    pub linked: Vec<String>,
}

/// The spec of a container and what was left out of it.
pub fn spec(
    context: &Context,
    record: &ContainerRecord,
    user: ResolvedUser,
    around: Around,
) -> Result<(Spec, Vec<String>)> {
    let hooks = hooks::of(context, record)?;
    let dir = context.state_dir(&record.id);
    let host = placed(record, around.binds);
    spec::build(
        &SpecInput {
            id: &record.id,
            args: &record.args,
            config: &record.config,
            host: &host,
            user,
            network: around.network,
            shared: around.shared,
            linked: &around.linked,
            etc: EtcFiles {
                hostname: Some(dir.join("hostname")),
                hosts: Some(dir.join("hosts")),
                resolv_conf: Some(dir.join("resolv.conf")),
            },
            cgroups_path: PathBuf::from(context.cgroup_of(record)),
            hooks,
            umask: None,
            defaults: &context.defaults,
        },
        &context.facts,
    )
}

/// What cgroups are to keep of a container, as JSON, and what of it was left out.
pub fn resources(context: &Context, record: &ContainerRecord) -> Result<(Vec<u8>, Vec<String>)> {
    shared::check_cgroup(context, &record.host)?;
    let devices = shared::block_devices(&record.host.blkio)?;
    let (resources, warnings) = spec::resources::update(&record.host, &context.facts, &devices)?;
    let text =
        serde_json::to_vec(&resources).map_err(|error| Error::internal(format!("encode the limits: {error}")))?;
    Ok((text, warnings))
}

/// The configuration with every mount as it is on the host now.
fn placed(record: &ContainerRecord, binds: Vec<BindMount>) -> HostConfig {
    let mut host = record.host.clone();
    host.binds = binds;
    for point in record.mounts.iter().filter(|point| point.kind == MountKind::Tmpfs) {
        host.tmpfs.insert(point.target.clone(), point.options.clone());
    }
    host
}

/// The spec a running container was made with.
pub fn bundle_spec(context: &Context, id: &ContainerId) -> Result<Spec> {
    let path = context.shims.bundle(&context.namespace, id).path().join("config.json");
    let text = std::fs::read(&path).map_err(|error| Error::internal(format!("read {}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| Error::internal(format!("read {}: {error}", path.display())))
}

/// What the configuration presets for every container.
pub fn defaults(config: &Config) -> Defaults {
    let seccomp = match config.seccomp_profile.as_str() {
        "" | "builtin" => Seccomp::Default,
        "unconfined" => Seccomp::Unconfined,
        text => Seccomp::Profile(text.to_owned()),
    };
    Defaults {
        ulimits: config.default_ulimits.clone(),
        seccomp,
        no_new_privileges: config.no_new_privileges,
        shm_size: config.shm_size,
    }
}

impl Context {
    /// The cgroup of a container.
    pub fn cgroup_of(&self, record: &ContainerRecord) -> String {
        format!("{}/{}", self.cgroup_parent(&record.host), record.id)
    }

    /// The same of one that may be known by its id alone.
    pub fn cgroup_path(&self, id: &ContainerId) -> String {
        match self.registry.get(id) {
            Some(keeper) => self.cgroup_of(&keeper.record()),
            None => format!("{}/{id}", self.config.cgroup_parent),
        }
    }

    /// What a container's cgroup is made in; from the root, as the daemon's own is.
    pub fn cgroup_parent(&self, host: &HostConfig) -> String {
        match host.cgroup_parent.trim_matches('/') {
            "" => self.config.cgroup_parent.clone(),
            parent => format!("/{parent}"),
        }
    }

    /// Log driver and options of a container, the daemon's where it names none.
    pub fn log<'a>(&'a self, record: &'a ContainerRecord) -> (&'a str, &'a BTreeMap<String, String>) {
        let own = &record.host.log;
        let chosen = if own.driver.is_empty() && own.options.is_empty() {
            &self.config.log
        } else {
            own
        };
        let named = [own.driver.as_str(), self.config.log.driver.as_str()]
            .into_iter()
            .find(|name| !name.is_empty());
        (named.unwrap_or("json-file"), &chosen.options)
    }
}
