//! What a client hears of its transfer, in the words that containerd's clients show (core/transfer/local/progress.go).

use crate::descriptors;
use crate::streams::Stream;
use gantry_core::{Digest, Result};
use gantry_engine::ImageRecord;
use gantry_image::{About, Descriptor, Progress, ProgressStream, Status as Step, media};
use gantry_proto_containerd::types::transfer as wire;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the end of a transfer waits for who reads of its progress too slowly.
pub const TOLD: Duration = Duration::from_secs(10);

/// OCI's annotation of a descriptor with its name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Who hears; perhaps nobody.
pub struct Listener(Option<Stream>);

impl Listener {
    pub fn new(stream: Option<Stream>) -> Self {
        Self(stream)
    }

    pub async fn event(&self, event: &str) {
        self.send(wire::Progress {
            event: event.to_owned(),
            ..wire::Progress::default()
        })
        .await;
    }

    pub async fn image(&self, event: &str, record: &ImageRecord) {
        self.send(wire::Progress {
            event: event.to_owned(),
            name: record.name.clone(),
            desc: Some(descriptors::to_wire(record.target.clone())),
            ..wire::Progress::default()
        })
        .await;
    }

    async fn send(&self, message: wire::Progress) {
        if let Some(stream) = &self.0 {
            // Who listens no more misses nothing that matters.
            let _ = tokio::time::timeout(TOLD, stream.outgoing.send(&message)).await;
        }
    }

    /// What was told is heard before the transfer's own end, as far as that is in our hands.
    pub async fn flushed(&self) {
        if let Some(stream) = &self.0 {
            let _ = tokio::time::timeout(TOLD, stream.outgoing.flushed()).await;
        }
    }

    /// Runs `work` while its steps are told; `moving` is what its bytes do.
    pub async fn telling<T>(
        &self,
        moving: &'static str,
        root: &str,
        work: impl Future<Output = Result<T>>,
        mut steps: ProgressStream,
    ) -> Result<T> {
        let mut words = Words {
            moving,
            root: root.to_owned(),
            done: BTreeSet::new(),
        };
        let outgoing = self.0.as_ref().map(|stream| stream.outgoing.clone());
        let mut teller = Telling(tokio::spawn(async move {
            while let Some(step) = steps.recv().await {
                if let (Some(outgoing), Some(message)) = (&outgoing, words.of(step)) {
                    let _ = outgoing.send(&message).await;
                }
            }
        }));
        let outcome = work.await;
        // The steps end with the work; who reads them too slowly is not waited for.
        let _ = tokio::time::timeout(TOLD, &mut teller.0).await;
        outcome
    }
}

struct Telling(tokio::task::JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Words {
    moving: &'static str,
    root: String,
    /// Blobs of which it was said that they are there.
    done: BTreeSet<Digest>,
}

impl Words {
    /// containerd tells of blobs, each by a key; of anything else it has nothing to say.
    fn of(&mut self, step: Progress) -> Option<wire::Progress> {
        let about = step.about.as_deref()?;
        let blob = &about.blob;
        let (event, progress) = match step.status {
            Step::Waiting | Step::Preparing => ("waiting", 0),
            Step::Downloading | Step::Pushing => (self.moving, step.current),
            Step::DownloadComplete | Step::Pushed | Step::MountedFrom(_) => {
                self.done.insert(blob.digest.clone());
                ("complete", blob.size)
            }
            Step::AlreadyExists | Step::LayerExists => {
                if !self.done.insert(blob.digest.clone()) {
                    return None;
                }
                ("already exists", blob.size)
            }
            Step::Extracting => ("extracting", step.current),
            Step::PullComplete => ("extracted", blob.size),
            _ => return None,
        };
        Some(wire::Progress {
            event: event.to_owned(),
            name: key(blob),
            parents: self.parents(about),
            progress: progress.cast_signed(),
            total: blob.size.cast_signed(),
            desc: Some(descriptors::to_wire(blob.clone())),
        })
    }

    fn parents(&self, about: &About) -> Vec<String> {
        match about.parents.is_empty() {
            true => vec![self.root.clone()],
            false => about.parents.iter().map(key).collect(),
        }
    }
}

/// A blob's name in progress (core/remotes, `MakeRefKey`).
fn key(blob: &Descriptor) -> String {
    let kind = match blob.media_type.as_str() {
        kind if media::is_manifest(kind) => "manifest",
        kind if media::is_index(kind) => "index",
        kind if media::is_layer(kind) => "layer",
        media::OCI_CONFIG | media::DOCKER_CONFIG => "config",
        "application/vnd.in-toto+json" => "attestation",
        _ => "unknown",
    };
    match blob.annotations.get(REF_NAME) {
        Some(name) => format!("{kind}-{name}@{}", blob.digest),
        None => format!("{kind}-{}", blob.digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn blobs_are_told_by_their_keys_and_come_once() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64)).parse().unwrap();
        let manifest = Descriptor::new(media::OCI_MANIFEST, digest("a"), 7);
        let layer = Descriptor::new(media::OCI_LAYER_GZIP, digest("b"), 9);
        let mut words = Words {
            moving: "uploading",
            root: "the:image".to_owned(),
            done: BTreeSet::new(),
        };
        let mut told = |blob: &Descriptor, parents: Vec<Descriptor>, status, current| {
            let about = Arc::new(About {
                blob: blob.clone(),
                parents,
            });
            let step = Progress {
                id: String::new(),
                status,
                current,
                total: 0,
                about: Some(about),
            };
            words
                .of(step)
                .map(|said| (said.event, said.name, said.parents, said.progress, said.total))
        };
        let name = |kind: &str, c: &str| format!("{kind}-sha256:{}", c.repeat(64));
        let root = vec!["the:image".to_owned()];
        let first = told(&manifest, Vec::new(), Step::Waiting, 0);
        assert_eq!(first, Some(("waiting".to_owned(), name("manifest", "a"), root, 0, 7)));
        let below = vec![name("manifest", "a")];
        let up = told(&layer, vec![manifest.clone()], Step::Pushing, 5);
        assert_eq!(
            up,
            Some(("uploading".to_owned(), name("layer", "b"), below.clone(), 5, 9))
        );
        let done = told(&layer, vec![manifest.clone()], Step::Pushed, 9);
        assert_eq!(done, Some(("complete".to_owned(), name("layer", "b"), below, 9, 9)));
        assert_eq!(told(&layer, vec![manifest], Step::LayerExists, 9), None);
    }
}
