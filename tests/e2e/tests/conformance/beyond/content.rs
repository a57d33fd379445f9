//! Writes, reads and blobs.

use super::{held, lease, refused};
use crate::remote::Place;
use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::digest;
use gantry_proto_containerd::services::content::v1 as content;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// An open write.
struct Write {
    to: mpsc::Sender<content::WriteContentRequest>,
    from: Streaming<content::WriteContentResponse>,
}

impl Write {
    async fn open(caller: &Caller, reference: &str, expected: &str) -> Result<Self, Status> {
        let (to, messages) = mpsc::channel(1);
        let from = caller
            .content()
            .write(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let mut write = Self { to, from };
        let first = content::WriteContentRequest {
            r#ref: reference.to_owned(),
            expected: expected.to_owned(),
            ..content::WriteContentRequest::default()
        };
        write.send(first, content::WriteAction::Stat).await?;
        Ok(write)
    }

    async fn send(
        &mut self,
        mut message: content::WriteContentRequest,
        action: content::WriteAction,
    ) -> Result<content::WriteContentResponse, Status> {
        message.set_action(action);
        let _ = self.to.send(message).await;
        Ok(self.from.message().await?.expect("each message is answered"))
    }

    async fn put(&mut self, offset: i64, data: &[u8]) -> Result<content::WriteContentResponse, Status> {
        let message = content::WriteContentRequest {
            offset,
            data: data.to_vec().into(),
            ..content::WriteContentRequest::default()
        };
        self.send(message, content::WriteAction::Write).await
    }

    async fn commit(&mut self, offset: i64, expected: &str) -> Result<content::WriteContentResponse, Status> {
        let message = content::WriteContentRequest {
            offset,
            expected: expected.to_owned(),
            ..content::WriteContentRequest::default()
        };
        self.send(message, content::WriteAction::Commit).await
    }

    /// Until the daemon has let go of the reference.
    async fn close(self) {
        let Self { to, mut from } = self;
        drop(to);
        while let Ok(Some(_)) = from.message().await {}
    }
}

async fn blob(caller: &Caller, reference: &str, bytes: &[u8]) -> Result<String, Status> {
    let mut write = Write::open(caller, reference, "").await?;
    write.put(0, bytes).await?;
    let done = write.commit(bytes.len().try_into().unwrap(), "").await?;
    Ok(done.digest)
}

async fn references(caller: &Caller) -> Vec<(String, i64)> {
    let request = content::ListStatusesRequest::default();
    let found = caller
        .content()
        .list_statuses(request)
        .await
        .unwrap()
        .into_inner()
        .statuses;
    found.into_iter().map(|one| (one.r#ref, one.offset)).collect()
}

pub fn existing_is_leased(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("leased-1");
        let there = blob(&caller, "a", b"already there").await.unwrap();
        let holder = lease(&caller, "holder").await;
        let again = Write::open(&holder, "b", &there).await;
        refused(again.map(drop), Code::AlreadyExists, "");
        assert_eq!(held(&caller, "holder").await, [format!("content {there}")]);
        assert!(references(&caller).await.is_empty());
    });
}

pub fn commit_of_existing_is_leased(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("leased-2");
        let there = blob(&caller, "a", b"already there").await.unwrap();
        let holder = lease(&caller, "holder").await;
        refused(blob(&holder, "b", b"already there").await, Code::AlreadyExists, "");
        assert_eq!(held(&caller, "holder").await, [format!("content {there}")]);
        assert!(references(&caller).await.is_empty(), "the reference is free");
    });
}

pub fn came_meanwhile(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("leased-3");
        let (bytes, expected) = (b"came meanwhile", digest(b"came meanwhile"));
        let holder = lease(&caller, "holder").await;
        let mut slow = Write::open(&holder, "slow", &expected).await.unwrap();
        slow.put(0, &bytes[..4]).await.unwrap();
        blob(&caller, "fast", bytes).await.unwrap();
        refused(slow.commit(4, &expected).await, Code::AlreadyExists, "exists");
        slow.close().await;
        assert!(
            references(&caller).await.is_empty(),
            "what was written is of no use any more"
        );
        assert_eq!(held(&caller, "holder").await, [format!("content {expected}")]);
    });
}

pub fn healed(place: &mut Place) {
    let data = place.house.data_root();
    place.run(async {
        let caller = place.connection.of("damaged");
        let bytes = b"lost and sent again";
        let there = blob(&caller, "a", bytes).await.unwrap();
        let file =
            file_named(&data.join("content"), there.strip_prefix("sha256:").unwrap()).expect("a file of that name");
        std::fs::remove_file(file).unwrap();
        let mut write = Write::open(&caller, "b", &there).await.unwrap();
        write.put(0, bytes).await.unwrap();
        // The record was there all the time.
        let done = write.commit(19, &there).await;
        assert!(
            done.as_ref()
                .err()
                .is_none_or(|status| status.code() == Code::AlreadyExists),
            "{done:?}"
        );
        let request = content::ReadContentRequest {
            digest: there,
            ..content::ReadContentRequest::default()
        };
        let mut parts = caller.content().read(request).await.unwrap().into_inner();
        assert_eq!(parts.message().await.unwrap().unwrap().data.as_ref(), bytes);
    });
}

/// A file of this name anywhere below.
fn file_named(dir: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .find_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => file_named(&entry.path(), name),
            _ => (entry.file_name() == name).then(|| entry.path()),
        })
}

pub fn wrong_offset(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("offsets");
        for offset in [3, 5, -1] {
            let mut write = Write::open(&caller, "r", "").await.unwrap();
            if offset == 3 {
                write.put(0, b"0123").await.unwrap();
            }
            refused(
                write.put(offset, b"x").await,
                Code::OutOfRange,
                &format!("write @{offset}"),
            );
            write.close().await;
            assert_eq!(references(&caller).await, [("r".to_owned(), 4)]);
        }
        let mut write = Write::open(&caller, "r", "").await.unwrap();
        write.put(4, b"4567").await.unwrap();
        assert_eq!(
            write.commit(8, &digest(b"01234567")).await.unwrap().digest,
            digest(b"01234567")
        );
    });
}

pub fn no_reference(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("bad-writes");
        refused(
            Write::open(&caller, "", "").await.map(drop),
            Code::InvalidArgument,
            "must have a ref",
        );
    });
}

pub fn malformed_digest(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("bad-writes");
        for bad in ["sha256:abc", "md5:00000000000000000000000000000000", "nothing"] {
            refused(
                Write::open(&caller, "r", bad).await.map(drop),
                Code::InvalidArgument,
                bad,
            );
        }
        assert!(references(&caller).await.is_empty(), "nothing is half done");
    });
}

pub fn negative_total(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("bad-writes");
        let request = content::WriteContentRequest {
            r#ref: "r".to_owned(),
            total: -1,
            ..content::WriteContentRequest::default()
        };
        let mut answers = caller
            .content()
            .write(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        refused(answers.message().await, Code::InvalidArgument, "-1");
        assert!(references(&caller).await.is_empty(), "nothing is half done");
    });
}

pub fn large_message(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("large");
        let bytes = vec![7; 12 << 20];
        assert_eq!(blob(&caller, "r", &bytes).await.unwrap(), digest(&bytes));
        let request = content::ReadContentRequest {
            digest: digest(&bytes),
            ..content::ReadContentRequest::default()
        };
        let mut parts = caller.content().read(request).await.unwrap().into_inner();
        let mut size = 0;
        while let Some(part) = parts.message().await.unwrap() {
            assert!(part.data.len() <= 1 << 20, "a frame of {}", part.data.len());
            size += part.data.len();
        }
        assert_eq!(size, bytes.len());
    });
}

pub fn unknown_lease(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("unleased").under("nobody");
        refused(
            Write::open(&caller, "r", "").await.map(drop),
            Code::NotFound,
            "lease does not exist",
        );
        assert!(references(&caller).await.is_empty(), "nothing is half done");
    });
}

pub fn long_labels(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("long");
        let mut write = Write::open(&caller, "r", "").await.unwrap();
        let message = content::WriteContentRequest {
            data: b"labelled".to_vec().into(),
            labels: BTreeMap::from([("key".to_owned(), "v".repeat(4094))]),
            ..content::WriteContentRequest::default()
        };
        refused(
            write.send(message, content::WriteAction::Commit).await,
            Code::InvalidArgument,
            "4096 bytes",
        );
        write.close().await;
        assert_eq!(
            references(&caller).await,
            [("r".to_owned(), 8)],
            "it can be tried again"
        );
        let mut write = Write::open(&caller, "r", "").await.unwrap();
        write.commit(8, &digest(b"labelled")).await.unwrap();
    });
}

pub fn resumed_after_kill(place: &mut Place) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    place.run(async {
        let caller = place.connection.of("killed");
        let mut write = Write::open(&caller, "r", &digest(&bytes)).await.unwrap();
        write.put(0, &bytes[..150_000]).await.unwrap();
    });
    place.house.restart_hard();
    place.connection = place.run(Connection::dial(&place.house.socket()));
    place.run(async {
        let caller = place.connection.of("killed");
        assert_eq!(references(&caller).await, [("r".to_owned(), 150_000)]);
        let mut write = Write::open(&caller, "r", &digest(&bytes)).await.unwrap();
        let answer = write.put(150_000, &bytes[150_000..]).await.unwrap();
        assert_eq!(answer.digest, digest(&bytes), "what was there is hashed again");
        write.commit(200_000, "").await.unwrap();
    });
}

pub fn reads(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("reads");
        let digest = blob(&caller, "r", b"0123456789").await.unwrap();
        let read = |offset, size| {
            let (caller, digest) = (&caller, digest.clone());
            async move {
                let mut parts = caller
                    .content()
                    .read(content::ReadContentRequest { digest, offset, size })
                    .await?
                    .into_inner();
                let mut all = Vec::new();
                while let Some(part) = parts.message().await? {
                    all.extend_from_slice(&part.data);
                }
                Ok::<_, Status>(all)
            }
        };
        for (offset, size, wanted) in [
            (0, 0, &b"0123456789"[..]),
            (10, 0, b""),
            (9, 5, b"9"),
            (4, -1, b"456789"),
            (2, 3, b"234"),
        ] {
            assert_eq!(read(offset, size).await.unwrap(), wanted, "{offset} {size}");
        }
        refused(read(11, 0).await, Code::OutOfRange, "past object length 10");
    });
}
