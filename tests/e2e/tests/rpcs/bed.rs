//! A daemon on a root of its own, and what entries need to be there before they call.

use futures::future::BoxFuture;
use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, HouseOptions, digest};
use gantry_proto_containerd::any::{SPEC, json};
use gantry_proto_containerd::prost_types::FieldMask;
use gantry_proto_containerd::services::content::v1 as content;
use gantry_proto_containerd::services::leases::v1::CreateRequest;
use gantry_proto_containerd::types::{Descriptor, Mount};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::runtime::Runtime;
use tonic::{Code, Status};

pub const NS: &str = "walk";

pub type Does = for<'a> fn(&'a Bed) -> BoxFuture<'a, ()>;
pub type Refuses = for<'a> fn(&'a Bed) -> BoxFuture<'a, Result<(), Status>>;

/// A method, and how it is called here.
pub struct Entry {
    /// `package.Service/Method`
    pub method: String,
    /// Calls it as it is meant to be. Panics where the answer is not right.
    pub does: Does,
    /// Calls it so that it is refused with this code, in a message with these words.
    pub refuses: Refuses,
    pub code: Code,
    pub words: &'static str,
}

impl Entry {
    pub fn new(method: &str, does: Does, code: Code, words: &'static str, refuses: Refuses) -> Self {
        Self {
            method: method.to_owned(),
            does,
            refuses,
            code,
            words,
        }
    }
}

pub struct Bed {
    pub connection: Connection,
    /// In the namespace of this test.
    pub walk: Caller,
    /// The same under a lease, for what is to stay.
    pub held: Caller,
    /// The daemon's directory, for files of containers.
    pub dir: PathBuf,
    pub socket: PathBuf,
    count: AtomicU32,
}

pub fn start() -> (House, Runtime) {
    let options = HouseOptions {
        bare: true,
        ..HouseOptions::default()
    };
    (House::with(options), Runtime::new().unwrap())
}

impl Bed {
    pub async fn new(house: &House) -> Self {
        let connection = Connection::dial(&house.socket()).await;
        let rootfs = house.root().join("rootfs");
        for dir in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "sleep", "stty", "grep", "true"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        let walk = connection.of(NS);
        let lease = CreateRequest {
            id: "held".to_owned(),
            ..CreateRequest::default()
        };
        walk.leases().create(lease).await.unwrap();
        Self {
            held: walk.under("held"),
            walk,
            connection,
            dir: house.root().to_owned(),
            socket: house.socket(),
            count: AtomicU32::new(0),
        }
    }

    /// A name that nothing has yet.
    pub fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// A root file system with busybox, as mounts.
    pub fn rootfs(&self) -> Vec<Mount> {
        vec![Mount {
            r#type: "bind".to_owned(),
            source: self.dir.join("rootfs").display().to_string(),
            target: String::new(),
            options: vec!["rbind".to_owned(), "rw".to_owned()],
        }]
    }

    /// What tests left below the cgroup of this test goes.
    pub async fn clear(&self) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(cgroup()));
        }
    }

    /// A blob of this content.
    pub async fn blob(&self, bytes: &[u8]) -> Descriptor {
        let put = put(&self.held, &self.fresh("blob"), bytes).await;
        match put {
            Err(status) if status.code() == Code::AlreadyExists => {}
            other => drop(other.unwrap()),
        }
        Descriptor {
            media_type: "application/octet-stream".to_owned(),
            digest: digest(bytes),
            size: bytes.len().try_into().unwrap(),
            ..Descriptor::default()
        }
    }

    /// An image record whose target is there.
    pub async fn image(&self, name: &str) -> Descriptor {
        let config = self
            .blob(br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#)
            .await;
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size},
            "layers": [],
        });
        let mut target = self.blob(manifest.to_string().as_bytes()).await;
        target.media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
        let image = gantry_proto_containerd::services::images::v1::Image {
            name: name.to_owned(),
            target: Some(target.clone()),
            ..Default::default()
        };
        let request = gantry_proto_containerd::services::images::v1::CreateImageRequest {
            image: Some(image),
            source_date_epoch: None,
        };
        self.walk.images().create(request).await.unwrap();
        target
    }
}

/// The parent of the cgroups of this test's containers.
pub fn cgroup() -> String {
    format!("gantry-rpcs-{}", std::process::id())
}

/// Writes a blob in one message.
pub async fn put(caller: &Caller, reference: &str, bytes: &[u8]) -> Result<content::WriteContentResponse, Status> {
    let mut request = content::WriteContentRequest {
        r#ref: reference.to_owned(),
        total: bytes.len().try_into().unwrap(),
        data: bytes.to_vec().into(),
        ..Default::default()
    };
    request.set_action(content::WriteAction::Commit);
    let mut answers = caller
        .content()
        .write(tokio_stream::iter([request]))
        .await?
        .into_inner();
    answers.message().await.map(Option::unwrap)
}

pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let each = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    each.collect()
}

pub fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

/// An OCI spec of a container that runs this script.
pub fn spec(id: &str, script: &str) -> gantry_proto_containerd::prost_types::Any {
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": process(&["/bin/sh", "-c", script], false),
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", cgroup()),
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "resources": {"memory": {"limit": 67_108_864}}
        }
    });
    json(SPEC, spec.to_string())
}

pub fn process(args: &[&str], terminal: bool) -> serde_json::Value {
    let caps = serde_json::json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
    serde_json::json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "terminal": terminal,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}
    })
}
