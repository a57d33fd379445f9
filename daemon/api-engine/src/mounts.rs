//! What is mounted in containers, in and out.

use crate::check;
use crate::config::PROPAGATION;
use gantry_core::Result;
use gantry_core::volume::{BindOptions, LOCAL, MountKind, MountPoint, MountRequest, TmpfsOptions, VolumeOptions};
use gantry_proto::gantry::v1 as wire;

pub fn request_in(request: wire::MountRequest) -> Result<MountRequest> {
    let kind = match check::word("host.mounts.type", request.r#type, &["bind", "volume", "tmpfs"])?.as_str() {
        "bind" => MountKind::Bind,
        "tmpfs" => MountKind::Tmpfs,
        _ => MountKind::Volume,
    };
    Ok(MountRequest {
        kind,
        source: check::text("host.mounts.source", request.source)?,
        target: check::text("host.mounts.target", request.target)?,
        read_only: request.read_only,
        consistency: request.consistency,
        bind: BindOptions {
            propagation: check::word("host.mounts.propagation", request.propagation, PROPAGATION)?,
            non_recursive: request.non_recursive,
            create_source: request.create_source,
            shallow_read_only: request.shallow_read_only,
        },
        volume: VolumeOptions {
            no_copy: request.no_copy,
            labels: request.labels.into_iter().collect(),
            driver: request.driver,
            driver_options: request.driver_options.into_iter().collect(),
            subpath: check::text("host.mounts.subpath", request.subpath)?,
        },
        tmpfs: TmpfsOptions {
            size: check::amount("host.mounts.tmpfs_size", request.tmpfs_size)?,
            mode: request.tmpfs_mode,
        },
    })
}

pub fn request_out(request: MountRequest) -> wire::MountRequest {
    wire::MountRequest {
        r#type: request.kind.name().to_owned(),
        source: request.source,
        target: request.target,
        read_only: request.read_only,
        consistency: request.consistency,
        propagation: request.bind.propagation,
        non_recursive: request.bind.non_recursive,
        create_source: request.bind.create_source,
        shallow_read_only: request.bind.shallow_read_only,
        no_copy: request.volume.no_copy,
        labels: request.volume.labels.into_iter().collect(),
        driver: request.volume.driver,
        driver_options: request.volume.driver_options.into_iter().collect(),
        subpath: request.volume.subpath,
        tmpfs_size: request.tmpfs.size,
        tmpfs_mode: request.tmpfs.mode,
    }
}

pub fn points_out(points: Vec<MountPoint>) -> Vec<wire::MountPoint> {
    points.into_iter().map(point_out).collect()
}

fn point_out(point: MountPoint) -> wire::MountPoint {
    let volume = point.kind == MountKind::Volume;
    wire::MountPoint {
        r#type: point.kind.name().to_owned(),
        name: point.name,
        source: point.source,
        destination: point.target,
        mode: point.mode,
        rw: !point.read_only,
        propagation: point.propagation,
        driver: if volume { LOCAL.to_owned() } else { String::new() },
    }
}
