//! Which foreign name a number stands for, where the service found the content by itself: a file per number in
//! `<root>/found`, its content the name.

use gantry_snapshots_api::{Id, PathError};
use gantry_snapshots_dirs::sync_dir;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, PathError>;

/// What a file is called until it is whole.
const HALF: &str = ".half";

#[derive(Debug)]
pub struct Found {
    dir: PathBuf,
}

impl Found {
    pub fn open(root: &Path) -> Result<Self> {
        let dir = root.join("found");
        fs::create_dir_all(&dir).map_err(PathError::of("create", &dir))?;
        Ok(Self { dir })
    }

    fn path(&self, id: Id) -> PathBuf {
        self.dir.join(id.to_string())
    }

    pub fn get(&self, id: Id) -> Result<Option<String>> {
        let path = self.path(id);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PathError::of("read", &path)(error)),
        }
    }

    /// Durable when it returns.
    pub fn put(&self, id: Id, name: &str) -> Result<()> {
        let (path, half) = (self.path(id), self.dir.join(format!("{id}{HALF}")));
        let write = || {
            let mut file = File::create(&half)?;
            file.write_all(name.as_bytes())?;
            file.sync_all()?;
            fs::rename(&half, &path)
        };
        write().map_err(PathError::of("write", &path))?;
        sync_dir(&self.dir)
    }

    pub fn forget(&self, id: Id) -> Result<()> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(PathError::of("remove", &path)(error)),
        }
    }

    /// Whether a number other than this stands for the same name.
    pub fn others(&self, id: Id, name: &str) -> Result<bool> {
        Ok(self
            .all()?
            .into_iter()
            .any(|(other, known)| other != id && known == name))
    }

    pub fn all(&self) -> Result<Vec<(Id, String)>> {
        let mut all = Vec::new();
        for entry in self.entries()? {
            let Some(id) = entry.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(name) = self.get(id)? {
                all.push((id, name));
            }
        }
        Ok(all)
    }

    /// Removes what a kill left half written.
    pub fn cleanup(&self) -> Result<usize> {
        let mut gone = 0;
        for entry in self.entries()? {
            if entry.to_str().is_some_and(|name| name.ends_with(HALF)) {
                let path = self.dir.join(entry);
                fs::remove_file(&path).map_err(PathError::of("remove", &path))?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn entries(&self) -> Result<Vec<std::ffi::OsString>> {
        let read = || {
            fs::read_dir(&self.dir)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<_>>()
        };
        read().map_err(PathError::of("read", &self.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_read_shared_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let found = Found::open(root.path()).unwrap();
        assert_eq!(found.get(1).unwrap(), None);
        found.put(1, "sha256:a").unwrap();
        found.put(2, "sha256:a").unwrap();
        fs::write(root.path().join("found/3.half"), "sha").unwrap();
        assert!(found.others(1, "sha256:a").unwrap());
        assert_eq!(found.cleanup().unwrap(), 1);
        found.forget(2).unwrap();
        found.forget(2).unwrap();
        assert!(!found.others(1, "sha256:a").unwrap());
        assert_eq!(found.all().unwrap(), [(1, "sha256:a".to_owned())]);
    }
}
