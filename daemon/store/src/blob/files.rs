//! Where bytes are: `blobs/<algorithm>/<hex>` and `ingest/<dir>/data`, and the hash that goes along.

use crate::db::repair::sync_dir;
use crate::error::{Error, Result};
use gantry_core::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes moved at a time when a file is hashed again or copied.
const CHUNK: usize = 256 * 1024;

pub enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha384(_) => Algorithm::Sha384,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of what came so far.
    pub fn digest(&self) -> Digest {
        let bytes = match self {
            Self::Sha256(hash) => hash.clone().finalize().to_vec(),
            Self::Sha384(hash) => hash.clone().finalize().to_vec(),
            Self::Sha512(hash) => hash.clone().finalize().to_vec(),
        };
        Digest::from_bytes(self.algorithm(), &bytes).expect("a hash has its algorithm's length")
    }

    /// Hashes the first `size` bytes of a file; how many there were.
    pub fn of_file(algorithm: Algorithm, path: &Path, size: u64) -> io::Result<(Self, u64)> {
        let mut hasher = Self::new(algorithm);
        let mut file = File::open(path)?.take(size);
        let mut buffer = vec![0; CHUNK];
        let mut hashed = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok((hasher, hashed));
            }
            hasher.update(&buffer[..read]);
            hashed += read as u64;
        }
    }
}

/// The directories of the content store.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    pub fn open(root: &Path) -> Result<Self> {
        let files = Self {
            root: root.to_path_buf(),
        };
        for dir in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512].map(|kind| files.algorithm(kind)) {
            fs::create_dir_all(&dir).map_err(Error::path("create", &dir))?;
        }
        let ingests = files.ingests();
        fs::create_dir_all(&ingests).map_err(Error::path("create", &ingests))?;
        sync_dir(&root.join("blobs"))?;
        sync_dir(root)?;
        Ok(files)
    }

    fn algorithm(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.algorithm(digest.algorithm()).join(digest.hex())
    }

    pub fn ingests(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub fn ingest(&self, dir: &str) -> PathBuf {
        self.ingests().join(dir)
    }

    pub fn data(&self, dir: &str) -> PathBuf {
        self.ingest(dir).join("data")
    }

    /// Bytes there are of a blob; none if the file is not there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::path("read", &path)(error)),
        }
    }

    /// Makes the data of an ingest a blob, durably. The data itself is synced already.
    pub fn publish(&self, dir: &str, digest: &Digest) -> Result<()> {
        let (data, blob) = (self.data(dir), self.blob(digest));
        fs::rename(&data, &blob).map_err(Error::path("rename", &data))?;
        sync_dir(&self.algorithm(digest.algorithm()))
    }

    pub fn remove_ingest(&self, dir: &str) -> Result<()> {
        let path = self.ingest(dir);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::path("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Unlinks a blob's bytes; how many they were.
    pub fn unlink(&self, digest: &Digest) -> Result<u64> {
        let Some(size) = self.size(digest)? else { return Ok(0) };
        let path = self.blob(digest);
        fs::remove_file(&path).map_err(Error::path("remove", &path))?;
        Ok(size)
    }

    /// Every blob that has bytes.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            for name in names(&self.algorithm(algorithm))? {
                found.extend(Digest::new(algorithm, name));
            }
        }
        Ok(found)
    }

    pub fn ingest_dirs(&self) -> Result<Vec<String>> {
        names(&self.ingests())
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(Error::path("list", dir))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(Error::path("list", dir))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_world_does() {
        for (algorithm, start) in [
            (Algorithm::Sha256, "sha256:ba7816bf8f01cfea"),
            (Algorithm::Sha384, "sha384:cb00753f45a35e8b"),
            (Algorithm::Sha512, "sha512:ddaf35a193617aba"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert!(hasher.digest().to_string().starts_with(start));
        }
    }
}
