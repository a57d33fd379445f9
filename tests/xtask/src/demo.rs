//! What gantry does, on a root of its own, without reaching a registry.

use crate::leftovers::Snapshot;
use crate::{prepare, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = "demo/busybox:latest";
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(keep: bool) -> Result<()> {
    if !sh::is_root() {
        bail!("the demo runs containers: run as root");
    }
    prepare::packages(&[prepare::BUILD, prepare::DEMO])?;
    sh::build()?;
    let before = Snapshot::take();
    let mut demo = Demo::begin()?;
    let told = demo.tell();
    if told.is_err() {
        demo.show_log();
    }
    if keep && told.is_ok() {
        demo.keep();
        return Ok(());
    }
    let cleaned = demo.end();
    told?;
    cleaned?;
    let left = before.settled();
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    say("nothing is left: no mount, process, cgroup or directory");
    Ok(())
}

fn say(text: &str) {
    println!("\n== {text}");
}

struct Demo {
    root: PathBuf,
    gantry: PathBuf,
    daemon: Option<Child>,
}

impl Demo {
    fn begin() -> Result<Self> {
        let root = std::env::temp_dir().join(format!("gantry-demo-{}", std::process::id()));
        fs::create_dir(&root).with_context(|| format!("make {}", root.display()))?;
        // Its own configuration, lest the host's be read.
        fs::write(root.join("daemon.json"), "{}").context("write daemon.json")?;
        Ok(Self {
            root,
            gantry: sh::program("gantry")?,
            daemon: None,
        })
    }

    fn host(&self) -> String {
        format!("unix://{}/exec/gantry.sock", self.root.display())
    }

    fn tell(&mut self) -> Result<()> {
        say("a daemon on a root of its own");
        let ready = self.start_daemon()?;
        println!("gantryd answers after {} ms, on {}", ready.as_millis(), self.host());

        say("an image from the host's static busybox");
        let tar = self.root_filesystem()?;
        self.must(&["import", "-c", "CMD [\"sh\"]", &tar, IMAGE])?;
        self.must(&["images"])?;

        say("a container: its output, its exit code, its stdin");
        let output = self.must(&["run", "--rm", IMAGE, "echo", "hello from a container"])?;
        ensure!(output == "hello from a container\n", "the output was {output:?}");
        let status = self.gantry(&["run", "--rm", IMAGE, "sh", "-c", "exit 7"])?.status;
        ensure!(status.code() == Some(7), "the exit code was {status}");
        println!("exit code 7");
        let echoed = self.pipe("hi\n", &["run", "--rm", "-i", IMAGE, "cat"])?;
        ensure!(echoed == "hi\n", "cat said {echoed:?}");

        self.restart_under_a_container()
    }

    fn restart_under_a_container(&mut self) -> Result<()> {
        say("kill -9 of the daemon under a running container");
        let count = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done";
        self.must(&["run", "-d", "--name", "counter", IMAGE, "sh", "-c", count])?;
        self.must(&["ps"])?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().context("kill gantryd")?;
            daemon.wait().context("wait for gantryd")?;
        }
        println!("gantryd is dead; the container counts on");
        std::thread::sleep(Duration::from_secs(1));
        let ready = self.start_daemon()?;
        println!("gantryd is back after {} ms", ready.as_millis());
        let listed = self.must(&["ps", "--format", "{{.Names}}: {{.Status}}"])?;
        ensure!(listed.starts_with("counter: Up"), "ps said {listed:?}");
        let said = self.must(&["exec", "counter", "echo", "hello from an exec"])?;
        ensure!(said == "hello from an exec\n", "exec said {said:?}");
        let log = self.quiet(&["logs", "counter"])?;
        let lines: Vec<&str> = log.lines().collect();
        let in_order = lines.iter().enumerate().all(|(at, line)| line.parse() == Ok(at + 1));
        ensure!(in_order && lines.len() > 5, "the log has holes: {lines:?}");
        println!("its log has every line from 1 to {}, once, in order", lines.len());
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .context("open the daemon's log")?;
        let mut command = Command::new(sh::program("gantryd")?);
        command
            .arg("--data-root")
            .arg(self.root.join("data"))
            .arg("--exec-root")
            .arg(self.root.join("exec"));
        command
            .arg("--address")
            .arg(self.host())
            .arg("--pidfile")
            .arg(self.root.join("gantryd.pid"));
        command.arg("--config-file").arg(self.root.join("daemon.json"));
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start gantryd")?;
        let daemon = self.daemon.insert(daemon);
        let socket = self.root.join("exec/gantry.sock");
        loop {
            if let Some(status) = daemon.try_wait().context("look after gantryd")? {
                self.daemon = None;
                bail!("gantryd ended: {status}");
            }
            if UnixStream::connect(&socket).is_ok() {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "gantryd does not answer on {}",
                socket.display()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn log(&self) -> PathBuf {
        self.root.join("gantryd.log")
    }

    fn show_log(&self) {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!(
            "the daemon's last words:\n{}",
            lines[lines.len().saturating_sub(30)..].join("\n")
        );
    }

    /// A tar of busybox with its applets, a passwd and a group file.
    fn root_filesystem(&self) -> Result<String> {
        let (tree, tar) = (self.root.join("rootfs"), self.root.join("busybox.tar"));
        for dir in ["bin", "etc", "root", "tmp", "usr/bin"] {
            fs::create_dir_all(tree.join(dir))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file());
        let busybox = busybox.context("no busybox on this host")?;
        fs::copy(busybox, tree.join("bin/busybox")).context("copy busybox")?;
        let applets = sh::output(busybox, &["--list"]).context("ask busybox for its applets")?;
        for applet in applets.lines().filter(|name| *name != "busybox") {
            symlink("busybox", tree.join("bin").join(applet)).with_context(|| format!("link {applet}"))?;
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(tree.join("etc/group"), "root:x:0:\n")?;
        sh::run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).args([
            "--numeric-owner",
            "--owner=0",
            "--group=0",
            ".",
        ]))?;
        fs::remove_dir_all(&tree)?;
        Ok(tar.display().to_string())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.gantry);
        command.arg("-H").arg(self.host()).args(args).env("HOME", &self.root);
        command
    }

    /// Runs it with the words shown.
    fn gantry(&self, args: &[&str]) -> Result<Output> {
        println!("$ gantry {}", args.join(" "));
        self.command(args).stdin(Stdio::null()).output().context("run gantry")
    }

    /// Its output, shown; its failure is an error.
    fn must(&self, args: &[&str]) -> Result<String> {
        let text = succeeded(args, self.gantry(args)?)?;
        print!("{text}");
        Ok(text)
    }

    fn quiet(&self, args: &[&str]) -> Result<String> {
        succeeded(args, self.gantry(args)?)
    }

    fn pipe(&self, input: &str, args: &[&str]) -> Result<String> {
        println!("$ echo {} | gantry {}", input.trim_end(), args.join(" "));
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run gantry")?;
        std::io::Write::write_all(&mut child.stdin.take().context("its stdin")?, input.as_bytes())?;
        let text = succeeded(args, child.wait_with_output()?)?;
        print!("{text}");
        Ok(text)
    }

    fn keep(mut self) {
        let pid = self.daemon.take().map_or(0, |daemon| daemon.id());
        let (host, root) = (self.host(), self.root.display().to_string());
        say("kept");
        println!("The daemon (pid {pid}) and the container `counter` go on. Talk to it by");
        println!("    export GANTRY_HOST={host}");
        println!("    {} ps", self.gantry.display());
        println!("and end it by");
        println!("    {} rm -f counter; kill {pid}; rm -r {root}", self.gantry.display());
    }

    /// Everything is removed through the front door, whatever happened before.
    fn end(mut self) -> Result<()> {
        say("cleaning up");
        if self.daemon.is_none() {
            self.start_daemon()?;
        }
        let all = self.quiet(&["ps", "-aq"])?;
        for id in all.lines() {
            self.must(&["rm", "-f", id])?;
        }
        if !self.quiet(&["images", "-q"])?.is_empty() {
            self.must(&["rmi", IMAGE])?;
        }
        if let Some(mut daemon) = self.daemon.take() {
            sh::run(Command::new("sh").arg("-c").arg(format!("kill -TERM {}", daemon.id())))?;
            let deadline = Instant::now() + PATIENCE;
            while daemon.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    daemon.kill()?;
                    daemon.wait()?;
                    bail!("gantryd did not end within {} s", PATIENCE.as_secs());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        fs::remove_dir_all(&self.root).with_context(|| format!("remove {}", self.root.display()))
    }
}

/// A demo that broke leaves no daemon.
impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn succeeded(args: &[&str], output: Output) -> Result<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "gantry {}: {}: {}",
        args.join(" "),
        output.status,
        error.trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
