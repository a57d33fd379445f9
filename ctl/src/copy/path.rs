//! What `cp`'s paths mean. The rules are those of `cp -a`, with a trailing `/.` for "the contents of".

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One argument of `cp`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    /// `-`: a tar stream.
    Stream,
    Local(String),
    Container {
        name: String,
        path: String,
    },
}

impl Spec {
    /// "web:/etc"; what is absolute or begins with a dot is local whatever colons it has.
    pub(crate) fn read(text: &str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with('/') && !name.starts_with('.') => Self::Container {
                name: name.to_owned(),
                path: path.to_owned(),
            },
            _ => Self::Local(text.to_owned()),
        }
    }
}

/// What stands at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Directory,
    Other,
}

/// The contents of a directory are meant, not the directory.
fn means_contents(path: &str) -> bool {
    path == "." || path.ends_with("/.") || path == "/"
}

fn says_directory(path: &str) -> bool {
    path.ends_with('/') || means_contents(path)
}

/// Where the root of what is copied lands, given what is at `target`.
pub(crate) fn place(
    source: &str,
    source_name: &str,
    source_is_dir: bool,
    target: &str,
    found: Found,
) -> Result<PathBuf> {
    let at = Path::new(target);
    let clean = |path: &Path| path.components().collect::<PathBuf>();
    if says_directory(source) && !source_is_dir {
        return Err(Error::refused(format!("{source}: not a directory")));
    }
    match (found, source_is_dir) {
        (Found::Directory, true) if means_contents(source) => Ok(clean(at)),
        (Found::Directory, _) => Ok(clean(at).join(source_name)),
        (Found::Other, true) => Err(Error::refused(format!("{target}: cannot copy directory"))),
        (Found::Other, false) if says_directory(target) => Err(Error::refused(format!("{target}: not a directory"))),
        (Found::Nothing, false) if says_directory(target) => {
            Err(Error::refused(format!("{target}: no such directory")))
        }
        (Found::Other, false) | (Found::Nothing, _) => Ok(clean(at)),
    }
}

/// The directory in a container to extract in, and the name there.
pub(crate) fn split_target(root: &Path) -> (String, String) {
    let parent = root
        .parent()
        .map_or_else(|| "/".to_owned(), |parent| parent.display().to_string());
    let name = root
        .file_name()
        .map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned());
    (if parent.is_empty() { "/".to_owned() } else { parent }, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let container = |name: &str, path: &str| Spec::Container {
            name: name.into(),
            path: path.into(),
        };
        assert_eq!(Spec::read("-"), Spec::Stream);
        assert_eq!(Spec::read("web:/etc"), container("web", "/etc"));
        assert_eq!(Spec::read("web:"), container("web", ""));
        assert_eq!(Spec::read("web:a:b"), container("web", "a:b"));
        for local in ["/a:b", "./a:b", "a", "../x:y"] {
            assert_eq!(Spec::read(local), Spec::Local(local.into()));
        }
    }

    #[test]
    fn places_are_docker_s() {
        let at =
            |source, dir, target, found| place(source, "src", dir, target, found).map(|it| it.display().to_string());
        assert_eq!(at("/src", false, "/d", Found::Directory).unwrap(), "/d/src");
        assert_eq!(at("/src", true, "/d/", Found::Directory).unwrap(), "/d/src");
        assert_eq!(at("/src/.", true, "/d", Found::Directory).unwrap(), "/d");
        assert_eq!(at("/src", true, "/new", Found::Nothing).unwrap(), "/new");
        assert_eq!(at("/src/.", true, "/new/", Found::Nothing).unwrap(), "/new");
        assert_eq!(at("/src", false, "/f", Found::Other).unwrap(), "/f");
        assert_eq!(at("/src", false, "/f", Found::Nothing).unwrap(), "/f");
        for (source, dir, target, found, why) in [
            ("/src", true, "/f", Found::Other, "cannot copy directory"),
            ("/src", false, "/f/", Found::Other, "not a directory"),
            ("/src", false, "/f/", Found::Nothing, "no such directory"),
            ("/src/.", false, "/f", Found::Directory, "not a directory"),
        ] {
            assert!(
                at(source, dir, target, found).unwrap_err().to_string().ends_with(why),
                "{source} {target}"
            );
        }
        assert_eq!(split_target(Path::new("/a/b")), ("/a".into(), "b".into()));
        assert_eq!(split_target(Path::new("/")), ("/".into(), ".".into()));
    }
}
