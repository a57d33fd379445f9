//! Directories that clients may have files made in, and places in them that are reached without leaving them.

use super::failed;
use gantry_core::{Error, ErrorKind, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// One of them, by the paths that it has.
#[derive(Debug)]
pub struct Root {
    paths: Vec<PathBuf>,
}

impl Root {
    /// It is there.
    pub fn new(path: &Path) -> Self {
        let mut paths = vec![path.to_path_buf()];
        paths.extend(path.canonicalize().ok().filter(|real| real != path));
        Self { paths }
    }
}

/// The directory in which something is to be made, and its name there.
pub struct Place<'a> {
    pub dir: OwnedFd,
    pub name: &'a Path,
}

/// Where `path` is in one of the roots. Its last part need not be there.
pub fn place<'a>(roots: &[Root], path: &'a Path, deed: &str) -> Result<Place<'a>> {
    let below = roots.iter().flat_map(|root| &root.paths).find_map(|root| {
        let rest = path.strip_prefix(root).ok()?;
        Some((root, rest))
    });
    let Some((root, rest)) = below else {
        let text = format!("no root {:?} configured for {deed}", path.display().to_string());
        return Err(Error::new(ErrorKind::Unimplemented, text));
    };
    let (Some(Component::Normal(_)), Some(parent), Some(name)) =
        (rest.components().next_back(), rest.parent(), rest.file_name())
    else {
        return Err(Error::invalid(format!(
            "{deed} {}: that is no name for it",
            path.display()
        )));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, root, flags, Mode::empty()).and_then(|root| match parent.as_os_str().is_empty() {
        true => Ok(root),
        false => openat2(
            root,
            parent,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        ),
    });
    let dir = opened.map_err(|errno| match errno {
        Errno::XDEV | Errno::LOOP => Error::invalid(format!(
            "{deed} {}: a link leads out of {}",
            path.display(),
            root.display()
        )),
        errno => failed("find", path.parent().unwrap_or(path))(errno.into()),
    })?;
    Ok(Place {
        dir,
        name: Path::new(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        for made in [&root.join("in"), &outside] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
        std::os::unix::fs::symlink("in", root.join("near")).unwrap();
        let roots = [Root::new(&root)];
        let kind = |path: PathBuf| place(&roots, &path, "mkdir").map(drop).map_err(|error| error.kind());
        for good in ["new", "in/new", "near/new", "in/../new"] {
            assert_eq!(kind(root.join(good)), Ok(()), "{good}");
        }
        assert_eq!(kind(root.join("link/new")), Err(ErrorKind::InvalidArgument));
        assert_eq!(kind(root.join("missing/new")), Err(ErrorKind::NotFound));
        assert_eq!(kind(root.join("in/..")), Err(ErrorKind::InvalidArgument));
        assert_eq!(kind(root.clone()), Err(ErrorKind::InvalidArgument));
        assert_eq!(kind(outside.join("new")), Err(ErrorKind::Unimplemented));
        assert_eq!(kind(dir.path().join("rootless/new")), Err(ErrorKind::Unimplemented));
    }
}
