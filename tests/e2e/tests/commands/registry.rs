//! A registry of this machine with busybox in it: Debian's docker-registry, filled by skopeo from what `gantry save` wrote.

use crate::stage::{IMAGE, LIMIT, Stage};
use gantry_e2e::eventually;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    pub fn start(stage: &Stage) -> Self {
        let port = gantry_e2e::port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            stage.path("registry").display()
        );
        let child = Command::new("docker-registry")
            .args(["serve", &stage.file("registry.yml", &config)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry of Debian's package");
        let registry = Self { child, port };
        eventually("the registry answers", LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let tar = stage.file("for-the-registry.tar", "");
        stage.gantry.ok(&["save", "-o", &tar, IMAGE]);
        for tag in ["one", "two", "latest"] {
            let copied = Command::new("skopeo")
                .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
                .arg(format!("docker-archive:{tar}"))
                .arg(format!("docker://{}", registry.image(&format!("box:{tag}"))))
                .output()
                .expect("skopeo of Debian's package");
            assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        }
        registry
    }

    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already at worst.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
