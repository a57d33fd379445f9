//! The flags of `run` and `create` as the wire's configuration.

use std::collections::HashMap;

use gantry_proto::gantry::v1 as pb;

use super::networks::Joining;
use super::{blkio, env, health, hosts, mounts, networks, ports};
use crate::cli::verb::Parsed;
use crate::error::{Error, Result};

/// What is to be created, and what the client itself must know of it.
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) config: pb::ContainerConfig,
    pub(crate) host: pb::HostConfig,
    /// What is asked of networks, by name.
    pub(crate) networks: HashMap<String, pb::EndpointSettings>,
    /// Streams the client attaches to.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Reads the flags; `detached` says that nothing is attached.
pub(crate) fn container(parsed: &Parsed, detached: bool) -> Result<Wanted> {
    let streams = parsed
        .all("attach")
        .iter()
        .map(|name| super::stream(name))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::refused)?;
    if detached && !streams.is_empty() {
        return Err(Error::Bare(
            "conflicting options: cannot specify both --attach and --detach",
        ));
    }
    let has = |name: &str| streams.iter().any(|stream| stream == name);
    let interactive = parsed.on("interactive");
    let (stdin, stdout, stderr) = match (detached, streams.is_empty()) {
        (true, _) => (false, false, false),
        // With no word on streams, output is attached, and input if it is kept open.
        (false, true) => (interactive, true, true),
        (false, false) => (has("stdin"), has("stdout"), has("stderr")),
    };
    let open_stdin = interactive || stdin;
    if let Some(address) = parsed.text("mac-address").filter(|address| !address.is_empty()) {
        hosts::mac(address).map_err(Error::refused)?;
    }
    let bindings = ports::bindings(parsed.all("publish")).map_err(Error::refused)?;
    let exposed = ports::exposed(parsed.all("expose"), &bindings).map_err(Error::refused)?;
    let joining = networks::joining(parsed)?;
    let mut config = config(parsed, stdin, stdout, stderr, open_stdin)?;
    config.exposed_ports = exposed;
    let mut host = host(parsed)?;
    host.port_bindings = bindings;
    let cwd = std::env::current_dir().map_err(Error::io("read the working directory"))?;
    for text in parsed.all("volume") {
        match mounts::volume(text, &cwd)? {
            mounts::Volume::Bind(bind) => host.binds.push(bind),
            mounts::Volume::Anonymous(path) => config.volumes.push(path),
        }
    }
    let networks = names(&mut host, parsed, joining)?;
    Ok(Wanted {
        name: parsed.text("name").unwrap_or_default().to_owned(),
        config,
        host,
        networks,
        stdin,
        stdout,
        stderr,
    })
}

fn config(parsed: &Parsed, stdin: bool, stdout: bool, stderr: bool, open_stdin: bool) -> Result<pb::ContainerConfig> {
    let text = |name: &str| parsed.text(name).unwrap_or_default().to_owned();
    let our_env = |name: &str| std::env::var(name).ok();
    let mut labels = env::label_lines(parsed.all("label-file"))?;
    labels.extend_from_slice(parsed.all("label"));
    // An empty --entrypoint clears the image's.
    let entrypoint = parsed.text("entrypoint").map(|word| match word {
        "" => pb::StringList { items: Vec::new() },
        word => pb::StringList {
            items: vec![word.to_owned()],
        },
    });
    Ok(pb::ContainerConfig {
        hostname: text("hostname"),
        domainname: text("domainname"),
        user: text("user"),
        attach_stdin: stdin,
        attach_stdout: stdout,
        attach_stderr: stderr,
        tty: parsed.on("tty"),
        open_stdin,
        stdin_once: open_stdin && stdin,
        env: env::environment(parsed.all("env-file"), parsed.all("env"), our_env)?,
        cmd: parsed.args[1..].to_vec(),
        entrypoint,
        image: parsed.arg(0).to_owned(),
        labels: super::pairs(&labels),
        working_dir: text("workdir"),
        stop_signal: text("stop-signal"),
        stop_timeout: parsed
            .int("stop-timeout")
            .map(|seconds| seconds.clamp(-1, i64::from(i32::MAX)) as i32),
        exposed_ports: Vec::new(),
        volumes: Vec::new(),
        healthcheck: health::check(parsed)?,
    })
}

fn host(parsed: &Parsed) -> Result<pb::HostConfig> {
    let text = |name: &str| parsed.text(name).unwrap_or_default().to_owned();
    let int = |name: &str| parsed.int(name).unwrap_or(0);
    let log = log(parsed)?;
    let nano_cpus = parsed
        .text("cpus")
        .map_or(Ok(0), super::nano_cpus)
        .map_err(Error::refused)?;
    let ulimits = parsed
        .all("ulimit")
        .iter()
        .map(|text| super::ulimit(text))
        .collect::<Result<_, _>>()
        .map_err(Error::refused)?;
    let cgroupns_mode = match text("cgroupns").as_str() {
        mode @ ("" | "host" | "private") => mode.to_owned(),
        other => return Err(Error::refused(format!("--cgroupns: invalid CGROUP mode {other:?}"))),
    };
    Ok(pb::HostConfig {
        memory: parsed.bytes("memory").unwrap_or(0),
        memory_swap: parsed.bytes("memory-swap").unwrap_or(0),
        memory_reservation: parsed.bytes("memory-reservation").unwrap_or(0),
        kernel_memory: parsed.bytes("kernel-memory").unwrap_or(0),
        nano_cpus,
        cpu_shares: int("cpu-shares"),
        cpuset_cpus: text("cpuset-cpus"),
        cpuset_mems: text("cpuset-mems"),
        pids_limit: int("pids-limit"),
        ulimits,
        cap_add: parsed.all("cap-add").to_vec(),
        cap_drop: parsed.all("cap-drop").to_vec(),
        privileged: parsed.on("privileged"),
        security_opt: parsed
            .all("security-opt")
            .iter()
            .map(|text| security(text))
            .collect::<Result<_>>()?,
        readonly_rootfs: parsed.on("read-only"),
        log: Some(log),
        hook_spec: hook_spec(text("hook-spec"))?,
        auto_remove: parsed.on("rm"),
        oom_score_adj: oom_score_adj(parsed.int("oom-score-adj"))?,
        runtime: text("runtime"),
        shm_size: parsed.bytes("shm-size").unwrap_or(0),
        annotations: super::pairs(parsed.all("annotation")),
        cgroupns_mode,
        tmpfs: mounts::tmpfs(parsed.all("tmpfs"))?,
        publish_all_ports: parsed.on("publish-all"),
        mac_address: text("mac-address"),
        mounts: parsed
            .all("mount")
            .iter()
            .map(|text| super::mount(text))
            .collect::<Result<_, _>>()
            .map_err(Error::refused)?,
        volumes_from: parsed.all("volumes-from").to_vec(),
        volume_driver: text("volume-driver"),
        restart: policy(parsed)?,
        init: parsed.is_given("init").then(|| parsed.on("init")),
        pid_mode: text("pid"),
        ipc_mode: text("ipc"),
        uts_mode: text("uts"),
        sysctls: super::pairs(parsed.all("sysctl")),
        devices: parsed
            .all("device")
            .iter()
            .map(|text| device(text))
            .collect::<Result<_>>()?,
        device_cgroup_rules: parsed.all("device-cgroup-rule").to_vec(),
        group_add: parsed.all("group-add").to_vec(),
        oom_kill_disable: parsed.on("oom-kill-disable"),
        memory_swappiness: parsed.int("memory-swappiness").filter(|value| *value != -1),
        cpu_period: int("cpu-period"),
        cpu_quota: int("cpu-quota"),
        cpu_rt_period: int("cpu-rt-period"),
        cpu_rt_runtime: int("cpu-rt-runtime"),
        blkio: blkio::asked(parsed)?,
        cgroup_parent: text("cgroup-parent"),
        userns_mode: match text("userns").as_str() {
            mode @ ("" | "host") => mode.to_owned(),
            other => return Err(Error::refused(format!("--userns: invalid USER mode {other:?}"))),
        },
        ..pb::HostConfig::default()
    })
}

/// The restart policy, which makes no sense for a container that goes when it ends.
fn policy(parsed: &Parsed) -> Result<Option<pb::RestartPolicy>> {
    let policy = parsed
        .text("restart")
        .filter(|text| !text.is_empty())
        .map(super::restart);
    let policy = policy.transpose().map_err(Error::refused)?;
    let again = policy.as_ref().is_some_and(|policy| policy.name != "no");
    if again && parsed.on("rm") {
        return Err(Error::refused(
            "conflicting options: cannot specify both --restart and --rm",
        ));
    }
    Ok(policy)
}

/// "/dev/sda[:/dev/xvda][:rwm]".
fn device(text: &str) -> Result<pb::DeviceMapping> {
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, "", ""),
        [host, mode] if is_mode(mode) => (*host, "", *mode),
        [host, container] => (*host, *container, ""),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        _ => return Err(Error::refused(format!("invalid device specification: {text}"))),
    };
    if host.is_empty() || !(container.is_empty() || container.starts_with('/')) {
        return Err(Error::refused(format!("invalid device specification: {text}")));
    }
    Ok(pb::DeviceMapping {
        host: host.to_owned(),
        container: container.to_owned(),
        permissions: permissions.to_owned(),
    })
}

/// Sets the network mode and what is known of names and servers; answers what is asked of networks.
fn names(
    host: &mut pb::HostConfig,
    parsed: &Parsed,
    joining: Joining,
) -> Result<HashMap<String, pb::EndpointSettings>> {
    let read = |flag: &str, one: fn(&str) -> Result<String, String>| -> Result<Vec<String>> {
        let values = parsed.all(flag).iter().map(|text| one(text));
        values.collect::<Result<_, _>>().map_err(Error::refused)
    };
    host.dns = read("dns", hosts::address)?;
    host.dns_search = read("dns-search", hosts::domain)?;
    host.dns_options = parsed.all("dns-option").to_vec();
    host.extra_hosts = read("add-host", hosts::extra_host)?;
    host.network_mode = joining.mode;
    host.links = joining.links;
    Ok(joining.networks)
}

fn log(parsed: &Parsed) -> Result<pb::LogConfig> {
    let driver = parsed.text("log-driver").unwrap_or_default().to_owned();
    let options = super::pairs(parsed.all("log-opt"));
    if driver == "none" && !options.is_empty() {
        return Err(Error::refused("invalid logging opts for driver none"));
    }
    Ok(pb::LogConfig { driver, options })
}

fn hook_spec(path: String) -> Result<String> {
    if !path.is_empty() && !path.starts_with('/') {
        return Err(Error::refused(format!(
            "invalid --hook-spec {path:?}: the path must be absolute"
        )));
    }
    Ok(path)
}

fn oom_score_adj(value: Option<i64>) -> Result<Option<i32>> {
    let Some(value) = value else { return Ok(None) };
    let fits = i32::try_from(value).ok().filter(|value| (-1000..=1000).contains(value));
    fits.map(Some).ok_or_else(|| {
        Error::refused(format!(
            "invalid value {value} for --oom-score-adj: the range is -1000 to 1000"
        ))
    })
}

/// A security option; a seccomp profile is read here, since the file is the client's.
fn security(text: &str) -> Result<String> {
    let invalid = || Error::refused(format!("Invalid --security-opt: {text:?}"));
    if text == "no-new-privileges" {
        return Ok(text.to_owned());
    }
    let (name, value) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(invalid)?;
    match (name, value) {
        ("no-new-privileges", "true" | "false") => Ok(format!("{name}={value}")),
        ("seccomp", "unconfined" | "builtin") => Ok(format!("{name}={value}")),
        ("seccomp", path) => {
            let what = format!("opening seccomp profile ({path}) failed");
            let profile = std::fs::read_to_string(path).map_err(Error::io(what))?;
            serde_json::from_str::<serde_json::Value>(&profile)
                .map_err(|err| Error::refused(format!("compacting json for seccomp profile ({path}) failed: {err}")))?;
            Ok(format!("seccomp={profile}"))
        }
        ("apparmor" | "label" | "systempaths", value) if !value.is_empty() => Ok(format!("{name}={value}")),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Outcome};

    fn read(line: &str, detached: bool) -> Result<Wanted> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match cli::parse(&words, None, 80) {
            Outcome::Run { parsed, .. } => container(&parsed, detached),
            _ => panic!("{line}"),
        }
    }

    fn why(line: &str) -> String {
        read(line, false).err().expect("the line is bad").to_string()
    }

    #[test]
    fn attach_rules_are_docker_s() {
        for (line, detached, streams, open, once) in [
            ("run x", false, (false, true, true), false, false),
            ("run -i x", false, (true, true, true), true, true),
            ("run -d -i x", true, (false, false, false), true, false),
            ("run -a stdin x", false, (true, false, false), true, true),
            ("run -a stdout x", false, (false, true, false), false, false),
            ("run -i -a stderr x", false, (false, false, true), true, false),
        ] {
            let wanted = read(line, detached).unwrap();
            assert_eq!((wanted.stdin, wanted.stdout, wanted.stderr), streams, "{line}");
            assert_eq!(
                (wanted.config.open_stdin, wanted.config.stdin_once),
                (open, once),
                "{line}"
            );
        }
        let conflict = read("run -d -a stdin x", true).err().unwrap().to_string();
        assert_eq!(
            conflict,
            "conflicting options: cannot specify both --attach and --detach"
        );
    }

    #[test]
    fn everything_reaches_the_wire() {
        let line = "run --name n -e A=1 -w /w -u 1:2 --cpus 0.5 -m 64m --memory-swap -1 --ulimit nofile=5 --cap-add ALL --read-only \
                    --log-driver json-file --log-opt max-size=1m --label a=b --entrypoint /bin/sh --stop-timeout 3 --tmpfs /t \
                    --security-opt no-new-privileges --annotation k=v --net host --rm img -c true";
        let wanted = read(line, false).unwrap();
        let (config, host) = (wanted.config, wanted.host);
        assert_eq!(
            (config.image.as_str(), config.cmd.join(" ").as_str()),
            ("img", "-c true")
        );
        assert_eq!(config.entrypoint.unwrap().items, ["/bin/sh"]);
        assert_eq!(
            (host.memory, host.memory_swap, host.nano_cpus),
            (64 << 20, -1, 500_000_000)
        );
        assert_eq!(
            (host.network_mode.as_str(), host.auto_remove, config.stop_timeout),
            ("host", true, Some(3))
        );
        assert_eq!(host.log.unwrap().options["max-size"], "1m");
        assert_eq!(read("run x", false).unwrap().host.network_mode, "bridge");
    }

    #[test]
    fn networks_reach_the_wire() {
        let line = "run --network web --network-alias w -p 127.0.0.1:8000-8001:80-81 -p 53/udp --expose 9 -P --dns 1.1.1.1 \
                    --dns-search a.b --dns-opt ndots:1 --add-host h=host-gateway --link db:s --mac-address 02:42:ac:11:00:02 x";
        let Wanted {
            config, host, networks, ..
        } = read(line, false).unwrap();
        assert_eq!(config.exposed_ports, ["9/tcp", "53/udp", "80/tcp", "81/tcp"]);
        let bound: Vec<_> = host
            .port_bindings
            .iter()
            .map(|it| (it.host_ip.as_str(), it.host_port.as_str(), it.container.as_str()))
            .collect();
        assert_eq!(
            bound,
            [
                ("127.0.0.1", "8000", "80/tcp"),
                ("127.0.0.1", "8001", "81/tcp"),
                ("", "", "53/udp")
            ]
        );
        assert!(host.publish_all_ports);
        assert_eq!(
            (host.dns, host.dns_search),
            (vec!["1.1.1.1".to_owned()], vec!["a.b".to_owned()])
        );
        assert_eq!(
            (host.dns_options, host.extra_hosts),
            (vec!["ndots:1".to_owned()], vec!["h:host-gateway".to_owned()])
        );
        assert_eq!(
            (host.network_mode.as_str(), host.mac_address.as_str()),
            ("web", "02:42:ac:11:00:02")
        );
        assert_eq!(
            (networks["web"].aliases[0].as_str(), networks["web"].links[0].as_str()),
            ("w", "db:s")
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(why("run -p x x"), "invalid containerPort: x");
        assert_eq!(why("run --mac-address z x"), "z is not a valid mac address");
        assert!(why("run -v data:d x").contains("must be absolute"));
        assert!(why("run --rm --restart always x").contains("both --restart and --rm"));
        assert!(why("run --device a:b:c:d x").contains("invalid device specification"));
        assert!(why("run --no-healthcheck --health-cmd x x").contains("conflicts with --health-*"));
        assert_eq!(why("run --security-opt foo x"), "Invalid --security-opt: \"foo\"");
        assert!(why("run --security-opt seccomp=/no/such x").starts_with("opening seccomp profile (/no/such) failed"));
        assert!(why("run --hook-spec hooks.json x").contains("must be absolute"));
        assert!(why("run --oom-score-adj 2000 x").contains("-1000 to 1000"));
    }
}
