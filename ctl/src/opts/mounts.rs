//! `-v` and `--tmpfs`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use gantry_proto::gantry::v1 as pb;

use crate::error::{Error, Result};

/// What `-v` asks for.
pub(super) enum Volume {
    /// A host path, or a volume by name.
    Bind(pb::BindMount),
    /// An anonymous volume at this path.
    Anonymous(String),
}

/// "/host:/path[:ro,rslave]", "name:/path[:nocopy]", "/path", or ":/path[:rw]", which is the same.
pub(super) fn volume(text: &str, cwd: &Path) -> Result<Volume> {
    let parts: Vec<&str> = text.split(':').collect();
    let invalid = || Error::refused(format!("invalid volume specification: '{text}'"));
    // Only the source may be left blank: a volume without a name, and nothing but `rw` can be asked of it.
    if parts.len() > 3 || parts.iter().skip(1).any(|part| part.is_empty()) {
        return Err(invalid());
    }
    let (source, target, modes) = match parts.as_slice() {
        ["", target] | ["", target, "rw"] => (None, *target, ""),
        ["", ..] => return Err(invalid()),
        [source, target, modes] => (Some(*source), *target, *modes),
        [source, target] => (Some(*source), *target, ""),
        [target] => (None, *target, ""),
        _ => return Err(invalid()),
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
    let Some(source) = source else {
        return Ok(Volume::Anonymous(target.to_owned()));
    };
    let path = match source {
        _ if source.starts_with('/') => Some(PathBuf::from(source)),
        _ if source.starts_with('.') => Some(cwd.join(source)),
        _ => None,
    };
    let named = path.is_none();
    let mut mount = pb::BindMount {
        source: path.map_or_else(|| source.to_owned(), |path| clean(&path).display().to_string()),
        target: target.to_owned(),
        mode: modes.to_owned(),
        ..pb::BindMount::default()
    };
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" | "readonly" => mount.read_only = true,
            // Words for other systems change nothing here.
            "rw" | "z" | "Z" | "cached" | "consistent" | "delegated" => {}
            "nocopy" if named => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if !named => {
                mount.propagation = mode.to_owned();
            }
            _ => {
                return Err(Error::refused(format!(
                    "invalid volume specification: '{text}': invalid mode: {modes}"
                )));
            }
        }
    }
    Ok(Volume::Bind(mount))
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
            volume(text, Path::new("/home/me")).map(|it| match it {
                Volume::Bind(it) => (it.source, it.target, it.read_only, it.propagation),
                Volume::Anonymous(path) => (String::new(), path, false, String::new()),
            })
        };
        let plain = |source: &str, ro| Ok::<_, ()>((source.to_owned(), "/d".to_owned(), ro, String::new()));
        assert_eq!(read("/srv:/d").map_err(drop), plain("/srv", false));
        assert_eq!(read("/srv/:/d:ro,z").map_err(drop), plain("/srv", true));
        assert_eq!(read("./x/../y:/d").map_err(drop), plain("/home/me/y", false));
        assert_eq!(read("/a:/b:rslave").unwrap().3, "rslave");
        let wrong = [
            "a:b:c:d",
            "",
            ":",
            "::",
            ":/d:ro",
            ":d",
            "/a:b",
            "/a:/b:wat",
            "/a:/",
            "/a:/../",
            "/a:",
        ];
        for text in wrong {
            assert!(
                read(text)
                    .unwrap_err()
                    .to_string()
                    .starts_with("invalid volume specification"),
                "{text}"
            );
        }
        assert_eq!(read("data:/d").map_err(drop), plain("data", false));
        assert_eq!(read("data:/d:nocopy,ro").map_err(drop), plain("data", true));
        for text in ["/d", ":/d", ":/d:rw"] {
            assert_eq!(read(text).map_err(drop), plain("", false), "{text}");
        }
        assert!(read("data:/d:rslave").is_err() && read("/a:/d:nocopy").is_err());
    }

    #[test]
    fn tmpfs_options() {
        assert_eq!(tmpfs(&["/run:size=1m".into()]).unwrap()["/run"], "size=1m");
        assert!(tmpfs(&["run".into()]).is_err());
    }
}
