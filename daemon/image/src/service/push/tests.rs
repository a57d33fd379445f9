use super::*;
use crate::Credentials;
use crate::descriptor::Index;
use crate::fake_registry::{Debian, Fake, Manners};
use crate::hash::Hasher;
use crate::progress::progress;
use crate::registry::{Login, Question, WireLog};
use crate::service::{FetchOptions, ImageSettings};
use crate::testing::{Bed, Layer, Parts, file, parts, run};
use crate::{Platform, media};
use gantry_core::snapshot::Whiteouts;
use gantry_core::{Algorithm, ErrorKind, Result};
use std::collections::BTreeMap;

fn image(text: &str) -> Parts {
    parts(&[
        Layer::gzip(vec![file("base", "same in all")]),
        Layer::zstd(vec![file("own", text)]),
    ])
}

/// An image with a layer of so many bytes that do not compress.
fn large(bytes: usize) -> Parts {
    let mut state = 1_u64;
    let noise = (0..bytes).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (b'a' + ((state >> 40) % 23) as u8) as char
    });
    parts(&[Layer::plain(vec![file("large", &noise.collect::<String>())])])
}

fn index_of(bed: &Bed, images: &[(&Parts, &str)]) -> Descriptor {
    let entry = |(parts, platform): &(&Parts, &str)| Descriptor {
        platform: Some(Platform::parse(platform).unwrap()),
        ..parts.target.clone()
    };
    let index = Index {
        schema_version: 2,
        media_type: Some(media::OCI_INDEX.into()),
        manifests: images.iter().map(entry).collect(),
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&index).unwrap();
    bed.content.put(&bed.ns, &bytes);
    Descriptor::new(
        media::OCI_INDEX,
        Hasher::of(Algorithm::Sha256, &bytes),
        bytes.len() as u64,
    )
}

async fn push_with(
    bed: &Bed,
    target: &Descriptor,
    reference: &str,
    options: PushOptions,
) -> (Result<()>, Vec<(String, String)>) {
    let (sink, mut steps) = progress();
    let reference = Reference::parse(reference).unwrap();
    let hear = async {
        let mut heard = Vec::new();
        while let Some(step) = steps.recv().await {
            heard.push((step.id, step.status.to_string()));
        }
        heard
    };
    tokio::join!(bed.service.push(&bed.ns, target, reference, options, sink), hear)
}

async fn push(bed: &Bed, target: &Descriptor, reference: &str) -> (Result<()>, Vec<(String, String)>) {
    push_with(bed, target, reference, PushOptions::default()).await
}

fn told(heard: &[(String, String)], what: &str) -> usize {
    heard.iter().filter(|(_, status)| status.starts_with(what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled_and_what_is_there_is_not_sent_again() {
    let registry = Debian::start(None);
    let bed = Bed::new(Whiteouts::Plain);
    let one = image("one");
    one.put(&bed);
    let name = format!("{}/team/app:v1", registry.address);
    let (pushed, heard) = push(&bed, &one.target, &name).await;
    pushed.unwrap();
    assert_eq!(told(&heard, "Pushed"), 4, "{heard:?}");
    let (pushed, heard) = push(&bed, &one.target, &name).await;
    pushed.unwrap();
    assert_eq!(
        (told(&heard, "Pushed"), told(&heard, "Layer already exists")),
        (0, 4),
        "{heard:?}"
    );
    let other = Bed::new(Whiteouts::Plain);
    let reference = Reference::parse(&name).unwrap();
    let pulled = other
        .service
        .pull(&other.ns, reference, Default::default(), ProgressSink::silent())
        .await
        .unwrap();
    assert_eq!(pulled.target.digest, one.target.digest);
    // What was pulled says where it came from: another repository of that registry need not be sent it.
    let (pushed, heard) = push(&other, &one.target, &format!("{}/other:v1", registry.address)).await;
    pushed.unwrap();
    assert_eq!(told(&heard, "Mounted from team/app"), 3, "{heard:?}");
    let said = run(
        "skopeo",
        &[
            "inspect",
            "--tls-verify=false",
            &format!("docker://{}/other:v1", registry.address),
        ],
    );
    assert!(said.contains(&one.target.digest.to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_goes_after_its_images_and_half_of_one_is_refused() {
    let registry = Debian::start(None);
    let bed = Bed::new(Whiteouts::Plain);
    let (one, two) = (image("one"), image("two"));
    one.put(&bed);
    two.put(&bed);
    let index = index_of(&bed, &[(&one, "linux/amd64"), (&two, "linux/arm64")]);
    let name = format!("{}/multi:1", registry.address);
    push(&bed, &index, &name).await.0.unwrap();
    let fetched = Bed::new(Whiteouts::Plain);
    let fetch = |wanted: Wanted| FetchOptions {
        wanted,
        ..FetchOptions::default()
    };
    let reference = || Reference::parse(&name).unwrap();
    let arm = Wanted {
        platforms: vec![Platform::parse("linux/arm64").unwrap()],
        ..Wanted::default()
    };
    let got = fetched
        .service
        .fetch_content(&fetched.ns, reference(), fetch(arm.clone()), ProgressSink::silent());
    let got = got.await.unwrap();
    assert_eq!(got.target.digest, index.digest);
    let has = |digest: &Digest| fetched.service.blobs(&fetched.ns, None).find(digest).unwrap().is_some();
    assert!(has(&two.target.digest) && has(&two.config) && !has(&one.target.digest) && !has(&one.config));
    assert!(fetched.snapshots.names().0.is_empty(), "nothing was to be unpacked");
    // It is only half here: the whole cannot be pushed, the half can.
    let elsewhere = format!("{}/half:1", registry.address);
    let error = push(&fetched, &index, &elsewhere).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&one.target.digest.to_string()), "{error}");
    let all = Wanted {
        all_metadata: true,
        ..arm
    };
    let again = fetched
        .service
        .fetch_content(&fetched.ns, reference(), fetch(all), ProgressSink::silent());
    again.await.unwrap();
    assert!(has(&one.config) && !has(&one.layers[1].digest));
    let error = push(&fetched, &one.target, &elsewhere).await.0.unwrap_err();
    assert!(error.to_string().contains(&one.layers[1].digest.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_only_chunks_gets_chunks() {
    let fake = Fake::new(Manners {
        chunks_only: true,
        ..Manners::default()
    })
    .await;
    let bed = Bed::new(Whiteouts::Plain);
    let large = large(20 << 20);
    large.put(&bed);
    push(&bed, &large.target, &format!("{}/large:1", fake.address))
        .await
        .0
        .unwrap();
    let content = fake.content.lock();
    assert!(
        large
            .blobs
            .iter()
            .all(|(digest, bytes)| *digest == large.target.digest
                || content.blobs.get(&digest.to_string()) == Some(bytes))
    );
    let patches = content.seen.iter().filter(|seen| seen.method == "PATCH").count();
    assert_eq!(patches, 3, "two for the layer, one for the config");
    assert!(content.uploads.is_empty(), "what was begun in vain is taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_stands() {
    let fake = Fake::new(Manners {
        upload_cuts: (2, 1 << 20),
        upload_busy: 1,
        ..Manners::default()
    })
    .await;
    let bed = Bed::new(Whiteouts::Plain);
    let large = large(4 << 20);
    large.put(&bed);
    let (pushed, heard) = push(&bed, &large.target, &format!("{}/large:1", fake.address)).await;
    pushed.unwrap();
    assert!(told(&heard, "Retrying") >= 1, "{heard:?}");
    let content = fake.content.lock();
    let layer = &large.layers[0].digest;
    assert_eq!(content.blobs[&layer.to_string()], large.blobs[layer]);
    assert!(
        content
            .seen
            .iter()
            .any(|seen| seen.method == "GET" && seen.path.contains("/uploads/u"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mounted_is_sent() {
    let fake = Fake::new(Manners {
        no_mounts: true,
        ..Manners::default()
    })
    .await;
    let bed = Bed::new(Whiteouts::Plain);
    let one = image("one");
    one.put(&bed);
    let key = format!("containerd.io/distribution.source.{}", fake.address);
    let labels = [(key, "elsewhere,x".to_owned())].into();
    bed.service
        .blobs(&bed.ns, None)
        .label(&one.layers[0].digest, &labels)
        .unwrap();
    let (pushed, heard) = push(&bed, &one.target, &format!("{}/app:1", fake.address)).await;
    pushed.unwrap();
    assert_eq!((told(&heard, "Pushed"), told(&heard, "Mounted")), (4, 0), "{heard:?}");
    let content = fake.content.lock();
    assert!(
        content
            .seen
            .iter()
            .any(|seen| seen.path.contains("mount=") && seen.path.contains("from=elsewhere"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_asked_for_once_and_for_what_is_done() {
    let fake = Fake::new(Manners {
        token_for: Some("me:secret"),
        ..Manners::default()
    })
    .await;
    let bed = Bed::new(Whiteouts::Plain);
    let one = image("one");
    one.put(&bed);
    let name = format!("{}/app:1", fake.address);
    let (asker, mut questions) = tokio::sync::mpsc::channel::<Question>(1);
    let answering = tokio::spawn(async move {
        let mut hosts = Vec::new();
        while let Some(question) = questions.recv().await {
            assert!(
                question.challenges[0].starts_with("Bearer "),
                "{:?}",
                question.challenges
            );
            hosts.push(question.host);
            question.answer.send(Ok(Credentials::new("me", "secret", ""))).unwrap();
        }
        hosts
    });
    let (log, mut lines) = WireLog::new(true, false);
    let options = PushOptions {
        access: Access {
            login: Login::Asked(asker),
            log: Some(log),
            ..Access::default()
        },
        ..PushOptions::default()
    };
    push_with(&bed, &one.target, &name, options).await.0.unwrap();
    assert_eq!(answering.await.unwrap(), std::slice::from_ref(&fake.address));
    let asked = fake
        .content
        .lock()
        .seen
        .iter()
        .find(|seen| seen.path.starts_with("/token"))
        .cloned();
    let asked = asked.expect("a token was asked for").path;
    assert!(asked.contains("repository%3Aapp%3Apull%2Cpush"), "{asked}");
    let mut said = String::new();
    while let Ok(line) = lines.try_recv() {
        said.push_str(&String::from_utf8_lossy(&line));
    }
    assert!(said.contains("> PUT http://") && said.contains("< 201"), "{said}");
    assert!(!said.contains("Bearer good") && said.contains("<redacted>"), "{said}");
    let error = push(&bed, &one.target, &name).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stays_broken_ends_it() {
    let mut settings = ImageSettings::default();
    settings.registry.attempts = 2;
    let bed = Bed::with(Whiteouts::Plain, settings);
    let one = image("one");
    one.put(&bed);
    let fake = Fake::new(Manners {
        upload_busy: 1000,
        ..Manners::default()
    })
    .await;
    let error = push(&bed, &one.target, &format!("{}/app:1", fake.address))
        .await
        .0
        .unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    let by_digest = format!("{}/app@sha256:{}", fake.address, "0".repeat(64));
    let error = push(&bed, &one.target, &by_digest).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
}
