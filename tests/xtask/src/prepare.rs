//! Installs what a fresh Debian 12 lacks. Services that come with packages are not started.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// To build: RocksDB needs a C++ compiler and libclang, the shim libseccomp.
pub const BUILD: &[&str] = &["g++", "make", "libclang-dev", "libseccomp-dev", "pkg-config"];
/// To make an image.
pub const DEMO: &[&str] = &["busybox-static", "tar"];
/// Real parts and independent judges for the tests.
pub const TEST: &[&str] = &[
    "busybox-static",
    "tar",
    "gzip",
    "zstd",
    "xz-utils",
    "procps",
    "iproute2",
    "util-linux",
    "mount",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "nftables",
    "iptables",
    "ufw",
    "firewalld",
    "dbus",
    "etcd-server",
    "containernetworking-plugins",
    "runc",
    "docker.io",
    "docker-compose",
    "curl",
    "jq",
    "docker-registry",
    "skopeo",
    "umoci",
];
/// The peer of the bench.
pub const BENCH: &[&str] = &[
    "busybox-static",
    "tar",
    "docker.io",
    "runc",
    "iproute2",
    "iptables",
    "iperf3",
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs those that are missing.
pub fn packages(wanted: &[&[&str]]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .flat_map(|list| list.iter().copied())
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if sh::output("apt-get", &["--version"]).is_none() {
        bail!("this machine lacks {list}, and has no apt-get to install it: use your system's own way");
    }
    if !sh::is_root() {
        bail!("this machine lacks {list}: run as root, or `apt-get install {list}`");
    }
    let _policy = Policy::no_services()?;
    // An old list of packages may name files that are gone; a new one is cheap.
    sh::run(&mut apt(&["update", "-q"]))?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&missing);
    sh::run(&mut apt(&install))
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn installed(package: &str) -> bool {
    sh::output("dpkg-query", &["-W", "-f=${Status}", package]).is_some_and(|status| status == "install ok installed")
}

/// While it lives, packages that are installed start no service (invoke-rc.d(8)).
struct Policy {
    ours: bool,
}

impl Policy {
    fn no_services() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).with_context(|| format!("chmod {POLICY}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: remove {POLICY}: {error}");
        }
    }
}

/// rustfmt and clippy, where the toolchain came without.
pub fn components() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = sh::cargo(&[tool, "--version"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !there {
            sh::run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}
