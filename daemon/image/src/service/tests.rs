use super::*;
use crate::fake_registry::{Debian, Fake, Manners};
use crate::progress::{Status, progress};
use crate::registry::Credentials;
use crate::testing::{Bed, Layer, Member, Parts, dir, file, parts, run};
use crate::{Descriptor, Platform, media};
use gantry_core::content::ContentStore;
use gantry_core::reference::Reference;
use gantry_core::snapshot::Whiteouts;
use gantry_core::{ErrorKind, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length).map(|_| (next() >> 24) as u8).collect()
}

fn big(path: &str, seed: u64) -> Member {
    Member {
        content: noise(400_000, seed),
        ..file(path, "")
    }
}

fn image() -> Parts {
    parts(&[
        Layer::gzip(vec![
            dir("./"),
            dir("a/"),
            file("a/one", "1"),
            file("a/two", "2"),
            big("big0", 1),
        ]),
        Layer::zstd(vec![file("a/.wh.one", ""), big("big1", 2)]),
        Layer::plain(vec![file("a/three", "3")]),
        Layer::gzip(vec![file("top", "top"), big("big2", 3)]),
    ])
}

fn patient() -> ImageSettings {
    let mut settings = ImageSettings::default();
    settings.registry.stall_timeout = Duration::from_secs(20);
    settings
}

async fn pull(bed: &Bed, reference: Reference) -> Result<(Pulled, Vec<(String, Status)>)> {
    pull_with(bed, reference, PullOptions::default()).await
}

async fn pull_with(bed: &Bed, reference: Reference, options: PullOptions) -> Result<(Pulled, Vec<(String, Status)>)> {
    let (sink, mut stream) = progress();
    let hear = async {
        let mut heard = Vec::new();
        while let Some(event) = stream.recv().await {
            heard.push((event.id, event.status));
        }
        heard
    };
    let (pulled, heard) = tokio::join!(bed.service.pull(&bed.ns, reference, options, sink), hear);
    Ok((pulled?, heard))
}

/// The image's files where the chain says they are.
fn assert_unpacked(bed: &Bed, pulled: &Pulled) {
    let chain = pulled.chain_id.clone().expect("it has layers").to_string();
    assert!(bed.snapshots.verified(&chain));
    let dirs = bed.snapshots.dirs(&chain);
    let find =
        |name: &str| -> Option<PathBuf> { dirs.iter().map(|d| d.join(name)).find(|p| p.symlink_metadata().is_ok()) };
    assert_eq!(std::fs::read_to_string(find("a/three").unwrap()).unwrap(), "3");
    assert_eq!(std::fs::read(find("big2").unwrap()).unwrap(), noise(400_000, 3));
    let removed = find("a/one").is_none_or(|path| !path.is_file());
    assert!(removed);
    bed.assert_tidy();
}

fn count(heard: &[(String, Status)], status: &Status) -> usize {
    heard.iter().filter(|(_, heard)| heard == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_debians_registry_once_and_not_again() {
    let registry = Debian::start(None);
    let source = Bed::new(Whiteouts::Overlay);
    let parts = image();
    parts.put(&source);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Result<bytes::Bytes>>(4);
    let item = crate::SaveItem {
        target: parts.target.clone(),
        reference: None,
    };
    let collect = async {
        let mut whole = Vec::new();
        while let Some(piece) = receiver.recv().await {
            whole.extend_from_slice(&piece.unwrap());
        }
        whole
    };
    let (saved, archive) = tokio::join!(source.service.save(&source.ns, vec![item], sender), collect);
    saved.unwrap();
    let path = source.root.path().join("x.tar");
    std::fs::write(&path, archive).unwrap();
    let from = format!("oci-archive:{}", path.display());
    for (name, format) in [("oci", "oci"), ("docker", "v2s2")] {
        let to = format!("docker://{}/me/{name}:v1", registry.address);
        let mut arguments = vec![
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            "--format",
            format,
        ];
        // Docker's schema 2 knows no zstd.
        arguments.extend(
            (name == "docker")
                .then_some(["--dest-compress-format", "gzip"])
                .into_iter()
                .flatten(),
        );
        let from = if name == "docker" {
            format!("docker-archive:{}", path.display())
        } else {
            from.clone()
        };
        arguments.extend([from.as_str(), to.as_str()]);
        run("skopeo", &arguments);
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
            let bed = Bed::with(whiteouts, patient());
            let reference = Reference::parse(&format!("{}/me/{name}:v1", registry.address)).unwrap();
            let (pulled, heard) = pull(&bed, reference.clone()).await.unwrap();
            assert_unpacked(&bed, &pulled);
            if name == "oci" {
                assert_eq!(pulled.id, parts.config);
            }
            assert_eq!(count(&heard, &Status::PullComplete), 4, "{heard:?}");
            assert_eq!(count(&heard, &Status::DownloadComplete), 4, "{heard:?}");
            assert!(heard.contains(&(String::new(), Status::Digest(pulled.target.digest.clone()))));
            check_labels(&bed, &pulled, &registry.address, &format!("me/{name}"));
            let (again, heard) = pull(&bed, reference.clone()).await.unwrap();
            assert_eq!(again, pulled);
            assert_eq!(count(&heard, &Status::AlreadyExists), 4, "{heard:?}");
            assert_eq!(count(&heard, &Status::DownloadComplete), 0);
            let by_digest = reference.clone().at(pulled.target.digest.clone());
            assert_eq!(pull(&bed, by_digest).await.unwrap().0, pulled);
            assert_eq!(bed.service.unpack(&bed.ns, &pulled.target).await.unwrap(), pulled);
            let missing = pull(&bed, reference.clone().with_tag("nope").unwrap())
                .await
                .unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            assert!(
                missing.message().contains("me/") && missing.message().contains(":nope"),
                "{missing}"
            );
            let tags = bed.service.tags(&reference, &PullOptions::default()).await.unwrap();
            assert_eq!(tags, ["v1"]);
        }
    }
}

fn check_labels(bed: &Bed, pulled: &Pulled, host: &str, repository: &str) {
    let labels = |digest: &Digest| bed.content.info(&bed.ns, digest).unwrap().labels;
    let manifest = labels(&pulled.target.digest);
    assert_eq!(manifest["containerd.io/gc.ref.content.config"], pulled.id.to_string());
    assert_eq!(
        labels(&pulled.id)["containerd.io/gc.ref.snapshot.overlayfs"],
        pulled.chain_id.as_ref().unwrap().to_string()
    );
    let resolved = bed.service.config(&bed.ns, &pulled.target).unwrap();
    for (n, layer) in resolved.layers.iter().enumerate() {
        assert_eq!(
            manifest[&format!("containerd.io/gc.ref.content.l.{n}")],
            layer.digest.to_string()
        );
        let own = labels(&layer.digest);
        assert_eq!(
            own["containerd.io/uncompressed"],
            resolved.config.rootfs.diff_ids[n].to_string()
        );
        assert_eq!(own[&format!("containerd.io/distribution.source.{host}")], repository);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_gone_on_with() {
    for ignore_range in [false, true] {
        let parts = image();
        let manners = Manners {
            cut_after: Some(100_000),
            cuts: 8,
            ignore_range,
            ..Manners::default()
        };
        let fake = Fake::new(manners).await;
        fake.add(&parts, "v1");
        let bed = Bed::with(Whiteouts::Overlay, patient());
        let (pulled, _) = pull(&bed, fake.reference("x:v1")).await.unwrap();
        assert_unpacked(&bed, &pulled);
        let ranges: Vec<_> = parts
            .layers
            .iter()
            .flat_map(|l| fake.asked(&l.digest))
            .filter_map(|s| s.range)
            .collect();
        assert!(ranges.len() >= 3, "{ranges:?}");
        assert_eq!(fake.asked(&parts.config).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_given_up_is_gone_on_with() {
    let parts = image();
    let fake = Fake::new(Manners {
        stall_after: Some(200_000),
        ..Manners::default()
    })
    .await;
    fake.add(&parts, "v1");
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        fake.content.lock().manners.stall_after = Some(200_000);
        let bed = Bed::with(whiteouts, patient());
        let partial = format!("layer-{}", parts.layers[0].digest);
        let first = tokio::time::timeout(Duration::from_secs(2), pull(&bed, fake.reference("x:v1")));
        assert!(first.await.is_err(), "it stalls");
        let deadline = Instant::now() + Duration::from_secs(10);
        while bed.content.partial(&partial).is_none() {
            assert!(Instant::now() < deadline, "the partial blob is kept");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kept = bed.content.partial(&partial).unwrap();
        assert!(kept >= 100_000, "{kept}");
        bed.assert_tidy();
        fake.content.lock().manners.stall_after = None;
        fake.content.lock().seen.clear();
        let (pulled, _) = pull(&bed, fake.reference("x:v1")).await.unwrap();
        assert_unpacked(&bed, &pulled);
        let asked = fake.asked(&parts.layers[0].digest);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].range, Some(format!("bytes={kept}-")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_of_one_layer_are_one_download() {
    let parts = image();
    let fake = Fake::new(Manners {
        slow: Duration::from_millis(2),
        ..Manners::default()
    })
    .await;
    fake.add(&parts, "v1");
    fake.add(&parts, "v2");
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        fake.content.lock().seen.clear();
        let bed = Bed::with(whiteouts, patient());
        let pulls = (0..6).map(|n| pull(&bed, fake.reference(if n % 2 == 0 { "x:v1" } else { "x:v2" })));
        for pulled in futures::future::join_all(pulls).await {
            assert_unpacked(&bed, &pulled.unwrap().0);
        }
        for layer in &parts.layers {
            assert_eq!(fake.asked(&layer.digest).len(), 1, "{}", layer.digest);
        }
    }
}

/// An image whose second layer is not what it should be, in the ways a registry can lie.
#[tokio::test(flavor = "multi_thread")]
async fn lies_are_found_out_and_leave_nothing() {
    let good = image();
    let victim = good.layers[1].clone();
    type Lie = fn(&mut crate::fake_registry::Content, &Descriptor);
    let lies: [(&str, Lie, &str); 5] = [
        (
            "other bytes",
            |c, v| {
                let n = v.size as usize;
                c.blobs.insert(v.digest.to_string(), noise(n, 9));
            },
            "",
        ),
        (
            "one byte off",
            |c, v| {
                let b = c.blobs.get_mut(&v.digest.to_string()).unwrap();
                let n = b.len();
                b[n - 3] ^= 1;
            },
            "",
        ),
        (
            "too long",
            |c, v| {
                c.blobs.get_mut(&v.digest.to_string()).unwrap().push(0);
            },
            "expected",
        ),
        (
            "too short",
            |c, v| {
                c.blobs.get_mut(&v.digest.to_string()).unwrap().pop();
            },
            "expected",
        ),
        (
            "missing",
            |c, v| {
                c.blobs.remove(&v.digest.to_string());
            },
            "BLOB_UNKNOWN said",
        ),
    ];
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        for (case, lie, said) in &lies {
            let fake = Fake::new(Manners::default()).await;
            fake.add(&good, "v1");
            lie(&mut fake.content.lock(), &victim);
            let bed = Bed::with(whiteouts, patient());
            let error = pull(&bed, fake.reference("x:v1")).await.expect_err(case);
            assert!(error.message().contains(said), "{case}: {error}");
            assert!(bed.content.info(&bed.ns, &victim.digest).is_err(), "{case}");
            bed.assert_tidy();
            // Told the truth, the next pull succeeds.
            fake.add(&good, "v1");
            assert_unpacked(&bed, &pull(&bed, fake.reference("x:v1")).await.unwrap().0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_named() {
    let good = image();
    let wrong_diff_id = {
        let mut layers = vec![Layer::gzip(vec![file("a", "1")]), Layer::gzip(vec![file("b", "2")])];
        layers[1].tar = layers[0].tar.clone();
        parts(&layers)
    };
    let fake = Fake::new(Manners::default()).await;
    fake.add(&good, "good");
    fake.add(&wrong_diff_id, "lying-config");
    let manifest: serde_json::Value = serde_json::from_slice(&good.blobs[&good.target.digest]).unwrap();
    let mut fewer = manifest.clone();
    fewer["layers"].as_array_mut().unwrap().pop();
    fake.manifest("fewer", media::OCI_MANIFEST, fewer.to_string().as_bytes());
    fake.manifest(
        "schema1",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        b"{\"schemaVersion\":1}",
    );
    fake.manifest("html", "text/html", b"<html>");
    fake.manifest("odd", "application/json", b"{}");
    fake.manifest("huge", media::OCI_MANIFEST, &vec![b' '; 5 << 20]);
    let only_other = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"DIGEST","size":1,"platform":{"os":"plan9","architecture":"mips"}}]}"#;
    fake.manifest(
        "elsewhere",
        media::OCI_INDEX,
        only_other.replace("DIGEST", &good.target.digest.to_string()).as_bytes(),
    );
    let wrong_digest = format!("sha256:{}", "0".repeat(64));
    fake.manifest(&wrong_digest, media::OCI_MANIFEST, &good.blobs[&good.target.digest]);
    for (at, said) in [
        (":lying-config", "unpacks to diffID"),
        (":fewer", "names 4 layers"),
        (":schema1", "schema version 1"),
        (":html", "parse manifest html"),
        (":odd", "not a known image manifest"),
        (":huge", "more than"),
        (":elsewhere", "plan9/mips"),
        (&format!("@{wrong_digest}"), "has digest"),
        (":nothing", "MANIFEST_UNKNOWN said"),
    ] {
        let bed = Bed::with(Whiteouts::Overlay, patient());
        let error = pull(&bed, fake.reference(&format!("x{at}"))).await.expect_err(at);
        assert!(error.message().contains(said), "{at}: {error}");
        bed.assert_tidy();
        assert_eq!(bed.content.ingest_count(), 0, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_the_platforms_image() {
    let mine = image();
    let other = parts(&[Layer::gzip(vec![file("other", "x")])]);
    let fake = Fake::new(Manners::default()).await;
    fake.add(&mine, "mine");
    fake.add(&other, "other");
    let entry = |image: &Parts, os: &str, architecture: &str| Descriptor {
        platform: Some(Platform::new(os, architecture, None)),
        ..image.target.clone()
    };
    let host = Platform::host();
    let index = crate::descriptor::Index {
        schema_version: 2,
        media_type: Some(media::DOCKER_LIST.into()),
        manifests: vec![
            entry(&other, "linux", "s390x"),
            entry(&mine, "linux", &host.architecture),
        ],
        annotations: Default::default(),
    };
    let bytes = serde_json::to_vec(&index).unwrap();
    fake.manifest("multi", media::DOCKER_LIST, &bytes);
    let bed = Bed::with(Whiteouts::Overlay, patient());
    let (pulled, _) = pull(&bed, fake.reference("x:multi")).await.unwrap();
    assert_eq!(pulled.id, mine.config);
    assert_eq!(pulled.target.media_type, media::DOCKER_LIST);
    assert_unpacked(&bed, &pulled);
    let options = PullOptions {
        platform: Some(Platform::parse("linux/s390x").unwrap()),
        ..PullOptions::default()
    };
    let (pulled, _) = pull_with(&bed, fake.reference("x:multi"), options).await.unwrap();
    assert_eq!(pulled.id, other.config);
    assert_eq!(
        bed.service.config(&bed.ns, &pulled.target).unwrap().id,
        mine.config,
        "both are here: the host's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_given_to_whom_they_belong() {
    let parts = parts(&[Layer::gzip(vec![file("a/three", "3")])]);
    let cdn = Fake::new(Manners::default()).await;
    cdn.add(&parts, "v1");
    for (token_for, basic_for) in [(Some("me:secret"), None), (None, Some("me:secret"))] {
        let fake = Fake::new(Manners {
            token_for,
            basic_for,
            redirect_to: Some(format!("http://{}", cdn.address)),
            ..Manners::default()
        })
        .await;
        fake.add(&parts, "v1");
        let with = |login: Option<(&str, &str)>| PullOptions {
            credentials: login.and_then(|(user, password)| Credentials::new(user, password, "")),
            ..PullOptions::default()
        };
        let bed = Bed::with(Whiteouts::Overlay, patient());
        let (pulled, _) = pull_with(&bed, fake.reference("x:v1"), with(Some(("me", "secret"))))
            .await
            .unwrap();
        assert_eq!(pulled.id, parts.config);
        let bed = Bed::with(Whiteouts::Overlay, patient());
        let wrong = pull_with(&bed, fake.reference("x:v1"), with(Some(("me", "wrong"))))
            .await
            .unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{wrong}");
        assert!(!wrong.message().contains("wrong"), "no secret in errors: {wrong}");
        let none = pull_with(&bed, fake.reference("x:v1"), with(None)).await.unwrap_err();
        assert!(
            matches!(none.kind(), ErrorKind::PermissionDenied | ErrorKind::Unauthenticated),
            "{none}"
        );
    }
    let seen = cdn.content.lock().seen.clone();
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_its_deadline() {
    let parts = image();
    let fake = Fake::new(Manners {
        stall_after: Some(50_000),
        ..Manners::default()
    })
    .await;
    fake.add(&parts, "v1");
    let mut settings = ImageSettings::default();
    settings.registry.stall_timeout = Duration::from_millis(100);
    settings.registry.attempts = 1;
    fake.content.lock().manners.ignore_range = true;
    let bed = Bed::with(Whiteouts::Overlay, settings);
    let error = tokio::time::timeout(Duration::from_secs(30), pull(&bed, fake.reference("x:v1")))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    bed.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_come_first_and_may_fail() {
    let parts = parts(&[Layer::gzip(vec![file("a", "1")])]);
    let (broken, mirror) = (
        Fake::new(Manners {
            broken: Some(500),
            ..Manners::default()
        })
        .await,
        Fake::new(Manners::default()).await,
    );
    mirror.add(&parts, "latest");
    let mut settings = patient();
    let urls = [&broken, &mirror].map(|fake| format!("http://{}", fake.address));
    settings.registry.mirrors.insert("docker.io".into(), urls.to_vec());
    let bed = Bed::with(Whiteouts::Overlay, settings);
    let (pulled, heard) = pull(&bed, Reference::parse("busybox").unwrap()).await.unwrap();
    assert_eq!(pulled.id, parts.config);
    assert_eq!(
        heard[0],
        ("latest".to_owned(), Status::PullingFrom("library/busybox".to_owned()))
    );
    assert!(
        mirror
            .content
            .lock()
            .seen
            .iter()
            .all(|seen| seen.path.starts_with("/v2/library/busybox/"))
    );
    let tags = bed
        .service
        .tags(&Reference::parse("busybox").unwrap(), &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(tags, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn https_with_a_known_and_an_unknown_authority() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let registry = Debian::start(Some((cert.to_str().unwrap(), key.to_str().unwrap())));
    let mut known = RegistryConfig::default();
    known.ca_files.push(cert.clone());
    for (config, answered) in [(known, true), (RegistryConfig::default(), false)] {
        let outcome = crate::registry::reach(&config, &format!("https://{}/v2/", registry.address)).await;
        assert_eq!(outcome.is_ok(), answered, "{outcome:?}");
    }
    // An insecure registry (loopback is) is not asked for a known certificate.
    let bed = Bed::with(Whiteouts::Overlay, patient());
    let reference = Reference::parse(&format!("{}/x:v1", registry.address)).unwrap();
    let error = pull(&bed, reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_snapshot_become_a_layer() {
    use gantry_core::snapshot::{SnapshotOptions, SnapshotService};
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        let bed = Bed::new(whiteouts);
        let base = parts(&[Layer::gzip(vec![dir("./"), file("kept", "1"), file("gone", "2")])]);
        base.put(&bed);
        let pulled = bed.service.unpack(&bed.ns, &base.target).await.unwrap();
        let chain = pulled.chain_id.unwrap().to_string();
        bed.snapshots
            .prepare(&bed.ns, "overlayfs", "box", Some(&chain), SnapshotOptions::default())
            .unwrap();
        let root = bed.snapshots.dirs("box").remove(0);
        std::fs::write(root.join("new"), "3").unwrap();
        match whiteouts {
            Whiteouts::Overlay => drop(run("mknod", &[root.join("gone").to_str().unwrap(), "c", "0", "0"])),
            Whiteouts::Plain => std::fs::remove_file(root.join("gone")).unwrap(),
        }
        let (service, ns) = (bed.service.clone(), bed.ns.clone());
        let (changes, layer) = tokio::task::spawn_blocking(move || {
            let changes = service.changes(&ns, "overlayfs", "box", Some(&chain)).unwrap();
            (
                changes,
                service.diff(&ns, "overlayfs", "box", Some(&chain), &[], None).unwrap(),
            )
        })
        .await
        .unwrap();
        let shown: Vec<_> = changes
            .iter()
            .map(|c| format!("{} {}", c.kind.letter(), c.path.display()))
            .collect();
        assert_eq!(shown, ["D /gone", "A /new"], "{whiteouts:?}");
        let info = bed.content.info(&bed.ns, &layer.blob.digest).unwrap();
        assert_eq!(info.labels["containerd.io/uncompressed"], layer.diff_id.to_string());
        bed.snapshots.remove(&bed.ns, "overlayfs", "box").unwrap();
        bed.assert_tidy();
        assert_eq!(
            bed.snapshots.names().0.len(),
            1,
            "the view made for the question is gone"
        );
    }
}
