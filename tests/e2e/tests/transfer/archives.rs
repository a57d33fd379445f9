//! Import, export and more names.

use crate::bed::{Bed, events, platform, store, with};
use crate::image::Image;
use gantry_proto_containerd::any::pack;
use gantry_proto_containerd::services::images::v1 as images;
use gantry_proto_containerd::types::transfer as wire;
use std::collections::BTreeSet;
use std::io::Read;
use tonic::Code;

fn prefix(name: &str) -> wire::ImageReference {
    wire::ImageReference {
        name: name.to_owned(),
        is_prefix: true,
        ..wire::ImageReference::default()
    }
}

fn has(members: &std::collections::BTreeMap<String, Vec<u8>>, digest: &str) -> bool {
    members.contains_key(&format!("blobs/{}", digest.replace(':', "/")))
}

#[test]
fn an_archive_is_imported_under_the_names_that_are_wanted_and_unpacked_where_it_is_said() {
    with(|bed| async move {
        let image = Image::new("imported", false);
        let to = wire::ImageStore {
            extra_references: vec![prefix("example.org/app")],
            ..store("example.org/whole:1")
        };
        let archive = image.layout(&["example.org/app:v1", "v2", "example.org/other:1"]);
        let told = bed.import(archive.clone(), to).await;
        let first: Vec<&str> = told.iter().map(|one| one.event.as_str()).collect();
        assert_eq!((first[0], first[first.len() - 1]), ("Importing", "Completed import"));
        assert_eq!(events(&told, "example.org/app:v2"), ["saved"]);
        let images = bed.images(&bed.caller).await;
        let names: Vec<&str> = images.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["example.org/app:v1", "example.org/app:v2", "example.org/whole:1"]
        );
        assert_eq!(images["example.org/app:v1"], image.index);
        assert_ne!(images["example.org/whole:1"], image.index, "the archive's own index");
        assert!(bed.snapshots(&bed.caller, "native").await.is_empty());

        let to = wire::ImageStore {
            extra_references: vec![wire::ImageReference {
                add_digest: true,
                allow_overwrite: true,
                ..prefix("mine")
            }],
            unpacks: vec![wire::UnpackConfiguration {
                platform: Some(platform("amd64")),
                snapshotter: "native".to_owned(),
            }],
            ..wire::ImageStore::default()
        };
        let two = bed.caller.connection().of("two");
        let bed_two = Bed::beside(&bed, two);
        bed_two.import(archive, to).await;
        let images = bed_two.images(&bed_two.caller).await;
        // The archive's own index is no image of it.
        let digested = images.keys().filter(|name| name.starts_with("mine@")).count();
        assert!(
            digested == 1 && images.contains_key(&format!("mine@{}", image.index)),
            "{images:?}"
        );
        let named: BTreeSet<&str> = images
            .keys()
            .map(String::as_str)
            .filter(|name| !name.contains('@'))
            .collect();
        assert_eq!(named, ["example.org/app:v1", "example.org/other:1", "mine:v2"].into());
        let unpacked = bed_two.snapshots(&bed_two.caller, "native").await;
        assert_eq!(
            unpacked,
            [image.amd64.layer.clone()].into(),
            "one layer: its chain id is its own"
        );
    });
}

#[test]
fn what_is_no_archive_or_has_nothing_wanted_is_refused() {
    with(|bed| async move {
        let image = Image::new("x", false);
        let import = |archive: Vec<u8>, media_type: &str, to: wire::ImageStore| {
            let (bed, media_type) = (bed.clone(), media_type.to_owned());
            async move {
                let source = wire::ImageImportStream {
                    stream: bed.sending(archive).await,
                    media_type,
                    ..wire::ImageImportStream::default()
                };
                bed.transfer(pack(&source), pack(&to)).await
            }
        };
        let error = import(b"no tar".to_vec(), "", store("a:1")).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        let elsewhere = wire::ImageStore {
            platforms: vec![platform("s390x")],
            ..store("a:1")
        };
        let whole = image.docker();
        let error = import(whole.clone(), "", elsewhere).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let mut encoder = Command::gzip(&whole);
        let error = import(std::mem::take(&mut encoder), "application/x-tar", store("a:1")).await;
        assert_eq!(
            error.unwrap_err().code(),
            Code::InvalidArgument,
            "it was said to be plain"
        );
        let missing = wire::ImageImportStream {
            stream: "nobody".to_owned(),
            ..wire::ImageImportStream::default()
        };
        let error = bed.transfer(pack(&missing), pack(&store("a:1"))).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        assert!(bed.images(&bed.caller).await.is_empty(), "nothing was named");
        import(Command::gzip(&whole), "", store("a:1")).await.unwrap();
        assert_eq!(bed.images(&bed.caller).await.len(), 1);
    });
}

struct Command;

impl Command {
    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut child = std::process::Command::new("gzip")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let mut packed = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut packed).unwrap();
        assert!(child.wait().unwrap().success());
        packed
    }
}

#[test]
fn layers_of_a_docker_archive_are_compressed_where_it_is_said() {
    with(|bed| async move {
        let image = Image::new(&"compressible ".repeat(2000), false);
        let to = || wire::ImageStore {
            extra_references: vec![wire::ImageReference {
                allow_overwrite: true,
                ..prefix("any")
            }],
            ..wire::ImageStore::default()
        };
        bed.import(image.docker(), to()).await;
        assert!(bed.images(&bed.caller).await.contains_key("example.org/docker:1"));
        let plain = bed.export(store("example.org/docker:1"), Default::default()).await;
        assert!(has(&plain, &image.amd64.layer));
        let source = wire::ImageImportStream {
            stream: bed.sending(image.docker()).await,
            force_compress: true,
            ..wire::ImageImportStream::default()
        };
        bed.transfer(pack(&source), pack(&to())).await.unwrap();
        let packed = bed.export(store("example.org/docker:1"), Default::default()).await;
        assert!(!has(&packed, &image.amd64.layer) && has(&packed, &image.amd64.config));
        let bytes =
            |members: &std::collections::BTreeMap<String, Vec<u8>>| members.values().map(Vec::len).sum::<usize>();
        assert!(bytes(&packed) < bytes(&plain) / 2);
    });
}

#[test]
fn an_export_holds_what_is_asked_for() {
    with(|bed| async move {
        let image = Image::new("exported", true);
        let to = wire::ImageStore {
            extra_references: vec![prefix("example.org/app")],
            ..wire::ImageStore::default()
        };
        bed.import(image.layout(&["v1"]), to).await;
        let name = || store("example.org/app:v1");
        let amd64 = wire::ImageExportStream {
            platforms: vec![platform("amd64")],
            ..wire::ImageExportStream::default()
        };
        let members = bed.export(name(), amd64.clone()).await;
        assert!(has(&members, &image.index) && has(&members, &image.amd64.layer) && !has(&members, &image.arm64.layer));
        let listing: serde_json::Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
        assert_eq!(listing[0]["RepoTags"][0], "example.org/app:v1");
        let index: serde_json::Value = serde_json::from_slice(&members["index.json"]).unwrap();
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "example.org/app:v1"
        );
        assert_eq!(
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
            "v1"
        );
        let lean = wire::ImageExportStream {
            skip_compatibility_manifest: true,
            skip_non_distributable: true,
            ..amd64
        };
        let members = bed.export(name(), lean).await;
        assert!(!members.contains_key("manifest.json") && !has(&members, &image.amd64.layer));
        let all = wire::ImageExportStream {
            all_platforms: true,
            ..wire::ImageExportStream::default()
        };
        let members = bed.export(name(), all).await;
        assert!(has(&members, &image.amd64.layer) && has(&members, &image.arm64.layer));
        let (id, _taking) = bed.taking().await;
        let riscv = wire::ImageExportStream {
            stream: id,
            platforms: vec![platform("riscv64")],
            ..wire::ImageExportStream::default()
        };
        let error = bed.transfer(pack(&name()), pack(&riscv)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let by_prefix = wire::ImageStore {
            extra_references: vec![prefix("example.org/app")],
            ..wire::ImageStore::default()
        };
        let (id, _taking) = bed.taking().await;
        let to = wire::ImageExportStream {
            stream: id,
            ..wire::ImageExportStream::default()
        };
        let error = bed.transfer(pack(&by_prefix), pack(&to)).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{error}");
    });
}

#[test]
fn a_tag_is_a_name_more_with_labels_of_its_own() {
    with(|bed| async move {
        let image = Image::new("tagged", false);
        let to = wire::ImageStore {
            extra_references: vec![prefix("example.org/app")],
            ..wire::ImageStore::default()
        };
        bed.import(image.layout(&["v1"]), to).await;
        let to = wire::ImageStore {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            extra_references: vec![wire::ImageReference {
                is_prefix: false,
                add_digest: true,
                ..prefix("example.org/by")
            }],
            ..store("example.org/new:1")
        };
        let (done, told) = bed.told(pack(&store("example.org/app:v1")), pack(&to)).await;
        done.unwrap();
        assert_eq!(events(&told, "example.org/new:1"), ["saved"]);
        let request = images::GetImageRequest {
            name: "example.org/new:1".to_owned(),
        };
        let new = bed
            .caller
            .images()
            .get(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .unwrap();
        assert_eq!(new.target.unwrap().digest, image.index);
        assert_eq!(new.labels, [("a".to_owned(), "b".to_owned())].into());
        let digested = format!("example.org/by@{}", image.index);
        let request = images::GetImageRequest { name: digested };
        let by = bed
            .caller
            .images()
            .get(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .unwrap();
        assert_eq!(by.labels["containerd.io/gc.bref.image"], "example.org/new:1");
        let nothing = wire::ImageStore::default();
        let error = bed
            .transfer(pack(&store("example.org/app:v1")), pack(&nothing))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::NotFound, "no image name found: not found")
        );
    });
}

#[test]
fn bytes_are_passed_through_as_they_are() {
    with(|bed| async move {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        let (id, taking) = bed.taking().await;
        let from = wire::ImageImportStream {
            stream: bed.sending(bytes.clone()).await,
            ..wire::ImageImportStream::default()
        };
        let to = wire::ImageExportStream {
            stream: id,
            ..wire::ImageExportStream::default()
        };
        bed.transfer(pack(&from), pack(&to)).await.unwrap();
        assert!(taking.await.unwrap() == bytes);
    });
}
