//! `-v` and `--tmpfs`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use gantry_proto::gantry::v1 as pb;

use crate::error::{Error, Result};

/// "/host:/path[:ro,rslave]". Volumes, named or not, are refused: there are none yet.
pub(super) fn bind(text: &str, cwd: &Path) -> Result<pb::BindMount> {
    let parts: Vec<&str> = text.split(':').collect();
    let invalid = || Error::refused(format!("invalid volume specification: '{text}'"));
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(invalid());
    }
    let (source, target, modes) = match parts.as_slice() {
        [source, target, modes] => (*source, *target, *modes),
        [source, target] => (*source, *target, ""),
        _ => {
            return Err(Error::refused(format!(
                "volume {text} is refused: volumes are not built yet, bind a host path with --volume /host/path:{text}"
            )));
        }
    };
    if !target.starts_with('/') {
        return Err(Error::refused(format!(
            "invalid volume specification: '{text}': the mount path must be absolute"
        )));
    }
    if clean(Path::new(target)) == Path::new("/") {
        return Err(Error::refused(format!(
            "invalid volume specification: '{text}': the destination can't be '/'"
        )));
    }
    let source = match source {
        _ if source.starts_with('/') => PathBuf::from(source),
        _ if source.starts_with('.') => cwd.join(source),
        _ => {
            return Err(Error::refused(format!(
                "volume {source} is refused: named volumes are not built yet, use an absolute host path"
            )));
        }
    };
    let mut mount = pb::BindMount {
        source: clean(&source).display().to_string(),
        target: target.to_owned(),
        read_only: false,
        propagation: String::new(),
    };
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" | "readonly" => mount.read_only = true,
            // Words for other systems change nothing here.
            "rw" | "z" | "Z" | "cached" | "consistent" | "delegated" => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => mount.propagation = mode.to_owned(),
            _ => {
                return Err(Error::refused(format!(
                    "invalid volume specification: '{text}': invalid mode: {modes}"
                )));
            }
        }
    }
    Ok(mount)
}

/// "/run[:rw,size=64m]" to the mount point and its options.
pub(super) fn tmpfs(given: &[String]) -> Result<HashMap<String, String>> {
    let mut out = HashMap::new();
    for text in given {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        if !path.starts_with('/') {
            return Err(Error::refused(format!(
                "invalid tmpfs mount {text:?}: the mount path must be absolute"
            )));
        }
        out.insert(path.to_owned(), options.to_owned());
    }
    Ok(out)
}

/// Without `.`, `..` and doubled slashes, by text alone.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_in_every_form() {
        let read = |text: &str| {
            bind(text, Path::new("/home/me")).map(|it| (it.source, it.target, it.read_only, it.propagation))
        };
        let plain = |source: &str, ro| Ok::<_, ()>((source.to_owned(), "/d".to_owned(), ro, String::new()));
        assert_eq!(read("/srv:/d").map_err(drop), plain("/srv", false));
        assert_eq!(read("/srv/:/d:ro,z").map_err(drop), plain("/srv", true));
        assert_eq!(read("./x/../y:/d").map_err(drop), plain("/home/me/y", false));
        assert_eq!(read("/a:/b:rslave").unwrap().3, "rslave");
        for text in ["a:b:c:d", "::", "/a:b", "/a:/b:wat", "/a:/", "/a:/../", "/a:"] {
            assert!(
                read(text)
                    .unwrap_err()
                    .to_string()
                    .starts_with("invalid volume specification"),
                "{text}"
            );
        }
        assert!(
            read("data:/d")
                .unwrap_err()
                .to_string()
                .contains("named volumes are not built yet")
        );
        assert!(
            read("/data")
                .unwrap_err()
                .to_string()
                .contains("volumes are not built yet")
        );
    }

    #[test]
    fn tmpfs_options() {
        assert_eq!(tmpfs(&["/run:size=1m".into()]).unwrap()["/run"], "size=1m");
        assert!(tmpfs(&["run".into()]).is_err());
    }
}
