//! The ends of a transfer, read.

use gantry_core::{Error, LeaseId, Result};
use gantry_engine::{FromStore, MoreNames, ToStore};
use gantry_image::{ExportOptions, Platform, UnpackAt, Wanted};
use gantry_proto_containerd::types as common;
use gantry_proto_containerd::types::transfer as wire;

fn platform(given: common::Platform) -> Platform {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let read = Platform::new(&given.os, &given.architecture, some(given.variant).as_deref());
    Platform {
        os_version: some(given.os_version),
        ..read
    }
}

fn more_names(given: wire::ImageReference) -> MoreNames {
    MoreNames {
        name: given.name,
        is_prefix: given.is_prefix,
        overwrite: given.allow_overwrite,
        add_digest: given.add_digest,
        skip_named_digest: given.skip_named_digest,
    }
}

fn wanted(platforms: Vec<common::Platform>, all_metadata: bool, limit: u32) -> Wanted {
    Wanted {
        platforms: platforms.into_iter().map(platform).collect(),
        all_metadata,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

pub fn to_store(given: wire::ImageStore, lease: Option<LeaseId>) -> Result<ToStore> {
    let unpack = |one: wire::UnpackConfiguration| UnpackAt {
        platform: one.platform.map(platform),
        snapshotter: one.snapshotter,
    };
    if given.extra_references.iter().any(|one| one.name.is_empty()) {
        return Err(Error::invalid("an extra reference of an image store needs a name"));
    }
    Ok(ToStore {
        name: given.name,
        labels: given.labels,
        wanted: wanted(given.platforms, given.all_metadata, given.manifest_limit),
        unpacks: given.unpacks.into_iter().map(unpack).collect(),
        references: given.extra_references.into_iter().map(more_names).collect(),
        lease,
    })
}

pub fn from_store(given: wire::ImageStore) -> FromStore {
    FromStore {
        name: given.name,
        references: given.extra_references.into_iter().map(more_names).collect(),
        wanted: wanted(given.platforms, given.all_metadata, given.manifest_limit),
    }
}

/// An archive is always one tar of an OCI layout, whatever type a client gives it.
pub fn export_options(given: &wire::ImageExportStream) -> Result<ExportOptions> {
    if given.stream.is_empty() {
        return Err(Error::invalid("an export needs a stream"));
    }
    Ok(ExportOptions {
        platforms: given.platforms.iter().cloned().map(platform).collect(),
        all_platforms: given.all_platforms,
        skip_compatibility_manifest: given.skip_compatibility_manifest,
        skip_non_distributable: given.skip_non_distributable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_store_is_read_whole() {
        let arm = common::Platform {
            os: "linux".to_owned(),
            architecture: "arm".to_owned(),
            variant: "v7".to_owned(),
            ..common::Platform::default()
        };
        let given = wire::ImageStore {
            name: "a".to_owned(),
            platforms: vec![arm.clone(), common::Platform::default()],
            all_metadata: true,
            manifest_limit: 3,
            unpacks: vec![wire::UnpackConfiguration {
                platform: Some(arm),
                snapshotter: "native".to_owned(),
            }],
            extra_references: vec![wire::ImageReference {
                name: "b".to_owned(),
                is_prefix: true,
                add_digest: true,
                skip_named_digest: true,
                ..wire::ImageReference::default()
            }],
            ..wire::ImageStore::default()
        };
        let read = to_store(given.clone(), None).unwrap();
        assert_eq!(read.wanted.platforms[0], Platform::new("linux", "arm", Some("v7")));
        assert_eq!((read.wanted.platforms.len(), read.wanted.limit), (2, 3));
        assert!(read.wanted.all_metadata && read.references[0].skip_named_digest);
        assert_eq!(read.unpacks[0].snapshotter, "native");
        assert_eq!(read.unpacks[0].platform, Some(read.wanted.platforms[0].clone()));
        let nameless = wire::ImageStore {
            extra_references: vec![wire::ImageReference::default()],
            ..given
        };
        assert!(to_store(nameless, None).is_err());
    }
}
