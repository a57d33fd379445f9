//! What every content store does, whoever implements it and through whatever door; containerd's content service is the
//! model.

use gantry_core::content::{BlobInfo, ContentStore, Ingest, IngestRequest, read_all};
use gantry_core::{Algorithm, Digest, Error, ErrorKind, Labels, Namespace};
use sha2::{Digest as _, Sha256, Sha512};

/// One store to be checked, empty.
pub struct Subject {
    pub store: Box<dyn ContentStore>,
    /// Bytes of other namespaces may be taken by digest.
    pub shared: bool,
    /// An ingest may be cut anywhere; a client of the daemon's API can only begin it anew.
    pub cuts: bool,
}

type Check = (&'static str, fn(&Subject));

/// Every check by name.
pub const CHECKS: &[Check] = &[
    ("writer", writer),
    ("commit exists", commit_exists),
    ("expected exists", expected_exists),
    ("resume", resume),
    ("resume after truncate", resume_after_truncate),
    ("start again", start_again),
    ("second writer", second_writer),
    ("commit error state", commit_error_state),
    ("total", total),
    ("labels", labels),
    ("label limits", label_limits),
    ("small blobs", small_blobs),
    ("algorithms", algorithms),
    ("read at", read_at),
    ("not found", not_found),
    ("abort", abort),
    ("delete", delete),
    ("namespaces", namespaces),
    ("cross namespace append", cross_namespace_append),
    ("cross namespace commit", cross_namespace_commit),
    ("writers of one digest", writers_of_one_digest),
];

/// Runs every check over a subject of its own.
pub fn run(mut factory: impl FnMut() -> Subject) {
    for (name, check) in CHECKS {
        println!("content: {name}");
        check(&factory());
    }
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name).expect("well formed")
}

/// Bytes that differ from seed to seed and do not repeat soon.
fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn sha256(content: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(content)).expect("32 bytes")
}

fn request(reference: &str, expected: Option<&Digest>) -> IngestRequest {
    IngestRequest {
        reference: reference.to_owned(),
        expected: expected.cloned(),
        ..IngestRequest::default()
    }
}

fn open(subject: &Subject, space: &str, reference: &str, expected: Option<&Digest>) -> Box<dyn Ingest> {
    subject
        .store
        .ingest(&ns(space), request(reference, expected))
        .expect("the ingest opens")
}

fn put(subject: &Subject, space: &str, reference: &str, content: &[u8]) -> Result<BlobInfo, Error> {
    let mut ingest = open(subject, space, reference, None);
    ingest.write(content).expect("bytes are taken");
    ingest.commit(Some(content.len() as u64), Some(&sha256(content)), Labels::new())
}

fn get(subject: &Subject, space: &str, digest: &Digest) -> Vec<u8> {
    read_all(subject.store.as_ref(), &ns(space), digest, 64 << 20).expect("the blob reads")
}

fn refused<T>(result: Result<T, Error>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("{kind:?} was due"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

fn references(subject: &Subject, space: &str) -> Vec<String> {
    let all = subject.store.ingests(&ns(space)).expect("ingests are listed");
    all.into_iter().map(|status| status.reference).collect()
}

fn writer(subject: &Subject) {
    let content = bytes(1, 300_000);
    let digest = sha256(&content);
    let mut ingest = open(subject, "one", "ref-1", Some(&digest));
    for part in content.chunks(70_001) {
        ingest.write(part).expect("bytes are taken");
    }
    let status = ingest.status();
    assert_eq!((status.reference.as_str(), status.offset), ("ref-1", 300_000));
    assert_eq!(status.expected.as_ref(), Some(&digest));
    assert!(status.started_at <= status.updated_at);
    assert_eq!(ingest.digest(), digest);
    let listed = &subject.store.ingests(&ns("one")).expect("ingests are listed")[0];
    assert_eq!((listed.reference.as_str(), listed.offset), ("ref-1", 300_000));
    refused(subject.store.info(&ns("one"), &digest), ErrorKind::NotFound);
    let info = ingest
        .commit(Some(300_000), Some(&digest), Labels::new())
        .expect("it commits");
    assert_eq!((info.size, &info.digest), (300_000, &digest));
    assert_eq!(subject.store.info(&ns("one"), &digest).expect("it is there"), info);
    assert_eq!(subject.store.list(&ns("one")).expect("blobs are listed"), [info]);
    assert!(references(subject, "one").is_empty(), "the reference is free again");
    assert_eq!(get(subject, "one", &digest), content);
}

fn commit_exists(subject: &Subject) {
    let content = bytes(2, 1000);
    put(subject, "one", "a", &content).expect("it commits");
    refused(put(subject, "one", "b", &content), ErrorKind::AlreadyExists);
    assert!(
        references(subject, "one").is_empty(),
        "the reference is released all the same"
    );
    assert_eq!(get(subject, "one", &sha256(&content)), content);
}

fn expected_exists(subject: &Subject) {
    let content = bytes(3, 1000);
    let digest = sha256(&content);
    let mut partial = open(subject, "one", "b", None);
    partial.write(&content[..10]).expect("bytes are taken");
    drop(partial);
    put(subject, "one", "a", &content).expect("it commits");
    for reference in ["b", "c"] {
        let again = subject.store.ingest(&ns("one"), request(reference, Some(&digest)));
        refused(again, ErrorKind::AlreadyExists);
    }
    assert!(references(subject, "one").is_empty());
}

fn resume(subject: &Subject) {
    let content = bytes(4, 50_000);
    let digest = sha256(&content);
    let mut ingest = open(subject, "one", "r", Some(&digest));
    ingest.write(&content[..20_000]).expect("bytes are taken");
    drop(ingest);
    assert_eq!(references(subject, "one"), ["r"]);
    let mut ingest = open(subject, "one", "r", Some(&digest));
    assert_eq!(ingest.status().offset, 20_000);
    assert_eq!(
        ingest.digest(),
        sha256(&content[..20_000]),
        "what is there is hashed again"
    );
    ingest.write(&content[20_000..]).expect("bytes are taken");
    ingest.commit(None, None, Labels::new()).expect("it commits");
    assert_eq!(get(subject, "one", &digest), content);
}

fn resume_after_truncate(subject: &Subject) {
    let content = bytes(5, 50_000);
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(&content[..20_000]).expect("bytes are taken");
    ingest.write(b"wrong").expect("bytes are taken");
    if subject.cuts {
        refused(ingest.truncate(20_006), ErrorKind::OutOfRange);
        ingest.truncate(20_000).expect("it cuts");
    } else {
        ingest.truncate(0).expect("it begins anew");
        ingest.write(&content[..20_000]).expect("bytes are taken");
    }
    assert_eq!(ingest.status().offset, 20_000);
    drop(ingest);
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(&content[20_000..]).expect("bytes are taken");
    ingest
        .commit(Some(50_000), Some(&sha256(&content)), Labels::new())
        .expect("it commits");
}

fn start_again(subject: &Subject) {
    let content = bytes(6, 9000);
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(&bytes(7, 12_000)).expect("bytes are taken");
    ingest.truncate(0).expect("it cuts");
    assert_eq!(ingest.digest(), sha256(b""));
    ingest.write(&content).expect("bytes are taken");
    let info = ingest
        .commit(None, Some(&sha256(&content)), Labels::new())
        .expect("it commits");
    assert_eq!(info.size, 9000);
}

fn second_writer(subject: &Subject) {
    let first = open(subject, "one", "r", None);
    refused(
        subject.store.ingest(&ns("one"), request("r", None)),
        ErrorKind::Unavailable,
    );
    refused(subject.store.abort(&ns("one"), "r"), ErrorKind::Unavailable);
    drop(open(subject, "one", "other", None));
    drop(open(subject, "two", "r", None));
    drop(first);
    drop(open(subject, "one", "r", None));
    refused(
        subject.store.ingest(&ns("one"), request("", None)),
        ErrorKind::InvalidArgument,
    );
}

fn commit_error_state(subject: &Subject) {
    let content = bytes(8, 4000);
    let digest = sha256(&content);
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(&content).expect("bytes are taken");
    let wrong = sha256(b"something else");
    refused(
        ingest.commit(None, Some(&wrong), Labels::new()),
        ErrorKind::FailedPrecondition,
    );
    refused(subject.store.info(&ns("one"), &digest), ErrorKind::NotFound);
    refused(subject.store.info(&ns("one"), &wrong), ErrorKind::NotFound);
    assert_eq!(references(subject, "one"), ["r"], "what was written can be used still");
    let ingest = open(subject, "one", "r", None);
    refused(
        ingest.commit(Some(3999), Some(&digest), Labels::new()),
        ErrorKind::FailedPrecondition,
    );
    let ingest = open(subject, "one", "r", Some(&digest));
    ingest.commit(Some(4000), None, Labels::new()).expect("it commits");
    assert_eq!(get(subject, "one", &digest), content);
}

fn total(subject: &Subject) {
    let said = |total| IngestRequest {
        reference: "r".to_owned(),
        total,
        ..IngestRequest::default()
    };
    let mut ingest = subject.store.ingest(&ns("one"), said(10)).expect("the ingest opens");
    assert_eq!(ingest.status().total, 10);
    ingest.write(b"123456789").expect("bytes are taken");
    refused(ingest.commit(None, None, Labels::new()), ErrorKind::FailedPrecondition);
    refused(
        subject.store.ingest(&ns("one"), said(11)),
        ErrorKind::FailedPrecondition,
    );
    let mut ingest = subject.store.ingest(&ns("one"), said(0)).expect("the ingest opens");
    assert_eq!(ingest.status().total, 10);
    ingest.write(b"0").expect("bytes are taken");
    ingest.commit(None, None, Labels::new()).expect("it commits");
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn labels(subject: &Subject) {
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(b"labelled").expect("bytes are taken");
    let info = ingest
        .commit(None, None, pairs([("a", "1"), ("b", "2"), ("none", "")]))
        .expect("it commits");
    assert_eq!(info.labels, pairs([("a", "1"), ("b", "2")]));
    let changed = subject
        .store
        .label(&ns("one"), &info.digest, &pairs([("a", ""), ("b", "3"), ("c", "4")]))
        .expect("labels are set");
    assert_eq!(changed.labels, pairs([("b", "3"), ("c", "4")]));
    assert!(changed.updated_at >= info.updated_at);
    assert_eq!(changed.created_at, info.created_at);
    assert_eq!(
        subject.store.info(&ns("one"), &info.digest).expect("it is there"),
        changed
    );
}

fn label_limits(subject: &Subject) {
    let long = pairs([("key", &"v".repeat(4094))]);
    let mut ingest = open(subject, "one", "r", None);
    ingest.write(b"labelled").expect("bytes are taken");
    refused(ingest.commit(None, None, long.clone()), ErrorKind::InvalidArgument);
    let info = put(subject, "one", "s", b"content").expect("it commits");
    refused(
        subject.store.label(&ns("one"), &info.digest, &long),
        ErrorKind::InvalidArgument,
    );
}

fn small_blobs(subject: &Subject) {
    for length in [0, 1, 2, 511] {
        let content = bytes(9, length);
        let info = put(subject, "one", &format!("r{length}"), &content).expect("it commits");
        assert_eq!(info.size, length as u64);
        assert_eq!(get(subject, "one", &info.digest), content);
    }
}

fn algorithms(subject: &Subject) {
    let content = bytes(10, 5000);
    let digest = Digest::from_bytes(Algorithm::Sha512, &Sha512::digest(&content)).expect("64 bytes");
    let mut ingest = open(subject, "one", "named", Some(&digest));
    ingest.write(&content).expect("bytes are taken");
    assert_eq!(ingest.digest(), digest);
    ingest.commit(None, None, Labels::new()).expect("it commits");
    assert_eq!(get(subject, "one", &digest), content);
    // Named only at the end.
    let mut ingest = open(subject, "two", "late", None);
    ingest.write(&content).expect("bytes are taken");
    let info = ingest.commit(None, Some(&digest), Labels::new()).expect("it commits");
    assert_eq!(info.digest, digest);
}

fn read_at(subject: &Subject) {
    let content = bytes(11, 10_000);
    let info = put(subject, "one", "r", &content).expect("it commits");
    let reader = subject.store.reader(&ns("one"), &info.digest).expect("it opens");
    assert_eq!(reader.size(), 10_000);
    let mut buffer = [0; 600];
    assert_eq!(reader.read_at(&mut buffer, 700).expect("it reads"), 600);
    assert_eq!(buffer, content[700..1300]);
    assert_eq!(reader.read_at(&mut buffer, 9_900).expect("it reads"), 100);
    assert_eq!(reader.read_at(&mut buffer, 10_000).expect("it reads"), 0);
    assert_eq!(reader.read_at(&mut buffer, u64::MAX).expect("it reads"), 0);
}

fn not_found(subject: &Subject) {
    let digest = sha256(b"nowhere");
    let space = ns("one");
    refused(subject.store.info(&space, &digest), ErrorKind::NotFound);
    refused(subject.store.reader(&space, &digest).map(drop), ErrorKind::NotFound);
    refused(subject.store.delete(&space, &digest), ErrorKind::NotFound);
    refused(
        subject.store.label(&space, &digest, &Labels::new()),
        ErrorKind::NotFound,
    );
    refused(subject.store.abort(&space, "nothing"), ErrorKind::NotFound);
    assert!(subject.store.list(&space).expect("blobs are listed").is_empty());
}

fn abort(subject: &Subject) {
    let mut ingest = open(subject, "one", "held", None);
    ingest.write(b"x").expect("bytes are taken");
    ingest.abort().expect("it aborts");
    let mut ingest = open(subject, "one", "left", None);
    ingest.write(b"x").expect("bytes are taken");
    drop(ingest);
    subject.store.abort(&ns("one"), "left").expect("it aborts");
    assert!(references(subject, "one").is_empty());
    assert_eq!(
        open(subject, "one", "left", None).status().offset,
        0,
        "nothing is left of it"
    );
}

fn delete(subject: &Subject) {
    let info = put(subject, "one", "r", b"goes").expect("it commits");
    let reader = subject.store.reader(&ns("one"), &info.digest).expect("it opens");
    subject.store.delete(&ns("one"), &info.digest).expect("it is deleted");
    refused(subject.store.info(&ns("one"), &info.digest), ErrorKind::NotFound);
    let mut buffer = [0; 4];
    assert_eq!(reader.read_at(&mut buffer, 0).expect("an open reader goes on"), 4);
    put(subject, "one", "r", b"goes").expect("it comes back");
}

fn namespaces(subject: &Subject) {
    let info = put(subject, "one", "r", b"mine").expect("it commits");
    let two = ns("two");
    refused(subject.store.info(&two, &info.digest), ErrorKind::NotFound);
    refused(subject.store.reader(&two, &info.digest).map(drop), ErrorKind::NotFound);
    refused(subject.store.delete(&two, &info.digest), ErrorKind::NotFound);
    let again = put(subject, "two", "r", b"mine").expect("each namespace commits for itself");
    subject
        .store
        .label(&two, &again.digest, &pairs([("a", "1")]))
        .expect("labels are set");
    let first = subject.store.info(&ns("one"), &info.digest).expect("it is there");
    assert!(first.labels.is_empty(), "labels are the namespace's own");
    subject.store.delete(&ns("one"), &info.digest).expect("it is deleted");
    assert_eq!(get(subject, "two", &info.digest), b"mine");
}

fn cross_namespace_commit(subject: &Subject) {
    let content = bytes(12, 20_000);
    let info = put(subject, "one", "r", &content).expect("it commits");
    let mut ingest = open(subject, "two", "r", Some(&info.digest));
    if subject.shared {
        assert_eq!(ingest.status().offset, 20_000, "the bytes are there already");
    } else {
        assert_eq!(ingest.status().offset, 0, "the bytes must be sent");
        ingest.write(&content).expect("bytes are taken");
    }
    // Whatever becomes of the first one.
    subject.store.delete(&ns("one"), &info.digest).expect("it is deleted");
    ingest.commit(Some(20_000), None, Labels::new()).expect("it commits");
    assert_eq!(get(subject, "two", &info.digest), content);
}

fn cross_namespace_append(subject: &Subject) {
    let content = bytes(13, 20_000);
    let info = put(subject, "one", "r", &content).expect("it commits");
    let mut ingest = open(subject, "two", "r", Some(&info.digest));
    if !subject.shared {
        ingest.write(&content).expect("bytes are taken");
    }
    ingest.write(b"more").expect("bytes are taken");
    let longer = [&content[..], b"more"].concat();
    assert_eq!(ingest.digest(), sha256(&longer));
    let longer_info = ingest
        .commit(None, Some(&sha256(&longer)), Labels::new())
        .expect("it commits");
    assert_eq!(get(subject, "two", &longer_info.digest), longer);
    assert_eq!(
        get(subject, "one", &info.digest),
        content,
        "the other's bytes are untouched"
    );
    // And from the beginning.
    let mut ingest = open(subject, "two", "s", Some(&info.digest));
    ingest.truncate(0).expect("it cuts");
    ingest.write(&content).expect("bytes are taken");
    ingest.commit(None, None, Labels::new()).expect("it commits");
    assert_eq!(get(subject, "one", &info.digest), content);
}

fn writers_of_one_digest(subject: &Subject) {
    let content = bytes(14, 100_000);
    let committed = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let content = &content;
                scope.spawn(move || put(subject, "one", &format!("r{number}"), content))
            })
            .collect();
        let results = writers.into_iter().map(|writer| writer.join().expect("no panic"));
        results
            .filter(|result| match result {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
                    false
                }
            })
            .count()
    });
    assert_eq!(committed, 1, "one of them made it");
    assert!(references(subject, "one").is_empty());
    assert_eq!(get(subject, "one", &sha256(&content)), content);
}
