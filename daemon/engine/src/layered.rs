//! Small files of a root filesystem read straight from its layers, without mounting it.

use gantry_core::Mount;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Largest file read this way, in bytes.
const LIMIT: u64 = 1 << 20;

/// What the layers say of a file.
pub enum Found {
    Text(String),
    Missing,
    /// Something is in the way (a symbolic link, a mount type we cannot see through): mount it and look.
    Unsure,
}

/// Reads `dir/file` (two components, such as `etc/passwd`) as the mounted tree would show it.
pub fn read(mounts: &[Mount], dir: &str, file: &str) -> Found {
    let Some(layers) = layers(mounts) else {
        return Found::Unsure;
    };
    for layer in layers {
        let below = layer.join(dir);
        let Ok(meta) = below.symlink_metadata() else { continue };
        if is_whiteout(&meta) {
            return Found::Missing;
        }
        if !meta.is_dir() {
            return Found::Unsure;
        }
        let path = below.join(file);
        match path.symlink_metadata() {
            Ok(meta) if is_whiteout(&meta) => return Found::Missing,
            Ok(meta) if meta.is_file() => return text(&path).map_or(Found::Unsure, Found::Text),
            Ok(_) => return Found::Unsure,
            Err(_) if is_opaque(&below) => return Found::Missing,
            Err(_) => {}
        }
    }
    Found::Missing
}

/// Makes an empty file at the top of a tree that is to be written to and has none of that name. Nothing where we cannot see through the layers.
pub fn mark(mounts: &[Mount], name: &str) -> io::Result<()> {
    let Some(layers) = layers(mounts) else { return Ok(()) };
    let is_writable = mounts.iter().all(|mount| match mount.kind.as_str() {
        "overlay" => mount.options.iter().any(|option| option.starts_with("upperdir=")),
        _ => mount.options.iter().all(|option| option != "ro"),
    });
    let is_there = |layer: &PathBuf| layer.join(name).symlink_metadata().is_ok();
    let Some(top) = layers.first().filter(|_| is_writable && !layers.iter().any(is_there)) else {
        return Ok(());
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o755);
    options.open(top.join(name)).map(drop)
}

/// The directories that make the tree, nearest first.
fn layers(mounts: &[Mount]) -> Option<Vec<PathBuf>> {
    let [mount] = mounts else { return None };
    match mount.kind.as_str() {
        "bind" => Some(vec![PathBuf::from(&mount.source)]),
        "overlay" => {
            let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
            let upper = option("upperdir=").map(PathBuf::from);
            let lower = option("lowerdir=")?.split(':').map(PathBuf::from);
            Some(upper.into_iter().chain(lower).collect())
        }
        _ => None,
    }
}

fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(dir: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| matches!(xattr::get(dir, name), Ok(Some(value)) if value == b"y"))
}

fn text(path: &Path) -> Option<String> {
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .ok()?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn overlay(layers: &[&Path]) -> Vec<Mount> {
        let lower: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = vec![format!("lowerdir={}", lower.join(":"))];
        vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options,
        }]
    }

    #[test]
    fn nearest_layer_wins_and_links_are_not_followed() {
        let root = tempfile::tempdir().expect("tempdir");
        let (top, base) = (root.path().join("top"), root.path().join("base"));
        for layer in [&top, &base] {
            fs::create_dir_all(layer.join("etc")).expect("mkdir");
        }
        fs::write(base.join("etc/passwd"), "base").expect("write");
        fs::write(base.join("etc/group"), "group").expect("write");
        fs::write(top.join("etc/passwd"), "top").expect("write");
        std::os::unix::fs::symlink("/etc/shadow", top.join("etc/group")).expect("symlink");
        let mounts = overlay(&[&top, &base]);
        assert!(matches!(read(&mounts, "etc", "passwd"), Found::Text(text) if text == "top"));
        assert!(matches!(read(&mounts, "etc", "group"), Found::Unsure));
        assert!(matches!(read(&mounts, "etc", "nothing"), Found::Missing));
    }

    #[test]
    fn a_mark_is_made_once_and_only_where_it_may_be_written() {
        let root = tempfile::tempdir().expect("tempdir");
        let (top, base) = (root.path().join("top"), root.path().join("base"));
        for layer in [&top, &base] {
            fs::create_dir_all(layer).expect("mkdir");
        }
        let view = overlay(&[&top, &base]);
        mark(&view, "mark").expect("nothing to do");
        assert!(!top.join("mark").exists(), "a view is not written to");
        let mut own = overlay(&[&base]);
        own[0].options.push(format!("upperdir={}", top.display()));
        for _ in 0..2 {
            mark(&own, "mark").expect("made, or there");
        }
        assert!(top.join("mark").exists() && !base.join("mark").exists());
        fs::write(base.join("theirs"), "").expect("write");
        mark(&own, "theirs").expect("nothing to do");
        assert!(!top.join("theirs").exists(), "the image has it");
    }
}
