//! What a create asks for at older versions of the API: what came later is not read, or refused where that would weaken something
//! (API `ContainerCreate`; "version history" of the API).

use crate::answer::Failure;
use crate::call::Version;
use crate::model::asked::{Create, Host, Mount};

/// The request as its version understands it.
pub fn as_of(version: Version, asked: &mut Create, host: &mut Host) -> Result<(), Failure> {
    let before = |minor: u32| version < Version(1, minor);
    if before(25) {
        // Clients removed their containers themselves.
        host.auto_remove = false;
    }
    if before(40) {
        host.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    if before(42) {
        host.console_size.clear();
    } else {
        host.kernel_memory = 0;
    }
    if before(43) {
        host.annotations.clear();
    }
    if before(44)
        && let Some(health) = &mut asked.healthcheck
    {
        health.start_interval = 0;
    }
    if before(48) {
        for endpoint in asked.networking.endpoints.values_mut().flatten() {
            endpoint.gateway_priority = 0;
        }
    }
    host.mounts.iter_mut().try_for_each(|mount| mount_as_of(version, mount))
}

fn mount_as_of(version: Version, mount: &mut Mount) -> Result<(), Failure> {
    let before = |minor: u32| version < Version(1, minor);
    let needs = |what: &str, minor: u32| Err(Failure::bad(format!("{what} needs API v1.{minor} or newer")));
    if let Some(bind) = &mut mount.bind {
        bind.non_recursive &= !before(40);
        bind.create_mountpoint &= !before(42);
        if before(44) && bind.read_only_force_recursive {
            return needs("BindOptions.ReadOnlyForceRecursive", 44);
        }
    }
    if before(42) {
        // These had no meaning, and nobody said so.
        if mount.kind != "volume" {
            mount.volume = None;
        }
        if mount.kind != "tmpfs" {
            mount.tmpfs = None;
        }
    }
    if before(44) && mount.kind == "bind" {
        // Read-only mounts were so at their top only.
        mount.bind.get_or_insert_default().read_only_non_recursive = true;
    }
    let subpath = mount.volume.as_ref().is_some_and(|volume| !volume.subpath.is_empty());
    if before(45) && subpath {
        return needs("VolumeOptions.Subpath", 45);
    }
    match before(48) && mount.kind == "image" {
        true => needs("Mount type \"Image\"", 48),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Wire;
    use serde_json::{Value, json};

    fn read(minor: u32, value: Value) -> Result<(Create, Host), Failure> {
        let mut asked = Create::read(value, "").expect("a create");
        let mut host = asked.host.clone().unwrap_or_default();
        as_of(Version(1, minor), &mut asked, &mut host)?;
        Ok((asked, host))
    }

    #[test]
    fn what_came_later_is_not_read() {
        let all = json!({
            "Healthcheck": { "StartInterval": 5 },
            "HostConfig": {
                "AutoRemove": true, "Annotations": { "a": "b" }, "ConsoleSize": [1, 2], "KernelMemoryTCP": 5,
                "Mounts": [{ "Type": "bind", "BindOptions": { "NonRecursive": true, "CreateMountpoint": true }, "TmpfsOptions": {} }],
            },
            "NetworkingConfig": { "EndpointsConfig": { "a": { "GwPriority": 5 }, "b": null } },
        });
        let (asked, host) = read(24, all.clone()).expect("it is read");
        assert!(!host.auto_remove && host.annotations.is_empty() && host.console_size.is_empty());
        assert_eq!((host.ipc_mode.as_str(), host.kernel_memory_tcp), ("shareable", 0));
        let bind = host.mounts[0].bind.clone().expect("options");
        assert!(!bind.non_recursive && !bind.create_mountpoint && bind.read_only_non_recursive);
        assert!(host.mounts[0].tmpfs.is_none());
        assert_eq!(asked.healthcheck.expect("a check").start_interval, 0);
        assert_eq!(
            asked.networking.endpoints["a"]
                .as_ref()
                .expect("an endpoint")
                .gateway_priority,
            0
        );
        let (asked, host) = read(51, all).expect("it is read");
        assert!(host.auto_remove && host.annotations.len() == 1 && host.console_size == [1, 2]);
        assert_eq!((host.ipc_mode.as_str(), host.kernel_memory_tcp), ("", 5));
        let bind = host.mounts[0].bind.clone().expect("options");
        assert!(bind.non_recursive && bind.create_mountpoint && !bind.read_only_non_recursive);
        assert!(host.mounts[0].tmpfs.is_some());
        assert_eq!(asked.healthcheck.expect("a check").start_interval, 5);
    }

    #[test]
    fn what_would_weaken_is_refused() {
        for (minor, mount, what) in [
            (
                44,
                json!({ "Type": "volume", "VolumeOptions": { "Subpath": "a" } }),
                "VolumeOptions.Subpath needs API v1.45 or newer",
            ),
            (
                47,
                json!({ "Type": "image" }),
                "Mount type \"Image\" needs API v1.48 or newer",
            ),
            (
                43,
                json!({ "Type": "bind", "BindOptions": { "ReadOnlyForceRecursive": true } }),
                "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
            ),
        ] {
            let asked = json!({ "HostConfig": { "Mounts": [mount] } });
            let refused = read(minor, asked.clone()).expect_err("it is refused");
            assert_eq!(refused.message, what);
            assert!(read(minor + 1, asked).is_ok());
        }
    }
}
