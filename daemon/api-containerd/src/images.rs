//! containerd.services.images.v1.

use crate::call::{Answer, answer, finish, lease, namespace, refuse};
use crate::mask::Part;
use crate::{Door, descriptors};
use gantry_core::filter::{self, Adaptor};
use gantry_core::meta::Change;
use gantry_core::{Error, Result};
use gantry_engine::ImageRecord;
use gantry_engine::meta::{DeleteImage, ImageUpdate, NewImage};
use gantry_image::Descriptor;
use gantry_proto_containerd::services::images::v1 as pb;
use gantry_proto_containerd::time::{system_time, timestamp};
use std::borrow::Cow;
use tonic::{Request, Response, Status};

struct Filtered<'a>(&'a ImageRecord);

impl Adaptor for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name", ..] => filter::set(&self.0.name),
            ["target", "digest", ..] => Some(self.0.target.digest.to_string().into()),
            ["target", "mediatype", ..] => filter::set(&self.0.target.media_type),
            ["labels", key @ ..] => filter::label(&self.0.labels, key),
            ["annotations", key @ ..] => filter::label(&self.0.target.annotations, key),
            _ => None,
        }
    }
}

fn to_wire(image: ImageRecord) -> pb::Image {
    pb::Image {
        name: image.name,
        labels: image.labels,
        target: Some(descriptors::to_wire(image.target)),
        created_at: Some(timestamp(Some(image.created_at))),
        updated_at: Some(timestamp(Some(image.updated_at))),
    }
}

fn named(image: Option<pb::Image>) -> std::result::Result<pb::Image, Status> {
    image
        .filter(|image| !image.name.is_empty())
        .ok_or_else(|| refuse(Error::invalid("Image.Name required")))
}

fn target(image: &mut pb::Image) -> Result<Descriptor> {
    let given = image.target.take();
    let given = given.ok_or_else(|| Error::invalid("Image.Target required"))?;
    descriptors::from_wire(given, "Image.Target")
}

/// What a request changes; without a mask labels and target.
fn update(mut image: pb::Image, paths: &[String]) -> Result<ImageUpdate> {
    let mut update = ImageUpdate::default();
    if paths.is_empty() {
        update.target = Some(target(&mut image)?);
        update.labels = Some(Change::Replace(image.labels));
        return Ok(update);
    }
    let given = image.target.clone().unwrap_or_default().annotations;
    let whole_target = paths.iter().any(|path| path == "target");
    let mut labels = Part::new("labels", &image.labels);
    let mut annotations = Part::new("annotations", &given);
    for path in paths.iter().filter(|path| *path != "target") {
        if !labels.takes(path) && !annotations.takes(path) {
            return Err(Error::invalid(format!(
                "cannot update {path:?} field on image {:?}",
                image.name
            )));
        }
    }
    update.labels = labels.change();
    update.annotations = annotations.change();
    if whole_target {
        update.target = Some(target(&mut image)?);
    }
    Ok(update)
}

#[tonic::async_trait]
impl pb::images_server::Images for Door {
    async fn get(&self, request: Request<pb::GetImageRequest>) -> Answer<pb::GetImageResponse> {
        let ns = namespace(&request)?;
        let found = self.rooms.engine.meta().image(&ns, &request.get_ref().name).await;
        answer(found.map(|found| pb::GetImageResponse {
            image: Some(to_wire(found)),
        }))
    }

    async fn list(&self, request: Request<pb::ListImagesRequest>) -> Answer<pb::ListImagesResponse> {
        let ns = namespace(&request)?;
        // containerd's image service says the class twice, and its clients once more.
        let filter = filter::parse_all(&request.get_ref().filters).map_err(|error| {
            refuse(Error::invalid(format!(
                "{}: invalid argument: invalid argument",
                error.message()
            )))
        })?;
        let mut found = self.rooms.engine.meta().images(&ns).await.map_err(refuse)?;
        found.retain(|one| filter.matches(&Filtered(one)));
        Ok(Response::new(pb::ListImagesResponse {
            images: found.into_iter().map(to_wire).collect(),
        }))
    }

    async fn create(&self, request: Request<pb::CreateImageRequest>) -> Answer<pb::CreateImageResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let mut image = named(request.image)?;
        let new = NewImage {
            lease,
            target: target(&mut image).map_err(refuse)?,
            name: image.name,
            labels: image.labels,
            at: system_time(request.source_date_epoch.as_ref()),
        };
        let meta = self.rooms.engine.meta().clone();
        let made = finish(async move { meta.create_image(&ns, new).await }).await?;
        Ok(Response::new(pb::CreateImageResponse {
            image: Some(to_wire(made)),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateImageRequest>) -> Answer<pb::UpdateImageResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let image = named(request.image)?;
        let name = image.name.clone();
        let mut change = update(image, &request.update_mask.unwrap_or_default().paths).map_err(refuse)?;
        change.at = system_time(request.source_date_epoch.as_ref());
        let meta = self.rooms.engine.meta().clone();
        let changed = finish(async move { meta.update_image(&ns, &name, change).await }).await?;
        Ok(Response::new(pb::UpdateImageResponse {
            image: Some(to_wire(changed)),
        }))
    }

    async fn delete(&self, request: Request<pb::DeleteImageRequest>) -> Answer<()> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let target = match request
            .target
            .map(|target| target.digest)
            .filter(|digest| !digest.is_empty())
        {
            None => None,
            Some(text) => Some(crate::content::digest(&text).map_err(refuse)?),
        };
        let how = DeleteImage {
            target,
            sync: request.sync,
            lease,
        };
        let meta = self.rooms.engine.meta().clone();
        finish(async move { meta.delete_image(&ns, &request.name, how).await }).await?;
        self.rooms.background.request();
        Ok(Response::new(()))
    }
}
