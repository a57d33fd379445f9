//! Starting the other shim as containerd starts it: a bundle of its own, its program's `start` in a child, the connection.

use super::{Foreign, Link, pipes};
use crate::{
    child, durable,
    failure::{Failure, Kind, Result, failed},
    io::lock,
    shim::{Container, Shim, make_private_dir},
};
use gantry_proto_shim::{
    ExtrasClient, TaskClient, TaskVersion,
    api::{ConnectRequest, ConnectResponse},
    protobuf::Message,
    ttrpc::{self, Code, context::Context},
};
use gantry_shim_protocol::{Bootstrap, ForeignShim, bundle, socket};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// How long `start` and the first words may take.
const START: Duration = Duration::from_secs(30);
const GREETING: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const MOST: u64 = 16 * 1024;
/// What would put several containers into one shim: each of ours has its own.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What `start` came to.
#[derive(Serialize, Deserialize)]
pub(super) struct Started {
    answer: Vec<u8>,
    /// Where the spec puts the container.
    pub cgroup_path: String,
}

/// Starts it and connects to it. What a failure leaves is for `death::unmake`.
pub(super) async fn bear(shim: &Arc<Shim>, container: &Container, foreign: &Arc<Foreign>) -> Result<Started> {
    prepare(shim, foreign).map_err(failed(
        Kind::Runtime,
        format_args!("preparing for {}", foreign.describe()),
    ))?;
    let child = child::spawn(shim, &[], || start(shim, container, foreign))?;
    let (pid, stderr) = (child.pid, child.stderr.clone());
    *lock(&container.helper) = Some(pid);
    let started = tokio::time::timeout(START, child.answer::<Started>()).await;
    lock(&container.helper).take();
    let started = match started {
        Ok(started) => started.map_err(|failure| crate::verbs::start::with_words(failure, &stderr))?,
        Err(_) => {
            crate::verbs::kill::end_tree(pid);
            let message = format!("{} does not come up", foreign.describe());
            return Err(Failure::new(Kind::Runtime, message));
        }
    };
    let bootstrap = Bootstrap::parse(&started.answer).map_err(failed(Kind::Runtime, foreign.describe()))?;
    let link = tokio::time::timeout(GREETING, connect(foreign, bootstrap))
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                Kind::Runtime,
                format!("{} does not answer", foreign.describe()),
            ))
        })?;
    mark(foreign, &link).map_err(failed(Kind::Runtime, "writing down which shim it is"))?;
    super::death::watch(shim, foreign, &link.address);
    let _ = foreign.link.set(link);
    Ok(started)
}

fn prepare(shim: &Shim, foreign: &Foreign) -> io::Result<()> {
    make_private_dir(&foreign.bundle())?;
    fs::create_dir_all(foreign.bundle().join(bundle::ROOTFS))?;
    let unknown = ForeignShim {
        program: foreign.program.to_string_lossy().into_owned(),
        ..Default::default()
    };
    durable::write_volatile(&foreign.home.join(bundle::FOREIGN_SHIM), &serde_json::to_vec(&unknown)?)?;
    pipes::hear_log(shim, foreign)
}

/// Who it is, for whoever has to end it without us.
fn mark(foreign: &Foreign, link: &Link) -> io::Result<()> {
    let known = ForeignShim {
        program: foreign.program.to_string_lossy().into_owned(),
        pid: link.pid,
        start_time: durable::start_time(link.pid),
        boot_id: durable::boot_id(),
        address: link.address.clone(),
    };
    durable::write_volatile(&foreign.home.join(bundle::FOREIGN_SHIM), &serde_json::to_vec(&known)?)
}

/// In a child: the bundle's spec, and the program's `start`.
fn start(shim: &Shim, container: &Container, foreign: &Foreign) -> Result<Started> {
    let deed = || format!("starting {}", foreign.describe());
    let spec = fs::read(container.bundle.join(bundle::CONFIG)).map_err(failed(Kind::Spec, "reading the spec"))?;
    let (spec, cgroup_path) = alone(spec).map_err(failed(Kind::Spec, "reading the spec"))?;
    let config = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(foreign.bundle().join(bundle::CONFIG));
    config
        .and_then(|mut file| file.write_all(&spec))
        .map_err(failed(Kind::Runtime, "writing the spec"))?;
    let options = foreign
        .options
        .as_ref()
        .map(|any| any.write_to_bytes().unwrap_or_default());
    let answer = run(&mut command(shim, foreign, "start"), &options.unwrap_or_default())
        .map_err(failed(Kind::Runtime, deed()))?;
    Ok(Started { answer, cgroup_path })
}

/// The spec without what would group it with others, and its cgroup path. Untouched where there is nothing of the kind.
fn alone(spec: Vec<u8>) -> serde_json::Result<(Vec<u8>, String)> {
    let mut parsed: serde_json::Value = serde_json::from_slice(&spec)?;
    let path = parsed["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
    let annotations = parsed.get_mut("annotations").and_then(|found| found.as_object_mut());
    let grouped = annotations.is_some_and(|found| {
        let before = found.len();
        found.retain(|name, _| !GROUPS.contains(&name.as_str()));
        found.len() < before
    });
    let spec = if grouped { serde_json::to_vec(&parsed)? } else { spec };
    Ok((spec, path))
}

/// The program with one of its verbs, as containerd up to 2.2 calls it. Its events come to our own socket.
pub(super) fn command(shim: &Shim, foreign: &Foreign, verb: &str) -> Command {
    let (config, bundle) = (&shim.config, foreign.bundle());
    let mut command = Command::new(&foreign.program);
    command.args(["-namespace", &foreign.namespace, "-address", &config.address]);
    command
        .arg("-publish-binary")
        .arg("/proc/self/exe")
        .args(["-id", &foreign.id]);
    if verb == "delete" {
        command.arg("-bundle").arg(&bundle);
    }
    command.arg(verb).current_dir(&bundle);
    command
        .env("GRPC_ADDRESS", &config.address)
        .env("TTRPC_ADDRESS", &config.task_socket)
        .env("NAMESPACE", &foreign.namespace)
        .env("MAX_SHIM_VERSION", "3")
        .env_remove(socket::DIR_ENV)
        .env_remove(crate::launch::SAFE_ENV);
    command
}

/// Runs it to its end and answers what it printed. Its server may keep the output open, so that is a file.
pub(super) fn run(command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(std::env::temp_dir())?;
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(output.try_clone()?)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may not want to know.
        let _ = stdin.write_all(input);
    }
    let status = child.wait()?;
    let mut said = Vec::new();
    output.rewind()?;
    output.take(MOST).read_to_end(&mut said)?;
    if !status.success() {
        let words = String::from_utf8_lossy(&said);
        return Err(io::Error::other(
            format!("{status} {}", words.trim()).trim_end().to_owned(),
        ));
    }
    Ok(said)
}

async fn connect(foreign: &Foreign, bootstrap: Bootstrap) -> Result<Link> {
    if bootstrap.protocol != "ttrpc" {
        let message = format!("{} speaks {}, not ttrpc", foreign.describe(), bootstrap.protocol);
        return Err(Failure::new(Kind::Unsupported, message));
    }
    let deed = || format!("connecting to {} at {}", foreign.describe(), bootstrap.address);
    let client = ttrpc::r#async::Client::connect(&bootstrap.address)
        .await
        .map_err(failed(Kind::Runtime, deed()))?;
    let speaking = |version| TaskClient::new(client.clone(), version).in_namespace(&foreign.namespace);
    let mut task = speaking(match bootstrap.version {
        3.. => TaskVersion::V3,
        _ => TaskVersion::V2,
    });
    let greeted = match greet(&task, &foreign.id).await {
        // It promised more than it serves.
        Err(ttrpc::Error::RpcStatus(status)) if status.code() == Code::UNIMPLEMENTED => {
            task = speaking(TaskVersion::V2);
            greet(&task, &foreign.id).await
        }
        greeted => greeted,
    };
    Ok(Link {
        pid: greeted.map_err(failed(Kind::Runtime, deed()))?.shim_pid,
        extras: ExtrasClient::new(client),
        task,
        address: bootstrap.address,
    })
}

async fn greet(task: &TaskClient, id: &str) -> ttrpc::Result<ConnectResponse> {
    let request = ConnectRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    task.connect(Context::default(), &request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_taken_out_of_its_group_only() {
        let plain = br#"{ "linux":{"cgroupsPath":"/a/b"}, "annotations":{"x":"y"} }"#.to_vec();
        assert_eq!(alone(plain.clone()).unwrap(), (plain, "/a/b".to_owned()));
        let grouped = br#"{"annotations":{"io.containerd.runc.v2.group":"g","x":"y"}}"#.to_vec();
        let (spec, path) = alone(grouped).unwrap();
        assert_eq!(
            (spec.as_slice(), path.as_str()),
            (&br#"{"annotations":{"x":"y"}}"#[..], "")
        );
    }

    #[test]
    fn what_a_program_prints_is_read_though_its_child_keeps_the_output() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cat; echo \" done\"; sleep 5 &"]);
        let begun = std::time::Instant::now();
        assert_eq!(run(&mut command, b"asked").unwrap(), b"asked done\n");
        assert!(begun.elapsed() < Duration::from_secs(4));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no; exit 3"]);
        assert!(run(&mut command, b"").unwrap_err().to_string().contains("3 no"));
    }
}
