//! Blobs in the content store: small ones put at once, and the labels by which garbage collection finds what belongs
//! together (containerd's label rules).

use crate::descriptor::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST};
use crate::error::{ImageError, Result};
use crate::failpoint::failpoint;
use crate::hash::Hasher;
use gantry_core::content::{BlobInfo, ContentStore, Ingest, IngestRequest, read_all};
use gantry_core::reference::Reference;
use gantry_core::{Digest, ErrorKind, Labels, LeaseId, Namespace};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long another writer of the same blob is waited for.
const OTHER_WRITER: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);

/// The store as one namespace and one lease see it.
#[derive(Clone)]
pub(crate) struct Blobs {
    pub content: Arc<dyn ContentStore>,
    pub ns: Namespace,
    pub lease: Option<LeaseId>,
}

/// What opening an ingest led to.
pub(crate) enum Opened {
    Writing(Box<dyn Ingest>),
    /// It is there already, and leased.
    There,
}

impl Blobs {
    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        match self.content.info(&self.ns, digest) {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the ingest of a known blob, waiting for another writer of it. Broken off, it is there for whoever tries again.
    pub(crate) fn open(&self, blob: &Descriptor, kind: &str) -> Result<Opened> {
        self.open_for(blob, kind, false)
    }

    fn open_for(&self, blob: &Descriptor, kind: &str, transient: bool) -> Result<Opened> {
        let deadline = Instant::now() + OTHER_WRITER;
        loop {
            let request = IngestRequest {
                reference: format!("{kind}-{}", blob.digest),
                total: blob.size,
                expected: Some(blob.digest.clone()),
                lease: self.lease.clone(),
                transient,
            };
            match self.content.ingest(&self.ns, request) {
                Ok(ingest) => return Ok(Opened::Writing(ingest)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Opened::There),
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {
                    std::thread::sleep(POLL);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts a small blob whose bytes were checked, or labels the one that is there.
    pub(crate) fn put(&self, blob: &Descriptor, kind: &str, bytes: &[u8], labels: Labels) -> Result<()> {
        match self.open_for(blob, kind, true)? {
            Opened::Writing(mut ingest) => {
                ingest.truncate(0)?;
                ingest.write(bytes)?;
                self.commit(ingest, blob, labels)
            }
            Opened::There => self.label(&blob.digest, &labels),
        }
    }

    /// Makes the ingest the blob it should be. One that turns out to be something else is thrown away.
    pub(crate) fn commit(&self, ingest: Box<dyn Ingest>, blob: &Descriptor, labels: Labels) -> Result<()> {
        let (got, size) = (ingest.digest(), ingest.status().offset);
        let what = format!("blob {}", blob.digest);
        if size != blob.size || got != blob.digest {
            ingest.abort()?;
            return Err(match size == blob.size {
                false => ImageError::WrongSize {
                    what,
                    expected: blob.size,
                    got: size,
                },
                true => ImageError::WrongDigest {
                    what,
                    expected: blob.digest.clone(),
                    got,
                },
            });
        }
        failpoint!("image::blob::written");
        match ingest.commit(Some(size), Some(&blob.digest), labels.clone()) {
            Ok(_) => {
                failpoint!("image::blob::committed");
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.label(&blob.digest, &labels),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn label(&self, digest: &Digest, labels: &Labels) -> Result<()> {
        if !labels.is_empty() {
            self.content.label(&self.ns, digest, labels)?;
        }
        Ok(())
    }

    /// A document by digest: read, bounded, and compared with its digest again.
    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = self.small(descriptor, "manifest", MAX_MANIFEST)?;
        Document::parse(
            &descriptor.media_type,
            &bytes,
            &format!("manifest {}", descriptor.digest),
        )
    }

    pub(crate) fn config_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.small(descriptor, "image config", MAX_CONFIG)
    }

    fn small(&self, descriptor: &Descriptor, kind: &str, limit: u64) -> Result<Vec<u8>> {
        let digest = &descriptor.digest;
        let bytes = match read_all(&*self.content, &self.ns, digest, limit) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ImageError::MissingBlob {
                    what: kind.to_owned(),
                    digest: digest.clone(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let got = Hasher::of(digest.algorithm(), &bytes);
        match got == *digest {
            true => Ok(bytes),
            false => Err(ImageError::WrongDigest {
                what: format!("stored {kind}"),
                expected: digest.clone(),
                got,
            }),
        }
    }
}

/// `containerd.io/distribution.source.<host>`: where it may be mounted from on a later push.
pub(crate) fn source_label(reference: &Reference) -> (String, String) {
    let key = format!("containerd.io/distribution.source.{}", reference.domain());
    (key, reference.path().to_owned())
}

/// The edges from a document to what it names.
pub(crate) fn reference_labels(document: &Document) -> Labels {
    let key = |what: String| format!("containerd.io/gc.ref.content.{what}");
    match document {
        Document::Manifest(manifest) => {
            let layers = manifest.layers.iter().enumerate();
            let layers = layers.map(|(n, layer)| (key(format!("l.{n}")), layer.digest.to_string()));
            let config = (key("config".to_owned()), manifest.config.digest.to_string());
            layers.chain([config]).collect()
        }
        Document::Index(index) => {
            let manifests = index.manifests.iter().enumerate();
            manifests
                .map(|(n, manifest)| (key(format!("m.{n}")), manifest.digest.to_string()))
                .collect()
        }
    }
}

pub(crate) fn snapshot_label(snapshotter: &str, chain_id: &Digest) -> Labels {
    Labels::from([(
        format!("containerd.io/gc.ref.snapshot.{snapshotter}"),
        chain_id.to_string(),
    )])
}

pub(crate) fn uncompressed_label(diff_id: &Digest) -> Labels {
    Labels::from([("containerd.io/uncompressed".to_owned(), diff_id.to_string())])
}
