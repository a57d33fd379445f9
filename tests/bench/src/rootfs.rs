//! The image of both: the host's static busybox.

use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

pub const IMAGE: &str = "bench/busybox:latest";

/// Path of a tar with busybox and the applets that are measured.
pub fn busybox_tar(root: &Path) -> Result<String> {
    let (tree, tar) = (root.join("rootfs"), root.join("busybox.tar"));
    for dir in ["bin", "etc", "root", "tmp"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).is_file());
    fs::copy(
        busybox.context("no busybox on this host: install busybox-static")?,
        tree.join("bin/busybox"),
    )?;
    for applet in ["sh", "true", "sleep", "cat", "echo"] {
        symlink("busybox", tree.join("bin").join(applet))?;
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\n")?;
    let status = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status()
        .context("run tar")?;
    if !status.success() {
        bail!("tar: {status}");
    }
    fs::remove_dir_all(&tree)?;
    Ok(tar.display().to_string())
}
