//! The command line: dockerd's flag names, and containerd's as aliases.

use super::cluster::ClusterOptions;
use super::containers::ContainerOptions;
use super::doors::DoorOptions;
use super::networks::NetworkOptions;
use super::unbuilt::{self, Shape};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::path::PathBuf;

/// A self-sufficient container engine.
#[derive(Debug, Parser)]
#[command(
    name = "gantryd",
    version,
    disable_version_flag = true,
    subcommand_negates_reqs = true
)]
pub struct Flags {
    /// Configuration file with dockerd's keys
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_FILE)]
    pub config_file: PathBuf,
    /// Configuration file of containerd (version 2 or 3); flags win over it
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Print the version and exit
    #[arg(long, short = 'v', action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub networks: NetworkOptions,
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub doors: DoorOptions,
    #[command(flatten)]
    pub containers: ContainerOptions,
    #[command(subcommand)]
    pub command: Option<Deed>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Deed {
    /// Look after the metadata store while no daemon runs
    #[command(subcommand)]
    Store(StoreDeed),
    /// Tell the daemon an event: its protobuf Any comes on stdin
    Publish(PublishDeed),
}

#[derive(Debug, Clone, Args)]
pub struct PublishDeed {
    /// Topic of the event
    #[arg(long, default_value = "")]
    pub topic: String,
    /// Namespace to publish to
    #[arg(long, default_value = "")]
    pub namespace: String,
}

#[derive(Debug, Clone, Subcommand)]
pub enum StoreDeed {
    /// Open the store as a start would and say what is damaged
    Check(StoreRoot),
    /// Repair on a copy; what was damaged is kept beside it
    Repair(StoreRoot),
}

#[derive(Debug, Clone, Args)]
pub struct StoreRoot {
    /// The daemon's data root
    #[arg(long, visible_alias = "root", short = 'g', value_name = "DIR", default_value = super::DEFAULT_DATA_ROOT)]
    pub data_root: PathBuf,
}

/// Options that the configuration file has too. They serialize to that file's keys.
#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Where everything that lasts is kept
    #[arg(long, visible_aliases = ["graph", "root"], short = 'g', value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_root: Option<PathBuf>,
    /// Where the state of running containers is kept
    #[arg(long, visible_alias = "state", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_root: Option<PathBuf>,
    /// The gRPC socket
    #[arg(long, short = 'a', value_name = "SOCKET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Tell what is done in detail
    #[arg(long, short = 'D', num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<bool>,
    /// trace, debug, info, warn, error or fatal
    #[arg(long, short = 'l', value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<String>,
    /// Log without colours
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_logs: Option<bool>,
    #[arg(long, short = 'p', value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pidfile: Option<PathBuf>,
    /// overlayfs, native, or one of the configuration's proxy-plugins; the best that works if not given
    #[arg(long, short = 's', value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_driver: Option<String>,
    /// Let containers run on when the daemon ends (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    live_restore: Option<bool>,
    /// Seconds that containers get to end when the daemon ends and does not let them run on
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_timeout: Option<i64>,
    /// Runtime of containers that name none; built in if not given
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_runtime: Option<String>,
    /// A further OCI runtime program
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    #[serde(
        rename = "runtimes",
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "runtimes"
    )]
    add_runtime: Vec<String>,
    #[arg(long = "exec-opt", value_name = "NAME=VALUE")]
    #[serde(rename = "exec-opts", skip_serializing_if = "Vec::is_empty")]
    exec_opt: Vec<String>,
    /// File of OCI hooks for every container
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hook_spec: Option<PathBuf>,
    /// builtin, unconfined, or a file
    #[arg(long, value_name = "PROFILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp_profile: Option<String>,
    /// Registry to be spoken to without TLS, or whose certificate is not checked
    #[arg(long = "insecure-registry", value_name = "HOST")]
    #[serde(rename = "insecure-registries", skip_serializing_if = "Vec::is_empty")]
    insecure_registry: Vec<String>,
    /// json-file or none
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_driver: Option<String>,
    #[arg(long = "log-opt", value_name = "NAME=VALUE")]
    #[serde(rename = "log-opts", skip_serializing_if = "Vec::is_empty", serialize_with = "pairs")]
    log_opt: Vec<String>,
    /// NAME=SOFT[:HARD] for containers that do not say
    #[arg(long = "default-ulimit", value_name = "LIMIT")]
    #[serde(rename = "default-ulimits", skip_serializing_if = "Vec::is_empty")]
    default_ulimit: Vec<String>,
    /// Label of the daemon
    #[arg(long = "label", value_name = "NAME=VALUE")]
    #[serde(rename = "labels", skip_serializing_if = "Vec::is_empty")]
    label: Vec<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    no_new_privileges: Option<bool>,
    /// Size of /dev/shm for containers that do not say
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_shm_size: Option<String>,
    /// Parent of containers' cgroups
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_parent: Option<String>,
    /// Layers downloaded at once by a pull
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrent_downloads: Option<i64>,
    /// Accepted; published ports need no proxy here
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    userland_proxy: Option<bool>,
}

/// `name=path` as the file writes it: `{name: {"path": path}}`.
fn runtimes<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let table = list
        .iter()
        .map(|text| split(text))
        .map(|(name, path)| (name, json!({ "path": path })));
    table.collect::<Map<String, Value>>().serialize(serializer)
}

pub(super) fn pairs<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let table = list
        .iter()
        .map(|text| split(text))
        .map(|(name, value)| (name, Value::from(value)));
    table.collect::<Map<String, Value>>().serialize(serializer)
}

fn split(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// What a command line says: the flags proper, and every option that the file could have said too, by the file's key.
pub struct CommandLine {
    pub flags: Flags,
    pub given: Map<String, Value>,
}

impl CommandLine {
    /// The gRPC socket, if it is named.
    pub fn address(&self) -> Option<String> {
        self.given.get("address").and_then(Value::as_str).map(str::to_owned)
    }
}

/// Reads a command line; clap's error prints itself (help and version come as errors, too).
pub fn parse<I>(line: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let command = unbuilt::ALL
        .iter()
        .filter(|row| row.flag.is_some())
        .fold(Flags::command(), unbuilt_arg);
    let matches = command.try_get_matches_from(line)?;
    let flags = Flags::from_arg_matches(&matches)?;
    let mut given = match serde_json::to_value(&flags.options) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => Map::new(),
    };
    for more in [
        serde_json::to_value(&flags.networks),
        serde_json::to_value(&flags.cluster),
        serde_json::to_value(&flags.doors),
        serde_json::to_value(&flags.containers),
    ] {
        if let Ok(Value::Object(more)) = more {
            given.extend(more);
        }
    }
    for row in unbuilt::ALL {
        if let Some(value) = unbuilt_value(row, &matches) {
            given.insert(row.key.to_owned(), value);
        }
    }
    Ok(CommandLine { flags, given })
}

fn unbuilt_arg(command: Command, row: &'static unbuilt::Row) -> Command {
    let Some(flag) = row.flag else { return command };
    let arg = Arg::new(row.key).long(flag).help("Not built yet").hide_short_help(true);
    let arg = match row.shape {
        Shape::Truth => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .value_parser(clap::value_parser!(bool)),
        Shape::Number => arg
            .value_name("NUMBER")
            .allow_negative_numbers(true)
            .value_parser(clap::value_parser!(i64)),
        Shape::Text => arg.value_name("TEXT"),
        Shape::List => arg.value_name("TEXT").action(ArgAction::Append),
    };
    command.arg(arg)
}

fn unbuilt_value(row: &unbuilt::Row, matches: &ArgMatches) -> Option<Value> {
    row.flag?;
    match row.shape {
        Shape::Truth => matches.get_one::<bool>(row.key).map(|value| Value::from(*value)),
        Shape::Number => matches.get_one::<i64>(row.key).map(|value| Value::from(*value)),
        Shape::Text => matches
            .get_one::<String>(row.key)
            .map(|value| Value::from(value.as_str())),
        Shape::List => {
            let list: Vec<Value> = matches
                .get_many::<String>(row.key)?
                .map(|text| Value::from(text.as_str()))
                .collect();
            Some(Value::from(list))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        unbuilt::ALL
            .iter()
            .filter(|row| row.flag.is_some())
            .fold(Flags::command(), unbuilt_arg)
            .debug_assert();
    }

    #[test]
    fn aliases_lead_to_one_key() {
        for line in [
            ["gantryd", "--root", "/x"],
            ["gantryd", "--graph", "/x"],
            ["gantryd", "-g", "/x"],
        ] {
            let given = parse(line).unwrap().given;
            assert_eq!(Value::Object(given), json!({ "data-root": "/x" }));
        }
        let given = parse(["gantryd", "--state=/s", "-D", "--live-restore=false", "-a", "/a.sock"])
            .unwrap()
            .given;
        assert_eq!(
            Value::Object(given),
            json!({ "exec-root": "/s", "debug": true, "live-restore": false, "address": "/a.sock" })
        );
    }

    #[test]
    fn repeated_flags_take_the_files_form() {
        let line = "gantryd --log-opt max-size=1m --log-opt max-file=2 --add-runtime crun=/bin/crun --label a=b --dns 1.1.1.1 --icc=false";
        let given = parse(line.split(' ')).unwrap().given;
        let expected = json!({
            "log-opts": { "max-size": "1m", "max-file": "2" },
            "runtimes": { "crun": { "path": "/bin/crun" } },
            "labels": ["a=b"],
            "dns": ["1.1.1.1"],
            "icc": false,
        });
        assert_eq!(Value::Object(given), expected);
        assert!(parse(["gantryd", "--no-such-flag"]).is_err());
    }

    #[test]
    fn every_flag_of_the_contract_is_known() {
        let command = unbuilt::ALL
            .iter()
            .filter(|row| row.flag.is_some())
            .fold(Flags::command(), unbuilt_arg);
        let known: Vec<String> = command
            .get_arguments()
            .flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default())
            .map(str::to_owned)
            .collect();
        let promised = "config-file data-root graph exec-root host debug log-level pidfile storage-driver storage-opt bip \
            default-address-pool fixed-cidr icc iptables ip-masq ip-forward userland-proxy firewall-backend dns dns-opt dns-search mtu \
            live-restore default-runtime add-runtime exec-opt hook-spec userns-remap seccomp-profile selinux-enabled insecure-registry \
            registry-mirror log-driver log-opt default-ulimit label metrics-addr shutdown-timeout tls tlsverify tlscacert tlscert tlskey \
            validate version address root state config";
        for name in promised.split_ascii_whitespace() {
            assert!(known.iter().any(|flag| flag == name), "--{name}");
        }
    }
}
