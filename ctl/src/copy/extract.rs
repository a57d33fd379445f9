//! Puts a container's tar stream on the host's disk.
//!
//! The stream is not trusted: nothing is written outside of the target, nor through a symbolic link below it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tar::{Archive, Entry, EntryType};

/// Directory modes are set last, so that a read-only one can be filled.
pub(crate) struct Extractor {
    /// Where the root of the archive lands.
    root: PathBuf,
    keep_owner: bool,
    /// The archive's root is `./` or `/`: names do not begin with the root's.
    bare: bool,
    directories: Vec<(PathBuf, u32, u64)>,
    bytes: u64,
}

impl Extractor {
    pub(crate) fn new(root: PathBuf, keep_owner: bool) -> Self {
        Self {
            root,
            keep_owner,
            bare: false,
            directories: Vec::new(),
            bytes: 0,
        }
    }

    /// Extracts all of it; the bytes of its files.
    pub(crate) fn run(mut self, from: impl Read) -> Result<u64, String> {
        let mut archive = Archive::new(from);
        let entries = archive.entries().map_err(|err| format!("read archive: {err}"))?;
        for (at, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|err| format!("read archive: {err}"))?;
            if at == 0 {
                let first = entry.path().map_err(|err| format!("read archive: {err}"))?;
                self.bare = !first.components().any(|part| matches!(part, Component::Normal(_)));
            }
            self.one(&mut entry)?;
        }
        for (path, mode, mtime) in self.directories.iter().rev() {
            // The owner may be another than us: then the directory stays as it was made.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777));
            let _ = fs::File::open(path)
                .and_then(|dir| dir.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(*mtime)));
        }
        Ok(self.bytes)
    }

    fn one(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), String> {
        let name = entry.path().map_err(|err| format!("read archive: {err}"))?.into_owned();
        let target = self.inside(&name)?;
        let kind = entry.header().entry_type();
        let fail = |err: std::io::Error| format!("extract {}: {err}", target.display());
        match kind {
            EntryType::Directory => {
                match fs::symlink_metadata(&target) {
                    // What is copied are contents: the directory they go into stays as it is.
                    Ok(_) if self.bare && target == self.root && target.is_dir() => return Ok(()),
                    Ok(meta) if meta.is_dir() || target == self.root && target.is_dir() => {}
                    Ok(_) => {
                        return Err(format!(
                            "extract {}: cannot overwrite non-directory with directory",
                            target.display()
                        ));
                    }
                    Err(_) => fs::create_dir(&target).map_err(fail)?,
                }
                let header = entry.header();
                self.directories.push((
                    target.clone(),
                    header.mode().unwrap_or(0o755),
                    header.mtime().unwrap_or(0),
                ));
                self.own(entry, &target).map_err(fail)
            }
            EntryType::Link => {
                let link = entry
                    .link_name()
                    .map_err(fail)?
                    .ok_or_else(|| format!("extract {}: hard link to nothing", target.display()))?;
                let to = self.inside(&link)?;
                clear(&target).map_err(fail)?;
                fs::hard_link(to, &target).map_err(fail)
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                clear(&target).map_err(fail)?;
                self.special(entry, &target)
                    .map_err(|err| format!("extract {}: {err}", target.display()))?;
                self.own(entry, &target).map_err(fail)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Symlink => {
                clear(&target).map_err(fail)?;
                self.bytes += entry.size();
                entry.set_preserve_permissions(true);
                entry.unpack(&target).map_err(fail)?;
                self.own(entry, &target).map_err(fail)?;
                // A change of owner clears set-user-id.
                let mode = entry.header().mode().unwrap_or(0o644) & 0o7777;
                match self.keep_owner && kind != EntryType::Symlink {
                    true => fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(fail),
                    false => Ok(()),
                }
            }
            // Headers that only describe others.
            _ => Ok(()),
        }
    }

    /// The host's path of an entry: its first component is the root's name, whatever that is, unless names are bare.
    fn inside(&self, name: &Path) -> Result<PathBuf, String> {
        let refuse = || format!("refused archive entry {}: it leads out of the target", name.display());
        let named = |part: &Component<'_>| !matches!(part, Component::RootDir | Component::CurDir);
        let parts = name.components().filter(named).skip(usize::from(!self.bare));
        let mut path = self.root.clone();
        for part in parts {
            let Component::Normal(part) = part else {
                return Err(refuse());
            };
            if path != self.root && fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
                return Err(format!(
                    "refused archive entry {}: {} is a symbolic link",
                    name.display(),
                    path.display()
                ));
            }
            path.push(part);
        }
        // The root itself may be a link that the user made; what the archive made below it may not be one.
        Ok(path)
    }

    fn special(&self, entry: &Entry<'_, impl Read>, target: &Path) -> Result<(), String> {
        let header = entry.header();
        let kind = match header.entry_type() {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let number = |it: std::io::Result<Option<u32>>| it.ok().flatten().unwrap_or(0);
        let device = makedev(number(header.device_major()), number(header.device_minor()));
        let mode = Mode::from_raw_mode(header.mode().unwrap_or(0o644) & 0o7777);
        mknodat(CWD, target, kind, mode, device).map_err(|err| err.to_string())
    }

    fn own(&self, entry: &Entry<'_, impl Read>, target: &Path) -> std::io::Result<()> {
        if !self.keep_owner {
            return Ok(());
        }
        let id = |it: std::io::Result<u64>| it.ok().and_then(|id| u32::try_from(id).ok());
        let header = entry.header();
        std::os::unix::fs::lchown(target, id(header.uid()), id(header.gid()))
    }
}

/// Makes room for what is no directory.
fn clear(target: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => Err(std::io::Error::other("cannot overwrite directory with non-directory")),
        Ok(_) => fs::remove_file(target),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, body) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == EntryType::Directory { 0o750 } else { 0o640 });
            header.set_mtime(1_000_000);
            // Written raw: the builder refuses names that climb.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.as_gnu_mut().unwrap().linkname[..body.len()].copy_from_slice(body.as_bytes());
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            } else {
                header.set_size(body.len() as u64);
                header.set_cksum();
                builder.append(&header, body.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tree_lands_under_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            ("etc/", EntryType::Directory, ""),
            ("etc/a", EntryType::Regular, "one"),
            ("etc/b", EntryType::Link, "etc/a"),
            ("etc/c", EntryType::Symlink, "a"),
            ("etc/p", EntryType::Fifo, ""),
        ]);
        let root = dir.path().join("copy");
        assert_eq!(Extractor::new(root.clone(), false).run(bytes.as_slice()).unwrap(), 3);
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "one");
        assert_eq!(fs::read_link(root.join("c")).unwrap(), Path::new("a"));
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(
            fs::metadata(root.join("a")).unwrap().permissions().mode() & 0o777,
            0o640
        );
        // Once more over what is there.
        Extractor::new(root, false).run(bytes.as_slice()).unwrap();
    }

    #[test]
    fn nothing_escapes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let root = dir.path().join("root");
        let link = out.display().to_string();
        for entries in [
            vec![
                ("r/", EntryType::Directory, ""),
                ("r/../../out/x", EntryType::Regular, "bad"),
            ],
            vec![
                ("r/", EntryType::Directory, ""),
                ("r/l", EntryType::Symlink, link.as_str()),
                ("r/l/x", EntryType::Regular, "bad"),
            ],
            vec![
                ("r/", EntryType::Directory, ""),
                ("r/h", EntryType::Link, "r/../../secret"),
            ],
        ] {
            let err = Extractor::new(root.clone(), false)
                .run(archive(&entries).as_slice())
                .unwrap_err();
            assert!(err.contains("refused"), "{err}");
        }
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }

    #[test]
    fn contents_have_bare_names() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            ("./", EntryType::Directory, ""),
            ("a", EntryType::Regular, "one"),
            ("./b", EntryType::Link, "./a"),
            ("sub/", EntryType::Directory, ""),
            ("sub/c", EntryType::Regular, "two"),
        ]);
        Extractor::new(dir.path().to_owned(), false)
            .run(bytes.as_slice())
            .unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "one");
        assert_eq!(fs::read_to_string(dir.path().join("sub/c")).unwrap(), "two");
    }

    #[test]
    fn a_single_file_takes_the_name_given() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        Extractor::new(root.clone(), false)
            .run(archive(&[("hosts", EntryType::Regular, "x")]).as_slice())
            .unwrap();
        assert_eq!(fs::read_to_string(root).unwrap(), "x");
        let taken =
            Extractor::new(dir.path().to_owned(), false).run(archive(&[("hosts", EntryType::Regular, "x")]).as_slice());
        assert!(taken.unwrap_err().contains("cannot overwrite directory"));
    }
}
