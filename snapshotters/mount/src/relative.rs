//! Overlays with many layers on kernels that take all options in one page: paths made short by the working directory.

use crate::options::Parsed;
use crate::{Error, Result};
use gantry_core::Mount;
use nix::errno::Errno;
use nix::mount::mount;
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::thread;

/// What `mount(2)` takes: a page with its closing zero.
const PAGE: usize = 4095;

/// Mounts an overlay on `target`, an absolute path, with the layers named relative to their common directory.
pub fn overlay(one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    let (layers, rest) = parsed.layers();
    let base = common(&layers);
    let data = data(&layers, &rest, &base);
    if data.len() > PAGE {
        return Err(Error::TooLong {
            layers: layers.len(),
            length: data.len(),
            most: PAGE,
        });
    }
    let work = || {
        // The new thread shares the mount namespace, and after this call has a working directory of its own.
        unshare(CloneFlags::CLONE_FS).map_err(Error::private("unshare the working directory"))?;
        std::env::set_current_dir(&base).map_err(Error::place(&base))?;
        mount(
            Some(one.source.as_str()),
            target,
            Some("overlay"),
            parsed.flags,
            Some(data.as_str()),
        )
        .map_err(|errno: Errno| Error::failed(one, target, errno))
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("mount".into())
            .spawn_scoped(scope, work)
            .map_err(Error::private("spawn a thread"))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The longest directory that all layers are in.
fn common(layers: &[String]) -> PathBuf {
    let mut base = layers
        .first()
        .and_then(|layer| Path::new(layer).parent())
        .unwrap_or(Path::new("/"));
    while !layers.iter().all(|layer| Path::new(layer).starts_with(base)) {
        base = base.parent().unwrap_or(Path::new("/"));
    }
    base.to_path_buf()
}

fn data(layers: &[String], rest: &[&str], base: &Path) -> String {
    let short: Vec<String> = layers
        .iter()
        .map(|layer| shorten(layer, base).replace('\\', "\\\\").replace(':', "\\:"))
        .collect();
    let mut parts = vec![format!("lowerdir={}", short.join(":"))];
    parts.extend(rest.iter().map(|option| match option.split_once('=') {
        Some((key @ ("upperdir" | "workdir"), path)) => format!("{key}={}", shorten(path, base)),
        Some(_) | None => (*option).to_owned(),
    }));
    parts.join(",")
}

fn shorten<'a>(path: &'a str, base: &Path) -> &'a str {
    match Path::new(path).strip_prefix(base).map(Path::to_str) {
        Ok(Some("")) => ".",
        Ok(Some(short)) => short,
        Ok(None) | Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_to_their_common_directory() {
        let layers: Vec<String> = ["/r/s/12/fs", "/r/s/1/fs"].map(String::from).into();
        let base = common(&layers);
        assert_eq!(base, Path::new("/r/s"));
        let rest = ["index=off", "upperdir=/r/s/13/fs", "workdir=/elsewhere/work"];
        assert_eq!(
            data(&layers, &rest, &base),
            "lowerdir=12/fs:1/fs,index=off,upperdir=13/fs,workdir=/elsewhere/work"
        );
    }

    #[test]
    fn one_layer_and_none() {
        assert_eq!(common(&["/a/b".to_owned()]), Path::new("/a"));
        assert_eq!(common(&[]), Path::new("/"));
    }
}
