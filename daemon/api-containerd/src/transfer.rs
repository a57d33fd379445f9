//! containerd.services.transfer.v1.

use crate::call::{Answer, lease, namespace, refuse};
use crate::streams::{Outgoing, bytes};
use crate::{Door, descriptors};
use gantry_core::{Error, ErrorKind, Namespace, Result};
use gantry_engine::{ImageRecord, MoreNames, ToStore, Unpack};
use gantry_image::{Credentials, Platform, ProgressStream, Status as Step, progress};
use gantry_proto_containerd::any::{is, unpack};
use gantry_proto_containerd::prost::{Message, Name};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::transfer::v1 as pb;
use gantry_proto_containerd::types as wire;
use gantry_proto_containerd::types::transfer as ends;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Request, Response};

/// How long a client may think about its credentials: it may ask a person.
const CREDENTIALS: Duration = Duration::from_secs(300);
/// How long the end of a transfer waits for who reads of its progress too slowly.
const TOLD: Duration = Duration::from_secs(10);
/// Pieces of an archive under way.
const PIECES: usize = 8;

fn read<M: Message + Name + Default>(any: &Any) -> Result<M> {
    unpack(any).map_err(|error| Error::invalid(format!("transfer: {error}")))
}

fn unserved(what: &str) -> Error {
    Error::new(ErrorKind::Unimplemented, format!("{what} is not served in a transfer"))
}

fn platform(given: wire::Platform) -> Platform {
    let variant = Some(given.variant.as_str()).filter(|variant| !variant.is_empty());
    Platform::new(&given.os, &given.architecture, variant)
}

fn to_store(given: ends::ImageStore, lease: Option<gantry_core::LeaseId>) -> Result<ToStore> {
    if given.platforms.len() > 1 {
        return Err(unserved("more than one platform"));
    }
    let unpack = |one: ends::UnpackConfiguration| Unpack {
        platform: one.platform.map(platform),
        snapshotter: one.snapshotter,
    };
    let names = |one: ends::ImageReference| match one.add_digest {
        true => Err(unserved("ImageReference.add_digest")),
        false => Ok(MoreNames {
            name: one.name,
            is_prefix: one.is_prefix,
            overwrite: one.allow_overwrite,
        }),
    };
    Ok(ToStore {
        name: given.name,
        labels: given.labels,
        platform: given.platforms.into_iter().next().map(platform),
        unpacks: given.unpacks.into_iter().map(unpack).collect(),
        references: given.extra_references.into_iter().map(names).collect::<Result<_>>()?,
        lease,
    })
}

/// One transfer: for whom, and who hears of it.
struct Work<'a> {
    door: &'a Door,
    ns: Namespace,
    lease: Option<gantry_core::LeaseId>,
    listener: Option<Outgoing>,
}

impl Work<'_> {
    async fn run(&self, source: &Any, destination: &Any) -> Result<()> {
        let to_store = |any: &Any| to_store(read(any)?, self.lease.clone());
        if is::<ends::ImageStore>(destination) {
            let to = to_store(destination)?;
            if is::<ends::OciRegistry>(source) {
                return self.pull(read(source)?, to).await;
            }
            if is::<ends::ImageImportStream>(source) {
                return self.import(read(source)?, to).await;
            }
            if is::<ends::ImageStore>(source) {
                let from: ends::ImageStore = read(source)?;
                let record = self.door.rooms.engine.transfer_tag(&self.ns, &from.name, to).await?;
                return self.saved(&record).await;
            }
        }
        if is::<ends::ImageStore>(source) && is::<ends::ImageExportStream>(destination) {
            return self.export(read(source)?, read(destination)?).await;
        }
        let text = format!(
            "method Transfer not implemented for {} to {}",
            source.type_url, destination.type_url
        );
        Err(Error::new(ErrorKind::Unimplemented, text))
    }

    async fn pull(&self, from: ends::OciRegistry, to: ToStore) -> Result<()> {
        let resolver = from.resolver.unwrap_or_default();
        for (given, what) in [
            (!resolver.headers.is_empty(), "RegistryResolver.headers"),
            (!resolver.host_dir.is_empty(), "RegistryResolver.host_dir"),
            (!resolver.default_scheme.is_empty(), "RegistryResolver.default_scheme"),
        ] {
            if given {
                return Err(unserved(what));
            }
        }
        let credentials = match resolver.auth_stream.as_str() {
            "" => None,
            id => self.credentials(id, &from.reference).await?,
        };
        let engine = &self.door.rooms.engine;
        let (sink, steps) = progress();
        let pulled = engine.transfer_pull(&self.ns, &from.reference, credentials, to, sink);
        let record = self.telling(pulled, steps).await?;
        self.saved(&record).await
    }

    /// Asks the client by its stream. Before the registry does: what it is not asked for, it is not sent.
    async fn credentials(&self, id: &str, reference: &str) -> Result<Option<Credentials>> {
        let mut stream = self.door.streams.take(&self.ns, id)?;
        let parsed = gantry_core::reference::Reference::parse(reference)?;
        let host = match parsed.domain() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let question = ends::AuthRequest {
            host: host.to_owned(),
            reference: reference.to_owned(),
            wwwauthenticate: Vec::new(),
        };
        stream.outgoing.send(&question).await?;
        let late = || Error::new(ErrorKind::DeadlineExceeded, "the client gives no credentials");
        let answer = tokio::time::timeout(CREDENTIALS, stream.incoming.message())
            .await
            .map_err(|_| late())?
            .map_err(|status| Error::new(ErrorKind::Unavailable, status.message()))?;
        let Some(answer) = answer else { return Ok(None) };
        let answer: ends::AuthResponse = read(&answer)?;
        match answer.auth_type() {
            ends::AuthType::None => Ok(None),
            ends::AuthType::Credentials => Ok(Credentials::new(&answer.username, &answer.secret, "")),
            ends::AuthType::Refresh => Ok(Credentials::new(&answer.username, "", &answer.secret)),
            ends::AuthType::Header => Err(unserved("AuthType.HEADER")),
        }
    }

    async fn import(&self, from: ends::ImageImportStream, to: ToStore) -> Result<()> {
        let archive = bytes::receive(self.door.streams.take(&self.ns, &from.stream)?);
        let engine = &self.door.rooms.engine;
        let (sink, steps) = progress();
        let imported = engine.transfer_import(&self.ns, archive, to, sink);
        for record in self.telling(imported, steps).await? {
            self.saved(&record).await?;
        }
        Ok(())
    }

    async fn export(&self, from: ends::ImageStore, to: ends::ImageExportStream) -> Result<()> {
        if from.name.is_empty() {
            return Err(Error::invalid("an export needs the name of an image"));
        }
        let stream = self.door.streams.take(&self.ns, &to.stream)?;
        let (out, archive) = mpsc::channel(PIECES);
        let engine = &self.door.rooms.engine;
        let (written, sent) = tokio::join!(
            engine.transfer_export(&self.ns, &from.name, out),
            bytes::send(stream, archive)
        );
        // What could not be sent is why it could not be written.
        sent.and(written)
    }

    /// Runs it while its steps are told.
    async fn telling<T>(&self, work: impl Future<Output = Result<T>>, mut steps: ProgressStream) -> Result<T> {
        let listener = self.listener.clone();
        let mut teller = tokio::spawn(async move {
            while let Some(step) = steps.recv().await {
                let (Some(listener), Some(event)) = (&listener, event(&step.status)) else {
                    continue;
                };
                let message = ends::Progress {
                    event: event.to_owned(),
                    name: step.id,
                    progress: step.current.cast_signed(),
                    total: step.total.cast_signed(),
                    ..ends::Progress::default()
                };
                // Who listens no more misses nothing that matters.
                let _ = listener.send(&message).await;
            }
        });
        let outcome = work.await;
        if tokio::time::timeout(TOLD, &mut teller).await.is_err() {
            teller.abort();
        }
        outcome
    }

    async fn saved(&self, record: &ImageRecord) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let message = ends::Progress {
            event: "saved".to_owned(),
            name: record.name.clone(),
            desc: Some(descriptors::to_wire(record.target.clone())),
            ..ends::Progress::default()
        };
        let _ = tokio::time::timeout(TOLD, listener.send(&message)).await;
        Ok(())
    }
}

/// containerd's word for a step; none for what it does not tell.
fn event(step: &Step) -> Option<&'static str> {
    match step {
        Step::PullingFrom(_) => Some("resolving"),
        Step::PullingFsLayer | Step::Waiting | Step::Retrying(_) => Some("waiting"),
        Step::Downloading => Some("downloading"),
        Step::LoadingLayer => Some("importing"),
        Step::VerifyingChecksum | Step::DownloadComplete | Step::LoadComplete => Some("complete"),
        Step::Extracting => Some("extracting"),
        Step::PullComplete => Some("extracted"),
        Step::AlreadyExists => Some("already exists"),
        Step::Saving => Some("exporting"),
        Step::PushingTo(_) => Some("resolving"),
        Step::Preparing => Some("waiting"),
        Step::Pushing => Some("uploading"),
        Step::Pushed | Step::MountedFrom(_) => Some("complete"),
        Step::LayerExists => Some("already exists"),
        Step::Digest(_) | Step::Note(_) => None,
    }
}

#[tonic::async_trait]
impl pb::transfer_server::Transfer for Door {
    async fn transfer(&self, request: Request<pb::TransferRequest>) -> Answer<()> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let (Some(source), Some(destination)) = (request.source, request.destination) else {
            return Err(refuse(Error::invalid("a transfer needs a source and a destination")));
        };
        let listening = match request.options.unwrap_or_default().progress_stream.as_str() {
            "" => None,
            id => Some(self.streams.take(&ns, id).map_err(refuse)?),
        };
        let work = Work {
            door: self,
            ns,
            lease,
            listener: listening.as_ref().map(|stream| stream.outgoing.clone()),
        };
        work.run(&source, &destination).await.map(Response::new).map_err(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_store_is_read_whole_or_refused() {
        let given = ends::ImageStore {
            name: "a".to_owned(),
            platforms: vec![wire::Platform {
                os: "linux".to_owned(),
                architecture: "arm".to_owned(),
                variant: "v7".to_owned(),
                ..wire::Platform::default()
            }],
            unpacks: vec![ends::UnpackConfiguration {
                platform: None,
                snapshotter: "native".to_owned(),
            }],
            ..ends::ImageStore::default()
        };
        let read = to_store(given.clone(), None).unwrap();
        assert_eq!(read.platform, Some(Platform::new("linux", "arm", Some("v7"))));
        assert_eq!(read.unpacks[0].snapshotter, "native");
        let two = ends::ImageStore {
            platforms: vec![given.platforms[0].clone(), wire::Platform::default()],
            ..given.clone()
        };
        assert_eq!(to_store(two, None).unwrap_err().kind(), ErrorKind::Unimplemented);
        let digests = ends::ImageStore {
            extra_references: vec![ends::ImageReference {
                add_digest: true,
                ..ends::ImageReference::default()
            }],
            ..given
        };
        assert_eq!(to_store(digests, None).unwrap_err().kind(), ErrorKind::Unimplemented);
    }
}
