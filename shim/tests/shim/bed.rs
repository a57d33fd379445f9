//! A test's own exec root, bundle, shim and clients. Ends and removes everything when it goes.

use gantry_proto_attach::{Decoder, Exit, Frame, Hello, Kind, encode, encode_json};
use gantry_proto_shim::{
    CREATE_OPTIONS_TYPE, ExtrasClient, PROCESS_TYPE, TaskClient, TaskVersion, any,
    api::{
        CreateTaskRequest, DeleteRequest, ExecProcessRequest, KillRequest, Mount, ShutdownRequest, StartRequest,
        StateRequest, Status, WaitRequest,
    },
    extras::{CreateOptions, LogOptions},
    protobuf::Message,
    runc_options::Options as RuncOptions,
    ttrpc::{self, context},
};
use gantry_shim_protocol::{ExitRecord, log::Line};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

pub const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-gantry-v1");

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How many beds there are: while one is made, nobody takes away the cgroup above its own.
static STANDING: Mutex<u32> = Mutex::new(0);

pub struct Bed {
    pub dir: tempfile::TempDir,
    pub id: String,
    pub client: TaskClient,
    pub extras: ExtrasClient,
    pub options: CreateOptions,
    pub terminal: bool,
}

/// One attached client.
pub struct Attached<S = UnixStream> {
    pub stream: S,
    decoder: Decoder,
    ready: VecDeque<Frame>,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Waits until `ready` or fails.
pub async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn context() -> context::Context {
    context::with_timeout(60_000_000_000)
}

impl Bed {
    /// A bundle that runs `sh -c script`.
    pub async fn script(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script], |_| {}).await
    }

    /// A bundle with `args`, its spec changed by `change`, and a shim.
    pub async fn new(args: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        Self::told(args, change, false).await
    }

    /// The same with a shim that sends its events to [`Self::events_socket`], where nobody listens yet.
    pub async fn told(args: &[&str], change: impl FnOnce(&mut Value), events: bool) -> Self {
        *STANDING.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let dir = tempfile::Builder::new().prefix("gantry-shim-").tempdir().unwrap();
        let id = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bundle = dir.path().join("bundle");
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        make_root(&dir.path().join("lower"));
        for name in ["upper", "work", "state"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut spec = spec(&id, args);
        change(&mut spec);
        let terminal = spec["process"]["terminal"] == true;
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let mut command = shim_command(dir.path(), &bundle, &id, "start");
        if events {
            command.env("TTRPC_ADDRESS", dir.path().join("events.sock"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let address = String::from_utf8(output.stdout).unwrap();
        let (client, extras) = connect(&address).await;
        let options = CreateOptions {
            state_dir: dir.path().join("state").to_string_lossy().into_owned(),
            log: Some(LogOptions {
                max_size: -1,
                ..Default::default()
            })
            .into(),
            ..Default::default()
        };
        Self {
            dir,
            id,
            client,
            extras,
            options,
            terminal,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn events_socket(&self) -> String {
        format!("unix://{}", self.path("events.sock").display())
    }

    /// Create with the options containerd gives a runc shim.
    pub async fn create_with(&self, options: &RuncOptions) -> ttrpc::Result<u32> {
        let mut request = self.create_request();
        request.options = Some(any("containerd.runc.v1.Options", options.write_to_bytes().unwrap())).into();
        Ok(self.client.create(context(), &request).await?.pid)
    }

    pub fn bundle(&self) -> PathBuf {
        self.path("bundle")
    }

    pub fn pid_of_shim(&self) -> u32 {
        fs::read_to_string(self.bundle().join("shim.pid"))
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn create_request(&self) -> CreateTaskRequest {
        let at = |name: &str| self.path(name).display().to_string();
        let mount = Mount {
            type_: "overlay".into(),
            source: "overlay".into(),
            options: vec![
                format!("lowerdir={}", at("lower")),
                format!("upperdir={}", at("upper")),
                format!("workdir={}", at("work")),
                "index=off".into(),
            ],
            ..Default::default()
        };
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle().display().to_string(),
            rootfs: vec![mount],
            terminal: self.terminal,
            options: Some(any(CREATE_OPTIONS_TYPE, self.options.write_to_bytes().unwrap())).into(),
            ..Default::default()
        }
    }

    pub async fn create(&self) -> ttrpc::Result<u32> {
        Ok(self.client.create(context(), &self.create_request()).await?.pid)
    }

    pub async fn start(&self) -> ttrpc::Result<u32> {
        self.start_exec("").await
    }

    pub async fn start_exec(&self, exec: &str) -> ttrpc::Result<u32> {
        let request = StartRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            ..Default::default()
        };
        Ok(self.client.start(context(), &request).await?.pid)
    }

    pub async fn run(&self) {
        self.create().await.unwrap();
        self.start().await.unwrap();
    }

    /// Pid of the first process, as the host sees it.
    pub async fn first_pid(&self) -> u32 {
        let request = StateRequest {
            id: self.id.clone(),
            ..Default::default()
        };
        self.client.state(context(), &request).await.unwrap().pid
    }

    pub async fn wait(&self, exec: &str) -> u32 {
        let request = WaitRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            ..Default::default()
        };
        self.client.wait(context(), &request).await.unwrap().exit_status
    }

    pub async fn kill(&self, exec: &str, signal: i32) -> ttrpc::Result<()> {
        let request = KillRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            signal: signal as u32,
            ..Default::default()
        };
        self.client.kill(context(), &request).await.map(drop)
    }

    pub async fn status(&self) -> Status {
        let request = StateRequest {
            id: self.id.clone(),
            ..Default::default()
        };
        self.client.state(context(), &request).await.unwrap().status.unwrap()
    }

    pub async fn delete(&self, exec: &str) -> ttrpc::Result<u32> {
        let request = DeleteRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            ..Default::default()
        };
        Ok(self.client.delete(context(), &request).await?.exit_status)
    }

    pub async fn shutdown(&self) {
        let request = ShutdownRequest {
            id: self.id.clone(),
            ..Default::default()
        };
        let _ = self.client.shutdown(context(), &request).await;
    }

    /// Registers an exec of `sh -c script`; `stdin` as the protocol's words.
    pub async fn exec(&self, exec: &str, script: &str, stdin: &str, terminal: bool) {
        let mut process = process(&["/bin/sh", "-c", script]);
        process["terminal"] = terminal.into();
        self.exec_process(exec, &process, stdin, terminal).await.unwrap();
    }

    pub async fn exec_process(&self, exec: &str, process: &Value, stdin: &str, terminal: bool) -> ttrpc::Result<()> {
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            terminal,
            stdin: stdin.into(),
            spec: Some(any(PROCESS_TYPE, process.to_string().into_bytes())).into(),
            ..Default::default()
        };
        self.client.exec(context(), &request).await.map(drop)
    }

    pub async fn attach(&self, exec: &str, stdin: bool) -> Attached {
        let hello = Hello {
            container: self.id.clone(),
            exec: Some(exec.to_owned()),
            stdin,
            stdout: true,
            stderr: true,
        };
        let mut attached = self.converse().await;
        attached.send(&encode_json(Kind::Hello, &hello)).await;
        let ready = attached.next().await.unwrap();
        assert_eq!(ready.kind, Kind::Ready, "{}", String::from_utf8_lossy(&ready.payload));
        attached
    }

    pub async fn converse(&self) -> Attached {
        let socket = fs::read_to_string(self.bundle().join("attach")).unwrap();
        Attached {
            stream: UnixStream::connect(socket).await.unwrap(),
            decoder: Decoder::new(),
            ready: VecDeque::new(),
        }
    }

    pub fn log_path(&self) -> PathBuf {
        self.path("state").join(format!("{}-json.log", self.id))
    }

    /// What the log has of a stream.
    pub fn logged(&self, stream: &str) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
        lines
            .filter(|line| line.stream == stream)
            .map(|line| line.log.into_owned())
            .collect()
    }

    pub fn exit_record(&self, file: &str) -> ExitRecord {
        serde_json::from_slice(&fs::read(self.path("state").join(file)).unwrap()).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let pid = self.pid_of_shim();
        let is_ours = fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&self.id));
        if is_ours {
            Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        }
        shim(self.dir.path(), &self.bundle(), &self.id, "delete");
        let mut standing = STANDING.lock().unwrap_or_else(PoisonError::into_inner);
        *standing -= 1;
        if *standing == 0 {
            remove_parents("gantry-shim-test");
        }
        drop(standing);
        if std::thread::panicking() {
            return;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(&self.dir.path().display().to_string()),
            "a mount is left"
        );
        let left = Command::new("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-name", &self.id])
            .output()
            .unwrap();
        assert!(
            left.stdout.is_empty(),
            "a cgroup is left: {}",
            String::from_utf8_lossy(&left.stdout)
        );
    }
}

impl Attached {
    /// The reading and the writing side apart.
    pub fn split(self) -> (Attached<OwnedReadHalf>, OwnedWriteHalf) {
        let (read, write) = self.stream.into_split();
        (
            Attached {
                stream: read,
                decoder: self.decoder,
                ready: self.ready,
            },
            write,
        )
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn input(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(60_000) {
            self.send(&encode(Kind::Stdin, 0, piece)).await;
        }
    }

    pub async fn end_input(&mut self) {
        self.send(&encode(Kind::StdinEof, 0, &[])).await;
    }
}

impl<S: AsyncRead + Unpin> Attached<S> {
    pub async fn next(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let count = self.stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            self.decoder.push(&buffer[..count]);
            while let Some(frame) = self.decoder.next().unwrap() {
                self.ready.push_back(frame);
            }
        }
    }

    /// Reads until `text` has come on stdout.
    pub async fn expect(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.next())
                .await
                .expect("output in time")
                .expect("more output");
            assert_eq!(
                frame.kind,
                Kind::Output,
                "{seen:?} then {}",
                String::from_utf8_lossy(&frame.payload)
            );
            seen.push_str(&String::from_utf8_lossy(&frame.payload));
        }
        seen
    }

    /// Reads to the end: stdout, stderr, exit.
    pub async fn rest(mut self) -> (Vec<u8>, Vec<u8>, Exit) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            let frame = self.next().await.expect("an exit frame before the end");
            match frame.kind {
                Kind::Output if frame.stream == 1 => out.extend(frame.payload),
                Kind::Output => err.extend(frame.payload),
                Kind::Exit => return (out, err, frame.json().unwrap()),
                other => panic!("{other:?}: {}", String::from_utf8_lossy(&frame.payload)),
            }
        }
    }
}

/// The cgroup above those of the tests goes with the last of them.
pub fn remove_parents(name: &str) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(name));
    }
    let _ = fs::remove_dir(format!("/sys/fs/cgroup/{name}"));
}

pub fn shim(dir: &Path, bundle: &Path, id: &str, verb: &str) -> Output {
    shim_command(dir, bundle, id, verb).output().unwrap()
}

pub fn shim_command(dir: &Path, bundle: &Path, id: &str, verb: &str) -> Command {
    let mut command = Command::new(SHIM);
    command
        .args([
            "-namespace",
            "test",
            "-address",
            "/test.sock",
            "-publish-binary",
            "none",
            "-id",
            id,
            "-bundle",
        ])
        .arg(bundle)
        .arg(verb);
    command
        .current_dir(bundle)
        .env_remove("TTRPC_ADDRESS")
        .env_remove("MAX_SHIM_VERSION")
        .env("GANTRY_SHIM_SOCKET_DIR", dir.join("s"));
    command
}

pub async fn connect(address: &str) -> (TaskClient, ExtrasClient) {
    let client = ttrpc::r#async::Client::connect(address).await.unwrap();
    (
        TaskClient::new(client.clone(), TaskVersion::V3),
        ExtrasClient::new(client),
    )
}

pub fn make_root(root: &Path) {
    for name in ["bin", "dev", "proc", "sys", "tmp", "etc", "root"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in [
        "sh",
        "cat",
        "echo",
        "sleep",
        "head",
        "stty",
        "ls",
        "id",
        "env",
        "true",
        "seq",
        "yes",
        "dd",
        "tty",
        "kill",
        "grep",
        "sha256sum",
        "touch",
        "trap",
        "tr",
        "readlink",
        "mkdir",
        "mount",
    ] {
        std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
}

pub fn process(args: &[&str]) -> Value {
    let caps = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_NET_BIND_SERVICE",
        "CAP_MKNOD",
    ];
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/bin", "ONE=1"],
        "cwd": "/",
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}
    })
}

pub fn spec(id: &str, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": process(args),
        "root": {"path": "rootfs"},
        "hostname": id,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/gantry-shim-test/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "resources": {"memory": {"limit": 67108864}, "pids": {"limit": 200}},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
            }
        }
    })
}
