use super::*;
use crate::meta::testing::{Room, labels, ns, room};
use gantry_core::content::IngestRequest;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, SystemTime};

struct House {
    room: Room,
    ns: Namespace,
    diff: Difference,
}

impl House {
    fn new() -> Self {
        let room = room();
        let at = room.dir.path().join("run");
        let diff = Difference::new(Arc::new(room.blobs.clone()), Limits::default(), at);
        Self {
            room,
            ns: ns("one"),
            diff,
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.room.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn bind(&self, name: &str) -> Vec<Mount> {
        vec![Mount {
            kind: "bind".into(),
            source: self.dir(name).to_string_lossy().into_owned(),
            target: String::new(),
            options: vec!["rbind".into(), "rw".into()],
        }]
    }

    fn overlay(&self, upper: &str, lower: &str, more: &[&str]) -> Vec<Mount> {
        let path = |name: &str| self.dir(name).to_string_lossy().into_owned();
        let mut options = vec![
            format!("workdir={}", path(&format!("{upper}-work"))),
            format!("upperdir={}", path(upper)),
            format!("lowerdir={}", path(lower)),
        ];
        options.extend(more.iter().map(|option| (*option).to_owned()));
        vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options,
        }]
    }

    fn bytes(&self, descriptor: &Descriptor) -> Vec<u8> {
        gantry_core::content::read_all(&self.room.blobs, &self.ns, &descriptor.digest, 1 << 24).unwrap()
    }

    /// Names and times in a plain layer.
    fn entries(&self, descriptor: &Descriptor) -> Vec<(String, u64)> {
        let bytes = self.bytes(descriptor);
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path, entry.header().mtime().unwrap())
        });
        entries.collect()
    }
}

fn wanting(media_type: &str) -> NewDifference {
    NewDifference {
        media_type: media_type.to_owned(),
        ..NewDifference::default()
    }
}

#[tokio::test]
async fn every_form_of_a_layer_comes_back_as_it_was() {
    let house = House::new();
    let from = house.dir("from");
    fs::create_dir(from.join("etc")).unwrap();
    fs::write(from.join("etc/file"), b"text".repeat(9000)).unwrap();
    std::os::unix::fs::symlink("file", from.join("etc/link")).unwrap();
    let mut diff_ids = Vec::new();
    for media_type in [media::OCI_LAYER, media::OCI_LAYER_GZIP, media::OCI_LAYER_ZSTD, ""] {
        let right = house.bind("from");
        let made = house.diff.compare(&house.ns, Vec::new(), right, wanting(media_type));
        let made = made.await.unwrap();
        let shown = if media_type.is_empty() {
            media::OCI_LAYER_GZIP
        } else {
            media_type
        };
        assert_eq!(made.media_type, shown);
        let name = format!("to-{}", diff_ids.len());
        let applied = house.diff.apply(&house.ns, made.clone(), house.bind(&name), true);
        let applied = applied.await.unwrap();
        let to = house.dir(&name);
        assert_eq!(fs::read(to.join("etc/file")).unwrap(), b"text".repeat(9000));
        assert_eq!(fs::read_link(to.join("etc/link")).unwrap(), Path::new("file"));
        assert_eq!(applied.media_type, media::OCI_LAYER);
        let label = house.room.blobs.info(&house.ns, &made.digest).unwrap().labels;
        let label = label.get("containerd.io/uncompressed").cloned();
        match shown == media::OCI_LAYER {
            true => assert_eq!((label, &made.digest, made.size), (None, &applied.digest, applied.size)),
            false => assert_eq!(label, Some(applied.digest.to_string())),
        }
        diff_ids.push(applied.digest);
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "one tree, one diffID");
}

#[tokio::test]
async fn an_overlay_is_read_and_written_the_same_mounted_or_not() {
    let house = House::new();
    let low = house.dir("low");
    fs::create_dir_all(low.join("keep/sub")).unwrap();
    fs::write(low.join("keep/old"), "old").unwrap();
    fs::write(low.join("gone"), "gone").unwrap();
    let left = house.bind("low");
    let right = house.overlay("upper", "low", &[]);
    // The change is made by the kernel, through the mount.
    with_mounted(&house.dir("at"), &right, |root| {
        fs::write(root.join("keep/new"), "new").unwrap();
        fs::remove_file(root.join("gone")).unwrap();
    })
    .unwrap();
    let fast = house
        .diff
        .compare(&house.ns, left.clone(), right.clone(), wanting(media::OCI_LAYER));
    let fast = fast.await.unwrap();
    let slow = house.overlay("upper", "low", &["metacopy=on"]);
    let slow = house
        .diff
        .compare(&house.ns, left, slow, wanting(media::OCI_LAYER))
        .await
        .unwrap();
    assert_eq!(fast.digest, slow.digest);
    let names: Vec<String> = house.entries(&fast).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&".wh.gone".to_owned()), "{names:?}");
    assert!(names.contains(&"keep/new".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("old")), "{names:?}");

    let again = house.overlay("again", "low", &[]);
    house.diff.apply(&house.ns, fast.clone(), again, false).await.unwrap();
    let hidden = fs::symlink_metadata(house.dir("again").join("gone")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    let mounted = house.overlay("mounted", "low", &["metacopy=off", "userxattr"]);
    house.diff.apply(&house.ns, fast, mounted.clone(), false).await.unwrap();
    let seen = with_mounted(&house.dir("at"), &mounted, |root| {
        (
            fs::read(root.join("keep/new")).unwrap(),
            root.join("gone").exists(),
            root.join("keep/old").exists(),
        )
    });
    assert_eq!(seen.unwrap(), (b"new".to_vec(), false, true));
}

#[tokio::test]
async fn no_time_is_later_than_asked_and_equal_sizes_do_not_hide_a_change() {
    let house = House::new();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    for (name, text) in [("one", "abc"), ("two", "xyz")] {
        let path = house.dir(name).join("file");
        fs::write(&path, text).unwrap();
        fs::File::open(&path).unwrap().set_modified(then).unwrap();
        fs::write(house.dir(name).join("young"), name).unwrap();
    }
    let new = NewDifference {
        source_date_epoch: Some(5000),
        ..wanting(media::OCI_LAYER)
    };
    let made = house
        .diff
        .compare(&house.ns, house.bind("one"), house.bind("two"), new)
        .await
        .unwrap();
    let entries = house.entries(&made);
    let time = |name: &str| entries.iter().find(|(path, _)| path == name).map(|(_, time)| *time);
    assert_eq!((time("file"), time("young")), (Some(1000), Some(5000)));
}

#[tokio::test]
async fn a_name_of_the_client_and_what_is_there_already() {
    let house = House::new();
    fs::write(house.dir("from").join("file"), "text").unwrap();
    let request = || IngestRequest {
        reference: "mine".to_owned(),
        ..IngestRequest::default()
    };
    let mut rest = house.room.blobs.ingest(&house.ns, request()).unwrap();
    rest.write(b"left over").unwrap();
    drop(rest);
    let new = NewDifference {
        reference: "mine".to_owned(),
        labels: labels(&[("a", "b")]),
        ..NewDifference::default()
    };
    let made = house
        .diff
        .compare(&house.ns, Vec::new(), house.bind("from"), new)
        .await
        .unwrap();
    let label = |key: &str| {
        house
            .room
            .blobs
            .info(&house.ns, &made.digest)
            .unwrap()
            .labels
            .get(key)
            .cloned()
    };
    assert_eq!(label("a").as_deref(), Some("b"));
    // The label that says what it unpacks to is put back where it is missing.
    house
        .room
        .blobs
        .label(&house.ns, &made.digest, &labels(&[("containerd.io/uncompressed", "")]))
        .unwrap();
    let again = house
        .diff
        .compare(&house.ns, Vec::new(), house.bind("from"), wanting(""))
        .await
        .unwrap();
    assert_eq!(again, made);
    assert!(label("containerd.io/uncompressed").is_some());
    assert_eq!(house.room.blobs.ingests(&house.ns).unwrap(), Vec::new());
}

#[tokio::test]
async fn what_cannot_be_is_told_by_its_kind() {
    let house = House::new();
    let blob = house.room.blob(&house.ns, "no layer");
    let apply = async |media_type: &str, mounts| {
        let named = Descriptor::new(media_type, blob.digest.clone(), blob.size);
        house
            .diff
            .apply(&house.ns, named, mounts, false)
            .await
            .unwrap_err()
            .kind()
    };
    let to = || house.bind("to");
    assert_eq!(apply("application/odd", to()).await, ErrorKind::Unimplemented);
    assert_eq!(apply(media::OCI_LAYER, to()).await, ErrorKind::InvalidArgument);
    assert_eq!(apply(media::OCI_LAYER, Vec::new()).await, ErrorKind::InvalidArgument);
    let (named, two) = (Descriptor::new(media::OCI_LAYER, blob.digest.clone(), 8), ns("two"));
    let elsewhere = house.diff.apply(&two, named, to(), false);
    assert_eq!(elsewhere.await.unwrap_err().kind(), ErrorKind::NotFound);
    let compare = house
        .diff
        .compare(&house.ns, to(), to(), wanting("application/odd"))
        .await;
    assert_eq!(compare.unwrap_err().kind(), ErrorKind::Unimplemented);
    let nowhere = Mount {
        source: "/nowhere/at/all".into(),
        ..house.bind("to").remove(0)
    };
    let compare = house
        .diff
        .compare(&house.ns, Vec::new(), vec![nowhere], wanting(""))
        .await;
    assert!(compare.is_err());
    assert_eq!(house.room.blobs.ingests(&house.ns).unwrap(), Vec::new());
}
