//! From layers to a chain of snapshots.
//!
//! Where the snapshotter can attach a layer to its parent at commit, every layer is unpacked apart, all at once, each in
//! one pass with its download; then they are committed base first. Otherwise downloads run at once and layers are unpacked
//! in order. Equal work waits for the one who does it, and then finds it done: first for the chain, then for the blob. A
//! holder waits only for chains below its own, so nobody waits in a circle.

use super::apart::{Draft, Incoming, check_diff_id, on_blocking_thread, open_layer, unpack_blob};
use super::below::Below;
use super::{ImageService, Job, blocking};
use crate::blobs::{source_label, uncompressed_label};
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use crate::locks::KeyGuard;
use crate::progress::Status;
use crate::registry::{Repository, Step};
use crate::unpack::{Applied, apply};
use futures::stream::{FuturesUnordered, TryStreamExt};
use gantry_core::content::Ingest;
use gantry_core::{Digest, Labels, Namespace};
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Pieces of a download that wait for the disk: this times a network read is its memory.
const PIECES: usize = 8;

/// One layer of the image.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub blob: Descriptor,
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// How progress calls it.
    pub shown: String,
    /// What is known of its blob.
    labels: Labels,
}

impl Plan {
    pub(crate) fn all(layers: &[Descriptor], diff_ids: &[Digest], chain_ids: &[Digest]) -> Vec<Self> {
        let each = layers.iter().zip(diff_ids).zip(chain_ids);
        each.map(|((blob, diff_id), chain_id)| Self {
            blob: blob.clone(),
            diff_id: diff_id.clone(),
            chain_id: chain_id.clone(),
            shown: blob.digest.short().to_owned(),
            labels: uncompressed_label(diff_id),
        })
        .collect()
    }

    /// Of a blob that is only to be here: it is unpacked by nobody, whatever it is.
    pub(crate) fn blob_only(blob: &Descriptor) -> Self {
        Self {
            blob: blob.clone(),
            diff_id: blob.digest.clone(),
            chain_id: blob.digest.clone(),
            shown: blob.digest.short().to_owned(),
            labels: Labels::new(),
        }
    }
}

/// What the first, parallel stage made of a layer.
enum Stage {
    /// Its chain is unpacked already.
    Exists,
    /// Unpacked apart; to be committed.
    Apart(Box<Draft>, Applied),
    /// Its blob is here; to be unpacked on its parent.
    Blob,
}

struct Staged {
    stage: Stage,
    /// Held until the chain is committed.
    _chain: KeyGuard<(Namespace, String, Digest)>,
}

impl ImageService {
    /// Sees to it that every layer's blob is in the store and every chain unpacked. Without `remote` blobs must be here.
    pub(super) async fn materialise(&self, job: &Job, plans: Vec<Plan>, remote: Option<&Repository>) -> Result<()> {
        let (snapshots, snapshotter) = (self.inner.snapshots.clone(), job.snapshotter.clone());
        let rebase = blocking("ask the snapshotter", move || Ok(snapshots.can_rebase(&snapshotter)?)).await?;
        for plan in &plans {
            job.progress.tell(&plan.shown, Status::PullingFsLayer);
        }
        let (senders, receivers): (Vec<_>, Vec<_>) = plans.iter().map(|_| oneshot::channel()).unzip();
        let stages = plans.iter().zip(senders).map(|(plan, sender)| async move {
            let staged = self.stage(job, plan, remote, rebase).await?;
            // The receiver goes only when another layer failed; then this future goes too.
            let _ = sender.send(staged);
            Ok(())
        });
        // Unordered: the first failure ends the rest, whichever layer's it is.
        let stages: FuturesUnordered<_> = stages.collect();
        futures::try_join!(
            stages.try_collect::<Vec<()>>(),
            self.commit_in_order(job, &plans, receivers)
        )?;
        Ok(())
    }

    async fn stage(&self, job: &Job, plan: &Plan, remote: Option<&Repository>, rebase: bool) -> Result<Staged> {
        let key = (job.blobs.ns.clone(), job.snapshotter.clone(), plan.chain_id.clone());
        if !self.inner.chains.is_free(&key) {
            job.progress.tell(&plan.shown, Status::Waiting);
        }
        let chain = self.inner.chains.lock(key).await;
        let draft = match rebase {
            true => match self.draft(job, plan, None).await? {
                Some(draft) => Some(draft),
                None => {
                    self.ensure_blob(job, plan, remote).await?;
                    job.progress.tell(&plan.shown, Status::AlreadyExists);
                    return Ok(Staged {
                        stage: Stage::Exists,
                        _chain: chain,
                    });
                }
            },
            false => None,
        };
        let stage = match draft {
            None => {
                self.ensure_blob(job, plan, remote).await?;
                Stage::Blob
            }
            Some(draft) => {
                let (draft, applied) = self.fill(job, plan, remote, draft).await?;
                Stage::Apart(Box::new(draft), applied)
            }
        };
        Ok(Staged { stage, _chain: chain })
    }

    async fn draft(&self, job: &Job, plan: &Plan, parent: Option<Digest>) -> Result<Option<Draft>> {
        let (inner, job, chain) = (self.inner.clone(), job.clone(), plan.chain_id.clone());
        blocking("prepare a snapshot", move || {
            on_blocking_thread(|| Draft::prepare(&inner, &job, Some(&chain), parent.as_ref()))
        })
        .await
    }

    /// Fills a draft: in one pass with the download if nothing of the blob is here yet, else from the blob.
    async fn fill(
        &self,
        job: &Job,
        plan: &Plan,
        remote: Option<&Repository>,
        draft: Draft,
    ) -> Result<(Draft, Applied)> {
        if !self.inner.blobs.is_free(&plan.blob.digest) {
            job.progress.tell(&plan.shown, Status::Waiting);
        }
        let claim = self.inner.blobs.lock(plan.blob.digest.clone()).await;
        let draft = match (self.open(job, plan, remote).await?, remote) {
            (Some((ingest, 0)), Some(remote)) => return self.stream(job, plan, remote, ingest, draft).await,
            (Some(begun), Some(remote)) => {
                self.go_on(job, plan, remote, begun).await?;
                draft
            }
            _ => draft,
        };
        drop(claim);
        self.unpack_from_blob(job, plan, draft).await
    }

    /// Opens the layer's ingest; `None` if the blob is here. Without a remote it must be.
    async fn open(
        &self,
        job: &Job,
        plan: &Plan,
        remote: Option<&Repository>,
    ) -> Result<Option<(Box<dyn Ingest>, u64)>> {
        let (blobs, blob, may_fetch) = (job.blobs.clone(), plan.blob.clone(), remote.is_some());
        blocking("look up a layer", move || {
            match (blobs.find(&blob.digest)?, may_fetch) {
                (Some(info), _) if info.size != blob.size => Err(ImageError::WrongSize {
                    what: format!("layer {}", blob.digest),
                    expected: blob.size,
                    got: info.size,
                }),
                (None, false) => Err(ImageError::MissingBlob {
                    what: "layer".to_owned(),
                    digest: blob.digest,
                }),
                // Opening leases what is there.
                _ => open_layer(&blobs, &blob),
            }
        })
        .await
    }

    /// Answers whether it had to be fetched.
    pub(super) async fn ensure_blob(&self, job: &Job, plan: &Plan, remote: Option<&Repository>) -> Result<bool> {
        let _claim = self.inner.blobs.lock(plan.blob.digest.clone()).await;
        match (self.open(job, plan, remote).await?, remote) {
            (Some(begun), Some(remote)) => self.go_on(job, plan, remote, begun).await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// Downloads from where an ingest stands. If what was there proves wrong, all of it once more.
    async fn go_on(
        &self,
        job: &Job,
        plan: &Plan,
        remote: &Repository,
        (ingest, offset): (Box<dyn Ingest>, u64),
    ) -> Result<()> {
        let outcome = self.download(job, plan, remote, ingest, offset).await;
        if offset == 0 || !matches!(outcome, Err(ImageError::WrongDigest { .. })) {
            return outcome;
        }
        tracing::warn!(digest = %plan.blob.digest, "a partial download was damaged; downloading it again");
        match self.open(job, plan, Some(remote)).await? {
            Some((ingest, offset)) => self.download(job, plan, remote, ingest, offset).await,
            None => Ok(()),
        }
    }

    /// Download, hash, write the blob, decompress, hash, extract: one pass.
    async fn stream(
        &self,
        job: &Job,
        plan: &Plan,
        remote: &Repository,
        ingest: Box<dyn Ingest>,
        draft: Draft,
    ) -> Result<(Draft, Applied)> {
        let labels = layer_labels(plan, remote);
        let (blobs, plan_there, inner) = (job.blobs.clone(), plan.clone(), self.inner.clone());
        self.receive(job, plan, remote, 0, move |chunks| {
            let mut incoming = Incoming::new(chunks, ingest);
            let algorithm = plan_there.diff_id.algorithm();
            let applied = match apply(&mut incoming, &draft.target, &inner.limits, algorithm, |_| {}) {
                Ok(applied) => applied,
                Err(error) => {
                    if error.blames_content() {
                        incoming.into_ingest().abort()?;
                    }
                    return Err(error);
                }
            };
            blobs.commit(incoming.into_ingest(), &plan_there.blob, labels)?;
            Ok((draft, check_diff_id(&plan_there.blob, &plan_there.diff_id, applied)?))
        })
        .await
    }

    async fn download(
        &self,
        job: &Job,
        plan: &Plan,
        remote: &Repository,
        ingest: Box<dyn Ingest>,
        offset: u64,
    ) -> Result<()> {
        let labels = layer_labels(plan, remote);
        let (blobs, blob) = (job.blobs.clone(), plan.blob.clone());
        self.receive(job, plan, remote, offset, move |chunks| {
            let mut incoming = Incoming::new(chunks, ingest);
            io::copy(&mut incoming, &mut io::sink()).map_err(ImageError::io("store a layer"))?;
            blobs.commit(incoming.into_ingest(), &blob, labels)
        })
        .await
    }

    /// The network on one side, what blocks on the other, a bounded channel between.
    async fn receive<T: Send + 'static>(
        &self,
        job: &Job,
        plan: &Plan,
        remote: &Repository,
        offset: u64,
        work: impl FnOnce(mpsc::Receiver<crate::registry::Chunk>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.inner.downloads.available_permits() == 0 {
            job.progress.tell(&plan.shown, Status::Waiting);
        }
        let _permit = self.inner.downloads.acquire().await.expect("never closed");
        let (sender, receiver) = mpsc::channel(PIECES);
        let worker = tokio::task::spawn_blocking(move || on_blocking_thread(|| work(receiver)));
        let (progress, shown, total) = (&job.progress, &plan.shown, plan.blob.size);
        let sent = remote
            .blob(&plan.blob, offset, &sender, |step| match step {
                Step::At(at) => progress.count(shown, Status::Downloading, at, total),
                Step::Retry(pause) => progress.tell(shown, Status::Retrying(pause.as_secs().max(1))),
            })
            .await;
        drop(sender);
        if sent.is_ok() {
            progress.tell(shown, Status::VerifyingChecksum);
        }
        let done = worker.await.unwrap_or_else(|error| {
            Err(ImageError::Panicked {
                doing: "store a layer",
                reason: error.to_string(),
            })
        });
        match (sent, done) {
            (Ok(()), Ok(done)) => {
                progress.tell(shown, Status::DownloadComplete);
                Ok(done)
            }
            (Err(error), Ok(_)) => Err(error),
            // Each side is cancelled by the other's failure: the other's is the reason.
            (Err(error), Err(other)) if other.is_cancelled() => Err(error),
            (_, Err(error)) => Err(error),
        }
    }

    async fn unpack_from_blob(&self, job: &Job, plan: &Plan, draft: Draft) -> Result<(Draft, Applied)> {
        let _permit = self.inner.unpacks.acquire().await.expect("never closed");
        let (inner, job, plan) = (self.inner.clone(), job.clone(), plan.clone());
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        let outcome = blocking("unpack a layer", move || {
            on_blocking_thread(|| {
                let total = plan.blob.size;
                let told = |at| job.progress.count(&plan.shown, Status::Extracting, at, total);
                let applied = unpack_blob(
                    &job.blobs,
                    &plan.blob,
                    &draft,
                    &inner.limits,
                    &plan.diff_id,
                    watched,
                    told,
                )?;
                job.blobs.label(&plan.blob.digest, &uncompressed_label(&plan.diff_id))?;
                Ok((draft, applied))
            })
        })
        .await;
        drop(alive);
        outcome
    }

    async fn commit_in_order(&self, job: &Job, plans: &[Plan], staged: Vec<oneshot::Receiver<Staged>>) -> Result<()> {
        let mut below = Below::default();
        for (plan, staged) in plans.iter().zip(staged) {
            // A sender goes without a word only when its stage failed, and that error wins.
            let staged = staged.await.map_err(|_| ImageError::Cancelled { doing: "unpack" })?;
            let ready = match staged.stage {
                Stage::Exists => None,
                Stage::Apart(draft, applied) => Some((*draft, applied, true)),
                Stage::Blob => match self.draft(job, plan, below.chain.clone()).await? {
                    Some(draft) => {
                        let (draft, applied) = self.unpack_from_blob(job, plan, draft).await?;
                        Some((draft, applied, false))
                    }
                    None => {
                        job.progress.tell(&plan.shown, Status::AlreadyExists);
                        None
                    }
                },
            };
            below = match ready {
                None => below.on_existing(plan),
                Some((draft, applied, apart)) => {
                    let (inner, job_there, plan_there) = (self.inner.clone(), job.clone(), plan.clone());
                    let next = blocking("commit a layer", move || {
                        on_blocking_thread(|| below.commit(&inner, &job_there, &plan_there, draft, &applied, apart))
                    })
                    .await?;
                    job.progress.tell(&plan.shown, Status::PullComplete);
                    next
                }
            };
        }
        Ok(())
    }
}

fn layer_labels(plan: &Plan, remote: &Repository) -> Labels {
    let mut labels = plan.labels.clone();
    labels.extend([source_label(remote.reference())]);
    labels
}
