//! The Images service.

mod archive;
mod view;

use crate::status::{Answer, answer, finish, refuse};
use crate::stream::{Outgoing, fallible};
use crate::{Door, check, config};
use gantry_core::Result;
use gantry_engine::{ListImages, PullImage, RemovedImage};
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::images_server::Images;
use tonic::{Request, Streaming};

#[tonic::async_trait]
impl Images for Door {
    async fn list(&self, request: Request<wire::ListImagesRequest>) -> Answer<wire::ListImagesResponse> {
        let wire::ListImagesRequest { all, filters } = request.into_inner();
        let rows = self
            .engine
            .images(ListImages {
                all,
                filters: config::filters(filters),
            })
            .await;
        answer(rows.map(|rows| wire::ListImagesResponse {
            images: rows.iter().map(view::summary).collect(),
        }))
    }

    async fn inspect(&self, request: Request<wire::InspectImageRequest>) -> Answer<wire::Image> {
        let image = self.engine.image(&request.into_inner().image).await;
        answer(image.map(|image| view::image(&image, &self.engine.config().snapshotter)))
    }

    async fn history(&self, request: Request<wire::HistoryRequest>) -> Answer<wire::HistoryResponse> {
        let entries = self.engine.image_history(&request.into_inner().image).await;
        answer(entries.map(|entries| wire::HistoryResponse {
            entries: entries.into_iter().map(view::history).collect(),
        }))
    }

    type PullStream = Outgoing<wire::PullProgress>;

    async fn pull(&self, request: Request<wire::PullRequest>) -> Answer<Self::PullStream> {
        let request = pull(request.into_inner()).map_err(refuse)?;
        let events = self.engine.image_pull(request).await.map_err(refuse)?;
        Ok(fallible(events, view::pull_event))
    }

    async fn tag(&self, request: Request<wire::TagImageRequest>) -> Answer<wire::TagImageResponse> {
        let wire::TagImageRequest { image, target } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            engine
                .image_tag(&image, &target)
                .await
                .map(|()| wire::TagImageResponse {})
        })
        .await
    }

    /// Parents are not kept as images of their own, so `no_prune` changes nothing.
    async fn remove(&self, request: Request<wire::RemoveImageRequest>) -> Answer<wire::RemoveImageResponse> {
        let wire::RemoveImageRequest {
            image,
            force,
            no_prune: _,
        } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            let removed = engine.image_remove(&image, force).await?;
            Ok(wire::RemoveImageResponse {
                removed: removed.into_iter().map(taken).collect(),
            })
        })
        .await
    }

    type LoadStream = Outgoing<wire::LoadProgress>;

    async fn load(&self, request: Request<Streaming<wire::LoadRequest>>) -> Answer<Self::LoadStream> {
        archive::load(&self.engine, request.into_inner()).await
    }

    type SaveStream = Outgoing<wire::SaveChunk>;

    async fn save(&self, request: Request<wire::SaveRequest>) -> Answer<Self::SaveStream> {
        archive::save(&self.engine, request.into_inner().images).await
    }

    async fn import(&self, request: Request<Streaming<wire::ImportRequest>>) -> Answer<wire::ImportResponse> {
        archive::import(self.engine.clone(), request.into_inner()).await
    }

    async fn prune(&self, request: Request<wire::PruneImagesRequest>) -> Answer<wire::PruneImagesResponse> {
        let filters = config::filters(request.into_inner().filters);
        let pruned = self.engine.prune_images(filters).await;
        answer(pruned.map(|(removed, space)| wire::PruneImagesResponse {
            removed: removed.into_iter().map(taken).collect(),
            space: crate::view::bytes(space),
        }))
    }
}

pub fn summary(row: &gantry_engine::ImageSummary) -> wire::ImageSummary {
    view::summary(row)
}

fn pull(request: wire::PullRequest) -> Result<PullImage> {
    let auth = request.auth.unwrap_or_default();
    Ok(PullImage {
        reference: check::filled("reference", request.reference)?,
        platform: request.platform,
        all_tags: request.all_tags,
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
    })
}

fn taken(removed: RemovedImage) -> wire::RemovedImage {
    use wire::removed_image::What;
    let what = match removed {
        RemovedImage::Untagged(name) => What::Untagged(name),
        RemovedImage::Deleted(id) => What::Deleted(id),
    };
    wire::RemovedImage { what: Some(what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_names_something() {
        assert_eq!(
            pull(wire::PullRequest::default()).unwrap_err().message(),
            "reference: empty"
        );
        let auth = Some(wire::RegistryAuth {
            username: "me".into(),
            ..Default::default()
        });
        let request = pull(wire::PullRequest {
            reference: "busybox".into(),
            auth,
            ..Default::default()
        })
        .unwrap();
        assert_eq!(
            (request.reference.as_str(), request.username.as_str()),
            ("busybox", "me")
        );
    }
}
