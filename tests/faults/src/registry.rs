//! What the deeds need from outside: an archive, and a registry with an image in it.

use crate::LIMIT;
use crate::deeds::{LOADED, imported};
use gantry_e2e::{House, eventually};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The same for every house of a test, and for reading only.
pub struct Props {
    /// An archive of an image whose layer no house has otherwise.
    pub archive: Vec<u8>,
    /// The name of an image to pull, with a layer of its own.
    pub remote: String,
    _registry: Registry,
}

impl Props {
    pub fn make() -> Self {
        let house = House::new();
        let registry = Registry::start();
        let remote = format!("{}/pulled:1", registry.address);
        registry.push(&imported(&house, "remote:1", 2), "remote:1", &remote);
        Self {
            archive: imported(&house, LOADED, 1),
            remote,
            _registry: registry,
        }
    }
}

/// Debian's docker-registry on a loopback port that it chooses.
struct Registry {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("gantry-registry-")
            .tempdir()
            .expect("a temporary directory");
        let (config, log) = (dir.path().join("config.yml"), dir.path().join("log"));
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            dir.path().join("data").display()
        );
        fs::write(&config, text).expect("a configuration file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("docker-registry of Debian's package");
        let mut registry = Self {
            child,
            address: String::new(),
            dir,
        };
        eventually("the registry says where it listens", LIMIT, || {
            registry.address = listening(&log).unwrap_or_default();
            !registry.address.is_empty()
        });
        registry
    }

    /// Puts an archived image there under the name `remote`.
    fn push(&self, archive: &[u8], name: &str, remote: &str) {
        let file = self.dir.path().join("image.tar");
        fs::write(&file, archive).expect("an archive");
        let copied = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}:{name}", file.display()))
            .arg(format!("docker://{remote}"))
            .output()
            .expect("skopeo of Debian's package");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
}

/// The address in the registry's log, once its line is whole.
fn listening(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let (address, _) = text.split_once("listening on ")?.1.split_once('"')?;
    Some(address.to_owned())
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already at worst.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
