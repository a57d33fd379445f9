//! containerd.services.transfer.v1.

mod ends;
mod registry;
mod telling;

use crate::Door;
use crate::call::{Answer, lease, namespace, refuse};
use crate::streams::{Stream, bytes};
use ends::{export_options, from_store, to_store};
use gantry_core::{Error, ErrorKind, LeaseId, Namespace, Result};
use gantry_engine::{ReadArchive, ToStore};
use gantry_image::progress;
use gantry_proto_containerd::any::{is, unpack};
use gantry_proto_containerd::prost::{Message, Name};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::transfer::v1 as pb;
use gantry_proto_containerd::types::transfer as wire;
use telling::Listener;
use tokio::sync::mpsc;
use tonic::{Request, Response};

/// Pieces of an archive under way.
const PIECES: usize = 8;

fn read<M: Message + Name + Default>(any: &Any) -> Result<M> {
    unpack(any).map_err(|error| Error::invalid(format!("transfer: {error}")))
}

/// One transfer: for whom, and who hears of it.
struct Work<'a> {
    door: &'a Door,
    ns: Namespace,
    lease: Option<LeaseId>,
    listener: Listener,
}

impl Work<'_> {
    /// Which pairs there are is containerd's matrix (core/transfer/local).
    async fn run(&self, source: &Any, destination: &Any) -> Result<()> {
        if is::<wire::OciRegistry>(source) && is::<wire::ImageStore>(destination) {
            return self.pull(read(source)?, self.to_store(destination)?).await;
        }
        if is::<wire::ImageImportStream>(source) && is::<wire::ImageStore>(destination) {
            return self.import(read(source)?, self.to_store(destination)?).await;
        }
        if is::<wire::ImageImportStream>(source) && is::<wire::ImageExportStream>(destination) {
            return self.echo(read(source)?, read(destination)?).await;
        }
        if is::<wire::ImageStore>(source) {
            if is::<wire::OciRegistry>(destination) {
                return self.push(read(source)?, read(destination)?).await;
            }
            if is::<wire::ImageExportStream>(destination) {
                return self.export(read(source)?, read(destination)?).await;
            }
            if is::<wire::ImageStore>(destination) {
                return self.tag(read(source)?, self.to_store(destination)?).await;
            }
        }
        let text = format!(
            "method Transfer not implemented for {} to {}",
            source.type_url, destination.type_url
        );
        Err(Error::new(ErrorKind::Unimplemented, text))
    }

    fn to_store(&self, any: &Any) -> Result<ToStore> {
        to_store(read(any)?, self.lease.clone())
    }

    async fn stream(&self, id: &str) -> Result<Stream> {
        self.door.take_stream(&self.ns, id).await
    }

    async fn pull(&self, from: wire::OciRegistry, to: ToStore) -> Result<()> {
        let shown = format!("OCI Registry ({})", from.reference);
        self.listener.event(&format!("Resolving from {shown}")).await;
        let way = self.way(&from).await?;
        self.listener.event(&format!("Pulling from {shown}")).await;
        let (sink, steps) = progress();
        let engine = &self.door.rooms.engine;
        let pulled = engine.transfer_pull(&self.ns, &from.reference, way.access(), to, sink);
        for record in self
            .listener
            .telling("downloading", &from.reference, pulled, steps)
            .await?
        {
            self.listener.image("saved", &record).await;
        }
        self.listener.event(&format!("Completed pull from {shown}")).await;
        Ok(())
    }

    async fn push(&self, from: wire::ImageStore, to: wire::OciRegistry) -> Result<()> {
        let shown = format!("OCI Registry ({})", to.reference);
        let from = from_store(from);
        let engine = &self.door.rooms.engine;
        let image = engine.meta().image(&self.ns, &from.name).await?;
        self.listener.event(&format!("Pushing to {shown}")).await;
        self.listener.image("pushing content", &image).await;
        let way = self.way(&to).await?;
        let (sink, steps) = progress();
        let pushed = engine.transfer_push(&self.ns, from, &to.reference, way.access(), sink);
        let image = self.listener.telling("uploading", &image.name, pushed, steps).await?;
        self.listener.image("pushed content", &image).await;
        self.listener.event(&format!("Completed push to {shown}")).await;
        Ok(())
    }

    async fn import(&self, from: wire::ImageImportStream, to: ToStore) -> Result<()> {
        self.listener.event("Importing").await;
        let how = ReadArchive {
            // A client that says what it sends has packed it no further.
            plain: !from.media_type.is_empty(),
            force_compress: from.force_compress,
        };
        let (archive, _reading) = bytes::receive(self.stream(&from.stream).await?);
        let (sink, steps) = progress();
        let engine = &self.door.rooms.engine;
        let imported = engine.transfer_import(&self.ns, archive, how, to, sink);
        for record in self.listener.telling("importing", "", imported, steps).await? {
            self.listener.image("saved", &record).await;
        }
        self.listener.event("Completed import").await;
        Ok(())
    }

    async fn export(&self, from: wire::ImageStore, to: wire::ImageExportStream) -> Result<()> {
        self.listener.event("Exporting").await;
        let options = export_options(&to)?;
        let stream = self.stream(&to.stream).await?;
        let (out, archive) = mpsc::channel(PIECES);
        let engine = &self.door.rooms.engine;
        let (written, sent) = tokio::join!(
            engine.transfer_export(&self.ns, from_store(from), options, out),
            bytes::send(stream, archive)
        );
        // What could not be sent is why it could not be written.
        sent.and(written)?;
        self.listener.event("Completed export").await;
        Ok(())
    }

    async fn tag(&self, from: wire::ImageStore, to: ToStore) -> Result<()> {
        let engine = &self.door.rooms.engine;
        for record in engine.transfer_tag(&self.ns, &from.name, to).await? {
            self.listener.image("saved", &record).await;
        }
        Ok(())
    }

    /// The bytes as they come: containerd tries its streams with it, and so may a client.
    async fn echo(&self, from: wire::ImageImportStream, to: wire::ImageExportStream) -> Result<()> {
        let (archive, _reading) = bytes::receive(self.stream(&from.stream).await?);
        bytes::send(self.stream(&to.stream).await?, archive).await
    }
}

#[tonic::async_trait]
impl pb::transfer_server::Transfer for Door {
    /// Ends with its client: what came about stays where it is, half of it is not named.
    async fn transfer(&self, request: Request<pb::TransferRequest>) -> Answer<()> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let (Some(source), Some(destination)) = (request.source, request.destination) else {
            return Err(refuse(Error::invalid("a transfer needs a source and a destination")));
        };
        if let Some(lease) = &lease {
            self.check_lease(&ns, lease).await.map_err(refuse)?;
        }
        let listening = match request.options.unwrap_or_default().progress_stream.as_str() {
            "" => None,
            id => Some(self.take_stream(&ns, id).await.map_err(refuse)?),
        };
        let work = Work {
            door: self,
            ns,
            lease,
            listener: Listener::new(listening),
        };
        let done = work.run(&source, &destination).await;
        work.listener.flushed().await;
        done.map(Response::new).map_err(refuse)
    }
}
