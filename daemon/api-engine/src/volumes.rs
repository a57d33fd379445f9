//! The Volumes service.

use crate::status::{Answer, answer, finish, refuse};
use crate::{Door, check, config, time};
use gantry_core::Result;
use gantry_engine::{NewVolume, Pruned, VolumeView};
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::volumes_server::Volumes;
use tonic::Request;

#[tonic::async_trait]
impl Volumes for Door {
    async fn create(&self, request: Request<wire::CreateVolumeRequest>) -> Answer<wire::Volume> {
        let new = new_in(request.into_inner()).map_err(refuse)?;
        let engine = self.engine.clone();
        finish(async move {
            let record = engine.create_volume(new).await?;
            engine.volume(&record.name).map(volume_out)
        })
        .await
    }

    async fn list(&self, request: Request<wire::ListVolumesRequest>) -> Answer<wire::ListVolumesResponse> {
        let filters = config::filters(request.into_inner().filters);
        answer(self.engine.volumes(&filters).map(|all| wire::ListVolumesResponse {
            volumes: all.into_iter().map(volume_out).collect(),
        }))
    }

    async fn inspect(&self, request: Request<wire::InspectVolumeRequest>) -> Answer<wire::Volume> {
        answer(self.engine.volume(&request.into_inner().volume).map(volume_out))
    }

    async fn remove(&self, request: Request<wire::RemoveVolumeRequest>) -> Answer<wire::RemoveVolumeResponse> {
        let wire::RemoveVolumeRequest { volume, force } = request.into_inner();
        let removed = self.engine.remove_volume(&volume, force).await;
        answer(removed.map(|()| wire::RemoveVolumeResponse {}))
    }

    async fn prune(&self, request: Request<wire::PruneVolumesRequest>) -> Answer<wire::Pruned> {
        let filters = config::filters(request.into_inner().filters);
        answer(self.engine.prune_volumes(filters).await.map(pruned_out))
    }
}

fn new_in(request: wire::CreateVolumeRequest) -> Result<NewVolume> {
    Ok(NewVolume {
        name: check::text("name", request.name)?,
        driver: check::text("driver", request.driver)?,
        options: request.options.into_iter().collect(),
        labels: request.labels.into_iter().collect(),
    })
}

pub fn pruned_out(pruned: Pruned) -> wire::Pruned {
    wire::Pruned {
        removed: pruned.removed,
        space: crate::view::bytes(pruned.space),
    }
}

pub fn volume_out(view: VolumeView) -> wire::Volume {
    let record = &view.record;
    wire::Volume {
        name: record.name.clone(),
        driver: record.driver.clone(),
        mountpoint: crate::view::text(&view.path),
        created_at: Some(time::out(record.created_at)),
        options: record.options.clone().into_iter().collect(),
        labels: record.labels.clone().into_iter().collect(),
        scope: "local".to_owned(),
        containers: view.users,
        size: view.size.map(crate::view::bytes),
    }
}
