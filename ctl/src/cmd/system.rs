//! `version` and `info`.

use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{time, units};
use crate::out;
use crate::template::{Struct, Template, Value};

/// Shows `data` by `--format`, or says that there is none.
fn formatted(parsed: &Parsed, data: &Value) -> Result<bool> {
    match parsed.text("format").filter(|format| !format.is_empty()) {
        None => Ok(false),
        Some("json") => {
            out::line(data.json());
            Ok(true)
        }
        Some(source) => {
            let template = Template::parse(source).map_err(Error::TemplateParse)?;
            out::line(template.run(data).map_err(Error::TemplateRun)?);
            Ok(true)
        }
    }
}

fn check(parsed: &Parsed) -> Result<()> {
    match parsed.text("format") {
        None | Some("" | "json") => Ok(()),
        Some(source) => Template::parse(source).map(drop).map_err(Error::TemplateParse),
    }
}

pub(crate) async fn version(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    check(&parsed)?;
    let answer = daemon.take(daemon.system().version(pb::VersionRequest {}).await);
    let (server, failure) = match answer {
        Ok(server) => (Some(server), None),
        Err(err) => (None, Some(err)),
    };
    let client = Struct::new("*client.Version")
        .with("Version", env!("CARGO_PKG_VERSION"))
        .with("Os", std::env::consts::OS)
        .with("Arch", go_arch());
    let shown = server.as_ref().map(|it| {
        Struct::new("*server.Version")
            .with("Version", &it.version)
            .json_as(
                "GitCommit",
                Some("GitCommit").filter(|_| !it.git_commit.is_empty()),
                it.git_commit.as_str(),
            )
            .with("Os", &it.os)
            .with("Arch", &it.arch)
            .with("KernelVersion", &it.kernel_version)
            .with("RustVersion", &it.rust_version)
    });
    let data = Struct::new("command.versionInfo")
        .with("Client", client)
        .with("Server", shown);
    if !formatted(&parsed, &data.into())? {
        out::line(format!(
            "Client:\n Version:           {}\n OS/Arch:           {}/{}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            go_arch()
        ));
        if let Some(it) = &server {
            out::put(server_page(it));
        }
    }
    failure.map_or(Ok(0), Err)
}

/// A daemon built outside of a git checkout knows no commit, and none is shown.
fn server_page(it: &pb::VersionResponse) -> String {
    let platform = format!("{}/{}", it.os, it.arch);
    let rows = [
        ("Version:", it.version.as_str()),
        ("Git commit:", &it.git_commit),
        ("OS/Arch:", &platform),
        ("Kernel version:", &it.kernel_version),
        ("Rust version:", &it.rust_version),
    ];
    let mut page = "\nServer:\n Engine:\n".to_owned();
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        page.push_str(&format!("  {name:<17} {value}\n"));
    }
    page
}

/// The machine as Go and OCI call it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) async fn info(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    check(&parsed)?;
    let it = daemon.take(daemon.system().info(pb::InfoRequest {}).await)?;
    if formatted(&parsed, &as_value(&it))? {
        return Ok(0);
    }
    out::put(page(&it));
    for warning in &it.warnings {
        out::warn(warning);
    }
    Ok(0)
}

fn as_value(it: &pb::InfoResponse) -> Value {
    let pair = |pair: &pb::KeyValue| Value::from([pair.key.clone(), pair.value.clone()].as_slice());
    let runtime = |name: &String| (name.clone(), Value::Map(Default::default()));
    let plugins = Struct::new("system.PluginsInfo").with("Log", it.log_drivers.as_slice());
    let registries =
        Struct::new("registry.ServiceConfig").with("InsecureRegistryCIDRs", it.insecure_registries.as_slice());
    Struct::new("system.dockerInfo")
        .with("ID", &it.id)
        .with("Containers", it.containers)
        .with("ContainersRunning", it.containers_running)
        .with("ContainersPaused", it.containers_paused)
        .with("ContainersStopped", it.containers_stopped)
        .with("Images", it.images)
        .with("Driver", &it.snapshotter)
        .with(
            "DriverStatus",
            it.snapshotter_status.iter().map(pair).collect::<Vec<Value>>(),
        )
        .with("Plugins", plugins)
        .with("LoggingDriver", &it.logging_driver)
        .with("LoggingOptions", it.logging_options.iter().collect::<Value>())
        .with("CgroupDriver", &it.cgroup_driver)
        .with("CgroupVersion", &it.cgroup_version)
        .with("Runtimes", it.runtimes.iter().map(runtime).collect::<Value>())
        .with("DefaultRuntime", &it.default_runtime)
        .with("SecurityOptions", it.security_options.as_slice())
        .with("KernelVersion", &it.kernel_version)
        .with("OperatingSystem", &it.operating_system)
        .with("OSType", &it.os_type)
        .with("Architecture", &it.architecture)
        .with("NCPU", it.cpus)
        .with("MemTotal", it.memory)
        .with("Name", &it.name)
        .with("ServerVersion", &it.server_version)
        .with("DockerRootDir", &it.data_root)
        .with("ExecRoot", &it.exec_root)
        .with("Debug", it.debug)
        .with("LiveRestoreEnabled", it.live_restore)
        .with("Labels", it.labels.as_slice())
        .with("RegistryConfig", registries)
        .with(
            "SystemTime",
            time::rfc3339_nano(time::from_wire(it.system_time.as_ref())),
        )
        .with("Warnings", it.warnings.as_slice())
        .into()
}

fn page(it: &pb::InfoResponse) -> String {
    let mut out = format!("Client:\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    let mut line =
        |depth: usize, name: &str, value: &str| out.push_str(&format!("{}{name}: {value}\n", " ".repeat(depth)));
    line(1, "Containers", &it.containers.to_string());
    line(2, "Running", &it.containers_running.to_string());
    line(2, "Paused", &it.containers_paused.to_string());
    line(2, "Stopped", &it.containers_stopped.to_string());
    line(1, "Images", &it.images.to_string());
    line(1, "Server Version", &it.server_version);
    line(1, "Storage Driver", &it.snapshotter);
    it.snapshotter_status
        .iter()
        .for_each(|pair| line(2, &pair.key, &pair.value));
    line(1, "Logging Driver", &it.logging_driver);
    let mut options: Vec<_> = it.logging_options.iter().collect();
    options.sort_unstable();
    options.iter().for_each(|(name, value)| line(2, name, value));
    line(1, "Cgroup Driver", &it.cgroup_driver);
    line(1, "Cgroup Version", &it.cgroup_version);
    line(1, "Plugins", "");
    line(2, "Log", &it.log_drivers.join(" "));
    line(1, "Runtimes", &it.runtimes.join(" "));
    line(1, "Default Runtime", &it.default_runtime);
    line(1, "Security Options", "");
    it.security_options
        .iter()
        .for_each(|option| line(2, option.trim_start_matches("name="), ""));
    line(1, "Kernel Version", &it.kernel_version);
    line(1, "Operating System", &it.operating_system);
    line(1, "OSType", &it.os_type);
    line(1, "Architecture", &it.architecture);
    line(1, "CPUs", &it.cpus.to_string());
    line(1, "Total Memory", &units::bytes_size(it.memory as f64));
    line(1, "Name", &it.name);
    line(1, "ID", &it.id);
    line(1, "Gantry Root Dir", &it.data_root);
    line(1, "Exec Root Dir", &it.exec_root);
    line(1, "Debug Mode", &it.debug.to_string());
    if !it.labels.is_empty() {
        line(1, "Labels", "");
        it.labels.iter().for_each(|label| line(2, label, ""));
    }
    if !it.insecure_registries.is_empty() {
        line(1, "Insecure Registries", "");
        it.insecure_registries.iter().for_each(|registry| line(2, registry, ""));
    }
    line(1, "Live Restore Enabled", &it.live_restore.to_string());
    out.lines().map(|line| format!("{}\n", tidy(line))).collect()
}

/// A heading or bare word loses the blank, and a word without a value its colon where it is indented.
fn tidy(line: &str) -> String {
    match line.strip_suffix(": ") {
        Some(word) if line.starts_with("  ") => word.to_owned(),
        Some(word) => format!("{word}:"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_shown_if_known() {
        let mut it = pb::VersionResponse {
            version: "1".into(),
            git_commit: "abc1234".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            ..pb::VersionResponse::default()
        };
        let page = server_page(&it);
        assert!(
            page.contains("  Version:          1\n  Git commit:       abc1234\n  OS/Arch:          linux/amd64\n"),
            "{page}"
        );
        it.git_commit.clear();
        assert!(!server_page(&it).contains("commit"));
    }

    #[test]
    fn the_page_and_the_value_name_the_same() {
        let it = pb::InfoResponse {
            containers: 3,
            snapshotter: "overlayfs".into(),
            security_options: vec!["name=seccomp,profile=builtin".into()],
            memory: 1 << 30,
            ..pb::InfoResponse::default()
        };
        let page = page(&it);
        for line in [
            " Containers: 3\n",
            " Storage Driver: overlayfs\n",
            " Security Options:\n",
            "  seccomp,profile=builtin\n",
            " Total Memory: 1GiB\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        let shown = Template::parse("{{.Driver}} {{.Containers}} {{len .Warnings}}")
            .unwrap()
            .run(&as_value(&it))
            .unwrap();
        assert_eq!(shown, "overlayfs 3 0");
    }
}
