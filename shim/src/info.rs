//! `-v` and `-info`: which shim this is, and what its built-in runtime does.

use gantry_proto_shim::{
    any,
    introspection::{RuntimeInfo, RuntimeVersion},
    protobuf::Message,
};
use serde_json::json;
use std::io::{self, Write};

/// `type_url` of the JSON text of OCI features.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// What mounts of a spec may say beside what their filesystems understand.
const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "unbindable",
    "rnosymfollow",
    "rsymfollow",
];

/// Name and version as text.
pub fn print_version() -> io::Result<()> {
    writeln!(
        io::stdout(),
        "containerd-shim-gantry-v1:\n  Version:  {}",
        env!("CARGO_PKG_VERSION")
    )
}

/// A `RuntimeInfo` message: name, version, and the features of the OCI runtime specification.
pub fn print_info() -> io::Result<()> {
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let info = RuntimeInfo {
        name: "io.containerd.gantry.v1".to_owned(),
        version: Some(version).into(),
        features: Some(any(FEATURES_TYPE, features().to_string().into_bytes())).into(),
        ..Default::default()
    };
    io::stdout().write_all(&info.write_to_bytes().map_err(io::Error::other)?)
}

fn features() -> serde_json::Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "mountOptions": MOUNT_OPTIONS,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false},
            "seccomp": {"enabled": true}
        }
    })
}
