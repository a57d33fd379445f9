//! Mounts, in their three spellings: `Binds`, `Tmpfs` and `Mounts`.

use super::text;
use crate::answer::Failure;
use crate::model::asked::{Host, Mount};
use gantry_core::container::{BindMount, HostConfig};
use gantry_core::volume::{BindOptions, MountKind, MountRequest, TmpfsOptions, VolumeOptions};

const PROPAGATION: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Answers the paths of anonymous volumes.
pub fn translate(asked: &Host, host: &mut HostConfig) -> Result<Vec<String>, Failure> {
    let mut anonymous = Vec::new();
    for spec in &asked.binds {
        match spec.contains(':') {
            true => host.binds.push(bind(spec)?),
            false => anonymous.push(text("Binds", spec.clone())?),
        }
    }
    for (target, options) in &asked.tmpfs {
        host.tmpfs.insert(text("Tmpfs", target.clone())?, options.clone());
    }
    host.mounts = asked.mounts.iter().map(mount).collect::<Result<_, _>>()?;
    Ok(anonymous)
}

/// `source:target[:mode]`.
fn bind(spec: &str) -> Result<BindMount, Failure> {
    let odd = || Failure::bad(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, *mode),
        _ => return Err(odd()),
    };
    if source.is_empty() || target.is_empty() || spec.contains('\0') {
        return Err(odd());
    }
    let mut bind = BindMount {
        source: (*source).to_owned(),
        target: (*target).to_owned(),
        // Clients compare what they wrote with what they are shown.
        mode: mode.to_owned(),
        ..BindMount::default()
    };
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => bind.read_only = true,
            // Labels are for hosts with SELinux; consistency is a word of other systems.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "nocopy" => {}
            word if PROPAGATION.contains(&word) => bind.propagation = word.to_owned(),
            _ => return Err(Failure::bad(format!("invalid mode: {mode}"))),
        }
    }
    Ok(bind)
}

fn mount(asked: &Mount) -> Result<MountRequest, Failure> {
    let odd = |why: &str| Failure::bad(format!("invalid mount config for type \"{}\": {why}", asked.kind));
    let kind = match asked.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" | "cluster" => return Err(Failure::unbuilt(&format!("a mount of type {}", asked.kind))),
        "npipe" => return Err(odd("it is for Windows")),
        other => return Err(Failure::bad(format!("mount type unknown: \"{other}\""))),
    };
    let foreign = [
        (asked.bind.is_some() && kind != MountKind::Bind, "BindOptions"),
        (asked.volume.is_some() && kind != MountKind::Volume, "VolumeOptions"),
        (asked.tmpfs.is_some() && kind != MountKind::Tmpfs, "TmpfsOptions"),
    ];
    if let Some((_, field)) = foreign.iter().find(|(given, _)| *given) {
        return Err(odd(&format!("field {field} must not be specified")));
    }
    let (bind, volume) = (
        asked.bind.clone().unwrap_or_default(),
        asked.volume.clone().unwrap_or_default(),
    );
    if bind.read_only_force_recursive {
        return Err(Failure::unbuilt("BindOptions.ReadOnlyForceRecursive"));
    }
    if !bind.propagation.is_empty() && !PROPAGATION.contains(&bind.propagation.as_str()) {
        return Err(odd(&format!("invalid propagation mode: {}", bind.propagation)));
    }
    let tmpfs = asked.tmpfs.clone().unwrap_or_default();
    if !tmpfs.options.is_empty() {
        return Err(Failure::unbuilt("TmpfsOptions.Options"));
    }
    let driver = volume.driver.unwrap_or_default();
    Ok(MountRequest {
        kind,
        source: text("Mounts", asked.source.clone())?,
        target: text("Mounts", asked.target.clone())?,
        read_only: asked.read_only,
        consistency: asked.consistency.clone(),
        bind: BindOptions {
            propagation: bind.propagation,
            non_recursive: bind.non_recursive,
            create_source: bind.create_mountpoint,
            shallow_read_only: bind.read_only_non_recursive,
        },
        volume: VolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels.into_iter().collect(),
            driver: driver.name,
            driver_options: driver.options,
            subpath: text("Mounts", volume.subpath)?,
        },
        tmpfs: TmpfsOptions {
            size: tmpfs.size,
            mode: u32::try_from(tmpfs.mode).map_err(|_| odd("field TmpfsOptions.Mode is no mode"))?,
        },
    })
}
