//! What whoever starts a shim says on stdin, and how it wants to be answered: three generations of containerd, told apart by what they say.
//!
//! Up to 1.6: an `Any` of the runtime's options or nothing, answered by the bare address. From 1.7 to 2.2 the same, and `MAX_SHIM_VERSION` in the
//! environment, answered in JSON. From 2.3: `BootstrapParams`, answered by `BootstrapResult`, both protobuf.

use crate::{args::Args, cgroup};
use gantry_proto_shim::{
    bootstrap_api::{BootstrapParams, BootstrapResult},
    is_type,
    protobuf::{Message, well_known_types::any::Any},
    runc_options::Options,
};
use gantry_shim_protocol::Bootstrap;
use std::{
    fs,
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

/// The version of the task API that is offered at most.
const NEWEST: u32 = 3;
const OPTIONS_TYPE: &str = "containerd.runc.v1.Options";
/// The most that is read, and how long.
const MOST: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// A bare address, version 2.
    Bare,
    /// JSON.
    Json { version: u32 },
    /// Protobuf.
    Protobuf,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub args: Args,
    pub generation: Generation,
    /// Where events go; empty: nowhere.
    pub events_address: String,
    /// The cgroup the shim is to be in.
    pub shim_cgroup: String,
}

impl Asked {
    /// Reads stdin and the environment.
    pub fn read(args: &Args) -> io::Result<Self> {
        let said = read_stdin()?;
        let newest = std::env::var("MAX_SHIM_VERSION")
            .ok()
            .and_then(|text| text.parse().ok());
        let events = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
        Ok(Self::understand(args, &said, newest, events))
    }

    fn understand(args: &Args, said: &[u8], newest: Option<u32>, events_address: String) -> Self {
        let mut asked = Self {
            args: args.clone(),
            generation: match newest {
                Some(newest) if newest >= 2 => Generation::Json {
                    version: newest.min(NEWEST),
                },
                _ => Generation::Bare,
            },
            events_address,
            shim_cgroup: String::new(),
        };
        match params(said) {
            Some(params) => asked.take(params),
            None => asked.take_options(Any::parse_from_bytes(said).ok()),
        }
        asked
    }

    fn take(&mut self, params: BootstrapParams) {
        self.generation = Generation::Protobuf;
        let args = &mut self.args;
        let words = [
            (&mut args.id, params.instance_id),
            (&mut args.namespace, params.namespace),
            (&mut args.address, params.containerd_grpc_address),
            (&mut args.publish_binary, params.containerd_binary),
            (&mut args.socket_dir, params.socket_dir.unwrap_or_default()),
            (&mut self.events_address, params.containerd_ttrpc_address),
        ];
        for (place, word) in words {
            if !word.is_empty() {
                *place = word;
            }
        }
        for extension in params.extensions {
            self.take_options(extension.value.into_option());
        }
    }

    fn take_options(&mut self, any: Option<Any>) {
        let options = any
            .filter(|any| is_type(any, OPTIONS_TYPE))
            .and_then(|any| Options::parse_from_bytes(&any.value).ok());
        if let Some(options) = options {
            self.shim_cgroup = options.shim_cgroup;
        }
    }

    /// Version of the task API the answer names.
    pub fn version(&self) -> u32 {
        match self.generation {
            Generation::Bare => 2,
            Generation::Json { version } => version,
            Generation::Protobuf => NEWEST,
        }
    }

    /// The answer.
    pub fn answer(&self, bootstrap: &Bootstrap) -> io::Result<Vec<u8>> {
        match self.generation {
            Generation::Bare => Ok(bootstrap.address.clone().into_bytes()),
            Generation::Json { .. } => Ok(serde_json::to_vec(bootstrap)?),
            Generation::Protobuf => {
                let result = BootstrapResult {
                    version: bootstrap.version as i32,
                    address: bootstrap.address.clone(),
                    protocol: bootstrap.protocol.clone(),
                    ..Default::default()
                };
                result.write_to_bytes().map_err(io::Error::other)
            }
        }
    }

    /// Puts the server into the cgroup that was named, which must be there.
    pub fn place(&self, pid: i32) -> io::Result<()> {
        if self.shim_cgroup.is_empty() {
            return Ok(());
        }
        let below = self.shim_cgroup.trim_start_matches('/');
        let all = cgroup::mount_points().into_iter().map(|(_, mount)| mount.join(below));
        let there: Vec<PathBuf> = all.filter(|dir| dir.is_dir()).collect();
        if there.is_empty() || below.split('/').any(|part| part == "..") {
            let text = format!("shim_cgroup {} is not there: make it first", self.shim_cgroup);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        for dir in there {
            fs::write(dir.join("cgroup.procs"), pid.to_string())
                .map_err(|err| io::Error::new(err.kind(), format!("entering shim_cgroup {}: {err}", dir.display())))?;
        }
        Ok(())
    }
}

/// `BootstrapParams` name an address of the daemon; options of older generations, an `Any`, have no such fields.
fn params(said: &[u8]) -> Option<BootstrapParams> {
    let params = BootstrapParams::parse_from_bytes(said).ok()?;
    let whole = !params.containerd_grpc_address.is_empty() || !params.containerd_ttrpc_address.is_empty();
    (whole && !params.instance_id.is_empty()).then_some(params)
}

/// Everything up to the end of stdin; a terminal, and a pipe that nobody writes to, say nothing.
fn read_stdin() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut said = Vec::new();
    if nix::unistd::isatty(&stdin).unwrap_or(false) {
        return Ok(said);
    }
    let end = Instant::now() + PATIENCE;
    let mut input = stdin.lock();
    let mut buffer = [0; 4096];
    while said.len() < MOST {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = nix::poll::PollTimeout::try_from(left).unwrap_or(nix::poll::PollTimeout::ZERO);
        let handle = io::stdin();
        let mut wanted = [nix::poll::PollFd::new(handle.as_fd(), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut wanted, timeout)? == 0 {
            break;
        }
        match input.read(&mut buffer)? {
            0 => break,
            count => said.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto_shim::any;

    fn args() -> Args {
        Args {
            id: "by-flag".to_owned(),
            namespace: "n".to_owned(),
            ..Args::default()
        }
    }

    fn understand(said: &[u8], newest: Option<u32>) -> Asked {
        Asked::understand(&args(), said, newest, "/e".to_owned())
    }

    fn answer(asked: &Asked) -> Vec<u8> {
        let bootstrap = Bootstrap {
            version: asked.version(),
            address: "unix:///run/s/1".to_owned(),
            protocol: "ttrpc".to_owned(),
        };
        asked.answer(&bootstrap).unwrap()
    }

    #[test]
    fn the_first_generations_are_answered_as_they_expect() {
        assert_eq!(answer(&understand(b"", None)), b"unix:///run/s/1");
        let json = br#"{"version":2,"address":"unix:///run/s/1","protocol":"ttrpc"}"#;
        assert_eq!(answer(&understand(b"", Some(2))), json);
        let json = br#"{"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"}"#;
        assert_eq!(answer(&understand(b"", Some(3))), json);
        assert_eq!(answer(&understand(b"", Some(9))), json);
    }

    #[test]
    fn options_name_a_cgroup() {
        let options = Options {
            shim_cgroup: "/shims".to_owned(),
            ..Default::default()
        };
        let said = any(OPTIONS_TYPE, options.write_to_bytes().unwrap())
            .write_to_bytes()
            .unwrap();
        let asked = understand(&said, None);
        assert_eq!(
            (asked.generation, asked.shim_cgroup.as_str()),
            (Generation::Bare, "/shims")
        );
        assert_eq!(understand(b"\xffnonsense", None).shim_cgroup, "");
    }

    /// The bytes of both messages as containerd's `bootstrap.proto` lays them down, field by field.
    #[test]
    fn the_third_generation_speaks_protobuf() {
        let said = include_bytes!("../tests/fixtures/bootstrap-params.bin");
        let asked = understand(said, Some(3));
        let args = &asked.args;
        assert_eq!(
            (
                args.id.as_str(),
                args.namespace.as_str(),
                args.address.as_str(),
                args.socket_dir.as_str()
            ),
            ("c1", "k8s.io", "/run/containerd/containerd.sock", "/run/containerd/s")
        );
        assert_eq!(asked.events_address, "/run/containerd/containerd.sock.ttrpc");
        assert_eq!(asked.shim_cgroup, "/shims");
        assert_eq!(answer(&asked), include_bytes!("../tests/fixtures/bootstrap-result.bin"));
    }
}
