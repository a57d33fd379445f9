use crate::testing::{Bed, Layer, Member, dir, feed, file, gzip, link, listing, member, parts, run, tar_of};
use crate::{Descriptor, ImportOptions, LoadedImage, ProgressSink, SaveItem};
use bytes::Bytes;
use gantry_core::reference::Reference;
use gantry_core::snapshot::Whiteouts;
use std::collections::BTreeMap;
use std::io::Write;
use tar::EntryType;

fn root_tar() -> Vec<u8> {
    tar_of(vec![
        dir("./"),
        dir("bin/"),
        file("bin/sh", "#!"),
        link(EntryType::Symlink, "bin/bash", "sh"),
        dir("etc/"),
        file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
    ])
}

async fn save(bed: &Bed, items: Vec<SaveItem>) -> gantry_core::Result<Vec<u8>> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<gantry_core::Result<Bytes>>(4);
    let collect = async {
        let mut whole = Vec::new();
        while let Some(piece) = receiver.recv().await {
            whole.extend_from_slice(&piece.unwrap());
        }
        whole
    };
    let (done, whole) = tokio::join!(bed.service.save(&bed.ns, items, sender), collect);
    done.map(|()| whole)
}

async fn load(bed: &Bed, archive: Vec<u8>) -> gantry_core::Result<Vec<LoadedImage>> {
    bed.service.load(&bed.ns, feed(archive), ProgressSink::silent()).await
}

fn item(target: &Descriptor, name: &str) -> SaveItem {
    let reference = (!name.is_empty()).then(|| Reference::parse(name).unwrap());
    SaveItem {
        target: target.clone(),
        reference,
    }
}

fn three_layers() -> Vec<Layer> {
    vec![
        Layer::gzip(vec![dir("./"), dir("a/"), file("a/one", "1"), file("a/two", "2")]),
        Layer::zstd(vec![file("a/.wh.one", ""), file("b", "b")]),
        Layer::plain(vec![file("c", "c")]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_filesystem_in_any_packing_becomes_an_image() {
    let plain = root_tar();
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("x.tar");
    std::fs::write(&path, &plain).unwrap();
    run("xz", &[path.to_str().unwrap()]);
    let xz = std::fs::read(files.path().join("x.tar.xz")).unwrap();
    let packings = [
        plain.clone(),
        gzip(&plain),
        zstd::encode_all(&plain[..], 3).unwrap(),
        bzip2,
        xz,
    ];
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        for packed in &packings {
            let bed = Bed::new(whiteouts);
            let options = ImportOptions {
                message: "made by hand".into(),
                changes: vec!["CMD [\"sh\"]".into(), "ENV A=1".into()],
                platform: String::new(),
            };
            let image = bed
                .service
                .import(&bed.ns, options, feed(packed.clone()))
                .await
                .unwrap();
            let resolved = bed.service.config(&bed.ns, &image.target).unwrap();
            assert_eq!(resolved.id, image.id);
            assert_eq!(resolved.config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
            assert_eq!(resolved.config.history[0].comment, "made by hand");
            let plain_digest = crate::hash::Hasher::of(gantry_core::Algorithm::Sha256, &plain);
            assert_eq!(resolved.config.rootfs.diff_ids, vec![plain_digest.clone()]);
            let chain = image.chain_id.clone().unwrap().to_string();
            assert!(bed.snapshots.verified(&chain));
            let root = bed.snapshots.dirs(&chain).remove(0);
            assert_eq!(std::fs::read_to_string(root.join("bin/bash")).unwrap(), "#!");
            assert_eq!(bed.leases.0.lock().len(), 1, "held until it has a record");
            drop(image);
            bed.assert_tidy();
            // What was stored unpacks to the same.
            let again = Bed::new(whiteouts);
            let archive = save(&bed, vec![item(&resolved.target, "hand:made")]).await.unwrap();
            let loaded = load(&again, archive).await.unwrap();
            assert_eq!(
                (loaded[0].id.clone(), loaded[0].target.digest.clone()),
                (resolved.id, resolved.target.digest)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_imports_leave_nothing() {
    let bed = Bed::new(Whiteouts::Overlay);
    let options = |change: &str| ImportOptions {
        changes: if change.is_empty() {
            Vec::new()
        } else {
            vec![change.to_owned()]
        },
        ..ImportOptions::default()
    };
    let cut = gzip(&root_tar());
    for (tar, change, said) in [
        (b"this is no tar at all".repeat(100), "", "malformed tar"),
        (Vec::new(), "", "empty"),
        (cut[..cut.len() / 2].to_vec(), "", "truncated"),
        (tar_of(vec![file("../x", "x")]), "", "would leave"),
        (root_tar(), "RUN true", "RUN is not a valid change command"),
    ] {
        let error = bed
            .service
            .import(&bed.ns, options(change), feed(tar))
            .await
            .expect_err(said);
        assert!(error.message().contains(said), "{error}");
        bed.assert_tidy();
        assert_eq!(bed.content.ingest_count(), 0, "{said}");
        assert_eq!(bed.snapshots.names().0, Vec::<String>::new(), "{said}");
    }
}

/// skopeo and umoci, which know nothing of us, judge what we write.
#[tokio::test(flavor = "multi_thread")]
async fn others_read_what_we_save() {
    let bed = Bed::new(Whiteouts::Overlay);
    let image = parts(&three_layers());
    image.put(&bed);
    let small = parts(&[Layer::gzip(vec![file("only", "x")])]);
    small.put(&bed);
    let one = save(&bed, vec![item(&image.target, "me/app:v1")]).await.unwrap();
    let place = bed.root.path();
    let path = place.join("one.tar");
    std::fs::write(&path, &one).unwrap();
    let path = path.to_str().unwrap();
    for form in ["docker-archive", "oci-archive"] {
        let said = run("skopeo", &["inspect", "--raw", "--config", &format!("{form}:{path}")]);
        assert!(said.contains(&crate::Platform::host().architecture), "{form}: {said}");
        let layout = place.join(form);
        let layout = layout.to_str().unwrap();
        run(
            "skopeo",
            &[
                "copy",
                "--insecure-policy",
                &format!("{form}:{path}"),
                &format!("oci:{layout}:v1"),
            ],
        );
        let bundle = place.join(format!("{form}-bundle"));
        // umoci of this age does not know zstd, which only the docker-archive's reader packs anew.
        if form == "docker-archive" {
            run(
                "umoci",
                &["unpack", "--image", &format!("{layout}:v1"), bundle.to_str().unwrap()],
            );
            assert_eq!(std::fs::read_to_string(bundle.join("rootfs/a/two")).unwrap(), "2");
            assert!(!bundle.join("rootfs/a/one").exists());
        }
    }
    let several = vec![
        item(&image.target, "me/app:v1"),
        item(&image.target, "me/app:v2"),
        item(&small.target, ""),
    ];
    let archive = save(&bed, several).await.unwrap();
    std::fs::write(place.join("all.tar"), &archive).unwrap();
    let all = place.join("all.tar");
    let tagged = format!("docker-archive:{}:me/app:v2", all.display());
    run("skopeo", &["inspect", "--raw", &tagged]);
    let fresh = Bed::new(Whiteouts::Overlay);
    let loaded = load(&fresh, archive.clone()).await.unwrap();
    let names: Vec<Vec<String>> = loaded
        .iter()
        .map(|i| i.references.iter().map(Reference::familiar).collect())
        .collect();
    assert_eq!(
        names,
        vec![vec!["me/app:v1".to_owned(), "me/app:v2".to_owned()], vec![]]
    );
    assert_eq!((&loaded[0].id, &loaded[1].id), (&image.config, &small.config));
    assert_eq!(loaded[0].target.digest, image.target.digest);
    assert_eq!(
        save(&bed, vec![item(&image.target, "me/app:v1")]).await.unwrap(),
        one,
        "equal images, equal archives"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn we_load_what_others_write() {
    let bed = Bed::new(Whiteouts::Overlay);
    let image = parts(&[
        Layer::gzip(vec![dir("./"), dir("a/"), file("a/one", "1")]),
        Layer::gzip(vec![file("a/.wh.one", ""), file("b", "b")]),
    ]);
    image.put(&bed);
    let place = bed.root.path();
    let ours = place.join("ours.tar");
    std::fs::write(&ours, save(&bed, vec![item(&image.target, "x:1")]).await.unwrap()).unwrap();
    let from = format!("oci-archive:{}", ours.display());
    for to in ["docker-archive:DIR/d.tar:me/app:v1", "oci-archive:DIR/o.tar:me/app:v1"] {
        let to = to.replace("DIR", place.to_str().unwrap());
        run("skopeo", &["copy", "--insecure-policy", &from, &to]);
        let path = to.split(':').nth(1).unwrap();
        let plain = std::fs::read(path).unwrap();
        for (archive, whiteouts) in [(plain.clone(), Whiteouts::Overlay), (gzip(&plain), Whiteouts::Plain)] {
            let fresh = Bed::new(whiteouts);
            let loaded = load(&fresh, archive).await.unwrap();
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].references[0].familiar(), "me/app:v1");
            let chain = loaded[0].chain_id.clone().unwrap().to_string();
            let dirs = fresh.snapshots.dirs(&chain);
            assert_eq!(std::fs::read_to_string(dirs[0].join("b")).unwrap(), "b");
            fresh.assert_tidy();
        }
    }
}

/// An archive from its parts.
fn archive(documents: &[(&str, String)], blobs: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let documents = documents
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes()));
    for (name, bytes) in blobs.clone().into_iter().chain(documents) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn blob_path(digest: &gantry_core::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_archives_are_named_and_leave_nothing() {
    let image = parts(&three_layers());
    let blobs: BTreeMap<String, Vec<u8>> = image.blobs.iter().map(|(d, b)| (blob_path(d), b.clone())).collect();
    let index = |descriptor: &Descriptor| {
        let text = serde_json::to_string(descriptor).unwrap();
        format!("{{\"schemaVersion\":2,\"manifests\":[{text}]}}")
    };
    let good_index = index(&image.target);
    let without = |digest: &gantry_core::Digest| {
        let mut less = blobs.clone();
        less.remove(&blob_path(digest));
        less
    };
    let swapped = |digest: &gantry_core::Digest, bytes: &[u8]| {
        let mut other = blobs.clone();
        other.insert(blob_path(digest), bytes.to_vec());
        other
    };
    let lying_size = index(&Descriptor {
        size: image.target.size + 1,
        ..image.target.clone()
    });
    // A config that lies about a layer, under digests that are all right.
    let lying = |first: usize, second: usize| {
        let mut wrong = three_layers();
        let tar = wrong[second].tar.clone();
        wrong[first].tar = tar;
        parts(&wrong)
    };
    let lying_gzip = lying(0, 1);
    let lying_plain = lying(2, 1);
    let all = |image: &crate::testing::Parts| -> BTreeMap<String, Vec<u8>> {
        image.blobs.iter().map(|(d, b)| (blob_path(d), b.clone())).collect()
    };
    let listing = |config: &str, layers: &str, tag: &str| {
        format!("[{{\"Config\":\"{config}\",\"RepoTags\":[\"{tag}\"],\"Layers\":{layers}}}]")
    };
    let config = blob_path(&image.config);
    let nested = nest(&image, 12);
    let good = archive(&[("index.json", good_index.clone())], &blobs);
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("no tar", b"nonsense".repeat(200), "unrecognized archive".into()),
        ("empty", Vec::new(), "unrecognized archive".into()),
        (
            "some tar",
            tar_of(vec![file("a", "x")]),
            "neither index.json nor manifest.json".into(),
        ),
        ("cut", good[..good.len() / 2].to_vec(), "truncated".into()),
        (
            "missing layer",
            archive(&[("index.json", good_index.clone())], &without(&image.layers[1].digest)),
            image.layers[1].digest.to_string(),
        ),
        (
            "missing config",
            archive(&[("index.json", good_index.clone())], &without(&image.config)),
            image.config.to_string(),
        ),
        (
            "missing manifest",
            archive(&[("index.json", good_index.clone())], &without(&image.target.digest)),
            image.target.digest.to_string(),
        ),
        (
            "wrong digest",
            archive(
                &[("index.json", good_index.clone())],
                &swapped(&image.layers[0].digest, b"x"),
            ),
            image.layers[0].digest.to_string(),
        ),
        (
            "wrong size",
            archive(&[("index.json", lying_size)], &blobs),
            "expected".into(),
        ),
        (
            "index that is none",
            archive(&[("index.json", "[]".into())], &blobs),
            "index.json".into(),
        ),
        (
            "empty index",
            archive(
                &[("index.json", "{\"schemaVersion\":2,\"manifests\":[]}".into())],
                &blobs,
            ),
            "no image".into(),
        ),
        (
            "deep index",
            archive(&[("index.json", index(&nested.0))], &nested.1),
            "nested deeper".into(),
        ),
        (
            "lying config",
            archive(&[("index.json", index(&lying_gzip.target))], &all(&lying_gzip)),
            "diffID".into(),
        ),
        (
            "bad listing",
            archive(&[("manifest.json", "{".into())], &blobs),
            "manifest.json".into(),
        ),
        (
            "listed layer missing",
            archive(
                &[("manifest.json", listing(&config, "[\"l/a.tar\",\"b\",\"c\"]", "x:1"))],
                &blobs,
            ),
            "\"l/a.tar\" is missing".into(),
        ),
        (
            "listed config missing",
            archive(&[("manifest.json", listing("nope.json", "[]", "x:1"))], &blobs),
            "\"nope.json\" is missing".into(),
        ),
        (
            "too few layers",
            archive(&[("manifest.json", listing(&config, "[]", "x:1"))], &blobs),
            "names 3 layers".into(),
        ),
        (
            "bad tag",
            archive(&[("manifest.json", listing(&config, "[]", "X Y"))], &blobs),
            "X Y".into(),
        ),
        (
            "listed config lies",
            archive(
                &[("manifest.json", {
                    let layers: Vec<String> = lying_plain.layers.iter().map(|l| blob_path(&l.digest)).collect();
                    listing(
                        &blob_path(&lying_plain.config),
                        &serde_json::to_string(&layers).unwrap(),
                        "x:1",
                    )
                })],
                &all(&lying_plain),
            ),
            "diffID".into(),
        ),
        (
            "link circle",
            {
                let mut tar = archive(&[], &blobs);
                tar.truncate(tar.len() - 1024);
                tar.extend(tar_of(vec![
                    link(EntryType::Symlink, "a", "b"),
                    link(EntryType::Symlink, "b", "a"),
                    file("manifest.json", &listing("a", "[]", "x:1")),
                ]));
                tar
            },
            "leads nowhere".into(),
        ),
        (
            "climbing member",
            tar_of(vec![file("../x", "x")]),
            "leads out of the archive".into(),
        ),
        (
            "bad blob name",
            tar_of(vec![file("blobs/sha256/../../x/y", "x"), file("blobs/md5/abc", "x")]),
            "md5".into(),
        ),
        (
            "huge document",
            tar_of(vec![Member {
                content: vec![b' '; 17 << 20],
                ..member(EntryType::Regular, "index.json")
            }]),
            "more than".into(),
        ),
    ];
    for (case, bytes, said) in cases {
        let bed = Bed::new(Whiteouts::Overlay);
        let error = load(&bed, bytes).await.expect_err(case);
        assert!(error.message().contains(&said), "{case}: {error}");
        assert_ne!(error.kind(), gantry_core::ErrorKind::Internal, "{case}: {error}");
        bed.assert_tidy();
        assert_eq!(bed.content.ingest_count(), 0, "{case}");
        wait_for(|| bed.leases.0.lock().is_empty());
    }
    let bed = Bed::new(Whiteouts::Overlay);
    assert_eq!(load(&bed, good).await.unwrap()[0].id, image.config);
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// An index in an index in an index.
fn nest(image: &crate::testing::Parts, depth: usize) -> (Descriptor, BTreeMap<String, Vec<u8>>) {
    let mut blobs: BTreeMap<String, Vec<u8>> = image.blobs.iter().map(|(d, b)| (blob_path(d), b.clone())).collect();
    let mut at = image.target.clone();
    for _ in 0..depth {
        let index = crate::descriptor::Index {
            schema_version: 2,
            media_type: Some(crate::media::OCI_INDEX.into()),
            manifests: vec![at],
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        let digest = crate::hash::Hasher::of(gantry_core::Algorithm::Sha256, &bytes);
        at = Descriptor::new(crate::media::OCI_INDEX, digest.clone(), bytes.len() as u64);
        blobs.insert(blob_path(&digest), bytes);
    }
    (at, blobs)
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_what_is_not_whole_writes_nothing() {
    let bed = Bed::new(Whiteouts::Overlay);
    let image = parts(&three_layers());
    image.put(&bed);
    use gantry_core::content::ContentStore;
    bed.content.delete(&bed.ns, &image.layers[1].digest).unwrap();
    let error = save(&bed, vec![item(&image.target, "x:1")]).await.unwrap_err();
    assert!(error.message().contains(&image.layers[1].digest.to_string()), "{error}");
    assert!(save(&bed, Vec::new()).await.is_err());
}

#[test]
fn listings_tell_trees_apart() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("a"), "1").unwrap();
    let before = listing(place.path());
    std::fs::write(place.path().join("a"), "2").unwrap();
    assert_ne!(before, listing(place.path()));
}
