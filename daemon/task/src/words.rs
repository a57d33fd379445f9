//! What the keeper says to a shim and hears from it, free of wire types.

use crate::error::{Result, TaskError};
use crate::runtime::Runtime;
use gantry_core::Mount;
use gantry_core::meta::Any;
use gantry_proto_shim::{api, extras, protobuf};
use gantry_shim_protocol::{ExitRecord, parse_rfc3339, stdio};
use protobuf::well_known_types::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a task is made.
#[derive(Clone, Debug, Default)]
pub struct CreateTask {
    pub rootfs: Vec<Mount>,
    pub terminal: bool,
    pub runtime: Runtime,
    /// Where exit records and, by default, the log go; outlives reboots.
    pub state_dir: PathBuf,
    pub log: LogConfig,
    pub stdin: HeldStdin,
    /// How long an attached client may go without reading after the exit; zero = the shim's default.
    pub drain: Duration,
    /// The cgroup path in the spec is systemd's `slice:prefix:name`.
    pub systemd_cgroup: bool,
}

/// Whether stdin is held open for attached clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeldStdin {
    /// At end of file from birth.
    #[default]
    No,
    Yes,
    /// Until the first client that had it ends or goes away.
    Once,
}

/// What the shim does with output beside handing it to attached clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogConfig {
    None,
    JsonFile {
        /// `None` = `<state_dir>/<id>-json.log`.
        path: Option<PathBuf>,
        rotation: Rotation,
        /// Written into every line.
        attrs: BTreeMap<String, String>,
    },
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::JsonFile {
            path: None,
            rotation: Rotation::default(),
            attrs: BTreeMap::new(),
        }
    }
}

/// When a log file is put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    Never,
    At {
        /// Bytes.
        size: u64,
        /// Files kept, the live one counted.
        files: u32,
        compress: bool,
    },
}

impl Default for Rotation {
    fn default() -> Self {
        use gantry_shim_protocol::log::{DEFAULT_MAX_FILE, DEFAULT_MAX_SIZE};
        Self::At {
            size: DEFAULT_MAX_SIZE,
            files: DEFAULT_MAX_FILE,
            compress: true,
        }
    }
}

/// One more process in a task.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    /// JSON of an OCI process.
    pub process: Vec<u8>,
    pub terminal: bool,
    pub stdin: HeldStdin,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 + signal number.
    pub status: u32,
    pub at: SystemTime,
    /// The kernel's memory killer ended it, or something in the container whose first process it was.
    pub oom: bool,
    /// Memory kills that the container's run saw, as far as its shim says; 0 of an exec.
    pub memory_kills: u64,
}

impl Exit {
    /// One that no memory kill is known of.
    pub fn new(status: u32, at: SystemTime) -> Self {
        Self {
            status,
            at,
            oom: false,
            memory_kills: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The shim does not say.
    Unknown,
    /// Made, its program not yet run.
    Created,
    Running,
    Pausing,
    Paused,
    Stopped,
}

/// What a shim says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskState {
    pub status: Status,
    pub pid: u32,
    pub terminal: bool,
    /// When it has ended. Whether the memory killer did it is not in here: see [`crate::Shim::exits`].
    pub exit: Option<Exit>,
}

/// Where a process's stdio goes, as whoever asked named it: nothing, a named pipe, `fifo://`, `file://`, `binary://`. The shim opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// How a task is made under any shim.
#[derive(Clone, Debug, Default)]
pub struct ForeignTask {
    pub rootfs: Vec<Mount>,
    pub stdio: Stdio,
    /// Directory of a checkpoint to go on from; empty = none.
    pub checkpoint: String,
    pub options: Option<Any>,
}

/// One more process under any shim.
#[derive(Clone, Debug, Default)]
pub struct ForeignExec {
    pub stdio: Stdio,
    pub spec: Option<Any>,
}

/// All that a shim says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    pub status: Status,
    pub pid: u32,
    pub stdio: Stdio,
    pub exit: Option<Exit>,
}

/// What is left to say of a process that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub pid: u32,
    pub exit: Exit,
}

/// One pid of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pub pid: u32,
    pub info: Option<Any>,
}

impl ProcessState {
    pub(crate) fn from_wire(wire: api::StateResponse) -> Self {
        let TaskState { status, pid, exit, .. } = TaskState::from_wire(&wire);
        let stdio = Stdio {
            stdin: wire.stdin,
            stdout: wire.stdout,
            stderr: wire.stderr,
            terminal: wire.terminal,
        };
        Self {
            status,
            pid,
            stdio,
            exit,
        }
    }
}

impl Deleted {
    pub(crate) fn from_wire(wire: &api::DeleteResponse) -> Self {
        let at = wire.exited_at.as_ref().map_or_else(SystemTime::now, moment);
        Self {
            pid: wire.pid,
            exit: Exit::new(wire.exit_status, at),
        }
    }
}

impl ProcessInfo {
    pub(crate) fn from_wire(wire: api::ProcessInfo) -> Self {
        Self {
            pid: wire.pid,
            info: wire.info.into_option().map(from_any),
        }
    }
}

pub(crate) fn to_any(any: Any) -> protobuf::well_known_types::any::Any {
    gantry_proto_shim::any(&any.type_url, any.value)
}

pub(crate) fn from_any(any: protobuf::well_known_types::any::Any) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value,
    }
}

impl CreateTask {
    pub(crate) fn into_wire(self, id: &str, bundle: &str) -> Result<api::CreateTaskRequest> {
        let options = self.options();
        let bytes = protobuf::Message::write_to_bytes(&options).map_err(|err| TaskError::Answer {
            deed: "encode options of",
            id: id.to_owned(),
            message: err.to_string(),
        })?;
        let mut request = api::CreateTaskRequest::new();
        request.id = id.to_owned();
        request.bundle = bundle.to_owned();
        request.terminal = self.terminal;
        request.rootfs = self.rootfs.into_iter().map(mount).collect();
        request.options = Some(gantry_proto_shim::any(gantry_proto_shim::CREATE_OPTIONS_TYPE, bytes)).into();
        Ok(request)
    }

    fn options(&self) -> extras::CreateOptions {
        let mut options = extras::CreateOptions::new();
        self.runtime.write(&mut options);
        options.state_dir = self.state_dir.to_string_lossy().into_owned();
        options.open_stdin = self.stdin != HeldStdin::No;
        options.stdin_once = self.stdin == HeldStdin::Once;
        options.drain_seconds = u32::try_from(self.drain.as_secs()).unwrap_or(u32::MAX);
        options.systemd_cgroup = self.systemd_cgroup;
        options.log = Some(self.log.to_wire()).into();
        options
    }
}

impl LogConfig {
    fn to_wire(&self) -> extras::LogOptions {
        let mut wire = extras::LogOptions::new();
        let (path, rotation, attrs) = match self {
            Self::None => {
                wire.driver = "none".to_owned();
                return wire;
            }
            Self::JsonFile { path, rotation, attrs } => (path, rotation, attrs),
        };
        wire.driver = "json-file".to_owned();
        wire.path = path
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default();
        wire.attrs = attrs.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        match *rotation {
            Rotation::Never => wire.max_size = -1,
            Rotation::At { size, files, compress } => {
                wire.max_size = i64::try_from(size).unwrap_or(i64::MAX);
                wire.max_file = files;
                wire.uncompressed = !compress;
            }
        }
        wire
    }
}

impl ExecSpec {
    pub(crate) fn into_wire(self, id: &str, exec: &str) -> api::ExecProcessRequest {
        let mut request = api::ExecProcessRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        request.terminal = self.terminal;
        request.stdin = match self.stdin {
            HeldStdin::No => String::new(),
            HeldStdin::Yes => stdio::HELD.to_owned(),
            HeldStdin::Once => stdio::HELD_ONCE.to_owned(),
        };
        request.spec = Some(gantry_proto_shim::any(gantry_proto_shim::PROCESS_TYPE, self.process)).into();
        request
    }
}

pub(crate) fn mount(mount: Mount) -> api::Mount {
    let mut wire = api::Mount::new();
    wire.type_ = mount.kind;
    wire.source = mount.source;
    wire.target = mount.target;
    wire.options = mount.options;
    wire
}

impl TaskState {
    pub(crate) fn from_wire(wire: &api::StateResponse) -> Self {
        let status = match wire.status.enum_value() {
            Ok(api::Status::CREATED) => Status::Created,
            Ok(api::Status::RUNNING) => Status::Running,
            Ok(api::Status::STOPPED) => Status::Stopped,
            Ok(api::Status::PAUSED) => Status::Paused,
            Ok(api::Status::PAUSING) => Status::Pausing,
            Ok(api::Status::UNKNOWN) | Err(_) => Status::Unknown,
        };
        let at = wire.exited_at.as_ref().map_or(UNIX_EPOCH, moment);
        let exit = (status == Status::Stopped).then(|| Exit::new(wire.exit_status, at));
        Self {
            status,
            pid: wire.pid,
            terminal: wire.terminal,
            exit,
        }
    }
}

impl From<&ExitRecord> for Exit {
    fn from(record: &ExitRecord) -> Self {
        Self {
            oom: record.oom_killed,
            memory_kills: record.memory_kills,
            ..Self::new(record.status, instant(&record.exited_at))
        }
    }
}

/// A point in time as text; the epoch if it makes no sense.
pub(crate) fn instant(text: &str) -> SystemTime {
    parse_rfc3339(text).map_or(UNIX_EPOCH, |(seconds, nanos)| at(seconds, nanos))
}

pub(crate) fn moment(stamp: &Timestamp) -> SystemTime {
    at(stamp.seconds, u32::try_from(stamp.nanos).unwrap_or(0))
}

fn at(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    base.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(nanos.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_travel_as_the_shim_reads_them() {
        let task = CreateTask {
            rootfs: vec![Mount {
                kind: "bind".into(),
                source: "/r".into(),
                target: String::new(),
                options: vec!["rbind".into()],
            }],
            stdin: HeldStdin::Once,
            log: LogConfig::JsonFile {
                path: None,
                rotation: Rotation::Never,
                attrs: BTreeMap::from([("a".into(), "b".into())]),
            },
            ..CreateTask::default()
        };
        let wire = task.into_wire("c", "/b").unwrap();
        let any = wire.options.as_ref().unwrap();
        assert!(gantry_proto_shim::is_type(any, gantry_proto_shim::CREATE_OPTIONS_TYPE));
        let options: extras::CreateOptions = protobuf::Message::parse_from_bytes(&any.value).unwrap();
        assert!(options.open_stdin && options.stdin_once);
        assert_eq!((options.log.max_size, options.log.attrs["a"].as_str()), (-1, "b"));
        assert_eq!(wire.rootfs[0].type_, "bind");
    }

    #[test]
    fn a_stopped_task_has_an_exit() {
        let mut wire = api::StateResponse::new();
        wire.status = api::Status::STOPPED.into();
        wire.exit_status = 3;
        wire.exited_at = Some(Timestamp {
            seconds: 5,
            nanos: 6,
            ..Timestamp::default()
        })
        .into();
        let state = TaskState::from_wire(&wire);
        assert_eq!(state.exit, Some(Exit::new(3, UNIX_EPOCH + Duration::new(5, 6))));
        wire.status = api::Status::RUNNING.into();
        assert_eq!(TaskState::from_wire(&wire).exit, None);
    }
}
